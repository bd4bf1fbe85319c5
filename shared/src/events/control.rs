//! What is asked of a batch, and what it pins.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;

/// What is asked of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlAction {
    /// Drop what is queued; count what has no result as cancelled.
    Cancel,
}

/// A request about a batch, under `<batch>.control` in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Control {
    /// Major version of the event.
    pub version: u32,
    /// What is asked.
    pub action: ControlAction,
    /// Who asks and why, as far as they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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
