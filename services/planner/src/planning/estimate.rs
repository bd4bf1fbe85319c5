//! Guesses at the work and the result size of a shard. A wrong guess makes shards too small or too large to be ideal;
//! it changes no result.

use std::path::{Component, Path};
use std::time::Duration;

use jetsweep_engine::metrics::{BLOCKS, Metric};
use jetsweep_shared::events::ShardResult;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::DataRef;

use super::PlanOptions;

/// Bytes of a row of CSV bars: a date, four prices, a volume.
const ROW_BYTES: u64 = 60;

/// Time of a run for each bar: rules, simulation and metrics, with room for columns that are computed rather than
/// shared. Measured over SPY's 5,850 daily bars, runs of built-in templates take 3 to 14 ns of CPU time a bar.
const NANOS_PER_BAR: u64 = 10;

/// Time of a run whatever its bars.
const NANOS_PER_RUN: u64 = 1_000;

// The sizes below are upper bounds, as a result must not outgrow what a message may have: real runs take 1,000 to 1,150
// bytes where these come to 1,350.

/// Bytes of a number with all its digits in a result's JSON, with its comma: `-0.12345678901234567,`.
const METRIC_BYTES: usize = 20;

/// The same for sums over blocks, which are small and so have an exponent or leading zeros:
/// `0.00012345678901234567,`.
const BLOCK_BYTES: usize = 24;

/// Bytes of a parameter's value in a result: few digits.
const PARAM_BYTES: usize = 8;

/// Bytes of a run's time in a result.
const RUNTIME_BYTES: usize = 8;

/// Bytes of a result around its columns: names, digests, timing.
const ENVELOPE_BYTES: usize = 2 * 1024;

/// Bars of a symbol, from the size of the first symbol's file. Dates outside `from`..`to` count as well: that shards
/// come out smaller than they need be is the safe side.
pub(super) fn bars_per_symbol(data: &DataRef, symbol: Option<&Symbol>, root: Option<&Path>) -> u64 {
    let measured = symbol.zip(root).and_then(|(symbol, root)| {
        let path = data.source.replace("{symbol}", symbol.as_str());
        // A source that leaves the root is for the reader of specs to refuse; nothing out there is looked at here.
        let stays_inside = Path::new(&path).components().all(|part| matches!(part, Component::Normal(_)));
        let metadata = stays_inside.then(|| std::fs::metadata(root.join(path)).ok())??;
        metadata.is_file().then_some(metadata.len() / ROW_BYTES)
    });
    measured.unwrap_or(PlanOptions::ASSUMED_BARS).max(1)
}

/// Runs over `bars` bars that make up this much work; at least 1.
pub(super) fn runs_of_work(bars: u64, work: Duration) -> u32 {
    let nanos_per_run = bars.saturating_mul(NANOS_PER_BAR).saturating_add(NANOS_PER_RUN);
    let runs = work.as_nanos() / u128::from(nanos_per_run);
    u32::try_from(runs).unwrap_or(u32::MAX).max(1)
}

/// Runs whose result is about [`ShardResult::TARGET_BYTES`] long; at least 1.
pub(super) fn runs_of_result(params: usize) -> u32 {
    let bytes_per_run =
        Metric::ALL.len() * METRIC_BYTES + 2 * BLOCKS * BLOCK_BYTES + params * PARAM_BYTES + RUNTIME_BYTES;
    let runs = (ShardResult::TARGET_BYTES - ENVELOPE_BYTES) / bytes_per_run;
    u32::try_from(runs).unwrap_or(u32::MAX).max(1)
}
