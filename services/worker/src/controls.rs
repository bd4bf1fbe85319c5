//! What is asked of batches and of all work (cancel, pause, resume), kept up to date by watching the bucket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv;
use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, Control, ControlAction};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{ALL_CONTROL_KEY, EVERY_CONTROL_KEY, control_batch, control_key};
use tokio::sync::watch;

/// Flags beyond which those that no job holds are dropped. A batch that comes again is looked up again.
const MANY_FLAGS: usize = 10_000;

/// Pause before a broken watch is set up again.
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// A generation of a batch.
type Generation = (BatchId, u32);

/// One flag a batch's generation, shared by all who work on it, and one for all work.
#[derive(Debug)]
pub(crate) struct Controls {
    bucket: kv::Store,
    cancelled: Mutex<HashMap<Generation, Arc<AtomicBool>>>,
    is_paused: watch::Sender<bool>,
}

impl Controls {
    /// Of the bucket of batches; nothing is known yet.
    pub(crate) fn new(bucket: kv::Store) -> Self {
        Self { bucket, cancelled: Mutex::default(), is_paused: watch::Sender::new(false) }
    }

    /// The flag of a generation: true once it is cancelled. The first time it is asked for it looks into the bucket,
    /// since a job may come before the watch has caught up.
    pub(crate) async fn cancelled(&self, batch: &BatchId, generation: u32) -> Arc<AtomicBool> {
        let (flag, is_new) = self.known_flag((batch.clone(), generation));
        if is_new {
            match self.bucket.entry(control_key(batch)).await {
                Ok(Some(entry)) => self.heed(&entry).await,
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, %batch, "cannot look whether the batch is cancelled"),
            }
        }
        flag
    }

    /// Completes while work may go on: waits for the end of a pause of all work.
    pub(crate) async fn unless_paused(&self) {
        // The sender is part of this value.
        let _ = self.is_paused.subscribe().wait_for(|is_paused| !is_paused).await;
    }

    /// The flag and whether it was made just now.
    fn known_flag(&self, generation: Generation) -> (Arc<AtomicBool>, bool) {
        let mut flags = self.lock();
        if let Some(flag) = flags.get(&generation) {
            return (Arc::clone(flag), false);
        }
        if flags.len() >= MANY_FLAGS {
            flags.retain(|_, flag| Arc::strong_count(flag) > 1);
        }
        (Arc::clone(flags.entry(generation).or_default()), true)
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
                        self.heed(&entry).await;
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

    /// Does what an entry asks, if somebody has written it.
    async fn heed(&self, entry: &kv::Entry) {
        let control = match entry.operation {
            kv::Operation::Put => match events::decode::<Control>(&entry.value) {
                Ok(control) => Some(control),
                Err(error) => return tracing::warn!(key = entry.key, %error, "ignored what is asked"),
            },
            _ => None,
        };
        // Only what would stop work is worth a request.
        let stops = control.as_ref().is_some_and(|control| control.action != ControlAction::Resume);
        if stops && self.concerns_us(&entry.key) {
            match disguise::is_entry(&self.bucket, &entry.key).await {
                Ok(false) => {}
                Ok(true) => {
                    let key = &entry.key;
                    return tracing::warn!(key, "ignored what nobody has asked: the server was made to write it");
                }
                Err(reason) => tracing::debug!(reason, key = entry.key, "cannot look at who asks"),
            }
        }
        self.apply(&entry.key, control);
    }

    /// Whether work that is known depends on what a key says.
    fn concerns_us(&self, key: &str) -> bool {
        let of = control_batch(key);
        key == ALL_CONTROL_KEY || self.lock().keys().any(|(batch, _)| Some(batch) == of.as_ref())
    }

    fn apply(&self, key: &str, control: Option<Control>) {
        if key == ALL_CONTROL_KEY {
            return self.pause(control.is_some_and(|control| control.action == ControlAction::Pause));
        }
        let Some(batch) = control_batch(key) else { return };
        let cancelled_to = match control {
            Some(Control { action: ControlAction::Cancel, generation, .. }) => Some(generation),
            _ => None,
        };
        for ((of, generation), flag) in self.lock().iter().filter(|((of, _), _)| *of == batch) {
            let is_cancelled = cancelled_to.is_some_and(|last| *generation <= last);
            if !flag.swap(is_cancelled, Ordering::Relaxed) && is_cancelled {
                tracing::info!(batch = %of, generation, "batch cancelled");
            }
        }
    }

    fn pause(&self, pause: bool) {
        let was_paused = self.is_paused.send_replace(pause);
        match (was_paused, pause) {
            (false, true) => tracing::info!("all work is paused: nothing more is started"),
            (true, false) => tracing::info!("work goes on"),
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Generation, Arc<AtomicBool>>> {
        // A map of flags is never half-changed, so a panic elsewhere is no reason to stop.
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
