//! Imports between the page's modules.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::{Imports, read, repository};

/// The imports of all modules below this folder.
pub fn imports(folder: &str) -> Imports {
    let mut files = Vec::new();
    collect(Path::new(folder), &mut files);
    files
        .iter()
        .map(|file| (file.clone(), targets(file, &read(file), &files)))
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(repository().join(folder)).unwrap() {
        let name = folder.join(entry.unwrap().file_name());
        if repository().join(&name).is_dir() {
            collect(&name, files);
        } else if name.extension().is_some_and(|kind| kind == "js") {
            files.push(name);
        }
    }
}

/// `import … from "./x.js"`, `import "./x.js"`, `export … from "./x.js"` and `import("./x.js")`: a path in quotes that begins
/// with a dot and ends in `.js`. One with a `${…}` in it names every file that it fits.
fn targets(file: &Path, source: &str, files: &[PathBuf]) -> BTreeMap<PathBuf, String> {
    let folder = file.parent().unwrap();
    let texts = source.split(['"', '\'', '`']);
    let paths = texts.filter(|text| text.starts_with('.') && text.ends_with(".js"));
    let mut targets = BTreeMap::new();
    for text in paths {
        let path = normal(&folder.join(text)).display().to_string();
        let (before, after) = match (path.find("${"), path.rfind('}')) {
            (Some(start), Some(end)) => (&path[..start], &path[end + 1..]),
            _ => (path.as_str(), ""),
        };
        let fits = |other: &&PathBuf| {
            let other = other.to_str().unwrap();
            other == path
                || path.contains("${") && other.starts_with(before) && other.ends_with(after)
        };
        for target in files.iter().filter(fits) {
            targets.insert(target.clone(), text.to_owned());
        }
    }
    targets
}

fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_import_is_found() {
    let source = r#"
        import { el } from "../dom.js";
        import "./cells.js";
        const page = () => import("../pages/job.js");
        const tab = (name) => import(`../pages/job-${name}.js`);
    "#;
    let names = [
        "dom",
        "draw/cells",
        "pages/job-live",
        "pages/job-plan",
        "pages/job",
    ];
    let files = names.map(|name| PathBuf::from(format!("public/js/{name}.js")));
    let others = ["ui", "draw/other", "pages/jobs"];
    let others = others.map(|name| PathBuf::from(format!("public/js/{name}.js")));
    let all = [&files[..], &others[..]].concat();
    let found = targets(Path::new("public/js/draw/a.js"), source, &all);
    assert!(found.keys().eq(&files), "{found:?}");
}
