//! The message that asks for one shard.

use jetsweep_engine::execution::Execution;
use jetsweep_engine::validation::Validation;
use serde::{Deserialize, Serialize};

use super::Event;
use crate::ids::{BatchId, Priority, Symbol};
use crate::plan::RunRange;
use crate::spec::{DataRef, StrategySpec};

/// Asks for one shard of runs. Carries all a worker needs but the bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Major version of the event.
    pub version: u32,
    /// Batch of the shard.
    pub batch_id: BatchId,
    /// Generation of the shard's plan.
    pub generation: u32,
    /// Number of the shard within its generation.
    pub shard: u32,
    /// Priority of the batch.
    pub priority: Priority,
    /// Symbol of every run of the shard.
    pub symbol: Symbol,
    /// Strategy of every run of the shard, with its grid.
    pub strategy: StrategySpec,
    /// Position in the strategy's raw grid at which the first run lies.
    pub cursor: u64,
    /// Index of the first run among the strategy's runs over the symbol.
    pub first_point: u64,
    /// The runs.
    pub runs: RunRange,
    /// Execution rules of every run.
    pub execution: Execution,
    /// Windows that each run is scored on beside the whole period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// Where the bars come from.
    pub data: DataRef,
    /// Digest of the batch's resolved spec.
    pub spec_digest: String,
}

impl Job {
    /// Largest job, in bytes of JSON.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Id of the job, of its result and of its dead letter: `<batch>.<generation>.<shard>`.
    pub fn id(&self) -> String {
        format!("{}.{}.{}", self.batch_id, self.generation, self.shard)
    }
}

impl Event for Job {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        if self.runs.count == 0 {
            return Err("a job without runs".to_owned());
        }
        Ok(())
    }
}
