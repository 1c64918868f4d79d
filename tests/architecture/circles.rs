//! Circles of imports: files that import each other, directly or through others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::{Imports, rust, script};

/// A reader has to know all files of a circle at once to change one of them.
const MOST_FILES: usize = 6;

#[test]
fn circles_are_short_and_stay_within_a_folder() {
    let mut faults = Vec::new();
    for imports in [
        rust::imports("src/lib.rs"),
        rust::imports("cli/src/main.rs"),
        script::imports("public/js"),
    ] {
        assert!(imports.values().any(|targets| !targets.is_empty()));
        faults.extend(faults_of(&imports));
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn faults_of(imports: &Imports) -> Vec<String> {
    let mut faults = Vec::new();
    for circle in circles(imports) {
        let crosses = common_folder(&circle, imports).is_none();
        if crosses || circle.len() > MOST_FILES {
            let why = if crosses {
                "crosses a folder"
            } else {
                "is too long"
            };
            let lines = edges(&circle, imports);
            faults.push(format!(
                "a circle of {} files {why}:\n{lines}",
                circle.len()
            ));
        }
    }
    faults
}

fn edges(circle: &BTreeSet<&PathBuf>, imports: &Imports) -> String {
    let mut lines = String::new();
    for file in circle {
        for (target, path) in &imports[*file] {
            if circle.contains(target) {
                lines += &format!(
                    "  {} imports {} ({path})\n",
                    file.display(),
                    target.display()
                );
            }
        }
    }
    lines
}

/// A folder that has all these files; a folder's own file (`mod.rs`, or `name.rs` beside `name/`) is both in it and in
/// the folder above.
fn common_folder(circle: &BTreeSet<&PathBuf>, imports: &Imports) -> Option<PathBuf> {
    let folders = |file: &Path| -> BTreeSet<PathBuf> {
        let folder = file.parent().unwrap();
        let inner = file.with_extension("");
        let mut folders = BTreeSet::from([folder.to_owned()]);
        if file.ends_with("mod.rs") {
            folders.extend(folder.parent().map(Path::to_owned));
        } else if imports.keys().any(|other| other.starts_with(&inner)) {
            folders.insert(inner);
        }
        folders
    };
    let mut files = circle.iter();
    let first = folders(files.next()?);
    files
        .fold(first, |common, file| {
            common.intersection(&folders(file)).cloned().collect()
        })
        .into_iter()
        .next()
}

/// The largest sets of files of which each imports, over some way, each other.
fn circles(imports: &Imports) -> Vec<BTreeSet<&PathBuf>> {
    let reach: BTreeMap<&PathBuf, BTreeSet<&PathBuf>> = imports
        .keys()
        .map(|file| (file, reachable(file, imports)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (file, targets) in &reach {
        if !targets.contains(file) || seen.contains(file) {
            continue;
        }
        let circle: BTreeSet<&PathBuf> = targets
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(file)))
            .collect();
        seen.extend(circle.iter().copied());
        circles.push(circle);
    }
    circles
}

fn reachable<'a>(file: &PathBuf, imports: &'a Imports) -> BTreeSet<&'a PathBuf> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&PathBuf> = imports[file].keys().collect();
    while let Some(next) = open.pop() {
        if seen.insert(next) {
            open.extend(imports.get(next).into_iter().flat_map(BTreeMap::keys));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &str)]) -> Imports {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry(to.into()).or_default();
            let targets = imports.entry(from.into()).or_default();
            targets.insert(to.into(), String::new());
        }
        imports
    }

    #[test]
    fn a_short_circle_within_a_folder_may_be() {
        let imports = graph(&[
            ("a/b.rs", "a/c.rs"),
            ("a/c.rs", "a/mod.rs"),
            ("a/mod.rs", "a/b.rs"),
        ]);
        assert_eq!(faults_of(&imports), Vec::<String>::new());
    }

    #[test]
    fn a_circle_across_folders_is_a_fault() {
        let imports = graph(&[
            ("a/x.rs", "b/y.rs"),
            ("b/y.rs", "b/z.rs"),
            ("b/z.rs", "a/x.rs"),
        ]);
        let faults = faults_of(&imports);
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("3 files crosses a folder"), "{faults:?}");
    }

    #[test]
    fn a_long_circle_is_a_fault() {
        let names: Vec<String> = (0..7).map(|n| format!("a/{n}.rs")).collect();
        let edges: Vec<(&str, &str)> = (0..7)
            .map(|n| (names[n].as_str(), names[(n + 1) % 7].as_str()))
            .collect();
        assert!(faults_of(&graph(&edges))[0].contains("7 files is too long"));
    }
}
