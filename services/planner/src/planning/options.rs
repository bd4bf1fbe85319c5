//! What planning depends on beside the spec.

use std::path::PathBuf;
use std::time::Duration;

use jetsweep_shared::config::Config;

/// Largest message of a NATS server that is not configured otherwise, in bytes.
const DEFAULT_MAX_PAYLOAD: usize = 1024 * 1024;

/// What planning depends on beside the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanOptions {
    /// Folder under which the spec's `source` lies, to estimate the number of bars from the size of the first symbol's
    /// file. Without it, or when there is no such file, [`PlanOptions::ASSUMED_BARS`] bars are assumed.
    pub data_root: Option<PathBuf>,
    /// Runs of a shard, at least 1; when absent the planner decides.
    pub shard_runs: Option<u32>,
    /// Work that a shard is meant to hold.
    pub shard_work: Duration,
    /// Most runs of a batch.
    pub max_runs: u64,
    /// Largest message the server takes, in bytes.
    pub max_payload: usize,
}

impl PlanOptions {
    /// Bars of a symbol where nothing better is known: 20 years of daily bars.
    pub const ASSUMED_BARS: u64 = 5_000;

    /// The options that a configuration gives, for a server with NATS's own largest message of 1 MiB.
    pub fn from_config(config: &Config) -> Self {
        let shard_runs = config.planner.shard_runs.map(|runs| u32::try_from(runs.max(1)).unwrap_or(u32::MAX));
        Self {
            data_root: Some(config.data.root.clone()),
            shard_runs,
            shard_work: Duration::from_millis(config.planner.shard_ms),
            max_runs: config.limits.batch_runs,
            max_payload: DEFAULT_MAX_PAYLOAD,
        }
    }
}
