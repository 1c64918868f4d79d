//! From a thread that reads and writes to a body that a connection sends, with a few pieces in between at most.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tokio::sync::mpsc;

/// Bytes of a piece, and pieces that may wait.
const PIECE: usize = 1 << 16;
const WAITING: usize = 8;

/// A body under way.
pub struct Feed {
    pub body: reqwest::Body,
    failed: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Feed {
    /// Why the body broke off, where that was on this side.
    pub fn failure(failed: &Mutex<Option<anyhow::Error>>) -> Option<anyhow::Error> {
        failed.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub fn parts(self) -> (reqwest::Body, Arc<Mutex<Option<anyhow::Error>>>) {
        (self.body, self.failed)
    }
}

/// Runs `write` on a thread of its own; what it writes is the body. Where it fails, the body breaks off, so nobody takes a part for the whole.
pub fn feed(write: impl FnOnce(&mut dyn Write) -> Result<()> + Send + 'static) -> Feed {
    let (sender, receiver) = mpsc::channel(WAITING);
    let failed = Arc::new(Mutex::new(None));
    let told = Arc::clone(&failed);
    std::thread::spawn(move || {
        let mut pieces = Pieces {
            sender,
            piece: Vec::with_capacity(PIECE),
        };
        let written = write(&mut pieces).and_then(|()| Ok(pieces.flush()?));
        if let Err(error) = written {
            *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            let broken = io::Error::other("the input could not be read to its end");
            let _ = pieces.sender.blocking_send(Err(broken));
        }
    });
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece: io::Result<Vec<u8>> = receiver.recv().await?;
        Some((piece, receiver))
    });
    Feed {
        body: reqwest::Body::wrap_stream(stream),
        failed,
    }
}

struct Pieces {
    sender: mpsc::Sender<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        // The connection has ended, and its answer says why.
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}
