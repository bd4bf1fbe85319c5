//! Giving up on a plan message: its status says why, DEAD keeps it.

use async_nats::HeaderMap;
use async_nats::jetstream::kv::Store;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::bus::BusError;
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, BatchState, BatchStatus, headers};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::status_key;
use jiff::Timestamp;

use crate::error::BatchError;
use crate::facts;
use crate::header;
use crate::intake::HeldPlan;
use crate::planner::Planner;

/// Longest explanation in the header of a message in DEAD, in bytes. The status has all of it.
const LONGEST_HEADER: usize = 1024;

/// Start of the names of headers that tell the server what to do with a message.
const SERVER_HEADERS: &str = "Nats-";

/// Why a plan message is given up on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refusal {
    /// The server has put it there, for somebody who may not.
    Disguised,
    /// Its subject does not end in a batch id.
    InvalidBatchId,
    /// Its spec cannot be run.
    InvalidSpec(Vec<Problem>),
    /// The batch was planned from another spec.
    BatchExists {
        /// Digest of the spec it was planned from.
        planned: String,
        /// Digest of the refused one.
        refused: String,
    },
    /// The id was that of a batch that was deleted.
    BatchDeleted,
    /// Runs cannot be retried as asked.
    InvalidRetry(String),
}

impl Refusal {
    /// Stable word for why.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Refusal::Disguised => "malformed",
            Refusal::InvalidBatchId => "invalid_batch_id",
            Refusal::InvalidSpec(_) => "invalid_spec",
            Refusal::BatchExists { .. } => "batch_exists",
            Refusal::BatchDeleted => "batch_deleted",
            Refusal::InvalidRetry(_) => "invalid_retry",
        }
    }

    fn message(&self) -> String {
        match self {
            Refusal::Disguised => disguise::REFUSED.to_owned(),
            Refusal::InvalidBatchId => {
                "the subject does not end in a batch id (1 to 64 letters, digits, '-', '_')".to_owned()
            }
            Refusal::InvalidSpec(problems) => one_line(problems),
            Refusal::BatchExists { planned, refused } => exists_message(planned, refused),
            Refusal::BatchDeleted => DELETED_MESSAGE.to_owned(),
            Refusal::InvalidRetry(reason) => reason.clone(),
        }
    }
}

/// Says that an id was taken.
pub(crate) const DELETED_MESSAGE: &str =
    "a batch of this id was deleted, and an id names one batch only: choose another";

/// Says that an id is taken.
pub(crate) fn exists_message(planned: &str, refused: &str) -> String {
    format!("the batch id belongs to another spec (digest {planned}, this one has {refused}): choose another id")
}

/// All problems in one line.
pub(crate) fn one_line(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// Stores why a plan message is refused, and the message itself. Once this returns, it can be acknowledged.
///
/// `batch` is the batch whose status tells it; `None` when there is no such batch, or when the status is that of the
/// batch that was planned from another spec.
pub(crate) async fn store(
    planner: &Planner,
    held: &HeldPlan,
    batch: Option<&BatchId>,
    refusal: &Refusal,
) -> Result<(), BatchError> {
    if let Some(batch) = batch {
        let problems = match refusal {
            Refusal::InvalidSpec(problems) => problems.clone(),
            other => vec![Problem::new("", other.message())],
        };
        facts::put_status(&planner.batches, &refused_status(batch, problems)).await?;
    }
    let dead_headers = dead_headers(held, refusal);
    let names = &planner.bus.names;
    let subject = match names.parse_plan(held.subject()) {
        Some(plan) => names.dead_plan(&plan.batch),
        None => names.dead_message(&names.plans_stream(), held.sequence()),
    };
    planner.bus.publish_with_headers(&subject, dead_headers, held.payload().clone()).await?;
    planner.metrics.refused.inc();
    tracing::warn!(subject = held.subject(), code = refusal.code(), reason = refusal.message(), "refused a plan");
    Ok(())
}

/// The message's own headers, and why it is refused.
fn dead_headers(held: &HeldPlan, refusal: &Refusal) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in held.headers().into_iter().flat_map(HeaderMap::iter) {
        // Those were instructions to the server about the message in PLANS.
        if name.to_string().starts_with(SERVER_HEADERS) {
            continue;
        }
        for value in values {
            kept.append(name.clone(), value.clone());
        }
    }
    kept.insert(headers::ERROR_CODE, refusal.code());
    kept.insert(headers::ERROR, header::text(&refusal.message(), LONGEST_HEADER).as_str());
    kept.insert(headers::ORIGIN, held.subject());
    // The same at each delivery, so that the message is kept once.
    kept.insert(async_nats::header::NATS_MESSAGE_ID, held.dead_id().as_str());
    kept
}

fn refused_status(batch: &BatchId, problems: Vec<Problem>) -> BatchStatus {
    let now = Timestamp::now();
    BatchStatus {
        version: events::VERSION,
        batch_id: batch.clone(),
        state: BatchState::Refused,
        generation: facts::FIRST_GENERATION,
        total_runs: 0,
        succeeded: 0,
        failed: 0,
        dead: 0,
        cancelled: 0,
        created_at: None,
        completed_at: Some(now),
        updated_at: now,
        problems,
    }
}

/// Removes the status of an earlier refusal, so that whoever watches a batch whose spec was mended does not take it for
/// the end. Does nothing when the status is another one.
pub(crate) async fn clear(batches: &Store, batch: &BatchId) -> Result<(), BatchError> {
    let Some((status, revision)) = facts::status(batches, batch).await? else {
        return Ok(());
    };
    if status.state != BatchState::Refused {
        return Ok(());
    }
    let key = status_key(batch);
    match batches.delete_expect_revision(&key, Some(revision)).await {
        Ok(()) => Ok(()),
        Err(error) => Err(BusError::Write { key, reason: error.to_string() }.into()),
    }
}
