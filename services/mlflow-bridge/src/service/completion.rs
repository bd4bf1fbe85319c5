//! Batches that have ended are completed: what is missing of them is logged, and their batch runs are ended.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::events::{self, BatchState, BatchStatus, MlflowState};
use jetsweep_shared::ids::BatchId;
use tokio::time::Instant;

use super::{Bridge, FIRST_PAUSE, LONGEST_PAUSE, lock};
use crate::batch::LogError;
use crate::dead;
use crate::finish::finish;

/// How long nothing may be logged, while MLflow is there, before a batch is completed nevertheless.
const LONGEST_STANDSTILL: Duration = Duration::from_secs(30);
/// How often it is looked whether the consumer has come past the end of a batch.
const LOOK_AT_CONSUMER: Duration = Duration::from_millis(250);

impl Bridge {
    /// Completes batches as they end, one after the other. One that cannot be completed now is tried again later and keeps
    /// no other waiting.
    pub(super) async fn finish_batches(self: Arc<Self>) {
        let mut ended = HashMap::new();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow(&mut ended).await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(reason) => {
                    tracing::debug!(reason, "cannot follow batches now, trying again");
                    tokio::time::sleep(with_jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Watches the status of all batches, those of the past first.
    async fn follow(&self, ended: &mut HashMap<BatchId, Ended>) -> Result<(), String> {
        let bucket = self.bus.batches().await.map_err(|error| error.to_string())?;
        let mut entries = bucket.watch_with_history("*.status").await.map_err(|error| error.to_string())?;
        loop {
            let due = ended.values().map(|ended| ended.due).min();
            let is_due = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            let entry = tokio::select! {
                // What has ended should be known before it is chosen from.
                biased;
                entry = entries.next() => entry,
                () = is_due => {
                    self.finish_due(ended).await;
                    continue;
                }
            };
            let Some(entry) = entry else { return Ok(()) };
            let entry = entry.map_err(|error| error.to_string())?;
            let Some(batch) = entry.key.strip_suffix(".status").and_then(|batch| batch.parse::<BatchId>().ok()) else {
                continue;
            };
            let status = match entry.operation {
                kv::Operation::Put => events::decode::<BatchStatus>(&entry.value).ok(),
                _ => None,
            };
            match status.filter(|status| matches!(status.state, BatchState::Completed | BatchState::Cancelled)) {
                Some(status) => drop(ended.insert(batch, Ended::new(status))),
                // It was deleted, or a retry has begun.
                None => drop(ended.remove(&batch)),
            }
        }
    }

    /// Tries to complete the batch that is due first.
    async fn finish_due(&self, ended: &mut HashMap<BatchId, Ended>) {
        let Some((batch, of)) = ended.iter_mut().min_by_key(|(_, ended)| ended.due) else { return };
        let batch = batch.clone();
        match self.finish_one(&of.status).await {
            Ok(()) => {
                ended.remove(&batch);
                lock(&self.batches).remove(&batch);
            }
            Err(error) => of.try_later(&error),
        }
    }

    /// Completes a batch, unless that was done.
    async fn finish_one(&self, status: &BatchStatus) -> Result<(), LogError> {
        let batch = &status.batch_id;
        let done = self.views.of(batch).await;
        if done.is_some_and(|done| done.state == MlflowState::Done && done.completed_at == status.completed_at) {
            return Ok(());
        }
        self.come_past_the_end().await.map_err(LogError::NotNow)?;
        let Some(log) = self.open(batch).await? else {
            // A batch of an earlier time, or of another server: a backfill reads its plan in the database.
            tracing::debug!(%batch, "no plan of the batch is in RESULTS");
            return Ok(());
        };
        self.views.put(&log, MlflowState::Finishing, None, None).await;
        let finishing = async {
            let (completed_at, refusals) = finish(&log, &self.source, &|| {}).await?;
            if completed_at.is_none() {
                return Err(LogError::NotNow("the database does not have all of it yet".to_owned()));
            }
            let kept = dead::keep_rows(&self.bus, batch, &refusals).await;
            kept.map_err(|error| LogError::NotNow(error.to_string()))
        };
        if let Err(error) = self.views.keep_telling(&log, MlflowState::Finishing, finishing).await {
            self.views.put(&log, MlflowState::Finishing, None, Some(error.to_string())).await;
            if matches!(error, LogError::Refused(_)) {
                // Its batch run may have been deleted by hand: then another is made.
                lock(&self.batches).remove(batch);
            }
            return Err(error);
        }
        self.views.put(&log, MlflowState::Done, status.completed_at, None).await;
        let counts = log.counts();
        tracing::info!(%batch, logged = counts.logged, refused = counts.refused, "batch is in MLflow");
        Ok(())
    }

    /// Waits until everything that is in RESULTS now has been worked on: every result of a batch was stored before its
    /// status said that it ended. Not for ever: what is put off again and again, and is of this batch, is gone through when
    /// it is completed.
    async fn come_past_the_end(&self) -> Result<(), String> {
        let stream = self.bus.jetstream.get_stream(self.bus.names.results_stream()).await;
        let end = stream.map_err(|error| error.to_string())?.cached_info().state.last_sequence;
        let mut consumer = self.consumer().await?;
        let mut last = (u64::MAX, usize::MAX, 0);
        let mut moved = Instant::now();
        loop {
            let info = consumer.info().await.map_err(|error| error.to_string())?;
            let is_idle = info.num_pending == 0 && info.num_ack_pending == 0;
            if is_idle || info.ack_floor.stream_sequence >= end {
                return Ok(());
            }
            let now = (info.num_pending, info.num_ack_pending, self.context.mlflow.metrics().runs_logged.get());
            if now != last {
                (last, moved) = (now, Instant::now());
            } else if moved.elapsed() > LONGEST_STANDSTILL && !self.context.mlflow.is_away() {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AT_CONSUMER).await;
        }
    }
}

/// A batch that has ended and is to be completed.
struct Ended {
    status: BatchStatus,
    /// When it is tried next.
    due: Instant,
    pause: Duration,
}

impl Ended {
    fn new(status: BatchStatus) -> Self {
        Self { status, due: Instant::now(), pause: FIRST_PAUSE }
    }

    fn try_later(&mut self, error: &LogError) {
        let batch = &self.status.batch_id;
        // Once: the view of the batch has every later word.
        match self.pause == FIRST_PAUSE {
            true => tracing::warn!(%batch, %error, "a batch cannot be completed in MLflow yet, trying again"),
            false => tracing::debug!(%batch, %error, "a batch cannot be completed in MLflow yet"),
        }
        self.due = Instant::now() + with_jitter(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}
