//! Facts about a batch as a whole. They decide rows, so they are logged in RESULTS in order with the results.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::{BatchId, Priority};
use crate::plan::Plan;
use crate::spec::ResolvedSpec;

/// The plan is made. Stored once and create-only, before the first job; every replan reads it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Generation of the plan.
    pub generation: u32,
    /// Priority of the batch's jobs.
    pub priority: Priority,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Shards of the plan.
    pub total_shards: u32,
    /// The resolved spec.
    pub spec: ResolvedSpec,
    /// Its digest.
    pub spec_digest: String,
    /// How its runs are cut.
    pub plan: Plan,
    /// Version of the planner that made it.
    pub planner_version: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Every job of the generation is published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sealed {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Generation of the plan.
    pub generation: u32,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Shards of the plan.
    pub total_shards: u32,
    /// When the last job was stored.
    pub sealed_at: Timestamp,
}

/// What has no result when the consolidator reaches this event will not get one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Latest generation at the time.
    pub generation: u32,
    /// Who asked, and why, as far as they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When the batch's jobs were purged.
    pub cancelled_at: Timestamp,
}

impl Event for Begin {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        let planned = (self.plan.total_runs(), self.plan.total_shards());
        let said = (self.total_runs, self.total_shards);
        if planned != said {
            return Err(format!("says {said:?} runs and shards, its plan has {planned:?}"));
        }
        if self.plan.symbols as usize != self.spec.symbols.len()
            || self.plan.strategies.len() != self.spec.strategies.len()
        {
            return Err("the plan is not of its spec's symbols and strategies".to_owned());
        }
        Ok(())
    }
}

impl Event for Sealed {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for Cancelled {
    fn version(&self) -> u32 {
        self.version
    }
}
