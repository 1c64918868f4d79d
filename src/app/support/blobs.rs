//! Large texts: inline in a row up to a size, in the blob store above it.

use sha2::{Digest, Sha256};

use crate::app::{App, AppError};
use crate::core::task::retry_policy::{Wait, wait_ms};
use crate::ports::{Blobs, Clock, Ports};
use crate::store::task::admission::Body;

/// A put that failed is tried again so many times.
const PUT_RETRIES: u32 = 6;

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut hex = String::with_capacity(64);
    for byte in digest {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    hex
}

/// Where a text stands: `(inline, blob)`, as the rows have it.
pub type Kept = (Option<String>, Option<String>);

/// Keeps a text for as long as its job is there. When it returns, a blob is durable.
pub async fn keep<P: Ports>(app: &App<P>, prefix: &str, text: String) -> Result<Kept, AppError> {
    store(app, prefix, text, None).await
}

/// Keeps a text for at least so many seconds: a blob goes by itself then, also where no row came to name it.
pub async fn keep_for<P: Ports>(
    app: &App<P>,
    prefix: &str,
    text: String,
    seconds: u64,
) -> Result<Kept, AppError> {
    store(app, prefix, text, Some(seconds)).await
}

async fn store<P: Ports>(
    app: &App<P>,
    prefix: &str,
    text: String,
    seconds: Option<u64>,
) -> Result<Kept, AppError> {
    if text.len() <= app.config.inline_bytes {
        return Ok((Some(text), None));
    }
    let key = format!("{prefix}/{}", sha256_hex(text.as_bytes()));
    let mut step = 0;
    loop {
        let blobs = app.ports.blobs();
        let put = match seconds {
            Some(seconds) => blobs.put_for(key.clone(), text.clone(), seconds).await,
            None => blobs.put(key.clone(), text.clone()).await,
        };
        match put {
            Ok(()) => return Ok((None, Some(key))),
            // Most of these texts were paid for: worth a few seconds before they are given up.
            Err(_) if step < PUT_RETRIES => {
                let ms = wait_ms(Wait::Backoff(step), app.dice(), 200, 3_000);
                app.ports.clock().sleep(ms).await;
                step += 1;
            }
            Err(error) => return Err(AppError::Unavailable(error.to_string())),
        }
    }
}

/// The prefix of a job's blobs.
pub fn job_prefix(job: &str) -> String {
    format!("job/{job}")
}

/// The prefix of what models said in a job's attempts: it may be forgotten before the rest of the job is.
pub fn answers_prefix(job: &str) -> String {
    format!("job/{job}/answers")
}

/// The prefix of the paid answers that a job brought into the ledger. No two jobs share a blob, so that what one of them
/// takes away with it is never what another has just written.
pub fn ledger_prefix(tenant: &str, job: &str) -> String {
    format!("ledger/{tenant}/{job}")
}

/// The text of a body; `None` where there is none. A blob that is not readable yet is `Unavailable`.
pub async fn text<P: Ports>(app: &App<P>, body: &Body) -> Result<Option<String>, AppError> {
    if body.inline.is_some() {
        return Ok(body.inline.clone());
    }
    let Some(key) = &body.blob else {
        return Ok(None);
    };
    match app.ports.blobs().get(key.clone()).await {
        Ok(Some(text)) => Ok(Some(text)),
        Ok(None) => Err(AppError::Unavailable(
            "a stored value is not readable yet".into(),
        )),
        Err(error) => Err(AppError::Unavailable(error.to_string())),
    }
}
