//! Imports between the modules of a crate: `use` lines and paths anywhere else, in macros and attributes too. Code that is compiled
//! only for tests does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::lexer::{Word, words};
use crate::{Imports, read, repository};

/// A module by its names from the root of the crate, which has none.
type Module = Vec<String>;

/// The imports of the crate whose root is this file.
pub fn imports(root: &str) -> Imports {
    let mut modules = BTreeMap::new();
    collect(Path::new(root), Vec::new(), &mut modules);
    let files: BTreeMap<&Module, &Path> = modules
        .iter()
        .map(|(module, found)| (module, found.file.as_path()))
        .collect();
    modules
        .iter()
        .map(|(module, found)| (found.file.clone(), found.imports(module, &files)))
        .collect()
}

/// A module's file, and all paths in it that may name a module, each with the module in which it is written.
struct Found {
    file: PathBuf,
    paths: BTreeSet<(Module, Vec<String>)>,
}

impl Found {
    fn imports(
        &self,
        module: &Module,
        files: &BTreeMap<&Module, &Path>,
    ) -> BTreeMap<PathBuf, String> {
        let mut imports = BTreeMap::new();
        for (within, path) in &self.paths {
            let here = [&module[..], within].concat();
            if let Some(target) = resolve(&here, path, files)
                && target != self.file
            {
                imports
                    .entry(target.to_owned())
                    .or_insert_with(|| path.join("::"));
            }
        }
        imports
    }
}

/// All modules from one on, by their `mod` lines.
fn collect(file: &Path, module: Module, modules: &mut BTreeMap<Module, Found>) {
    let mut reader = Reader::default();
    reader.read(&words(&read(file)));
    let folder = match module.is_empty() || file.ends_with("mod.rs") {
        true => file.parent().unwrap().to_owned(),
        false => file.with_extension(""),
    };
    for name in &reader.declared {
        let flat = folder.join(name).with_extension("rs");
        let deep = folder.join(name).join("mod.rs");
        let file = match repository().join(&flat).exists() {
            true => flat,
            false => deep,
        };
        let below = [&module[..], std::slice::from_ref(name)].concat();
        collect(&file, below, modules);
    }
    let found = Found {
        file: file.to_owned(),
        paths: reader.paths,
    };
    modules.insert(module, found);
}

/// The file of the innermost module that a path names; `None` where it names none of this crate.
fn resolve<'f>(
    here: &Module,
    path: &[String],
    files: &BTreeMap<&Module, &'f Path>,
) -> Option<&'f Path> {
    let mut full = here.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            full.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|name| name == "super") {
                full.pop();
                rest = &rest[1..];
            }
        }
        first => {
            full.push(first.to_owned());
            if !files.contains_key(&full) {
                return None;
            }
            rest = &path[1..];
        }
    }
    for name in rest {
        full.push(name.clone());
        if !files.contains_key(&full) {
            full.pop();
            break;
        }
    }
    // A module within a file is part of that file.
    while !files.contains_key(&full) {
        full.pop();
    }
    files.get(&full).copied()
}

/// Reads the words of one file.
#[derive(Default)]
struct Reader {
    /// The modules within the file that the reader is in.
    within: Module,
    /// Modules in files of their own.
    declared: Vec<String>,
    paths: BTreeSet<(Module, Vec<String>)>,
}

impl Reader {
    fn read(&mut self, words: &[Word]) {
        let mut at = 0;
        while at < words.len() {
            at = match &words[at..] {
                [hash, open, ..] if hash.is("#") && open.is("[") => {
                    let end = closing(words, at + 1);
                    match only_tests(&words[at + 2..end]) {
                        true => after_item(words, end + 1),
                        // Its paths are read like any other.
                        false => at + 1,
                    }
                }
                [Word::Name(key), Word::Name(name), next, ..] if key == "mod" && next.is("{") => {
                    let end = closing(words, at + 2);
                    self.within.push(name.clone());
                    self.read(&words[at + 3..end]);
                    self.within.pop();
                    end + 1
                }
                [Word::Name(key), Word::Name(name), next, ..] if key == "mod" && next.is(";") => {
                    self.declared.push(name.clone());
                    at + 3
                }
                [Word::Name(key), ..] if key == "use" => self.read_use(words, at + 1, &[]),
                [Word::Name(_), ..] => self.read_path(words, at),
                // `#[serde(with = "crate::…")]`
                [Word::Text(text), ..] if text.starts_with("crate::") => {
                    self.add(text.split("::").map(str::to_owned).collect());
                    at + 1
                }
                _ => at + 1,
            };
        }
    }

    fn add(&mut self, path: Vec<String>) {
        self.paths.insert((self.within.clone(), path));
    }

    /// A tree of `use` below `before`, up to its end.
    fn read_use(&mut self, words: &[Word], start: usize, before: &[String]) -> usize {
        let mut path = before.to_vec();
        let mut at = start;
        while let Some(word) = words.get(at) {
            match word {
                Word::Name(name) if name == "as" => at += 1,
                Word::Name(name) => path.push(name.clone()),
                word if word.is("{") => {
                    let end = closing(words, at);
                    at += 1;
                    while at < end {
                        at = self.read_use(&words[..end], at, &path) + 1;
                    }
                    return end + 1;
                }
                word if word.is("::") || word.is("*") => {}
                _ => break,
            }
            at += 1;
        }
        if path.len() > before.len() || !before.is_empty() {
            self.add(path);
        }
        at
    }

    /// A path of more than one name.
    fn read_path(&mut self, words: &[Word], start: usize) -> usize {
        let mut path = Vec::new();
        let mut at = start;
        while let Some(name) = words.get(at).and_then(Word::name) {
            path.push(name.to_owned());
            at += 1;
            match words.get(at) {
                Some(sign) if sign.is("::") => at += 1,
                _ => break,
            }
        }
        if path.len() > 1 {
            self.add(path);
        }
        at
    }
}

/// Whether an attribute leaves its item to tests alone: `test`, `cfg(test)`, `cfg(all(test, …))`.
fn only_tests(attribute: &[Word]) -> bool {
    let names: Vec<&str> = attribute.iter().filter_map(Word::name).collect();
    matches!(
        names.as_slice(),
        ["test"] | ["cfg", "test"] | ["cfg", "all", "test", ..]
    )
}

/// Where an item ends that begins here: behind its braces or its semicolon.
fn after_item(words: &[Word], start: usize) -> usize {
    let mut at = start;
    while let Some(word) = words.get(at) {
        if word.is(";") {
            return at + 1;
        }
        // Braces within the tree of a `use` do not end it.
        let ends = word.is("{")
            && !at
                .checked_sub(1)
                .is_some_and(|before| words[before].is("::"));
        if ["{", "(", "["].iter().any(|open| word.is(open)) {
            at = closing(words, at);
        }
        at += 1;
        if ends {
            return at;
        }
    }
    at
}

/// The bracket that closes the one at this place.
fn closing(words: &[Word], open: usize) -> usize {
    let mut depth = 0;
    for (at, word) in words.iter().enumerate().skip(open) {
        if ["{", "(", "["].iter().any(|open| word.is(open)) {
            depth += 1;
        } else if ["}", ")", "]"].iter().any(|close| word.is(close)) {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    words.len()
}

#[test]
fn every_form_of_an_import_is_found() {
    let source = r#"
        use crate::a::Thing;
        use super::{b, c::{self, Other as Another}};
        pub use self::below::*;
        #[serde(with = "crate::d")]
        struct Text;
        fn inline() { let x = crate::e::call(json!({"k": crate::f::VALUE, "n": super::g::N})); }
        mod inner { use super::super::h::Deep; }
        mod elsewhere;
        #[cfg(test)]
        mod tests { use crate::only_in_tests::Thing; }
        #[cfg(test)]
        use crate::{only_in_tests::Other, only_in_tests};
        #[cfg(test)]
        mod more_tests;
        #[cfg(any(target_arch = "wasm32", test))]
        use crate::i::Both;
        fn last() { below::call() }
    "#;
    let mut reader = Reader::default();
    reader.read(&words(source));
    assert_eq!(reader.declared, ["elsewhere"]);

    let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "only_in_tests"];
    let here: Module = vec!["here".to_owned()];
    let mut modules: Vec<Module> = names.iter().map(|name| vec![(*name).to_owned()]).collect();
    modules.extend([vec![], here.clone(), vec!["here".into(), "below".into()]]);
    let files: BTreeMap<&Module, &Path> = modules
        .iter()
        .map(|module| {
            (
                module,
                Path::new(module.last().map_or("lib", String::as_str)),
            )
        })
        .collect();
    let found = Found {
        file: PathBuf::from("here"),
        paths: reader.paths,
    };
    let imports = found.imports(&here, &files);
    let expected = ["a", "b", "below", "c", "d", "e", "f", "g", "h", "i"];
    assert!(
        imports.keys().eq(expected.iter().map(Path::new)),
        "{imports:?}"
    );
}
