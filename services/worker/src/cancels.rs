//! Which batches are cancelled, kept up to date by watching the bucket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv;
use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::events::{self, Control, ControlAction};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{EVERY_CONTROL_KEY, control_batch, control_key};

/// Flags beyond which those that no job holds are dropped. A batch that comes again is looked up again.
const MANY_FLAGS: usize = 10_000;

/// Pause before a broken watch is set up again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// One flag a batch, shared by all who work on it.
#[derive(Debug)]
pub(crate) struct Cancels {
    bucket: kv::Store,
    flags: Mutex<HashMap<BatchId, Arc<AtomicBool>>>,
}

impl Cancels {
    /// Of the bucket of batches; nothing is known yet.
    pub(crate) fn new(bucket: kv::Store) -> Self {
        Self { bucket, flags: Mutex::default() }
    }

    /// The flag of a batch: true once it is cancelled. The first time it is asked for a batch it looks into the bucket,
    /// since a job may come before the watch has caught up.
    pub(crate) async fn flag(&self, batch: &BatchId) -> Arc<AtomicBool> {
        let (flag, is_new) = self.known_flag(batch);
        if is_new {
            match self.bucket.entry(control_key(batch)).await {
                Ok(Some(entry)) => self.apply(&entry),
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, %batch, "cannot look whether the batch is cancelled"),
            }
        }
        flag
    }

    /// The flag and whether it was made just now.
    fn known_flag(&self, batch: &BatchId) -> (Arc<AtomicBool>, bool) {
        let mut flags = self.lock();
        if let Some(flag) = flags.get(batch) {
            return (Arc::clone(flag), false);
        }
        if flags.len() >= MANY_FLAGS {
            flags.retain(|_, flag| Arc::strong_count(flag) > 1);
        }
        (Arc::clone(flags.entry(batch.clone()).or_default()), true)
    }

    /// Follows the bucket for as long as the future is polled: first what it holds, then every change.
    pub(crate) async fn follow(&self) {
        let mut is_broken = false;
        loop {
            match self.bucket.watch_with_history(EVERY_CONTROL_KEY).await {
                Ok(mut entries) => {
                    if std::mem::take(&mut is_broken) {
                        tracing::info!("watching for cancelled batches again");
                    }
                    while let Some(Ok(entry)) = entries.next().await {
                        self.apply(&entry);
                    }
                }
                Err(error) if !is_broken => {
                    tracing::warn!(%error, "cannot watch for cancelled batches, trying again");
                    is_broken = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(with_jitter(WATCH_AGAIN)).await;
        }
    }

    fn apply(&self, entry: &kv::Entry) {
        let Some(batch) = control_batch(&entry.key) else { return };
        let (flag, _) = self.known_flag(&batch);
        if entry.operation != kv::Operation::Put {
            return flag.store(false, Ordering::Relaxed);
        }
        match events::decode::<Control>(&entry.value) {
            Ok(Control { action: ControlAction::Cancel, .. }) => {
                if !flag.swap(true, Ordering::Relaxed) {
                    tracing::info!(%batch, "batch cancelled");
                }
            }
            Err(error) => tracing::warn!(%batch, %error, "ignored what is asked of a batch"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BatchId, Arc<AtomicBool>>> {
        // A map of flags is never half-changed, so a panic elsewhere is no reason to stop.
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
