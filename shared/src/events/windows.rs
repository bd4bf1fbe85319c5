//! Parts of a result beside the runs over the whole period: runs over windows, and the benchmark.

use indexmap::IndexMap;
use jetsweep_engine::validation::Segment;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One segment of one window of a symbol's bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowBars {
    /// Number of the window, from 0.
    pub window: u32,
    /// Which part of it.
    pub segment: Segment,
    /// Time of its first bar, on the clock of the market.
    pub from: Timestamp,
    /// Time of its last bar.
    pub to: Timestamp,
}

/// The metrics of a shard's runs over each window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// The segments, the same for every run; none where the symbol has too few bars for a window.
    pub windows: Vec<WindowBars>,
    /// Values by metric name, one a run and segment: those of the first run in the order of `windows`, then those of
    /// the second. `null` where undefined or where the run failed.
    pub metrics: IndexMap<String, Vec<Option<f64>>>,
}

/// The metrics of buying and holding the symbol, with the same cash and costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Benchmark {
    /// Values by metric name: over the whole period, then over each segment in the order of [`Windows::windows`].
    pub metrics: IndexMap<String, Vec<Option<f64>>>,
}

impl Windows {
    /// Whether its columns are of this many runs; `Err` says which is not.
    pub(super) fn check(&self, runs: usize) -> Result<(), String> {
        check("windows.metrics", &self.metrics, runs * self.windows.len())
    }
}

impl Benchmark {
    /// Whether its columns are of this many segments; `Err` says which is not.
    pub(super) fn check(&self, segments: usize) -> Result<(), String> {
        check("benchmark.metrics", &self.metrics, 1 + segments)
    }
}

fn check(of: &str, metrics: &IndexMap<String, Vec<Option<f64>>>, wanted: usize) -> Result<(), String> {
    match metrics.iter().find(|(_, column)| column.len() != wanted) {
        Some((name, column)) => Err(format!("{of}.{name} has {} values, not {wanted}", column.len())),
        None => Ok(()),
    }
}
