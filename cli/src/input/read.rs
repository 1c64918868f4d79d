//! Reading: the beginning of an input, its encoding, its lines, and how much of it was read. Encodings are read by the
//! Worker's own decoder.

use std::borrow::Cow;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use fanwise::api::encoding::Decoder;
use fanwise::api::rows::Text;
use fanwise::core::value::strict_json;
use serde::de::DeserializeOwned;

/// A file is looked at this far to tell what it is.
const PEEK: usize = 1 << 20;

/// The beginning, and all of it.
pub fn peek(mut reader: impl Read + Send + 'static) -> Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = vec![0; 1 << 16];
    let mut filled = 0;
    loop {
        if filled == head.len() {
            if filled >= PEEK {
                break;
            }
            head.resize(filled * 2, 0);
        }
        let read = reader.read(head.get_mut(filled..).unwrap_or_default())?;
        filled += read;
        // A header and a row are enough.
        let lines = head
            .iter()
            .take(filled)
            .filter(|byte| **byte == b'\n')
            .count();
        if read == 0 || lines >= 2 {
            break;
        }
    }
    head.truncate(filled);
    let all = io::Cursor::new(head.clone()).chain(reader);
    Ok((head, Box::new(all)))
}

pub fn open(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).with_context(|| format!("could not read {}", path.display()))
}

pub fn first_line(head: &[u8]) -> &[u8] {
    head.split(|byte| *byte == b'\n')
        .find(|line| !line.trim_ascii().is_empty())
        .unwrap_or_default()
}

/// The beginning of an input as UTF-8, whatever it was saved as.
///
/// # Errors
/// Where it is no text: what it is, and what to do.
pub fn decoded(head: &[u8]) -> Result<Vec<u8>> {
    let mut decoder = Decoder::default();
    let mut read = decoder
        .push(head)
        .map_err(|problem| anyhow!(problem))?
        .into_owned();
    read.extend(decoder.finish().map_err(|problem| anyhow!(problem))?);
    Ok(read)
}

/// All of a text, in whatever encoding.
pub fn text(bytes: &[u8]) -> Result<String> {
    let mut text = Text::default();
    let begun = text.push(bytes).map_err(|problem| anyhow!(problem))?;
    Ok(begun + &text.finish().map_err(|problem| anyhow!(problem))?)
}

/// A JSON value whose numbers keep their digits.
pub fn json<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    serde_json::from_str(&strict_json::exact(text))
}

/// An input as UTF-8, piece by piece.
pub struct Decoded<R> {
    reader: R,
    decoder: Option<Decoder>,
    /// What was decoded and is not handed on yet.
    left: io::Cursor<Vec<u8>>,
}

impl<R: Read> Decoded<R> {
    pub fn new(reader: R) -> Decoded<R> {
        Decoded {
            reader,
            decoder: Some(Decoder::default()),
            left: io::Cursor::default(),
        }
    }
}

impl<R: Read> Read for Decoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut piece = vec![0; 1 << 16];
        loop {
            let read = self.left.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(decoder) = &mut self.decoder else {
                return Ok(0);
            };
            let next = match self.reader.read(&mut piece)? {
                0 => {
                    let last = decoder.finish();
                    self.decoder = None;
                    last
                }
                read => {
                    let bytes = piece.get(..read).unwrap_or_default();
                    decoder.push(bytes).map(Cow::into_owned)
                }
            };
            self.left = io::Cursor::new(next.map_err(io::Error::other)?);
        }
    }
}

/// Tells how much was read.
pub struct Counted<R> {
    pub reader: R,
    pub read: Arc<dyn Fn(u64) + Send + Sync>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        (self.read)(read as u64);
        Ok(read)
    }
}

/// Line after line with its number, without its end.
pub fn each_line(
    mut reader: impl BufRead,
    mut line: impl FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut buffer = Vec::new();
    let mut number = 0;
    loop {
        buffer.clear();
        if reader.read_until(b'\n', &mut buffer)? == 0 {
            return Ok(());
        }
        number += 1;
        let end = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        line(number, end.strip_suffix(b"\r").unwrap_or(end))?;
    }
}
