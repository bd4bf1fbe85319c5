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

/// What the bucket is to show of a batch.
#[derive(Debug, Clone, PartialEq)]
enum View {
    Status(BatchStatus),
    /// Nothing: the batch is deleted.
    Nothing,
}

/// The newest view of each batch that is not written yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Views {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    newest: Mutex<BTreeMap<BatchId, View>>,
    told: Notify,
    ended: Notify,
    deleted: Arc<Notify>,
}

impl Views {
    /// None yet. `deleted` is notified when the deletion of a batch is committed.
    pub(crate) fn new(deleted: Arc<Notify>) -> Self {
        Self { shared: Arc::new(Shared { deleted, ..Shared::default() }) }
    }

    /// Puts views in line to be written, and those of deleted batches to be removed.
    pub(crate) fn tell(&self, statuses: Vec<BatchStatus>, deleted: Vec<BatchId>) {
        if statuses.is_empty() && deleted.is_empty() {
            return;
        }
        let has_ended = !deleted.is_empty() || statuses.iter().any(|status| status.state.is_terminal());
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for status in statuses {
            newest.insert(status.batch_id.clone(), View::Status(status));
        }
        for batch in deleted {
            newest.insert(batch, View::Nothing);
            self.shared.deleted.notify_one();
        }
        drop(newest);
        self.shared.told.notify_one();
        if has_ended {
            self.shared.ended.notify_one();
        }
    }

    fn take(&self) -> BTreeMap<BatchId, View> {
        std::mem::take(&mut *self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts views back that could not be written, unless there are newer ones.
    fn put_back(&self, views: BTreeMap<BatchId, View>) {
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for (id, view) in views {
            newest.entry(id).or_insert(view);
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
) -> Result<(kv::Store, BTreeMap<BatchId, View>), BusError> {
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
            behind.insert(status.batch_id.clone(), View::Status(status.clone()));
        }
    }
    Ok((bucket, behind))
}

fn says_the_same(one: &BatchStatus, other: &BatchStatus) -> bool {
    BatchStatus { updated_at: other.updated_at, ..one.clone() } == *other
}

/// Writes views; returns those that could not be written.
async fn write(bucket: &kv::Store, views: BTreeMap<BatchId, View>) -> BTreeMap<BatchId, View> {
    let mut left = BTreeMap::new();
    for (id, view) in views {
        let key = status_key(&id);
        let written = match &view {
            View::Status(status) => bucket.put(key.as_str(), events::encode(status)).await.map_err(|e| e.to_string()),
            View::Nothing => bucket.delete(key.as_str()).await.map(|()| 0).map_err(|e| e.to_string()),
        };
        match (written, &view) {
            (Ok(_), View::Status(status)) if status.state.is_terminal() => {
                tracing::info!(batch = %id, state = ?status.state, runs = status.total_runs, "batch ended");
            }
            (Ok(_), View::Status(_)) => {}
            (Ok(_), View::Nothing) => tracing::info!(batch = %id, "batch deleted"),
            (Err(error), _) => {
                tracing::warn!(batch = %id, %error, "cannot write the view of a batch now, trying again");
                left.insert(id, view);
            }
        }
    }
    left
}
