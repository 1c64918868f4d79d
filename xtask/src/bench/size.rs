//! What the Worker weighs: raw, gzipped as Cloudflare counts it, and by crate.
//!
//! The file that wrangler ships has no names; those of the same file as it was built say to which crate each function's size
//! goes. Generic code counts for the crate that wrote it, not for the one that made it necessary.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// Shown for what has no name.
const NAMELESS: &str = "(no name)";
/// Shown for names without a path.
const RUNTIME: &str = "(C and runtime)";

#[derive(Debug, Default)]
pub struct Size {
    pub raw: usize,
    pub gzipped: usize,
    /// Bytes of code by crate, largest first.
    pub crates: Vec<(String, u64)>,
    pub data: u64,
}

/// What all of it may weigh, gzipped.
pub const LIMIT_BYTES: usize = 1_600_000;

/// Of the built Worker in that folder, and of the same with names.
pub fn of(build: &Path, named: &Path) -> Result<Size> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("could not read {}", path.display()))
    };
    let mut size =
        measure(&read(named)?).with_context(|| format!("{} is no Wasm", named.display()))?;
    let mut all = read(&build.join("index_bg.wasm"))?;
    all.extend(read(&build.join("index.js"))?);
    size.raw = all.len();
    size.gzipped = gzip(&all)?;
    Ok(size)
}

fn gzip(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("could not gzip")?;
    Ok(encoder.finish().context("could not gzip")?.len())
}

fn measure(bytes: &[u8]) -> Result<Size> {
    let mut size = Size::default();
    let mut imported = 0_u32;
    let mut bodies = Vec::new();
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    for payload in Parser::new(0).parse_all(bytes) {
        match payload? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    imported += u32::from(matches!(
                        import?.ty,
                        TypeRef::Func(_) | TypeRef::FuncExact(_)
                    ));
                }
            }
            Payload::CodeSectionEntry(body) => {
                let range = body.range();
                bodies.push(range.end - range.start);
            }
            Payload::DataSection(section) => {
                size.data = section.range().end - section.range().start;
            }
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(reader) = section.as_known() {
                    for part in reader {
                        if let Name::Function(map) = part? {
                            for naming in map {
                                let naming = naming?;
                                names.insert(naming.index, naming.name.to_owned());
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    if bodies.is_empty() {
        bail!("there is no code in it");
    }
    let mut crates: BTreeMap<String, u64> = BTreeMap::new();
    for (index, bytes) in (imported..).zip(bodies) {
        let name = names.get(&index);
        let krate = name.map_or_else(|| NAMELESS.to_owned(), |name| crate_of(name));
        *crates.entry(krate).or_default() += bytes;
    }
    size.crates = crates.into_iter().collect();
    size.crates
        .sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    Ok(size)
}

/// The crate of a function, from its name as the name section has it: demangled by wasm-bindgen, or not.
fn crate_of(name: &str) -> String {
    let demangled = format!("{:#}", rustc_demangle::demangle(name));
    first_segment(&demangled).unwrap_or_else(|| RUNTIME.to_owned())
}

/// The first path in `<&mut [krate::T] as other::Trait>::method` and in `krate::f`.
fn first_segment(name: &str) -> Option<String> {
    let mut rest = name;
    loop {
        let before = rest;
        for prefix in ["<", "&", "(", "[", "*", "mut ", "const ", "dyn ", "impl "] {
            rest = rest.strip_prefix(prefix).unwrap_or(rest);
        }
        if rest == before {
            break;
        }
    }
    let ident: String = rest
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let after = rest.get(ident.len()..)?;
    if !ident.is_empty() && (after.starts_with("::") || after.starts_with('[')) {
        return Some(ident);
    }
    // `<T as krate::Trait>`, `<u32 as core::fmt::Display>`: the trait's.
    let (_, of_trait) = name.split_once(" as ")?;
    let ident: String = of_trait
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    of_trait
        .get(ident.len()..)?
        .starts_with("::")
        .then_some(ident)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_its_name_begins_with() {
        for (name, krate) in [
            ("fanwise::app::work::run::h0123456789abcdef", "fanwise"),
            (
                "<serde_json::value::Value as core::fmt::Display>::fmt",
                "serde_json",
            ),
            ("<&mut [boon::T] as core::fmt::Debug>::fmt", "boon"),
            ("<u32 as core::fmt::Display>::fmt", "core"),
            ("<T as alloc::string::ToString>::to_string", "alloc"),
            ("_ZN7fanwise3app3run17h0123456789abcdefE", "fanwise"),
            ("__wbg_batch_830b1d6f", "(C and runtime)"),
            ("memcpy", "(C and runtime)"),
        ] {
            assert_eq!(crate_of(name), krate, "{name}");
        }
    }

    #[test]
    fn what_is_no_wasm_is_an_error() {
        assert!(measure(b"no wasm").is_err());
        assert!(measure(b"\0asm\x01\0\0\0").is_err());
    }
}
