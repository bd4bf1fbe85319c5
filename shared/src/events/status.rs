//! A batch's progress, for watching.

use jetsweep_engine::problem::Problem;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::BatchId;

/// How far a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchState {
    /// Its spec was refused; nothing runs. Terminal.
    Refused,
    /// The plan is made; jobs are being published and run.
    Running,
    /// Every run is terminal. Terminal.
    Completed,
    /// Every run is terminal, some because the batch was cancelled. Terminal.
    Cancelled,
}

impl BatchState {
    /// Whether nothing more will happen.
    pub fn is_terminal(self) -> bool {
        !matches!(self, BatchState::Running)
    }
}

/// A view of a batch, under `<batch>.status` in the bucket; `nats kv watch` shows it live. Counts are of runs whose
/// rows are committed, so they never exceed the total, and never go back but for runs that are retried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchStatus {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// How far it is.
    pub state: BatchState,
    /// Its latest generation: the number of times that runs of it were retried.
    #[serde(default, skip_serializing_if = "is_first")]
    pub generation: u32,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Runs with metrics.
    pub succeeded: u64,
    /// Runs that failed by themselves.
    pub failed: u64,
    /// Runs whose job was given up on.
    pub dead: u64,
    /// Runs that will not be computed.
    pub cancelled: u64,
    /// When the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// When the last run became terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// When this view was made.
    pub updated_at: Timestamp,
    /// Why the spec was refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

fn is_first(generation: &u32) -> bool {
    *generation == 0
}

impl BatchStatus {
    /// Runs that are terminal.
    pub fn done(&self) -> u64 {
        self.succeeded + self.failed + self.dead + self.cancelled
    }
}

impl Event for BatchStatus {
    fn version(&self) -> u32 {
        self.version
    }
}
