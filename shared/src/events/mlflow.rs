//! What the MLflow bridge did, for watching.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::BatchId;

/// How far the bridge is with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MlflowState {
    /// Runs are logged as they come, or the batch is waited for.
    Logging,
    /// The batch has ended; its batch run is being completed.
    Finishing,
    /// Everything that is wanted of it is in MLflow.
    Done,
}

/// A view of what the bridge did of a batch, under `<batch>.mlflow` in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlflowStatus {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// How far it is.
    pub state: MlflowState,
    /// Runs of the batch that MLflow has in full, those with failures among them.
    pub logged: u64,
    /// Of these, runs that failed.
    pub failed: u64,
    /// Runs that MLflow refused for good; they are in DEAD.
    pub refused: u64,
    /// The batch run, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_run: Option<String>,
    /// Where it is seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The end of the batch that was logged: a retry ends it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// Why it is not completed yet, if that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When this view was made.
    pub updated_at: Timestamp,
}

/// A view of the bridge itself, under `mlflow-bridge` in the bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MlflowBridgeStatus {
    /// Major version of the event.
    pub version: u32,
    /// The server, without credentials.
    pub server: String,
    /// Since when MLflow is away; absent when it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away_since: Option<Timestamp>,
    /// What it said last that was no success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When it said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<Timestamp>,
    /// When this view was made.
    pub updated_at: Timestamp,
}

impl Event for MlflowStatus {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for MlflowBridgeStatus {
    fn version(&self) -> u32 {
        self.version
    }
}
