//! What travels between the services, as versioned JSON.
//!
//! One file an event; one golden file an event and version under `shared/golden/`. Within a major version only
//! optional fields are added, and unknown fields are ignored. Each event says where it is stored:
//!
//! | event | stored | published by | read by |
//! |---|---|---|---|
//! | sweep spec ([`crate::spec`]) | PLANS, until planned | whoever submits | planner |
//! | [`Retry`] | PLANS, until planned | planner, asked by whoever retries | planner |
//! | [`Job`] | JOBS, until its result is stored | planner | worker |
//! | [`Begin`], [`Sealed`], [`Cancelled`] | RESULTS | planner | consolidator, planner, replay |
//! | [`Deleted`] | RESULTS | planner, asked by whoever deletes | consolidator, planner |
//! | [`Purged`] | RESULTS | consolidator | planner, `consolidator rebuild` |
//! | [`ShardResult`] | RESULTS | worker | consolidator |
//! | [`BatchStatus`] | key-value bucket, overwritten | consolidator; planner for a refused spec | whoever watches |
//! | [`Control`] | key-value bucket, overwritten | whoever asks | planner, worker |
//! | [`DataPin`] | key-value bucket, created once | first worker to load a symbol | every worker |
//! | [`MlflowStatus`], [`MlflowBridgeStatus`] | key-value bucket, overwritten | MLflow bridge | whoever watches |
//! | [`ReplayRequest`], [`ReplayReply`] | nowhere: a question and its answer | whoever looks at a run; worker | the other |
//!
//! A message given up on is kept in DEAD byte for byte as it was, with the headers of [`headers`] saying why.

mod batch;
mod control;
pub mod headers;
mod job;
mod mlflow;
mod replay;
mod result;
mod service;
mod status;
mod windows;

pub use batch::{Begin, Cancelled, Deleted, Purged, Sealed};
pub use control::{Control, ControlAction, DataPin, Retry};
pub use job::Job;
pub use mlflow::{MlflowBridgeStatus, MlflowState, MlflowStatus};
pub use replay::{ReplayInput, ReplayReply, ReplayRequest, TradeRow, WindowMetrics};
pub use result::{Outcome, RunsFailed, ShardResult, Timing};
pub use service::{
    DeleteReply, DeleteRequest, ErrorReply, ExportFormat, ExportRequest, QueryRequest, RetryReply, SubmitReply,
    ValidateReply,
};
pub use status::{BatchState, BatchStatus};
pub use windows::{Benchmark, WindowBars, Windows};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Major version of every event in this module.
pub const VERSION: u32 = 1;

/// A payload that is not the event its subject promises.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// It is of another major version.
    #[error("the event is of version {found}, this program reads version {VERSION}: upgrade jetsweep")]
    Version {
        /// The version it says it has.
        found: u32,
    },
    /// It does not parse.
    #[error("the event does not parse: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It parses but contradicts itself.
    #[error("the event contradicts itself: {0}")]
    Inconsistent(String),
}

/// An event with a version field.
pub trait Event: Serialize + DeserializeOwned {
    /// The version the event says it has.
    fn version(&self) -> u32;

    /// Whether its parts fit together; `Err` says which do not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// The event as bytes to publish.
pub fn encode<E: Event>(event: &E) -> bytes::Bytes {
    // Events hold strings, finite numbers and options only, with string keys: serde_json has nothing to refuse.
    serde_json::to_vec(event).expect("events always serialize").into()
}

/// The event in a payload, its version and consistency checked.
pub fn decode<E: Event>(payload: &[u8]) -> Result<E, EventError> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        version: u32,
    }
    let event: E = match serde_json::from_slice(payload) {
        Ok(event) => event,
        Err(error) => {
            // A later major may not parse at all; its version says more than the parser's complaint.
            return Err(match serde_json::from_slice::<Versioned>(payload) {
                Ok(Versioned { version }) if version != VERSION => EventError::Version { found: version },
                _ => EventError::Malformed(error),
            });
        }
    };
    if event.version() != VERSION {
        return Err(EventError::Version { found: event.version() });
    }
    event.check().map_err(EventError::Inconsistent)?;
    Ok(event)
}
