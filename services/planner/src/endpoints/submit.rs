//! Submitting a spec as a batch.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use jetsweep_engine::problem::Problem;
use jetsweep_shared::bus::Creation;
use jetsweep_shared::events::{SubmitReply, headers};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::telemetry::{parent_from, steps};

use super::reply::Rejection;
use super::validate::{self, Checked};
use crate::error::BatchError;
use crate::facts::{self, FIRST_GENERATION, Gone};
use crate::header;
use crate::planner::Planner;
use crate::refusal;
use crate::submission;

/// Longest wait for PLANS to store the spec. Shorter than clients wait for an answer.
const STORING_TIME: Duration = Duration::from_secs(4);

/// Checks the spec of a request, stores it in PLANS, and answers once it is there. The same spec under the same id
/// gives the same answer again.
pub(super) async fn answer(planner: &Planner, message: &Message) -> Result<SubmitReply, Rejection> {
    let named = named_batch(message);
    let checked = match (validate::check(planner, message).await, named) {
        (Ok(checked), Ok(named)) => (checked, named),
        (Ok(_), Err(problem)) => return Err(Rejection::invalid_spec(vec![problem])),
        (Err(rejection), _) => return Err(rejection),
    };
    let (checked, named) = checked;
    let batch = named.unwrap_or_else(|| checked.submission.default_id());
    if let Some(known) = known(planner, &batch, &checked).await? {
        return Ok(known);
    }
    refusal::clear(&planner.batches, &batch).await?;
    match store(planner, &batch, message).await? {
        Creation::Created => {}
        Creation::Existed => {
            // Somebody else was first since the look above.
            let known = known(planner, &batch, &checked).await?;
            return known.ok_or_else(|| Rejection::unavailable("the batch id was in use and is free again"));
        }
    }
    // The id may have been taken, planned and acknowledged between the look and the store. Its begin event is there
    // before its plan message goes, so this look cannot miss it.
    match facts::begin(&planner.bus, &batch, FIRST_GENERATION).await? {
        Some(begin) if begin.spec_digest != checked.submission.spec_digest => {
            Err(Rejection::batch_exists(&begin.spec_digest, &checked.submission.spec_digest))
        }
        _ => Ok(reply(&batch, &checked, false)),
    }
}

/// The batch id that the request asks for.
fn named_batch(message: &Message) -> Result<Option<BatchId>, Problem> {
    let Some(name) = header::value(message.headers.as_ref(), headers::BATCH) else {
        return Ok(None);
    };
    name.parse().map(Some).map_err(|error: jetsweep_shared::ids::InvalidName| {
        Problem::new(format!("header {}", headers::BATCH), error.to_string())
    })
}

fn reply(batch: &BatchId, checked: &Checked, known: bool) -> SubmitReply {
    SubmitReply {
        batch_id: batch.clone(),
        spec_digest: checked.submission.spec_digest.clone(),
        total_runs: checked.plan.total_runs(),
        known,
    }
}

/// The answer for a batch that was submitted before: from its plan message while that is there, else from its begin
/// event. In this order, as the one is stored before the other goes.
async fn known(planner: &Planner, batch: &BatchId, checked: &Checked) -> Result<Option<SubmitReply>, Rejection> {
    let digest = &checked.submission.spec_digest;
    let pending = facts::pending_plan(&planner.bus, batch).await?;
    let begin = facts::begin(&planner.bus, batch, FIRST_GENERATION).await?;
    if let Some(begin) = begin {
        if begin.spec_digest != *digest {
            return Err(Rejection::batch_exists(&begin.spec_digest, digest));
        }
        let total_runs = begin.total_runs;
        return Ok(Some(SubmitReply { total_runs, ..reply(batch, checked, true) }));
    }
    let Some(pending) = pending else {
        return match facts::gone(&planner.bus, batch).await? {
            None => Ok(None),
            Some(Gone::Deleted) => Err(Rejection::batch_deleted()),
            Some(Gone::Purged(purged)) if purged.spec_digest == *digest => {
                Ok(Some(SubmitReply { total_runs: purged.total_runs, ..reply(batch, checked, true) }))
            }
            Some(Gone::Purged(purged)) => Err(Rejection::batch_exists(&purged.spec_digest, digest)),
        };
    };
    match planner.threads.run("reads", move || submission::read(&pending, None)).await? {
        Ok(submission) if submission.spec_digest == *digest => Ok(Some(reply(batch, checked, true))),
        Ok(submission) => Err(Rejection::batch_exists(&submission.spec_digest, digest)),
        Err(_) => Err(Rejection::unavailable("a spec under this id waits to be refused")),
    }
}

/// Publishes the document to PLANS, where it must be the only one of its batch.
async fn store(planner: &Planner, batch: &BatchId, message: &Message) -> Result<Creation, Rejection> {
    let mut plan_headers = HeaderMap::new();
    if let Some(priority) = header::value(message.headers.as_ref(), headers::PRIORITY) {
        plan_headers.insert(headers::PRIORITY, priority);
    }
    let subject = planner.bus.names.plan(batch);
    let step = steps::accept(parent_from(message.headers.as_ref()), &subject, batch, FIRST_GENERATION);
    step.inject(&mut plan_headers);
    let storing = planner.bus.create_with_headers(&subject, plan_headers, message.payload.clone());
    match tokio::time::timeout(STORING_TIME, storing).await {
        Ok(created) => Ok(created.map_err(BatchError::from)?),
        Err(_) => Err(Rejection::unavailable("the spec could not be stored in time")),
    }
}
