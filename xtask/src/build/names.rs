//! The names of functions are a tenth of the module and nobody reads them at run time: they are kept beside it.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use wasmparser::{Parser, Payload};

/// Leaves the module in `build` without its names; the whole of it goes to `named`.
pub fn move_out(build: &Path, named: &Path) -> Result<()> {
    let path = build.join("index_bg.wasm");
    let bytes =
        std::fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
    let bare = without_names(&bytes).with_context(|| format!("{} is no Wasm", path.display()))?;
    std::fs::write(named, &bytes)
        .with_context(|| format!("could not write {}", named.display()))?;
    std::fs::write(&path, bare).with_context(|| format!("could not write {}", path.display()))
}

fn without_names(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut bare = Vec::with_capacity(bytes.len());
    // Where the section that comes next begins.
    let mut begin = 0_usize;
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        let end = match &payload {
            Payload::Version { range, .. } => range.end,
            Payload::CodeSectionEntry(_) | Payload::End(_) => continue,
            payload => match payload.as_section() {
                Some((_, range)) => range.end,
                None => continue,
            },
        };
        let end = usize::try_from(end).context("it is too large")?;
        let section = bytes
            .get(begin..end)
            .ok_or_else(|| anyhow!("it is cut off"))?;
        let named = matches!(&payload, Payload::CustomSection(custom) if custom.name() == "name");
        if !named {
            bare.extend_from_slice(section);
        }
        begin = end;
    }
    Ok(bare)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"\0asm\x01\0\0\0";
    /// `(type (func))`.
    const TYPES: &[u8] = &[1, 4, 1, 0x60, 0, 0];
    const OTHER: &[u8] = b"\0\x03\x01ab";
    const NAMES: &[u8] = b"\0\x05\x04name";

    #[test]
    fn names_go_and_all_else_stays() {
        let whole = [HEAD, OTHER, TYPES, NAMES].concat();
        assert_eq!(
            without_names(&whole).unwrap(),
            [HEAD, OTHER, TYPES].concat()
        );
        let between = [HEAD, TYPES, NAMES, OTHER].concat();
        assert_eq!(
            without_names(&between).unwrap(),
            [HEAD, TYPES, OTHER].concat()
        );
        assert!(without_names(b"no wasm").is_err());
    }
}
