//! What is asked of a batch, and what it pins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::BatchId;
use crate::plan::RunRange;

/// What is asked of a batch, or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    /// Drop what is queued; count what has no result as cancelled.
    Cancel,
    /// Take back what is queued and publish no more, until told to resume. What is being computed is finished.
    Pause,
    /// Go on.
    Resume,
}

/// A request about a batch, under `<batch>.control` in the bucket, or about all work, under
/// [`ALL_CONTROL_KEY`](crate::subjects::ALL_CONTROL_KEY).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Major version of the event.
    pub version: u32,
    /// What is asked.
    pub action: ControlAction,
    /// The generation to cancel, with all before it: a later retry is not meant.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u32,
    /// Who asks and why, as far as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was asked.
    pub requested_at: Timestamp,
}

fn is_first(generation: &u32) -> bool {
    *generation == 0
}

/// Asks for runs of a batch that has ended to be run again, as its next generation: a message in PLANS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// The generation to make: one more than the batch's latest.
    pub generation: u32,
    /// The runs, in order, without overlap.
    pub runs: Vec<RunRange>,
    /// When it was asked.
    pub requested_at: Timestamp,
}

/// The bars every worker must see for a symbol of a batch, under `<batch>.data.<symbol>` in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataPin {
    /// Major version of the event.
    pub version: u32,
    /// Digest of the bars.
    pub digest: String,
    /// Worker that pinned them.
    pub worker: String,
}

impl Event for Control {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for DataPin {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for Retry {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        if self.generation == 0 {
            return Err("generation 0 is no retry".to_owned());
        }
        if self.runs.is_empty() || self.runs.iter().any(|range| range.count == 0) {
            return Err("a retry without runs, or with an empty range of them".to_owned());
        }
        if self.runs.windows(2).any(|pair| pair[1].start < pair[0].end()) {
            return Err("the ranges of runs are not in order, or overlap".to_owned());
        }
        Ok(())
    }
}
