//! Views of batches in the bucket, for whoever watches: written after the commit they tell of, a few times a second,
//! and at once when a batch ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::kv;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::events::{self, BatchStatus};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::status_key;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Time between two views of a batch that goes on.
const INTERVAL: Duration = Duration::from_millis(250);
/// Pause before a view that could not be written is written again.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest wait for the last views when the program stops.
const LAST_VIEWS: Duration = Duration::from_secs(2);

/// The newest view of each batch that is not written yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Views {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<BTreeMap<BatchId, BatchStatus>>,
    told: Notify,
    ended: Notify,
}

impl Views {
    /// Puts views in line to be written.
    pub(crate) fn tell(&self, statuses: Vec<BatchStatus>) {
        if statuses.is_empty() {
            return;
        }
        let has_ended = statuses.iter().any(|status| status.state.is_terminal());
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for status in statuses {
            newest.insert(status.batch_id.clone(), status);
        }
        drop(newest);
        self.shared.told.notify_one();
        if has_ended {
            self.shared.ended.notify_one();
        }
    }

    fn take(&self) -> BTreeMap<BatchId, BatchStatus> {
        std::mem::take(&mut *self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts views back that could not be written, unless there are newer ones.
    fn put_back(&self, statuses: BTreeMap<BatchId, BatchStatus>) {
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, status) in statuses {
            newest.entry(id).or_insert(status);
        }
    }

    /// Writes views until the program stops, and then the last ones.
    pub(crate) async fn run(self, bus: Bus, stored: Vec<BatchStatus>, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.write_all(&bus, stored) => {}
        }
    }

    /// Writes what is still in line, for as long as a stopping program may take.
    pub(crate) async fn finish(&self, bus: &Bus) {
        let last = async {
            if let Ok(bucket) = bus.batches().await {
                let left = write(&bucket, self.take()).await;
                self.put_back(left);
            }
        };
        if tokio::time::timeout(LAST_VIEWS, last).await.is_err() {
            tracing::warn!("the last views of batches could not be written; the next consolidator writes them");
        }
    }

    async fn write_all(&self, bus: &Bus, stored: Vec<BatchStatus>) {
        let bucket = loop {
            match open_and_catch_up(bus, &stored).await {
                Ok((bucket, behind)) => {
                    self.put_back(behind);
                    break bucket;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot write the views of batches now, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        };
        loop {
            let statuses = self.take();
            if statuses.is_empty() {
                self.shared.told.notified().await;
                continue;
            }
            let left = write(&bucket, statuses).await;
            if !left.is_empty() {
                self.put_back(left);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.shared.ended.notified() => {}
            }
        }
    }
}

/// Opens the bucket and finds which batches of the database it does not show as they are: a consolidator may have
/// died between a commit and its view.
async fn open_and_catch_up(
    bus: &Bus,
    stored: &[BatchStatus],
) -> Result<(kv::Store, BTreeMap<BatchId, BatchStatus>), BusError> {
    let bucket = bus.batches().await?;
    let mut behind = BTreeMap::new();
    for status in stored {
        let key = status_key(&status.batch_id);
        let shown = bucket
            .get(key.as_str())
            .await
            .map_err(|error| BusError::Read { what: format!("key {key}"), reason: error.to_string() })?;
        let shown = shown.and_then(|bytes| events::decode::<BatchStatus>(&bytes).ok());
        let is_shown = shown.is_some_and(|shown| says_the_same(&shown, status));
        if !is_shown {
            behind.insert(status.batch_id.clone(), status.clone());
        }
    }
    Ok((bucket, behind))
}

fn says_the_same(one: &BatchStatus, other: &BatchStatus) -> bool {
    BatchStatus { updated_at: other.updated_at, ..one.clone() } == *other
}

/// Writes views; returns those that could not be written.
async fn write(bucket: &kv::Store, statuses: BTreeMap<BatchId, BatchStatus>) -> BTreeMap<BatchId, BatchStatus> {
    let mut left = BTreeMap::new();
    for (id, status) in statuses {
        let key = status_key(&id);
        match bucket.put(key.as_str(), events::encode(&status)).await {
            Ok(_) if status.state.is_terminal() => {
                tracing::info!(batch = %id, state = ?status.state, runs = status.total_runs, "batch ended");
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(batch = %id, %error, "cannot write the view of a batch now, trying again");
                left.insert(id, status);
            }
        }
    }
    left
}
