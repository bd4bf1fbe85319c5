//! The message that answers a job.

use indexmap::IndexMap;
use jetsweep_engine::metrics::{BLOCKS, Metric};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Benchmark, Event, Windows};
use crate::ids::{BatchId, Symbol};
use crate::plan::RunRange;

/// What became of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every run was computed or failed by itself.
    Computed,
    /// The job was given up on; all its runs are dead.
    Dead {
        /// Stable word for why.
        code: String,
        /// Why, in words.
        message: String,
    },
}

/// Runs of a shard that have no metrics, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunsFailed {
    /// The runs, within the shard's range.
    pub runs: RunRange,
    /// Stable word for why: `data_missing`, `data_invalid`, `panic`, `timeout`.
    pub code: String,
    /// Why, in words, at most 500 bytes.
    pub message: String,
}

/// Where a shard's time went, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Timing {
    /// From receiving the job to starting on it, waiting for a slot and for bars.
    pub wait_us: u64,
    /// Loading bars; 0 when they were cached.
    pub load_us: u64,
    /// Computing the runs.
    pub compute_us: u64,
}

/// Answers a job: a row of metrics for each run, or an error for it. Columns: one array a metric over the runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardResult {
    /// Major version of the event.
    pub version: u32,
    /// Batch of the shard.
    pub batch_id: BatchId,
    /// Generation of the shard's plan.
    pub generation: u32,
    /// Number of the shard within its generation.
    pub shard: u32,
    /// Symbol of the runs.
    pub symbol: Symbol,
    /// Name of the strategy of the runs.
    pub strategy: String,
    /// The runs.
    pub runs: RunRange,
    /// What became of the shard.
    pub outcome: Outcome,
    /// Values by parameter name, one a run. Empty when the shard is dead.
    #[serde(default)]
    pub params: IndexMap<String, Vec<f64>>,
    /// Values by metric name, one a run; `null` where undefined or where the run failed. Empty when the shard is dead.
    #[serde(default)]
    pub metrics: IndexMap<String, Vec<Option<f64>>>,
    /// Sums of returns over 16 blocks of bars, one row a run; zeros where the run failed.
    #[serde(default)]
    pub block_returns: Vec<[f64; BLOCKS]>,
    /// Sums of squared returns over the same blocks.
    #[serde(default)]
    pub block_squares: Vec<[f64; BLOCKS]>,
    /// Time of each run, in microseconds.
    #[serde(default)]
    pub runtime_us: Vec<f64>,
    /// Runs without metrics.
    #[serde(default)]
    pub failed: Vec<RunsFailed>,
    /// The runs over windows, when the spec has them and bars could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
    /// What the runs are compared with; only in the first shard of each strategy over a symbol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub benchmark: Option<Benchmark>,
    /// Digest of the bars; absent when they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
    /// Digest of the batch's resolved spec.
    pub spec_digest: String,
    /// Version of the engine.
    pub engine_version: String,
    /// Name of the worker.
    pub worker: String,
    /// When the runs were done.
    pub finished_at: Timestamp,
    /// Where the time went.
    pub timing: Timing,
}

impl ShardResult {
    /// Largest result the planner aims for, in bytes of JSON.
    pub const TARGET_BYTES: usize = 512 * 1024;

    /// Whether the run at `index` of these was computed and lost everything. A short position can; a long one cannot.
    pub fn is_ruined(&self, index: usize) -> bool {
        let equity = self.metrics.get(Metric::FinalEquity.name()).and_then(|column| *column.get(index)?);
        equity.is_some_and(|equity| equity <= 0.0)
    }
}

impl Event for ShardResult {
    fn version(&self) -> u32 {
        self.version
    }

    fn check(&self) -> Result<(), String> {
        let count = self.runs.count as usize;
        if count == 0 {
            return Err("a result without runs".to_owned());
        }
        let lengths = self
            .params
            .iter()
            .map(|(name, column)| (name.as_str(), column.len()))
            .chain(self.metrics.iter().map(|(name, column)| (name.as_str(), column.len())))
            .chain([
                ("block_returns", self.block_returns.len()),
                ("block_squares", self.block_squares.len()),
                ("runtime_us", self.runtime_us.len()),
            ]);
        if self.outcome == Outcome::Computed {
            for (name, length) in lengths {
                if length != count {
                    return Err(format!("{name} has {length} values for {count} runs"));
                }
            }
        }
        if let Some(windows) = &self.windows {
            windows.check(count)?;
        }
        if let Some(benchmark) = &self.benchmark {
            benchmark.check(self.windows.as_ref().map_or(0, |windows| windows.windows.len()))?;
        }
        for failed in &self.failed {
            if failed.runs.start < self.runs.start || failed.runs.end() > self.runs.end() {
                return Err(format!("failed runs {:?} are outside the shard's {:?}", failed.runs, self.runs));
            }
        }
        Ok(())
    }
}
