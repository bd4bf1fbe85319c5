//! The child's side: one job in, one reply out.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use jetsweep_shared::events::{self, Job};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Order, Reply};
use crate::data::{self, SharedBars};
use crate::failure::{Failure, code};
use crate::governor::Governor;
use crate::pins::Changed;
use crate::shard::{self, Ending, Input, Limits, SlotColumns};
use crate::slots::Fault;
use crate::stats::micros;

/// Makes the system choose this process first when memory runs out: the highest value there is.
const OOM_SCORE_ADJ: &str = "1000";

/// A child that could not even answer. Its worker reads the exit status and the last line of standard error.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// The order is none.
    #[error("failed to read the order of a job's child process (only a worker starts this command): {0}")]
    Order(serde_json::Error),
    /// The memory limit could not be set.
    #[error("failed to limit the memory of a job's child process to {bytes} bytes: {reason}")]
    Limit {
        /// The limit.
        bytes: u64,
        /// The system's words.
        reason: String,
    },
    /// The job could not be read or the reply not written.
    #[error("failed to talk to the worker: {0}")]
    Pipe(#[from] io::Error),
}

/// The hidden command [`CHILD_SUBCOMMAND`](super::CHILD_SUBCOMMAND): runs the job on `job_input` as the worker's
/// `order` says, and writes the reply to `reply_output`. Nothing else may write there.
///
/// Limits the memory of the whole process for good, so it must be all that the process does; call it before any
/// runtime starts threads.
///
/// # Errors
/// When there is nobody to answer to. What is wrong with the job itself is part of the reply.
pub fn run_job_child(order: &str, job_input: impl Read, reply_output: impl Write) -> Result<(), ChildError> {
    run_job_child_with(order, None, job_input, reply_output)
}

/// The same with a fault: see [`Options::fault`](crate::Options::fault).
///
/// # Errors
/// See [`run_job_child`].
pub fn run_job_child_with(
    order: &str,
    fault: Option<Fault>,
    job_input: impl Read,
    reply_output: impl Write,
) -> Result<(), ChildError> {
    let start = Instant::now();
    let order: Order = serde_json::from_str(order).map_err(ChildError::Order)?;
    limit_memory(order.memory_bytes)?;
    // Not every system has this file, and a wish is all it is.
    let _ = std::fs::write("/proc/self/oom_score_adj", OOM_SCORE_ADJ);

    let mut payload = Vec::new();
    job_input.take(2 * Job::MAX_BYTES as u64).read_to_end(&mut payload)?;
    let reply = run(&order, &payload, fault, start).unwrap_or_else(Reply::Failure);
    let mut output = io::BufWriter::new(reply_output);
    serde_json::to_writer(&mut output, &reply).map_err(io::Error::from)?;
    output.flush()?;
    Ok(())
}

fn limit_memory(bytes: u64) -> Result<(), ChildError> {
    let maximum = getrlimit(Resource::As).maximum;
    let limit = maximum.map_or(bytes, |maximum| maximum.min(bytes));
    let reason = |error: rustix::io::Errno| ChildError::Limit { bytes, reason: error.to_string() };
    setrlimit(Resource::As, Rlimit { current: Some(limit), maximum: Some(limit) }).map_err(reason)
}

fn run(order: &Order, payload: &[u8], fault: Option<Fault>, start: Instant) -> Result<Reply, Failure> {
    let job: Job = events::decode(payload).map_err(|error| Failure::fatal(code::MALFORMED, error))?;
    if let Some(fault) = fault {
        fault(&job);
    }
    let load_start = Instant::now();
    let input = load(order, &job)?;
    let load_us = micros(load_start.elapsed());
    let allowed = Duration::from_secs(order.deadline_seconds);
    let limits = Limits {
        is_cancelled: Arc::new(AtomicBool::new(false)),
        is_aborted: Arc::new(AtomicBool::new(false)),
        deadline: start + allowed,
        allowed,
        allowed_a_run: Duration::from_secs(order.run_deadline_seconds),
        governor: Arc::new(Governor::fixed(order.duty)),
    };
    let columns_bytes = usize::try_from(order.columns_bytes).unwrap_or(usize::MAX);
    let mut columns = SlotColumns::new(columns_bytes);
    match shard::compute(&job, &input, &mut columns, &limits, &order.worker)? {
        Ending::Computed(mut result) => {
            result.timing.load_us = load_us;
            Ok(Reply::Result(Box::new(result)))
        }
        Ending::Cancelled | Ending::Aborted => Err(Failure::retryable("stopped without being asked to")),
    }
}

fn load(order: &Order, job: &Job) -> Result<Input, Failure> {
    let loaded = match &order.kept {
        None => data::load_within(&order.data_root, &job.data, &job.symbol, order.bars_bytes),
        Some(kept) => match kept.read(&job.data.source_of(&job.symbol), &job.data, order.bars_bytes) {
            Ok(None) => return Err(Failure::retryable(format!("{} is gone from the data cache", kept.path.display()))),
            Ok(Some(bars)) => Ok(bars),
            Err(error) => Err(error),
        },
    };
    let bars = match loaded {
        Ok(bars) => SharedBars::new(bars),
        Err(error) if error.is_retryable() => return Err(Failure::retryable(error)),
        Err(error) => return Ok(Input::Unusable { failure: error.as_run_failure(), digest: None }),
    };
    match &order.pinned_digest {
        Some(pinned) if *pinned != bars.digest => {
            let changed = Changed { pinned: pinned.clone(), found: bars.digest.clone() };
            Ok(Input::Unusable { failure: changed.as_run_failure(&job.symbol), digest: Some(bars.digest) })
        }
        _ => Ok(Input::Bars(Arc::new(bars))),
    }
}
