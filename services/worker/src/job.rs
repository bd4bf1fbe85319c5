//! A delivered job: read, checked against its subject, and buried when it cannot be run.

use std::time::Instant;

use async_nats::Message;
use async_nats::jetstream;
use bytes::Bytes;
use jetsweep_engine::backtest::RunFailure;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, Begin, Job, Outcome, ShardResult, Timing};
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::plan::RunRange;
use jetsweep_shared::subjects::{BatchEvent, JobSubject, Names};
use jetsweep_shared::telemetry::{Step, parent_from, steps};
use jiff::Timestamp;
use serde::Deserialize;

use crate::claim::{DeadLetter, Outgoing};
use crate::failure::{Failure, code};

/// A job as it was delivered, before anybody looked at its payload.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) subject: String,
    /// What the subject says, if it is one of ours.
    pub(crate) named: Option<JobSubject>,
    pub(crate) payload: Bytes,
    /// Whether the server has put it there, for somebody who may not.
    pub(crate) is_disguised: bool,
    /// Where its ack goes.
    pub(crate) reply: String,
    /// How often it was delivered, this time included.
    pub(crate) delivered: i64,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    pub(crate) received: Instant,
    /// What is done for it, for whoever traces.
    pub(crate) step: Step,
}

impl Delivery {
    /// A message of the jobs stream; `None` for one that JetStream did not deliver.
    pub(crate) fn new(bus: &Bus, message: Message) -> Option<Self> {
        let message = jetstream::Message { context: bus.jetstream.clone(), message };
        let (delivered, sequence) = message.info().map(|info| (info.delivered, info.stream_sequence)).ok()?;
        let message = message.message;
        let subject = message.subject.to_string();
        Some(Self {
            named: bus.names.parse_job(&subject),
            subject,
            payload: message.payload,
            is_disguised: disguise::is_answer(message.headers.as_ref()),
            reply: message.reply?.to_string(),
            delivered,
            sequence,
            received: Instant::now(),
            step: Step::passing(parent_from(message.headers.as_ref())),
        })
    }

    /// Begins the step of doing it.
    pub(crate) fn begin(&mut self) {
        let from = self.step.came_from().clone();
        self.step = steps::job(from, &self.subject, self.named.as_ref(), self.delivered);
    }

    /// Whether it was delivered before: whoever had it died, or handed it back.
    pub(crate) fn is_redelivered(&self) -> bool {
        self.delivered > 1
    }

    /// The job.
    ///
    /// # Errors
    /// [`Failure::Fatal`] if nobody published it, it does not parse, or it names another shard than its subject.
    pub(crate) fn job(&self) -> Result<Job, Failure> {
        if self.is_disguised {
            return Err(Failure::fatal(code::MALFORMED, disguise::REFUSED));
        }
        let job: Job = events::decode(&self.payload).map_err(|error| Failure::fatal(code::MALFORMED, error))?;
        let is_named = self.named.as_ref().is_some_and(|named| {
            (&named.batch, named.generation, named.shard) == (&job.batch_id, job.generation, job.shard)
        });
        if is_named {
            return Ok(job);
        }
        let message = format!("the payload is job {}, its subject is {}", job.id(), self.subject);
        Err(Failure::fatal(code::SUBJECT_MISMATCH, message))
    }
}

/// The result of a job, on its way to RESULTS.
pub(crate) fn outgoing_result(names: &Names, job: &Job, payload: Bytes) -> Outgoing {
    Outgoing { subject: names.result(&job.batch_id, job.generation, job.shard), id: job.id(), payload }
}

/// Makes a job's dead letter and, so that its batch can end, the terminal `dead` result.
///
/// Which runs are dead is read from as much of the payload as makes sense. If that is not enough, the plan in the
/// batch's `begin` event says. If there is none either (the job is of no batch that anybody planned), the payload goes
/// to DEAD and that is all.
///
/// # Errors
/// When the `begin` event is needed and RESULTS cannot be read now.
pub(crate) async fn bury(
    bus: &Bus,
    delivery: &Delivery,
    error_code: &str,
    message: &str,
    worker: &str,
) -> Result<DeadLetter, BusError> {
    let origin = delivery.subject.clone();
    // Cut as a failed run's message is.
    let RunFailure { code: error_code, message } = RunFailure::new(error_code, message);
    // What nobody published says nothing about the job that it would be.
    let Some(named) = delivery.named.as_ref().filter(|_| !delivery.is_disguised) else {
        let (stream, sequence) = (bus.names.jobs_stream(), delivery.sequence);
        let letter = Outgoing {
            subject: bus.names.dead_message(&stream, sequence),
            id: format!("{stream}.{sequence}"),
            payload: delivery.payload.clone(),
        };
        return Ok(DeadLetter { letter, origin, code: error_code, message, result: None });
    };
    let id = format!("{}.{}.{}", named.batch, named.generation, named.shard);
    let letter = Outgoing {
        subject: bus.names.dead_job(&named.batch, named.generation, named.shard),
        id: id.clone(),
        payload: delivery.payload.clone(),
    };
    let shard = match Shard::of_payload(&delivery.payload) {
        Some(shard) if error_code != code::SUBJECT_MISMATCH => Some(shard),
        _ => Shard::of_plan(bus, named).await?,
    };
    let result = shard.map(|shard| Outgoing {
        subject: bus.names.result(&named.batch, named.generation, named.shard),
        id,
        payload: events::encode(&shard.dead_result(named, &error_code, &message, worker)),
    });
    Ok(DeadLetter { letter, origin, code: error_code, message, result })
}

/// What a dead result must say of its shard.
struct Shard {
    runs: RunRange,
    symbol: Symbol,
    strategy: String,
    spec_digest: String,
}

impl Shard {
    /// From a payload that need not be a whole job.
    fn of_payload(payload: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct PartOfJob {
            runs: RunRange,
            symbol: Symbol,
            strategy: PartOfStrategy,
            spec_digest: String,
        }
        #[derive(Deserialize)]
        struct PartOfStrategy {
            name: String,
        }
        let PartOfJob { runs, symbol, strategy, spec_digest } = serde_json::from_slice(payload).ok()?;
        (runs.count > 0).then_some(Self { runs, symbol, strategy: strategy.name, spec_digest })
    }

    /// From the plan of the batch, if it is of the same generation.
    async fn of_plan(bus: &Bus, named: &JobSubject) -> Result<Option<Self>, BusError> {
        let subject = bus.names.generation_event(&named.batch, named.generation, BatchEvent::Begin);
        let Some(payload) = bus.last(&bus.names.results_stream(), &subject).await? else { return Ok(None) };
        let Ok(begin) = events::decode::<Begin>(&payload) else { return Ok(None) };
        if begin.generation != named.generation {
            return Ok(None);
        }
        let Some(planned) = begin.shard(named.shard) else { return Ok(None) };
        Ok(Some(Self {
            runs: planned.runs,
            symbol: begin.spec.symbols[planned.symbol].clone(),
            strategy: begin.spec.strategies[planned.strategy].name.clone(),
            spec_digest: begin.spec_digest,
        }))
    }

    fn dead_result(self, named: &JobSubject, error_code: &str, message: &str, worker: &str) -> ShardResult {
        ShardResult {
            version: events::VERSION,
            batch_id: named.batch.clone(),
            generation: named.generation,
            shard: named.shard,
            symbol: self.symbol,
            strategy: self.strategy,
            runs: self.runs,
            outcome: Outcome::Dead { code: error_code.to_owned(), message: message.to_owned() },
            params: Default::default(),
            metrics: Default::default(),
            block_returns: Vec::new(),
            block_squares: Vec::new(),
            runtime_us: Vec::new(),
            failed: Vec::new(),
            windows: None,
            benchmark: None,
            data_digest: None,
            spec_digest: self.spec_digest,
            engine_version: jetsweep_engine::VERSION.to_owned(),
            worker: worker.to_owned(),
            finished_at: Timestamp::now(),
            timing: Timing::default(),
        }
    }
}
