//! One plan message, from its delivery to its ack: begin, jobs, sealed.

use std::sync::Arc;
use std::time::Duration;

use jetsweep_shared::bus::{Creation, headers_with_id};
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, Begin, Sealed, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, PlanSubject};
use jetsweep_shared::telemetry::{Step, parent_from, steps};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::control;
use crate::error::BatchError;
use crate::facts::{self, FIRST_GENERATION, Gone};
use crate::intake::HeldPlan;
use crate::planner::{Planner, VERSION};
use crate::planning::plan;
use crate::publishing::{Published, Shards};
use crate::refusal::{self, Refusal};
use crate::retry;
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

/// What a plan message comes to.
pub(crate) enum Planned {
    /// A stored plan; whether it was stored just now.
    Begun { begin: Box<Begin>, is_new: bool },
    /// Nothing that is not done.
    Nothing,
    /// It cannot be carried out; whether the batch's status is to say so.
    Refused { refusal: Refusal, is_told: bool },
}

impl Planned {
    /// Refused, without touching the status, which is that of a batch.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        Self::Refused { refusal, is_told: false }
    }
}

/// Sees a plan message through.
#[tracing::instrument(name = "plan", skip_all, fields(subject = held.subject()))]
pub(crate) async fn handle(planner: Arc<Planner>, held: HeldPlan) {
    if disguise::is_answer(held.headers()) {
        let stored = refusal::store(&planner, &held, None, &Refusal::Disguised).await;
        return finish(&planner, held, stored.map(|()| Settled::Done)).await;
    }
    let Some(subject) = planner.bus.names.parse_plan(held.subject()) else {
        let stored = refusal::store(&planner, &held, None, &Refusal::InvalidBatchId).await;
        return finish(&planner, held, stored.map(|()| Settled::Done)).await;
    };
    // Entered before anything is read: a request is either read below or finds the batch here.
    let Some(active) = planner.active.enter(&subject.batch) else {
        // Delivered again while the first delivery is still at work, so signs of life were late.
        return held.retry_later(RETRY_PAUSE).await;
    };
    let step = steps::plan(parent_from(held.headers()), held.subject(), &subject);
    let settled = tokio::select! {
        biased;
        () = planner.shutdown.cancelled() => Ok(Settled::HandBack),
        settled = settle(&planner, &held, &subject, &step, active.stopped()) => settled.map(|()| Settled::Done),
    };
    tell(&step, &settled);
    drop(step);
    finish(&planner, held, settled).await;
    if active.leave() {
        control::carry_out(&planner, &subject.batch).await;
    }
}

/// Says in a step how it ended.
fn tell(step: &Step, settled: &Result<Settled, BatchError>) {
    match settled {
        Ok(Settled::Done) => {}
        Ok(Settled::HandBack) => step.failed("handed back, as this planner shuts down"),
        // Looked at again and again until it is over, and nothing is done each time.
        Err(BatchError::NotOver { .. }) => step.discard(),
        Err(error) => step.failed(&error.to_string()),
    }
}

async fn finish(planner: &Planner, held: HeldPlan, settled: Result<Settled, BatchError>) {
    match settled {
        Ok(Settled::HandBack) => held.hand_back().await,
        Ok(Settled::Done) => {
            if let Err(error) = held.ack().await {
                tracing::warn!(%error, "the plan message may come again; nothing will be done twice");
            }
        }
        Err(error @ (BatchError::Paused(_) | BatchError::NotOver { .. })) => {
            tracing::debug!(%error, "waiting");
            held.retry_later(RETRY_PAUSE).await;
        }
        Err(error) => {
            tracing::warn!(%error, "the batch cannot go on now, trying again later");
            planner.metrics.put_off.inc();
            held.retry_later(RETRY_PAUSE).await;
        }
    }
}

/// Brings a generation from wherever it is to sealed, cancelled or refused.
async fn settle(
    planner: &Planner,
    held: &HeldPlan,
    subject: &PlanSubject,
    step: &Step,
    stop: &CancellationToken,
) -> Result<(), BatchError> {
    let PlanSubject { batch, generation } = subject;
    let planned = match *generation {
        FIRST_GENERATION => submitted(planner, held, batch, step).await?,
        generation => retry::asked(planner, held.payload(), batch, generation, step).await?,
    };
    match planned {
        Planned::Begun { begin, is_new } => {
            step.set("runs", begin.total_runs);
            step.set("shards", u64::from(begin.total_shards));
            publish(planner, &begin, is_new, step, stop).await
        }
        Planned::Nothing => Ok(()),
        Planned::Refused { refusal, is_told } => {
            let told = is_told.then_some(batch);
            step.failed(refusal.code());
            refusal::store(planner, held, told, &refusal).await
        }
    }
}

/// The plan of a submitted spec: the stored one, or one made and stored now.
async fn submitted(planner: &Planner, held: &HeldPlan, batch: &BatchId, step: &Step) -> Result<Planned, BatchError> {
    let stored = facts::begin(&planner.bus, batch, FIRST_GENERATION).await?;
    let submission = match read(planner, held).await? {
        Ok(submission) => submission,
        Err(refusal) => return Ok(Planned::Refused { refusal, is_told: stored.is_none() }),
    };
    let spec_digest = submission.spec_digest.clone();
    let planned = match stored {
        Some(begin) => Planned::Begun { begin: Box::new(begin), is_new: false },
        None => match facts::gone(&planner.bus, batch).await? {
            None => make_begin(planner, batch, submission, step).await?,
            Some(Gone::Deleted) => Planned::Refused { refusal: Refusal::BatchDeleted, is_told: true },
            Some(Gone::Purged(purged)) if purged.spec_digest == spec_digest => Planned::Nothing,
            Some(Gone::Purged(purged)) => {
                let planned = purged.spec_digest;
                Planned::refused(Refusal::BatchExists { planned, refused: spec_digest.clone() })
            }
        },
    };
    match planned {
        Planned::Begun { begin, .. } if begin.spec_digest != spec_digest => {
            let planned = begin.spec_digest;
            Ok(Planned::refused(Refusal::BatchExists { planned, refused: spec_digest }))
        }
        planned => Ok(planned),
    }
}

/// Publishes the jobs of a stored plan that are neither queued nor answered, as part of `step`, and seals it; or does what
/// is asked of the batch instead.
pub(crate) async fn publish(
    planner: &Planner,
    begin: &Begin,
    is_new: bool,
    step: &Step,
    stop: &CancellationToken,
) -> Result<(), BatchError> {
    let (bus, batch, generation) = (&planner.bus, &begin.batch_id, begin.generation);
    let asked = facts::asked(&planner.batches, batch).await?;
    if let Some(request) = asked.as_ref().and_then(|asked| asked.cancels(generation)) {
        return control::end_batch(planner, begin, request).await;
    }
    if asked.as_ref().is_some_and(facts::Asked::pauses) {
        if !is_new {
            // Looked at again and again until it is resumed.
            step.discard();
        }
        control::take_back(planner, batch).await?;
        return Err(BatchError::Paused(batch.clone()));
    }
    // Of a batch that was paused, jobs may be missing that were published once.
    let resumed = asked.as_ref().and_then(facts::Asked::resumes);
    let present = if is_new {
        Shards::none(begin.total_shards)
    } else {
        let is_over = facts::cancelled(bus, batch, generation).await?.is_some()
            || (resumed.is_none() && facts::sealed(bus, batch, generation).await?.is_some());
        if is_over {
            tracing::info!("nothing to do: every job of the batch was published before");
            return Ok(());
        }
        Shards::present(bus, begin).await?
    };
    match planner.publisher.publish(bus, begin, &present, resumed, step, stop).await? {
        Published::All(jobs) => seal(planner, begin, jobs).await,
        Published::Stopped => {
            let asked = facts::asked(&planner.batches, batch).await?;
            match asked {
                Some(asked) if asked.pauses() => {
                    control::take_back(planner, batch).await?;
                    Err(BatchError::Paused(batch.clone()))
                }
                Some(asked) => match asked.cancels(generation) {
                    Some(request) => control::end_batch(planner, begin, request).await,
                    // The key changed again since the watch saw it. The next delivery goes by what it says then.
                    None => Err(BatchError::ControlGone(batch.clone())),
                },
                None => Err(BatchError::ControlGone(batch.clone())),
            }
        }
    }
}

/// Reads the document on a thread of its own.
async fn read(planner: &Planner, held: &HeldPlan) -> Result<Result<Submission, Refusal>, BatchError> {
    let (payload, headers) = (held.payload().clone(), held.headers().cloned());
    let read = move || submission::read(&payload, headers.as_ref());
    Ok(planner.threads.run("reads", read).await?.map_err(Refusal::InvalidSpec))
}

/// Plans a batch and stores its plan.
async fn make_begin(
    planner: &Planner,
    batch: &BatchId,
    submission: Submission,
    step: &Step,
) -> Result<Planned, BatchError> {
    let Submission { spec, spec_digest, priority } = submission;
    let options = planner.options.clone();
    let planned = planner.threads.run("plans", move || plan(&spec, &options).map(|plan| (spec, plan))).await?;
    let (spec, plan) = match planned {
        Ok(planned) => planned,
        Err(problems) => return Ok(Planned::Refused { refusal: Refusal::InvalidSpec(problems), is_told: true }),
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
        retry: None,
        planner_version: VERSION.to_owned(),
        created_at: Timestamp::now(),
    };
    refusal::clear(&planner.batches, batch).await?;
    store(planner, begin, step).await
}

/// Stores a plan, create-only, with the step it was made in. When another planner was first, its plan is the one returned.
pub(crate) async fn store(planner: &Planner, begin: Begin, step: &Step) -> Result<Planned, BatchError> {
    let (batch, generation) = (&begin.batch_id, begin.generation);
    let subject = planner.bus.names.generation_event(batch, generation, BatchEvent::Begin);
    let id = facts::event_id(batch, generation, BatchEvent::Begin);
    let mut headers = headers_with_id(&id);
    step.inject(&mut headers);
    match planner.bus.create_with_headers(&subject, headers, encode(&begin)).await? {
        Creation::Created => {
            tracing::info!(runs = begin.total_runs, shards = begin.total_shards, generation, "planned");
            Ok(Planned::Begun { begin: Box::new(begin), is_new: true })
        }
        Creation::Existed => match facts::begin(&planner.bus, batch, generation).await? {
            Some(stored) => Ok(Planned::Begun { begin: Box::new(stored), is_new: false }),
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
    let subject = planner.bus.names.generation_event(&begin.batch_id, begin.generation, BatchEvent::Sealed);
    let id = facts::event_id(&begin.batch_id, begin.generation, BatchEvent::Sealed);
    planner.bus.create(&subject, &id, encode(&sealed)).await?;
    tracing::info!(jobs, "every job is published");
    planner.metrics.sealed.inc();
    Ok(())
}
