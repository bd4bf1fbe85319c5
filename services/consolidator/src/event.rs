//! Messages of the log as events.

use async_nats::HeaderMap;
use bytes::Bytes;
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, Begin, Cancelled, Deleted, Event, EventError, Purged, Sealed, ShardResult};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, Names, ResultSubject};
use jiff::Timestamp;

use crate::store::Rejection;

/// An event of the log.
#[derive(Debug, Clone, PartialEq)]
pub enum LogEvent {
    /// A batch's plan.
    Begin(Box<Begin>),
    /// A batch's jobs are all published.
    Sealed(Sealed),
    /// A batch was cancelled.
    Cancelled(Cancelled),
    /// A batch was deleted.
    Deleted(Deleted),
    /// A batch's results have left the log.
    Purged(Purged),
    /// A shard's result.
    Result(Box<ShardResult>),
}

/// A message that is no event for this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It never will be: it is given up on.
    Rejected(Rejection),
    /// It is an event of a later version, which the planner alone may publish, so nothing after it can be read either; in
    /// words that say what to do.
    Later(String),
}

impl LogEvent {
    /// The event of a message.
    pub fn decode(
        names: &Names,
        subject: &str,
        headers: Option<&HeaderMap>,
        payload: &Bytes,
    ) -> Result<Self, Unreadable> {
        let malformed = |message: String| Unreadable::Rejected(Rejection::new(Rejection::MALFORMED, message));
        if disguise::is_answer(headers) {
            return Err(malformed(disguise::REFUSED.to_owned()));
        }
        match names.parse_result(subject) {
            None => Err(malformed(format!("{subject} is no subject of a result or of an event of a batch"))),
            Some(ResultSubject::UnknownMajor) => {
                Err(Unreadable::Later(format!("{subject} is of another major version: upgrade jetsweep")))
            }
            Some(ResultSubject::Shard { batch, generation, shard }) => {
                // Of another version it is malformed, too: those of a later program are on subjects of their own. Workers
                // must not be able to stop whoever reads.
                let result: ShardResult = events::decode(payload).map_err(|error| malformed(error.to_string()))?;
                let said = (&result.batch_id, result.generation, result.shard);
                if said != (&batch, generation, shard) {
                    return Err(malformed(format!("the result says it is {}.{}.{}", said.0, said.1, said.2)));
                }
                Ok(LogEvent::Result(Box::new(result)))
            }
            Some(ResultSubject::Event { batch, generation, event: which }) => {
                let event = match which {
                    BatchEvent::Begin => LogEvent::Begin(Box::new(parse(subject, payload)?)),
                    BatchEvent::Sealed => LogEvent::Sealed(parse(subject, payload)?),
                    BatchEvent::Cancelled => LogEvent::Cancelled(parse(subject, payload)?),
                    BatchEvent::Deleted => LogEvent::Deleted(parse(subject, payload)?),
                    BatchEvent::Purged => LogEvent::Purged(parse(subject, payload)?),
                };
                if *event.batch() != batch || (which.is_of_generation() && event.generation() != generation) {
                    let (batch, generation) = (event.batch(), event.generation());
                    return Err(malformed(format!("the event says it is of batch {batch}, generation {generation}")));
                }
                Ok(event)
            }
        }
    }

    /// The batch it is about.
    pub fn batch(&self) -> &BatchId {
        match self {
            LogEvent::Begin(begin) => &begin.batch_id,
            LogEvent::Sealed(sealed) => &sealed.batch_id,
            LogEvent::Cancelled(cancelled) => &cancelled.batch_id,
            LogEvent::Deleted(deleted) => &deleted.batch_id,
            LogEvent::Purged(purged) => &purged.batch_id,
            LogEvent::Result(result) => &result.batch_id,
        }
    }

    /// The generation it is of; the latest one, of an event about the whole batch.
    pub fn generation(&self) -> u32 {
        match self {
            LogEvent::Begin(begin) => begin.generation,
            LogEvent::Sealed(sealed) => sealed.generation,
            LogEvent::Cancelled(cancelled) => cancelled.generation,
            LogEvent::Deleted(deleted) => deleted.generation,
            LogEvent::Purged(purged) => purged.generation,
            LogEvent::Result(result) => result.generation,
        }
    }

    /// When it happened, by the clock of whoever made it. Whatever is stored of times comes from here, so that reading
    /// the log again stores the same.
    pub fn at(&self) -> Timestamp {
        match self {
            LogEvent::Begin(begin) => begin.created_at,
            LogEvent::Sealed(sealed) => sealed.sealed_at,
            LogEvent::Cancelled(cancelled) => cancelled.cancelled_at,
            LogEvent::Deleted(deleted) => deleted.deleted_at,
            LogEvent::Purged(purged) => purged.purged_at,
            LogEvent::Result(result) => result.finished_at,
        }
    }
}

/// An event that the planner alone may publish, or the consolidator itself.
fn parse<E: Event>(subject: &str, payload: &Bytes) -> Result<E, Unreadable> {
    events::decode(payload).map_err(|error| match error {
        EventError::Version { .. } => Unreadable::Later(format!("{subject}: {error}")),
        EventError::Malformed(_) | EventError::Inconsistent(_) => {
            Unreadable::Rejected(Rejection::new(Rejection::MALFORMED, error.to_string()))
        }
    })
}
