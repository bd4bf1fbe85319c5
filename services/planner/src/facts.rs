//! What is stored about a batch: events in RESULTS, the plan message in PLANS, keys in the bucket.

use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::events::{BatchStatus, Begin, Cancelled, Control, ControlAction, Event, Sealed, decode, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, control_key, status_key};

use async_nats::jetstream::kv::{Entry, Operation, Store};
use bytes::Bytes;

use crate::error::BatchError;

/// Generation of a batch's first plan.
pub(crate) const FIRST_GENERATION: u32 = 0;

/// The stored plan.
pub(crate) async fn begin(bus: &Bus, batch: &BatchId) -> Result<Option<Begin>, BatchError> {
    event(bus, batch, BatchEvent::Begin).await
}

/// The event that says that every job is published.
pub(crate) async fn sealed(bus: &Bus, batch: &BatchId) -> Result<Option<Sealed>, BatchError> {
    event(bus, batch, BatchEvent::Sealed).await
}

/// The event that ends a batch early.
pub(crate) async fn cancelled(bus: &Bus, batch: &BatchId) -> Result<Option<Cancelled>, BatchError> {
    event(bus, batch, BatchEvent::Cancelled).await
}

async fn event<E: Event>(bus: &Bus, batch: &BatchId, event: BatchEvent) -> Result<Option<E>, BatchError> {
    let subject = bus.names.batch_event(batch, event);
    let Some(payload) = bus.last(&bus.names.results_stream(), &subject).await? else {
        return Ok(None);
    };
    decode(&payload).map(Some).map_err(|source| BatchError::Event { subject, source })
}

/// Message id of a batch event.
pub(crate) fn event_id(batch: &BatchId, generation: u32, event: BatchEvent) -> String {
    format!("{batch}.{generation}.{event}")
}

/// The payload of the batch's plan message, while no planner has finished with it.
pub(crate) async fn pending_plan(bus: &Bus, batch: &BatchId) -> Result<Option<Bytes>, BatchError> {
    Ok(bus.last(&bus.names.plans_stream(), &bus.names.plan(batch)).await?)
}

/// The request to cancel a batch, when there is one.
pub(crate) async fn cancel_request(batches: &Store, batch: &BatchId) -> Result<Option<Control>, BatchError> {
    let entry = entry(batches, &control_key(batch)).await?;
    Ok(entry.as_ref().and_then(read_cancel_request))
}

/// The request to cancel that an entry of the bucket holds, if it does. One that cannot be read is logged and ignored.
pub(crate) fn read_cancel_request(entry: &Entry) -> Option<Control> {
    if entry.operation != Operation::Put {
        return None;
    }
    match decode::<Control>(&entry.value) {
        Ok(control) => (control.action == ControlAction::Cancel).then_some(control),
        Err(error) => {
            tracing::warn!(key = entry.key, %error, "ignoring a control entry that cannot be read");
            None
        }
    }
}

/// A batch's status with its revision, when it has a readable one.
pub(crate) async fn status(batches: &Store, batch: &BatchId) -> Result<Option<(BatchStatus, u64)>, BatchError> {
    let Some(entry) = entry(batches, &status_key(batch)).await? else {
        return Ok(None);
    };
    // The status is a view: one of another version says nothing that is needed here.
    Ok(decode(&entry.value).ok().map(|status| (status, entry.revision)))
}

/// Overwrites a batch's status.
pub(crate) async fn put_status(batches: &Store, status: &BatchStatus) -> Result<(), BatchError> {
    let key = status_key(&status.batch_id);
    match batches.put(&key, encode(status)).await {
        Ok(_) => Ok(()),
        Err(error) => Err(BusError::Write { key, reason: error.to_string() }.into()),
    }
}

async fn entry(batches: &Store, key: &str) -> Result<Option<Entry>, BatchError> {
    let entry = batches
        .entry(key)
        .await
        .map_err(|error| BusError::Read { what: format!("key {key}"), reason: error.to_string() })?;
    Ok(entry.filter(|entry| entry.operation == Operation::Put))
}
