//! One job's way through the worker, from its delivery to its ack.
//!
//! ```text
//! delivered ─ claimed ─ read ─ bars loaded, digest pinned ─ waits for a slot ─ computed ─ result stored ─ acknowledged
//!             └──────────── holds a place at hand ────────────────────────┘└─ slot ──┘└─ the next job computes ─────┘
//! ```
//!
//! A redelivered job takes the same way, but in place of loading and computing it runs in a child process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::Message;
use jetsweep_shared::bus::{Bus, with_jitter};
use jetsweep_shared::events::{Job, ShardResult};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::telemetry::steps::Kind;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::child::{self, ChildCommand, Order, Reply};
use crate::claim::{Claim, Refused};
use crate::controls::Controls;
use crate::data::{BarsCache, DataError, Kept};
use crate::failure::{Failure, code};
use crate::feeder::Place;
use crate::governor::Governor;
use crate::job::{Delivery, bury, outgoing_result};
use crate::pins::Pins;
use crate::scheduler::{Scheduler, Turn};
use crate::shard::{Computed, Ending, Input, Limits};
use crate::slots::{Fault, Outcome, Slots, Work};
use crate::stats::{WorkerStats, micros};

/// Pause before a job is delivered again that failed for the first time, by no fault of its own. Doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// Time beyond the job's deadline after which a slot that has not answered hangs in a run.
const HANG_GRACE: Duration = Duration::from_secs(10);

/// Computed jobs per slot whose results may be on their way to the stream while the slots compute the next ones.
pub(crate) const UNSETTLED_PER_SLOT: usize = 2;

/// What all jobs of a worker share.
pub(crate) struct Handler {
    pub(crate) bus: Bus,
    /// Name of the worker.
    pub(crate) worker: String,
    pub(crate) ack_wait: Duration,
    /// Longest a job may compute.
    pub(crate) deadline: Duration,
    /// Longest a run may compute.
    pub(crate) run_deadline: Duration,
    /// See [`Options::fault`](crate::Options::fault).
    pub(crate) fault: Option<Fault>,
    pub(crate) child_command: ChildCommand,
    /// What a child must know; the digest is filled in for each job.
    pub(crate) child_order: Order,
    pub(crate) scheduler: Scheduler,
    pub(crate) governor: Arc<Governor>,
    pub(crate) slots: Slots,
    /// Bounds the jobs that compute or whose results are on their way.
    pub(crate) unsettled: Semaphore,
    pub(crate) bars: Arc<BarsCache>,
    pub(crate) pins: Pins,
    pub(crate) controls: Arc<Controls>,
    pub(crate) stats: Arc<WorkerStats>,
    /// Cancelled when jobs that do not compute yet are to be handed back.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when all jobs are to be handed back.
    pub(crate) aborting: CancellationToken,
    /// Set together with `aborting`, for the slots.
    pub(crate) is_aborted: Arc<AtomicBool>,
    /// One task a job.
    pub(crate) tasks: TaskTracker,
    /// One task a claim that was dropped.
    pub(crate) hand_backs: TaskTracker,
}

impl Handler {
    /// Takes a delivered job on, in a task of its own.
    pub(crate) fn start(self: &Arc<Self>, message: Message, place: Place) {
        let Some((mut delivery, mut claim)) = self.claim(message) else { return };
        delivery.begin();
        claim.is_part_of(&delivery.step);
        let (batch, generation, shard) = match &delivery.named {
            Some(named) => (named.batch.as_str(), named.generation, named.shard),
            None => ("", 0, 0),
        };
        let span = tracing::info_span!("job", batch, generation, shard);
        let handler = Arc::clone(self);
        let held = handler.stats.job_received();
        let job = async move {
            let _held = held;
            let handled = handler.handle(&delivery, claim, place);
            if handler.aborting.run_until_cancelled(handled).await.is_none() {
                tracing::info!("handed back, unfinished");
                delivery.step.failed("handed back, unfinished");
                handler.stats.job_given_back();
            }
        };
        self.tasks.spawn(job.instrument(span));
    }

    /// Hands back a job that came too late.
    pub(crate) fn refuse(&self, message: Message) {
        drop(self.claim(message));
    }

    fn claim(&self, message: Message) -> Option<(Delivery, Claim)> {
        let subject = message.subject.clone();
        let Some(delivery) = Delivery::new(&self.bus, message) else {
            tracing::warn!(%subject, "ignored a message that is no delivery of the jobs stream");
            return None;
        };
        let claim = Claim::new(self.bus.clone(), delivery.reply.clone(), self.ack_wait, self.hand_backs.clone());
        Some((delivery, claim))
    }

    async fn handle(&self, delivery: &Delivery, claim: Claim, place: Place) {
        let job = match delivery.job() {
            Ok(job) => Arc::new(job),
            Err(failure) => return self.fail(delivery, claim, failure).await,
        };
        delivery.step.set("symbol", || job.symbol.to_string());
        delivery.step.set("strategy", || job.strategy.name.clone());
        delivery.step.set("runs", u64::from(job.runs.count));
        let is_cancelled = self.controls.cancelled(&job.batch_id, job.generation).await;
        if is_cancelled.load(Ordering::Relaxed) {
            return self.skip(claim).await;
        }
        let ready = match self.stopping.run_until_cancelled(self.prepare(delivery, &job)).await {
            None => return self.give_back(claim).await,
            Some(Err(failure)) => return self.fail(delivery, claim, failure).await,
            Some(Ok(ready)) => ready,
        };
        drop(place);
        // Held until the result is stored: a slow stream stops the slots, rather than results piling up in memory.
        // Waited for only now, with the slot in hand, or jobs would queue here without regard to their priority.
        let _unsettled = self.unsettled.acquire().await;
        match self.compute(delivery, &job, ready, is_cancelled).await {
            Ok(Ending::Computed(computed)) => self.complete(delivery, claim, &job, computed).await,
            Ok(Ending::Cancelled) => self.skip(claim).await,
            Ok(Ending::Aborted) => self.give_back(claim).await,
            Err(failure) => self.fail(delivery, claim, failure).await,
        }
    }

    /// Gets what the job needs, then waits for its turn.
    async fn prepare(&self, delivery: &Delivery, job: &Job) -> Result<Ready, Failure> {
        let needs = if delivery.is_redelivered() {
            self.needs_of_child(job).await?
        } else {
            let loading = delivery.step.child("load bars", Kind::Internal);
            let (input, load_time) = self.load(job).await?;
            drop(loading);
            Needs::Slot { input, load_us: micros(load_time) }
        };
        // A job waits here with its place at hand, so that no more are pulled.
        self.controls.unless_paused().await;
        let turn = self.scheduler.turn(self.priority(delivery, job)).await;
        Ok(Ready { needs, turn })
    }

    /// What a child process needs, which itself can fetch nothing.
    async fn needs_of_child(&self, job: &Job) -> Result<Needs, Failure> {
        match self.bars.on_disk(&job.data, &job.symbol).await {
            Ok(kept) => Ok(Needs::Child { pinned: self.pins.pinned(&job.batch_id, &job.symbol).await?, kept }),
            Err(error) => Ok(Needs::Slot { input: unusable(&error)?, load_us: 0 }),
        }
    }

    /// In a child process if the job was delivered before, else on a slot.
    async fn compute(
        &self,
        delivery: &Delivery,
        job: &Arc<Job>,
        ready: Ready,
        is_cancelled: Arc<AtomicBool>,
    ) -> Outcome {
        let Ready { needs, turn } = ready;
        let _computing = delivery.step.child("compute", Kind::Internal);
        if is_cancelled.load(Ordering::Relaxed) {
            return Ok(Ending::Cancelled);
        }
        match needs {
            Needs::Slot { input, load_us } => self.run_on_slot(turn, delivery, job, input, load_us, is_cancelled).await,
            Needs::Child { pinned, kept } => {
                let order =
                    Order { pinned_digest: pinned, kept, duty: self.governor.duty(), ..self.child_order.clone() };
                self.run_in_child(turn, delivery, job, order, is_cancelled).await
            }
        }
    }

    /// The priority of the consumer it came from.
    fn priority(&self, delivery: &Delivery, job: &Job) -> Priority {
        delivery.named.as_ref().map_or(job.priority, |named| named.priority)
    }

    /// The bars of a job, compared with what its batch has pinned.
    async fn load(&self, job: &Job) -> Result<(Input, Duration), Failure> {
        let loaded = match self.bars.get(&job.data, &job.symbol).await {
            Ok(loaded) => loaded,
            Err(error) => return Ok((unusable(&error)?, Duration::ZERO)),
        };
        let digest = &loaded.bars.digest;
        let input = match self.pins.check(&job.batch_id, &job.symbol, digest).await? {
            Ok(()) => Input::Bars(loaded.bars),
            Err(changed) => {
                Input::Unusable { failure: changed.as_run_failure(&job.symbol), digest: Some(digest.clone()) }
            }
        };
        Ok((input, loaded.load_time))
    }

    async fn run_on_slot(
        &self,
        turn: Turn,
        delivery: &Delivery,
        job: &Arc<Job>,
        input: Input,
        load_us: u64,
        is_cancelled: Arc<AtomicBool>,
    ) -> Outcome {
        let limits = Limits {
            is_cancelled,
            is_aborted: Arc::clone(&self.is_aborted),
            deadline: Instant::now() + self.deadline,
            allowed: self.deadline,
            allowed_a_run: self.run_deadline,
            governor: Arc::clone(&self.governor),
        };
        let (received, fault) = (delivery.received, self.fault);
        let work = Work { job: Arc::clone(job), input, limits, received, load_us, fault };
        let limit = self.deadline + HANG_GRACE;
        let number = turn.number();
        match tokio::time::timeout(limit, self.slots.run(turn, work)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                self.replace_slot(number);
                // The job is delivered again, to a child that can be killed.
                Err(Failure::retryable(format!("a run does not end: no answer after {} s", limit.as_secs())))
            }
        }
    }

    /// Starts another slot in place of one that hangs. Its thread cannot be ended: it takes part of a core, and the memory
    /// of its columns, until the worker ends.
    fn replace_slot(&self, turn: u64) {
        self.scheduler.write_off(turn, || match self.slots.add() {
            Ok(slot) => {
                tracing::error!(slot, "a slot hangs and is replaced; restart this worker when it suits you");
                Some(slot)
            }
            Err(error) => {
                tracing::error!(%error, "a slot hangs and cannot be replaced: restart this worker");
                None
            }
        });
    }

    /// Runs a redelivered job in a child process, while `turn` keeps a slot free for it.
    async fn run_in_child(
        &self,
        turn: Turn,
        delivery: &Delivery,
        job: &Arc<Job>,
        order: Order,
        is_cancelled: Arc<AtomicBool>,
    ) -> Outcome {
        self.stats.job_in_child();
        let wait_us = micros(delivery.received.elapsed());
        let is_pinned = order.pinned_digest.is_some();
        let reply = child::run_in_child(&self.child_command, &order, delivery.payload.clone()).await?;
        let mut result = match reply {
            Reply::Result(result) => result,
            Reply::Failure(failure) => return Err(failure),
        };
        check_answer(job, &result)?;
        if !is_pinned && let Some(digest) = &result.data_digest {
            let checked = self.pins.check(&job.batch_id, &job.symbol, digest).await?;
            if let Err(changed) = checked {
                // Another worker has pinned other bars meanwhile, so these rows must not count.
                let input =
                    Input::Unusable { failure: changed.as_run_failure(&job.symbol), digest: Some(digest.clone()) };
                return self.run_on_slot(turn, delivery, job, input, 0, is_cancelled).await;
            }
        }
        result.timing.wait_us = wait_us;
        Ok(Ending::Computed(Computed::new(&result)))
    }

    async fn complete(&self, delivery: &Delivery, claim: Claim, job: &Job, computed: Computed) {
        let Computed { payload, timing, runs, runs_failed, runtime_us } = computed;
        let start = Instant::now();
        match claim.complete(outgoing_result(&self.bus.names, job, payload)).await {
            Ok(()) => {
                self.stats.took(&timing);
                self.stats.ran(&runtime_us);
                self.stats.published_in(start.elapsed());
                self.stats.job_completed(runs, runs_failed);
                tracing::debug!(runs, runs_failed, compute_us = timing.compute_us, "job done");
            }
            Err(Refused { claim, error }) => {
                self.fail(delivery, claim, Failure::fatal(code::RESULT_REFUSED, error)).await;
            }
        }
    }

    async fn skip(&self, claim: Claim) {
        tracing::debug!("skipped, its batch is cancelled");
        claim.step().set("skipped", true);
        claim.skip().await;
        self.stats.job_skipped();
    }

    async fn give_back(&self, claim: Claim) {
        claim.step().failed("handed back");
        claim.give_back(Duration::ZERO).await;
        self.stats.job_given_back();
    }

    async fn fail(&self, delivery: &Delivery, claim: Claim, failure: Failure) {
        delivery.step.failed(&failure.to_string());
        match failure {
            Failure::Retryable { reason } => self.retry(delivery, claim, &reason).await,
            Failure::Fatal { code, message } => self.bury(delivery, claim, &code, &message).await,
        }
    }

    async fn retry(&self, delivery: &Delivery, claim: Claim, reason: &str) {
        let doublings = u32::try_from(delivery.delivered.saturating_sub(1)).unwrap_or(0).min(16);
        let delay = with_jitter(FIRST_RETRY.saturating_mul(1 << doublings).min(LONGEST_RETRY));
        tracing::warn!(reason, ?delay, "job put off");
        claim.give_back(delay).await;
        self.stats.job_retried();
    }

    async fn bury(&self, delivery: &Delivery, claim: Claim, code: &str, message: &str) {
        let dead = match bury(&self.bus, delivery, code, message, &self.worker).await {
            Ok(dead) => dead,
            Err(error) => return self.retry(delivery, claim, &error.to_string()).await,
        };
        let has_result = dead.result.is_some();
        match claim.dead_letter(dead).await {
            Ok(()) => {
                tracing::error!(code, message, subject = delivery.subject, has_result, "job given up on, see DEAD");
                self.stats.job_dead();
            }
            Err(Refused { claim, error }) => {
                self.retry(delivery, claim, &format!("cannot give the job up ({code}: {message}): {error}")).await;
            }
        }
    }
}

/// A job whose turn it is.
struct Ready {
    needs: Needs,
    turn: Turn,
}

/// What a job runs with.
enum Needs {
    Slot { input: Input, load_us: u64 },
    Child { pinned: Option<String>, kept: Option<Kept> },
}

/// What runs are computed from whose bars cannot be had: they fail, unless it may pass.
fn unusable(error: &DataError) -> Result<Input, Failure> {
    match error.is_retryable() {
        true => Err(Failure::retryable(error)),
        false => Ok(Input::Unusable { failure: error.as_run_failure(), digest: None }),
    }
}

/// Whether a child answered the job it was given.
fn check_answer(job: &Job, result: &ShardResult) -> Result<(), Failure> {
    let is_answer = (&result.batch_id, result.generation, result.shard, result.runs)
        == (&job.batch_id, job.generation, job.shard, job.runs);
    if is_answer {
        return Ok(());
    }
    Err(Failure::fatal(code::CHILD_DIED, "its child process answered another job"))
}
