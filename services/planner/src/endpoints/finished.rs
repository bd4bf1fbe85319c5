//! What is asked of batches that have ended: retry some of their runs, delete them.

use async_nats::{HeaderMap, Message};
use jetsweep_shared::bus::Creation;
use jetsweep_shared::events::{self, Begin, DeleteReply, DeleteRequest, Deleted, Retry, RetryReply, decode, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::BatchEvent;
use jetsweep_shared::telemetry::{parent_from, steps};
use jiff::Timestamp;

use super::reply::Rejection;
use crate::error::BatchError;
use crate::facts;
use crate::planner::Planner;
use crate::retry;

/// Stores the wish for a retry in PLANS, and answers once it is there. The same again gives the same answer.
pub(super) async fn retry(planner: &Planner, message: &Message) -> Result<RetryReply, Rejection> {
    let asked: Retry = decode(&message.payload).map_err(|error| Rejection::invalid_retry(error.to_string()))?;
    let (bus, batch, generation) = (&planner.bus, &asked.batch_id, asked.generation);
    let reply = RetryReply {
        batch_id: batch.clone(),
        generation,
        runs: asked.runs.iter().map(|range| u64::from(range.count)).sum(),
    };
    if let Some(begin) = facts::begin(bus, batch, generation).await? {
        return match retry::retries(&begin, &asked.runs) {
            true => Ok(reply),
            false => Err(Rejection::invalid_retry(retry::other_runs(batch, generation))),
        };
    }
    let before = ended(planner, batch).await?;
    if before.generation + 1 != generation {
        let latest = before.generation;
        return Err(Rejection::invalid_retry(format!(
            "generation {generation} is not the next one: the latest of batch {batch} is {latest}"
        )));
    }
    check(planner, before, &asked).await?;
    let subject = bus.names.plan_retry(batch, generation);
    let step = steps::accept(parent_from(message.headers.as_ref()), &subject, batch, generation);
    let mut headers = HeaderMap::new();
    step.inject(&mut headers);
    match bus.create_with_headers(&subject, headers, message.payload.clone()).await.map_err(BatchError::from)? {
        Creation::Created => Ok(reply),
        Creation::Existed => {
            let pending = facts::pending_retry(bus, batch, generation).await?;
            match pending.and_then(|pending| decode::<Retry>(&pending).ok()) {
                Some(pending) if pending.runs != asked.runs => {
                    Err(Rejection::invalid_retry(retry::other_runs(batch, generation)))
                }
                _ => Ok(reply),
            }
        }
    }
}

/// Makes the plan that will be made, for what is wrong with it.
async fn check(planner: &Planner, before: Begin, asked: &Retry) -> Result<(), Rejection> {
    let (runs, max_payload) = (asked.runs.clone(), planner.options.max_payload);
    let check = move || {
        let begin = retry::begin(before, &runs)?;
        retry::too_large(&begin, max_payload).map_or(Ok(()), Err)
    };
    planner.threads.run("checks", check).await?.map_err(Rejection::invalid_retry)
}

/// Stores the event that deletes a batch.
pub(super) async fn delete(planner: &Planner, message: &Message) -> Result<DeleteReply, Rejection> {
    let DeleteRequest { batch_id: batch } = serde_json::from_slice(&message.payload)
        .map_err(|error| Rejection::invalid_retry(format!("the request does not parse: {error}")))?;
    if let Some(facts::Gone::Deleted) = facts::gone(&planner.bus, &batch).await? {
        return Ok(DeleteReply { batch_id: batch });
    }
    let generation = match facts::gone(&planner.bus, &batch).await? {
        Some(facts::Gone::Purged(purged)) => purged.generation,
        _ => ended(planner, &batch).await?.generation,
    };
    let deleted =
        Deleted { version: events::VERSION, batch_id: batch.clone(), generation, deleted_at: Timestamp::now() };
    let subject = planner.bus.names.batch_event(&batch, BatchEvent::Deleted);
    let id = facts::event_id(&batch, generation, BatchEvent::Deleted);
    planner.bus.create(&subject, &id, encode(&deleted)).await.map_err(BatchError::from)?;
    tracing::info!(%batch, "deleted");
    Ok(DeleteReply { batch_id: batch })
}

/// The latest plan of a batch whose every run is terminal.
async fn ended(planner: &Planner, batch: &BatchId) -> Result<Begin, Rejection> {
    let begin = facts::latest_begin(&planner.bus, batch).await?;
    let begin = begin.ok_or_else(|| Rejection::unknown_batch(batch))?;
    if retry::is_over(planner, batch, begin.generation).await? {
        return Ok(begin);
    }
    Err(Rejection::not_over(batch))
}
