//! Pinned data: every worker computes a batch's symbol from the same bars.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use async_nats::jetstream::kv;
use jetsweep_engine::backtest::RunFailure;
use jetsweep_shared::events::{self, DataPin};
use jetsweep_shared::ids::{BatchId, Symbol};
use jetsweep_shared::subjects::data_key;

use crate::failure::{Failure, code};

/// Most pins remembered, about 20 MB of them. A forgotten one costs a request.
const MOST_REMEMBERED: usize = 100_000;

/// Looks at a key that exists before it is believed to be unreadable: a replica may lag behind.
const LOOKS: u32 = 3;

/// The digest that each batch's symbol is pinned to, as far as this worker knows.
#[derive(Debug)]
pub(crate) struct Pins {
    bucket: kv::Store,
    worker: String,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    digests: HashMap<String, String>,
    /// Keys in the order in which they were learnt.
    order: VecDeque<String>,
}

/// A symbol's bars are not the ones its batch started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) pinned: String,
    pub(crate) found: String,
}

impl Changed {
    /// The failure of every run over the symbol.
    pub(crate) fn as_run_failure(&self, symbol: &Symbol) -> RunFailure {
        let Self { pinned, found } = self;
        let message = format!(
            "the bars of {symbol} changed while the batch runs, or differ between workers: the batch started with \
             digest {pinned}, here they have {found}"
        );
        RunFailure::new(code::DATA_CHANGED, message)
    }
}

impl Pins {
    /// Of the bucket of batches; `worker` is named in the pins made here.
    pub(crate) fn new(bucket: kv::Store, worker: String) -> Self {
        Self { bucket, worker, known: Mutex::default() }
    }

    /// The digest a symbol is pinned to, if it is.
    pub(crate) async fn pinned(&self, batch: &BatchId, symbol: &Symbol) -> Result<Option<String>, Failure> {
        let key = data_key(batch, symbol);
        if let Some(digest) = self.remembered(&key) {
            return Ok(Some(digest));
        }
        let pinned = self.read(&key).await?;
        if let Some(digest) = &pinned {
            self.remember(key, digest.clone());
        }
        Ok(pinned)
    }

    /// Pins a symbol to a digest, or compares with the digest it is pinned to.
    pub(crate) async fn check(
        &self,
        batch: &BatchId,
        symbol: &Symbol,
        digest: &str,
    ) -> Result<Result<(), Changed>, Failure> {
        let key = data_key(batch, symbol);
        let pinned = match self.remembered(&key) {
            Some(pinned) => pinned,
            None => {
                let pinned = self.create_or_read(&key, digest).await?;
                self.remember(key, pinned.clone());
                pinned
            }
        };
        if pinned == digest {
            return Ok(Ok(()));
        }
        Ok(Err(Changed { pinned, found: digest.to_owned() }))
    }

    async fn create_or_read(&self, key: &str, digest: &str) -> Result<String, Failure> {
        let pin = DataPin { version: events::VERSION, digest: digest.to_owned(), worker: self.worker.clone() };
        match self.bucket.create(key, events::encode(&pin)).await {
            Ok(_) => return Ok(pin.digest),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
            Err(error) => return Err(Failure::retryable(format!("failed to pin data in key {key}: {error}"))),
        }
        for _ in 0..LOOKS {
            if let Some(digest) = self.read(key).await? {
                return Ok(digest);
            }
        }
        Err(Failure::retryable(format!("key {key} exists but cannot be read yet")))
    }

    async fn read(&self, key: &str) -> Result<Option<String>, Failure> {
        let value = self.bucket.get(key).await;
        let value = value.map_err(|error| Failure::retryable(format!("failed to read key {key}: {error}")))?;
        let Some(value) = value else { return Ok(None) };
        // A pin nobody can read cannot be matched. It blocks its symbol until somebody repairs the key.
        let pin: DataPin = events::decode(&value).map_err(|error| Failure::retryable(format!("key {key}: {error}")))?;
        Ok(Some(pin.digest))
    }

    fn remembered(&self, key: &str) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).digests.get(key).cloned()
    }

    fn remember(&self, key: String, digest: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.digests.insert(key.clone(), digest).is_some() {
            return;
        }
        known.order.push_back(key);
        if known.order.len() > MOST_REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.digests.remove(&oldest);
        }
    }
}
