//! Facts about a batch as a whole. They decide rows, so they are logged in RESULTS in order with the results.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::{BatchId, Priority};
use crate::plan::{Plan, RetryPlan, ShardPlan};
use crate::spec::ResolvedSpec;

/// The plan is made. Stored once and create-only, before the first job; every replan reads it back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Generation of the plan: 0 for the first, one more with each retry.
    pub generation: u32,
    /// Priority of the batch's jobs.
    pub priority: Priority,
    /// Runs of the batch, whatever part of them a retry runs again.
    pub total_runs: u64,
    /// Shards of this generation.
    pub total_shards: u32,
    /// The resolved spec.
    pub spec: ResolvedSpec,
    /// Its digest.
    pub spec_digest: String,
    /// How its runs are cut.
    pub plan: Plan,
    /// The runs that a retry runs again; absent in generation 0, which runs all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPlan>,
    /// Version of the planner that made it.
    pub planner_version: String,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Begin {
    /// The shard of a number below `total_shards`.
    pub fn shard(&self, shard: u32) -> Option<ShardPlan> {
        match &self.retry {
            None => self.plan.shard(shard),
            Some(retry) => retry.shard(&self.plan, shard),
        }
    }

    /// All shards of this generation in order.
    pub fn shards(&self) -> impl Iterator<Item = ShardPlan> + '_ {
        (0..self.total_shards).filter_map(|shard| self.shard(shard))
    }
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
    /// Shards of the generation.
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

/// Everything of a batch that had ended is deleted: its rows go when the consolidator reaches this event, and what else
/// is stored of it afterwards. The event itself stays, so that the id is not used again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deleted {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Its latest generation.
    pub generation: u32,
    /// When it was asked for.
    pub deleted_at: Timestamp,
}

/// The results of a batch that ended long ago have left the log; its rows are in the database only. Stored before they
/// go, and kept in their place: it says what a database made from the log cannot have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Purged {
    /// Major version of the event.
    pub version: u32,
    /// The batch.
    pub batch_id: BatchId,
    /// Its latest generation.
    pub generation: u32,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Digest of its resolved spec.
    pub spec_digest: String,
    /// When it was purged.
    pub purged_at: Timestamp,
}

impl Event for Begin {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        let shards = match &self.retry {
            None => self.plan.total_shards(),
            Some(retry) => retry.check(&self.plan)?,
        };
        if self.retry.is_some() != (self.generation > 0) {
            return Err(format!("generation {} and the runs to retry do not go together", self.generation));
        }
        let planned = (self.plan.total_runs(), shards);
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

impl Event for Deleted {
    fn version(&self) -> u32 {
        self.version
    }
}

impl Event for Purged {
    fn version(&self) -> u32 {
        self.version
    }
}
