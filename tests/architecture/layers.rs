//! Layers: the order of a folder's parts is written once, in the comment at the top of its own file (`mod.rs`, `lib.rs`), as a list of
//! names in backticks after the words "bottom to top:". Each part imports only parts that come before it.

use std::path::{Path, PathBuf};

use crate::{Imports, read, rust};

/// These must have an order; every other file that says one is held to it too.
const ORDERED: [&str; 4] = [
    "src/lib.rs",
    "src/api/mod.rs",
    "src/app/mod.rs",
    "src/core/mod.rs",
];

const MARK: &str = "bottom to top:";

#[test]
fn each_part_imports_only_parts_below_it() {
    let imports = rust::imports("src/lib.rs");
    let mut faults = Vec::new();
    for file in imports.keys() {
        let order = order_in(&read(file));
        if !order.is_empty() {
            faults.extend(faults_of(file.parent().unwrap(), &order, &imports));
        } else if ORDERED.iter().any(|ordered| file == Path::new(ordered)) {
            faults.push(format!("{} says no order", file.display()));
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// The names after the mark, up to the first full stop that ends a sentence.
fn order_in(source: &str) -> Vec<String> {
    let comment: String = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .collect();
    let Some((_, rest)) = comment.split_once(MARK) else {
        return Vec::new();
    };
    // A name such as `mod.rs` has a full stop of its own, between backticks.
    let mut names = Vec::new();
    for (position, part) in rest.split('`').enumerate() {
        if position % 2 == 1 {
            names.push(part.to_owned());
        } else if part.contains('.') {
            break;
        }
    }
    names
}

fn faults_of(folder: &Path, order: &[String], imports: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    let level = |file: &Path| level(folder, order, file);
    for (file, targets) in imports.iter().filter(|(file, _)| file.starts_with(folder)) {
        let Some(own) = level(file) else {
            faults.push(format!(
                "{} is in no layer of {}",
                file.display(),
                folder.display()
            ));
            continue;
        };
        for (target, path) in targets {
            if target.starts_with(folder)
                && let Some(other) = level(target)
                && other > own
            {
                faults.push(format!(
                    "{} (in `{}`) imports {path}, in `{}`, which is above it",
                    file.display(),
                    order[own],
                    order[other]
                ));
            }
        }
    }
    faults
}

/// How high a file's part stands. A part is a folder or a file: `http`, `router.rs`, `mod.rs`; a folder's name stands for the file
/// `name.rs` too.
fn level(folder: &Path, order: &[String], file: &Path) -> Option<usize> {
    let inner = file.strip_prefix(folder).ok()?;
    let first = PathBuf::from(inner.components().next()?.as_os_str());
    order
        .iter()
        .position(|part| first == Path::new(part) || first.with_extension("") == Path::new(part))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_order_is_read_from_a_comment() {
        let source = "//! A folder.\n//!\n//! Its parts, bottom to top: `a`, `b.rs`,\n//! `c`. Not `d`.\n\nmod a;\n";
        assert_eq!(order_in(source), ["a", "b.rs", "c"]);
        assert!(order_in("//! `a` and `b`.\n").is_empty());
    }

    #[test]
    fn an_import_of_what_is_above_is_a_fault() {
        let order = ["http".to_owned(), "routes".to_owned(), "mod.rs".to_owned()];
        let import = |from: &str, to: &str| -> Imports {
            let to = BTreeMap::from([(PathBuf::from(to), "crate::api::routes".to_owned())]);
            BTreeMap::from([(PathBuf::from(from), to)])
        };
        let faults = |from, to| faults_of(Path::new("src/api"), &order, &import(from, to));
        assert_eq!(faults("src/api/routes/a.rs", "src/api/http/b.rs"), [""; 0]);
        assert_eq!(faults("src/api/routes/a.rs", "src/core/c.rs"), [""; 0]);
        assert_eq!(faults("src/api/http/b.rs", "src/api/routes/a.rs").len(), 1);
        assert_eq!(faults("src/api/routes/a.rs", "src/api/mod.rs").len(), 1);
        assert_eq!(faults("src/api/new/a.rs", "src/api/http/b.rs").len(), 1);
    }
}
