//! Cancelling batches: watching what is asked of them, and ending those that are asked to end.
//!
//! Whoever handles a batch's plan message reads its control entry after it has entered the batch as active; the watch
//! stops active batches and ends those whose plan message is gone. So a cancel takes effect whenever it comes: before
//! the plan message, while jobs are published, after the last one, or while no planner runs.

mod active;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::events::{self, Begin, Cancelled, Control, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, EVERY_CONTROL_KEY, control_batch};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use active::ActiveBatches;

use crate::error::BatchError;
use crate::facts;
use crate::planner::Planner;

/// Pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Batches looked at or ended at the same time. At its start a planner looks at every batch that was ever cancelled.
const AT_ONCE: usize = 8;

/// Watches what is asked of batches until the planner shuts down. The first thing seen is what was asked before.
pub(crate) async fn watch(planner: &Arc<Planner>) {
    let tasks = TaskTracker::new();
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let watching = async {
        loop {
            if let Err(reason) = follow(planner, &tasks, &free).await {
                tracing::warn!(reason, "cannot watch for cancelled batches now, trying again");
            }
            tokio::time::sleep(with_jitter(RETRY_PAUSE)).await;
        }
    };
    tokio::select! {
        biased;
        () = planner.shutdown.cancelled() => {}
        () = watching => {}
    }
    tasks.close();
    tasks.wait().await;
}

/// Follows the bucket until the watch ends or fails.
async fn follow(planner: &Arc<Planner>, tasks: &TaskTracker, free: &Arc<Semaphore>) -> Result<(), String> {
    let mut entries = planner.batches.watch_with_history(EVERY_CONTROL_KEY).await.map_err(|error| error.to_string())?;
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(|error| error.to_string())?;
        let Some((batch, _)) = control_batch(&entry.key).zip(facts::read_cancel_request(&entry)) else {
            continue;
        };
        if planner.active.cancel(&batch) {
            continue;
        }
        let (planner, free) = (planner.clone(), free.clone());
        tasks.spawn(async move {
            let Ok(_permit) = free.acquire().await else { return };
            carry_out(&planner, &batch).await;
        });
    }
    Ok(())
}

/// Ends a batch that is not active here, trying until it is ended or the planner shuts down.
pub(crate) async fn carry_out(planner: &Planner, batch: &BatchId) {
    let trying = async {
        while let Err(error) = end_if_asked(planner, batch).await {
            tracing::warn!(%batch, %error, "cannot cancel the batch now, trying again");
            tokio::time::sleep(with_jitter(RETRY_PAUSE)).await;
        }
    };
    tokio::select! {
        biased;
        // The control entry stays, and the next planner sees it as it starts.
        () = planner.shutdown.cancelled() => {}
        () = trying => {}
    }
}

async fn end_if_asked(planner: &Planner, batch: &BatchId) -> Result<(), BatchError> {
    if facts::pending_plan(&planner.bus, batch).await?.is_some() {
        // Whoever handles the plan message reads the control entry.
        return Ok(());
    }
    let Some(begin) = facts::begin(&planner.bus, batch).await? else {
        // Asked of a batch that is not there yet: its plan message will meet the control entry.
        return Ok(());
    };
    match facts::cancel_request(&planner.batches, batch).await? {
        Some(request) => end_batch(planner, &begin, &request).await,
        None => Ok(()),
    }
}

/// Drops a batch's queued jobs and says that what has no result will not get one. Does nothing for a batch that has
/// ended. A job that is on its way meanwhile may stay queued: workers skip the jobs of a cancelled batch.
pub(crate) async fn end_batch(planner: &Planner, begin: &Begin, request: &Control) -> Result<(), BatchError> {
    let batch = &begin.batch_id;
    if facts::cancelled(&planner.bus, batch).await?.is_some() {
        return Ok(());
    }
    let status = facts::status(&planner.batches, batch).await?;
    if status.is_some_and(|(status, _)| status.state.is_terminal()) {
        tracing::info!(%batch, "asked to cancel a batch that has ended already");
        return Ok(());
    }
    let jobs = purge_jobs(planner, batch).await?;
    let cancelled = Cancelled {
        version: events::VERSION,
        batch_id: batch.clone(),
        generation: begin.generation,
        reason: request.reason.clone(),
        cancelled_at: Timestamp::now(),
    };
    let subject = planner.bus.names.batch_event(batch, BatchEvent::Cancelled);
    let id = facts::event_id(batch, begin.generation, BatchEvent::Cancelled);
    planner.bus.create(&subject, &id, encode(&cancelled)).await?;
    tracing::info!(%batch, jobs, reason = request.reason, "cancelled, with the jobs that were still queued");
    Ok(())
}

/// Removes a batch's jobs from the queue, also those that workers hold: they will find that their batch is cancelled.
async fn purge_jobs(planner: &Planner, batch: &BatchId) -> Result<u64, BatchError> {
    let failed = |reason: String| BatchError::Purge { batch: batch.clone(), reason };
    let names = &planner.bus.names;
    let jobs = planner
        .bus
        .jetstream
        .get_stream_no_info(names.jobs_stream())
        .await
        .map_err(|error| failed(error.to_string()))?;
    let purged = jobs.purge().filter(names.jobs_of_batch(batch)).await.map_err(|error| failed(error.to_string()))?;
    Ok(purged.purged)
}
