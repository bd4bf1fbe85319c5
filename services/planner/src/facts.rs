//! What is stored about a batch: events in RESULTS, the plan message in PLANS, keys in the bucket.

use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::disguise;
use jetsweep_shared::events::{
    BatchStatus, Begin, Cancelled, Control, ControlAction, Deleted, Event, Purged, Sealed, decode, encode,
};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, control_key, status_key};
use jetsweep_shared::telemetry::{Parent, parent_from};

use async_nats::jetstream::kv::{Entry, Operation, Store};
use bytes::Bytes;

use crate::error::BatchError;

/// Generation of a batch's first plan.
pub(crate) const FIRST_GENERATION: u32 = 0;

/// The stored plan of a generation.
pub(crate) async fn begin(bus: &Bus, batch: &BatchId, generation: u32) -> Result<Option<Begin>, BatchError> {
    event(bus, batch, generation, BatchEvent::Begin).await
}

/// The stored plan of the latest generation.
pub(crate) async fn latest_begin(bus: &Bus, batch: &BatchId) -> Result<Option<Begin>, BatchError> {
    let mut latest = None;
    for generation in FIRST_GENERATION.. {
        match begin(bus, batch, generation).await? {
            Some(begin) => latest = Some(begin),
            None => break,
        }
    }
    Ok(latest)
}

/// The step in which a generation was planned first, as stored with its plan: for what is published of it when its plan
/// message is gone.
pub(crate) async fn planned_in(bus: &Bus, batch: &BatchId, generation: u32) -> Result<Parent, BatchError> {
    let subject = bus.names.generation_event(batch, generation, BatchEvent::Begin);
    let begin = bus.last_stored(&bus.names.results_stream(), &subject).await?;
    Ok(parent_from(begin.as_ref().map(|begin| &begin.headers)))
}

/// The event that says that every job of a generation is published.
pub(crate) async fn sealed(bus: &Bus, batch: &BatchId, generation: u32) -> Result<Option<Sealed>, BatchError> {
    event(bus, batch, generation, BatchEvent::Sealed).await
}

/// The event that ends a generation early.
pub(crate) async fn cancelled(bus: &Bus, batch: &BatchId, generation: u32) -> Result<Option<Cancelled>, BatchError> {
    event(bus, batch, generation, BatchEvent::Cancelled).await
}

/// A batch whose plan is no longer in the log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Gone {
    /// Somebody deleted it.
    Deleted,
    /// It ended so long ago that it left the log.
    Purged(Purged),
}

/// What is left of a batch that is gone. Its id is not used again.
pub(crate) async fn gone(bus: &Bus, batch: &BatchId) -> Result<Option<Gone>, BatchError> {
    if event::<Deleted>(bus, batch, FIRST_GENERATION, BatchEvent::Deleted).await?.is_some() {
        return Ok(Some(Gone::Deleted));
    }
    Ok(event(bus, batch, FIRST_GENERATION, BatchEvent::Purged).await?.map(Gone::Purged))
}

async fn event<E: Event>(
    bus: &Bus,
    batch: &BatchId,
    generation: u32,
    event: BatchEvent,
) -> Result<Option<E>, BatchError> {
    let subject = bus.names.generation_event(batch, generation, event);
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

/// The payload of the message that asks for a retry, while no planner has finished with it.
pub(crate) async fn pending_retry(bus: &Bus, batch: &BatchId, generation: u32) -> Result<Option<Bytes>, BatchError> {
    Ok(bus.last(&bus.names.plans_stream(), &bus.names.plan_retry(batch, generation)).await?)
}

/// What is asked of a batch, with the revision of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) control: Control,
    pub(crate) revision: u64,
}

impl Asked {
    /// The request to cancel this generation, if it is one.
    pub(crate) fn cancels(&self, generation: u32) -> Option<&Control> {
        let is_meant = self.control.action == ControlAction::Cancel && self.control.generation >= generation;
        is_meant.then_some(&self.control)
    }

    /// Whether the batch is to wait.
    pub(crate) fn pauses(&self) -> bool {
        self.control.action == ControlAction::Pause
    }

    /// The revision of the request to go on, if it is one.
    pub(crate) fn resumes(&self) -> Option<u64> {
        (self.control.action == ControlAction::Resume).then_some(self.revision)
    }
}

/// What is asked of a batch, if anything.
pub(crate) async fn asked(batches: &Store, batch: &BatchId) -> Result<Option<Asked>, BatchError> {
    let key = control_key(batch);
    let Some(asked) = entry(batches, &key).await?.as_ref().and_then(read_control) else { return Ok(None) };
    let is_disguised = disguise::is_entry(batches, &key).await;
    if is_disguised.map_err(|reason| BusError::Read { what: format!("key {key}"), reason })? {
        tracing::warn!(key, "ignoring a control entry that nobody has written: the server was made to");
        return Ok(None);
    }
    Ok(Some(asked))
}

/// What an entry of the bucket asks. One that cannot be read is logged and ignored.
pub(crate) fn read_control(entry: &Entry) -> Option<Asked> {
    if entry.operation != Operation::Put {
        return None;
    }
    match decode::<Control>(&entry.value) {
        Ok(control) => Some(Asked { control, revision: entry.revision }),
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
