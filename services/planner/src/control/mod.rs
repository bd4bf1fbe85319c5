//! What is asked of batches (cancel, pause, resume), watched and carried out.
//!
//! Whoever handles a batch's plan message reads its control entry after it has entered the batch as active; the watch
//! stops active batches and sees to those whose plan message is gone. So a request takes effect whenever it comes:
//! before the plan message, while jobs are published, after the last one, or while no planner runs.
//!
//! A paused batch has no jobs in the queue, so that it takes no room from others. When it is resumed, the jobs that have
//! neither a result nor a place in the queue are published again, under ids that the stream has not seen.

mod active;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::events::{self, Begin, Cancelled, Control, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, EVERY_CONTROL_KEY, PlanSubject, control_batch};
use jetsweep_shared::telemetry::steps;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use active::ActiveBatches;

use crate::batch;
use crate::error::BatchError;
use crate::facts;
use crate::planner::Planner;

/// Pause before something that failed is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Batches seen to at the same time. At its start a planner looks at every batch of which anything was ever asked.
const AT_ONCE: usize = 8;

/// Watches what is asked of batches until the planner shuts down. The first thing seen is what was asked before.
pub(crate) async fn watch(planner: &Arc<Planner>) {
    let tasks = TaskTracker::new();
    let free = Arc::new(Semaphore::new(AT_ONCE));
    let watching = async {
        loop {
            if let Err(reason) = follow(planner, &tasks, &free).await {
                tracing::warn!(reason, "cannot watch what is asked of batches now, trying again");
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
        let Some((batch, _)) = control_batch(&entry.key).zip(facts::read_control(&entry)) else {
            continue;
        };
        if planner.active.stop(&batch) {
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

/// Does what is asked of a batch that is not active here, trying until it is done or the planner shuts down.
pub(crate) async fn carry_out(planner: &Planner, batch: &BatchId) {
    let trying = async {
        while let Err(error) = do_as_asked(planner, batch).await {
            tracing::warn!(%batch, %error, "cannot do what is asked of the batch now, trying again");
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

async fn do_as_asked(planner: &Planner, batch: &BatchId) -> Result<(), BatchError> {
    let bus = &planner.bus;
    if facts::pending_plan(bus, batch).await?.is_some() {
        // Whoever handles the plan message reads the control entry.
        return Ok(());
    }
    let Some(begin) = facts::latest_begin(bus, batch).await? else {
        // Asked of a batch that is not there yet: its plan message will meet the control entry.
        return Ok(());
    };
    for generation in [begin.generation, begin.generation + 1] {
        if facts::pending_retry(bus, batch, generation).await?.is_some() {
            return Ok(());
        }
    }
    let Some(asked) = facts::asked(&planner.batches, batch).await? else { return Ok(()) };
    if let Some(request) = asked.cancels(begin.generation) {
        return end_batch(planner, &begin, request).await;
    }
    if is_over(planner, &begin).await? {
        return Ok(());
    }
    if asked.pauses() {
        return take_back(planner, batch).await;
    }
    if asked.resumes().is_some() {
        let Some(active) = planner.active.enter(batch) else { return Ok(()) };
        let from = facts::planned_in(bus, batch, begin.generation).await?;
        let subject = PlanSubject { batch: batch.clone(), generation: begin.generation };
        let step = steps::plan(from, &bus.names.plan(batch), &subject);
        let published = batch::publish(planner, &begin, false, &step, active.stopped()).await;
        return match published {
            // Asked otherwise meanwhile: the next attempt does that.
            _ if active.leave() => Err(BatchError::ControlGone(batch.clone())),
            published => published,
        };
    }
    Ok(())
}

/// Whether the consolidator has said that every run of this generation is terminal.
async fn is_over(planner: &Planner, begin: &Begin) -> Result<bool, BatchError> {
    let status = facts::status(&planner.batches, &begin.batch_id).await?;
    Ok(status.is_some_and(|(status, _)| status.state.is_terminal() && status.generation >= begin.generation))
}

/// Drops a batch's queued jobs and says that what has no result will not get one. Does nothing for a batch that has
/// ended. A job that is on its way meanwhile may stay queued: workers skip the jobs of a cancelled batch.
pub(crate) async fn end_batch(planner: &Planner, begin: &Begin, request: &Control) -> Result<(), BatchError> {
    let (batch, generation) = (&begin.batch_id, begin.generation);
    if facts::cancelled(&planner.bus, batch, generation).await?.is_some() {
        return Ok(());
    }
    if is_over(planner, begin).await? {
        tracing::info!(%batch, "asked to cancel a batch that has ended already");
        return Ok(());
    }
    let jobs = purge_jobs(planner, batch).await?;
    let cancelled = Cancelled {
        version: events::VERSION,
        batch_id: batch.clone(),
        generation,
        reason: request.reason.clone(),
        cancelled_at: Timestamp::now(),
    };
    let subject = planner.bus.names.generation_event(batch, generation, BatchEvent::Cancelled);
    let id = facts::event_id(batch, generation, BatchEvent::Cancelled);
    planner.bus.create(&subject, &id, encode(&cancelled)).await?;
    planner.metrics.cancelled.inc();
    tracing::info!(%batch, jobs, reason = request.reason, "cancelled, with the jobs that were still queued");
    Ok(())
}

/// Takes a paused batch's jobs out of the queue. What workers hold of it is finished, and so is a job that was on its
/// way meanwhile.
pub(crate) async fn take_back(planner: &Planner, batch: &BatchId) -> Result<(), BatchError> {
    let jobs = purge_jobs(planner, batch).await?;
    if jobs > 0 {
        tracing::info!(%batch, jobs, "paused, with the jobs that were still queued");
    }
    Ok(())
}

/// Removes a batch's jobs from the queue, also those that workers hold.
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
