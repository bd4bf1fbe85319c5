//! Messages of the log as events.

use bytes::Bytes;
use jetsweep_shared::events::{self, Begin, Cancelled, Event, EventError, Sealed, ShardResult};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, Names, ResultSubject};

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
    /// A shard's result.
    Result(Box<ShardResult>),
}

/// A message that is no event for this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It never will be: it is given up on.
    Rejected(Rejection),
    /// It is of a later version, so nothing after it can be read either; in words that say what to do.
    Later(String),
}

impl LogEvent {
    /// The event of a message.
    pub fn decode(names: &Names, subject: &str, payload: &Bytes) -> Result<Self, Unreadable> {
        let malformed = |message: String| Unreadable::Rejected(Rejection::new(Rejection::MALFORMED, message));
        match names.parse_result(subject) {
            None => Err(malformed(format!("{subject} is no subject of a result or of an event of a batch"))),
            Some(ResultSubject::UnknownMajor) => {
                Err(Unreadable::Later(format!("{subject} is of another major version: upgrade jetsweep")))
            }
            Some(ResultSubject::Shard { batch, generation, shard }) => {
                let result: ShardResult = parse(subject, payload)?;
                let said = (&result.batch_id, result.generation, result.shard);
                if said != (&batch, generation, shard) {
                    return Err(malformed(format!("the result says it is {}.{}.{}", said.0, said.1, said.2)));
                }
                Ok(LogEvent::Result(Box::new(result)))
            }
            Some(ResultSubject::Event { batch, event }) => {
                let event = match event {
                    BatchEvent::Begin => LogEvent::Begin(Box::new(parse(subject, payload)?)),
                    BatchEvent::Sealed => LogEvent::Sealed(parse(subject, payload)?),
                    BatchEvent::Cancelled => LogEvent::Cancelled(parse(subject, payload)?),
                };
                if *event.batch() != batch {
                    return Err(malformed(format!("the event says it is of batch {}", event.batch())));
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
            LogEvent::Result(result) => &result.batch_id,
        }
    }
}

fn parse<E: Event>(subject: &str, payload: &Bytes) -> Result<E, Unreadable> {
    events::decode(payload).map_err(|error| match error {
        EventError::Version { .. } => Unreadable::Later(format!("{subject}: {error}")),
        EventError::Malformed(_) | EventError::Inconsistent(_) => {
            Unreadable::Rejected(Rejection::new(Rejection::MALFORMED, error.to_string()))
        }
    })
}
