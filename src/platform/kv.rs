//! The blob port on Workers KV.
//!
//! Bodies cross the border as bytes: KV stores bytes anyway, and a text read back as text would lose a
//! leading byte order mark, and with it the hash that is part of its key.

use std::future::Future;

use worker::kv::{KvError, KvStore};
use worker::send::SendFuture;

use crate::platform::js;
use crate::ports::{BlobError, Blobs, Keys};

/// The binding `KV`.
#[derive(Clone)]
pub struct Kv(KvStore);

impl Kv {
    pub fn new(binding: KvStore) -> Kv {
        Kv(binding)
    }
}

impl Blobs for Kv {
    fn put(&self, key: String, body: String) -> impl Future<Output = Result<(), BlobError>> + Send {
        SendFuture::new(put(self.0.clone(), key, body, None))
    }

    fn put_for(
        &self,
        key: String,
        body: String,
        seconds: u64,
    ) -> impl Future<Output = Result<(), BlobError>> + Send {
        SendFuture::new(put(self.0.clone(), key, body, Some(seconds)))
    }

    fn get(&self, key: String) -> impl Future<Output = Result<Option<String>, BlobError>> + Send {
        let store = self.0.clone();
        SendFuture::new(async move {
            let Some(bytes) = store.get(&key).bytes().await.map_err(fault)? else {
                return Ok(None);
            };
            String::from_utf8(bytes)
                .map(Some)
                .map_err(|_| BlobError("a value that is not text".to_owned()))
        })
    }

    fn delete(&self, key: String) -> impl Future<Output = Result<(), BlobError>> + Send {
        let store = self.0.clone();
        SendFuture::new(async move { store.delete(&key).await.map_err(fault) })
    }

    fn list(
        &self,
        prefix: String,
        after: Option<String>,
    ) -> impl Future<Output = Result<Keys, BlobError>> + Send {
        let store = self.0.clone();
        SendFuture::new(async move {
            let mut list = store.list().prefix(prefix);
            if let Some(cursor) = after {
                list = list.cursor(cursor);
            }
            let page = list.execute().await.map_err(fault)?;
            Ok(Keys {
                keys: page.keys.into_iter().map(|key| key.name).collect(),
                next: page.cursor.filter(|_| !page.list_complete),
            })
        })
    }
}

async fn put(
    store: KvStore,
    key: String,
    body: String,
    seconds: Option<u64>,
) -> Result<(), BlobError> {
    let mut put = store.put_bytes(&key, body.as_bytes()).map_err(fault)?;
    if let Some(seconds) = seconds {
        put = put.expiration_ttl(seconds);
    }
    // The bytes are JavaScript's now; a large body need not be held twice while it is stored.
    drop(body);
    put.execute().await.map_err(fault)
}

fn fault(error: KvError) -> BlobError {
    BlobError(match error {
        KvError::JavaScript(thrown) => js::text(&thrown),
        other => other.to_string(),
    })
}
