//! One plan message, from its delivery to its ack: begin, jobs, sealed.

use std::sync::Arc;
use std::time::Duration;

use jetsweep_shared::bus::Creation;
use jetsweep_shared::events::{self, Begin, Sealed, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::BatchEvent;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::cancel;
use crate::error::BatchError;
use crate::facts::{self, FIRST_GENERATION};
use crate::intake::HeldPlan;
use crate::planner::{Planner, VERSION};
use crate::planning::plan;
use crate::publishing::{Published, Shards};
use crate::refusal::{self, Refusal};
use crate::submission::{self, Submission};

/// Pause before a plan message is taken up again after its batch could not go on.
const RETRY_PAUSE: Duration = Duration::from_secs(2);

/// How a plan message was settled.
enum Settled {
    /// Nothing is left to do for it.
    Done,
    /// The planner shuts down first.
    HandBack,
}

/// Sees a plan message through.
#[tracing::instrument(name = "plan", skip_all, fields(subject = held.subject()))]
pub(crate) async fn handle(planner: Arc<Planner>, held: HeldPlan) {
    let Some(batch) = planner.bus.names.plan_batch(held.subject()) else {
        let stored = refusal::store(&planner.bus, &planner.batches, &held, None, &Refusal::InvalidBatchId).await;
        return finish(held, stored.map(|()| Settled::Done)).await;
    };
    // Entered before anything is read: a cancel is either read below or finds the batch here.
    let Some(active) = planner.active.enter(&batch) else {
        // Delivered again while the first delivery is still at work, so signs of life were late.
        return held.retry_later(RETRY_PAUSE).await;
    };
    let settled = tokio::select! {
        biased;
        () = planner.shutdown.cancelled() => Ok(Settled::HandBack),
        settled = settle(&planner, &held, &batch, active.cancelled()) => settled.map(|()| Settled::Done),
    };
    finish(held, settled).await;
    if active.leave() {
        cancel::carry_out(&planner, &batch).await;
    }
}

async fn finish(held: HeldPlan, settled: Result<Settled, BatchError>) {
    match settled {
        Ok(Settled::HandBack) => held.hand_back().await,
        Ok(Settled::Done) => {
            if let Err(error) = held.ack().await {
                tracing::warn!(%error, "the plan message may come again; nothing will be done twice");
            }
        }
        Err(error) => {
            tracing::warn!(%error, "the batch cannot go on now, trying again later");
            held.retry_later(RETRY_PAUSE).await;
        }
    }
}

/// Brings a batch from wherever it is to sealed, cancelled or refused.
async fn settle(
    planner: &Planner,
    held: &HeldPlan,
    batch: &BatchId,
    cancelled: &CancellationToken,
) -> Result<(), BatchError> {
    let stored = facts::begin(&planner.bus, batch).await?;
    let submission = match read(planner, held).await? {
        Ok(submission) => submission,
        Err(refusal) => {
            let told = if stored.is_none() { Some(batch) } else { None };
            return refusal::store(&planner.bus, &planner.batches, held, told, &refusal).await;
        }
    };
    let spec_digest = submission.spec_digest.clone();
    let (begin, is_new) = match stored {
        Some(begin) => (begin, false),
        None => match make_begin(planner, batch, submission).await? {
            Ok(made) => made,
            Err(refusal) => return refusal::store(&planner.bus, &planner.batches, held, Some(batch), &refusal).await,
        },
    };
    if begin.spec_digest != spec_digest {
        let refusal = Refusal::BatchExists { planned: begin.spec_digest, refused: spec_digest };
        return refusal::store(&planner.bus, &planner.batches, held, None, &refusal).await;
    }
    if let Some(request) = facts::cancel_request(&planner.batches, batch).await? {
        return cancel::end_batch(planner, &begin, &request).await;
    }
    let present = if is_new {
        Shards::none(begin.total_shards)
    } else {
        let is_over = facts::sealed(&planner.bus, batch).await?.is_some()
            || facts::cancelled(&planner.bus, batch).await?.is_some();
        if is_over {
            tracing::info!("nothing to do: every job of the batch was published before");
            return Ok(());
        }
        Shards::present(&planner.bus, &begin).await?
    };
    match planner.publisher.publish(&planner.bus, &begin, &present, cancelled).await? {
        Published::All(jobs) => seal(planner, &begin, jobs).await,
        Published::Stopped => match facts::cancel_request(&planner.batches, batch).await? {
            Some(request) => cancel::end_batch(planner, &begin, &request).await,
            // The key changed again since the watch saw it. The next delivery goes by what it says then.
            None => Err(BatchError::ControlGone(batch.clone())),
        },
    }
}

/// Reads the document on a thread of its own.
async fn read(planner: &Planner, held: &HeldPlan) -> Result<Result<Submission, Refusal>, BatchError> {
    let (payload, headers) = (held.payload().clone(), held.headers().cloned());
    let read = move || submission::read(&payload, headers.as_ref());
    Ok(planner.threads.run("reads", read).await?.map_err(Refusal::InvalidSpec))
}

/// Plans a batch and stores its plan, create-only. When another planner was first, its plan is the one returned.
/// The flag says whether this one was stored.
async fn make_begin(
    planner: &Planner,
    batch: &BatchId,
    submission: Submission,
) -> Result<Result<(Begin, bool), Refusal>, BatchError> {
    let Submission { spec, spec_digest, priority } = submission;
    let options = planner.options.clone();
    let planned = planner.threads.run("plans", move || plan(&spec, &options).map(|plan| (spec, plan))).await?;
    let (spec, plan) = match planned {
        Ok(planned) => planned,
        Err(problems) => return Ok(Err(Refusal::InvalidSpec(problems))),
    };
    let begin = Begin {
        version: events::VERSION,
        batch_id: batch.clone(),
        generation: FIRST_GENERATION,
        priority,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
        spec,
        spec_digest,
        plan,
        planner_version: VERSION.to_owned(),
        created_at: Timestamp::now(),
    };
    refusal::clear(&planner.batches, batch).await?;
    let subject = planner.bus.names.batch_event(batch, BatchEvent::Begin);
    let id = facts::event_id(batch, begin.generation, BatchEvent::Begin);
    match planner.bus.create(&subject, &id, encode(&begin)).await? {
        Creation::Created => {
            tracing::info!(runs = begin.total_runs, shards = begin.total_shards, "planned");
            Ok(Ok((begin, true)))
        }
        Creation::Existed => match facts::begin(&planner.bus, batch).await? {
            Some(stored) => Ok(Ok((stored, false))),
            None => Err(BatchError::BeginGone(batch.clone())),
        },
    }
}

/// Says that every job is published.
async fn seal(planner: &Planner, begin: &Begin, jobs: u64) -> Result<(), BatchError> {
    let sealed = Sealed {
        version: events::VERSION,
        batch_id: begin.batch_id.clone(),
        generation: begin.generation,
        total_runs: begin.total_runs,
        total_shards: begin.total_shards,
        sealed_at: Timestamp::now(),
    };
    let subject = planner.bus.names.batch_event(&begin.batch_id, BatchEvent::Sealed);
    let id = facts::event_id(&begin.batch_id, begin.generation, BatchEvent::Sealed);
    planner.bus.create(&subject, &id, encode(&sealed)).await?;
    tracing::info!(jobs, "every job is published");
    Ok(())
}
