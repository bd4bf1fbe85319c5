//! Guesses at the work and the result size of a shard. A wrong guess makes shards too small or too large to be ideal;
//! it changes no result.

use std::path::{Component, Path};
use std::time::Duration;

use jetsweep_engine::metrics::{BLOCKS, Metric};
use jetsweep_engine::validation::{Length, MOST_WINDOWS, Split};
use jetsweep_shared::events::ShardResult;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::{DataRef, ResolvedSpec};
use jiff::Timestamp;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;

use super::PlanOptions;

/// Bytes of a row of CSV bars: a date, four prices, a volume.
const ROW_BYTES: u64 = 60;

/// Time of a run for each bar: rules, simulation and metrics, with room for columns that are computed rather than
/// shared. Most shards were half as long as asked for when this was 10: the heavy runs of `jetsweep bench` take 5 ns of CPU
/// time a bar on a machine with AVX-512.
const NANOS_PER_BAR: u64 = 5;

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

/// Bytes of a segment's number and times in a result.
const SEGMENT_BYTES: usize = 100;

/// The first day that anybody's bars are assumed to have: what there is of daily bars mostly starts later.
const EARLIEST_BARS: Date = date(1962, 1, 1);

/// How often each bar is looked at in a run with windows: once for the whole period, and in a few windows.
const WINDOW_PASSES: u64 = 4;

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

/// Segments of windows that each run is scored on beside the whole period: never fewer than there are, unless bars go
/// back further than assumed.
pub(super) fn segments(spec: &ResolvedSpec) -> usize {
    let windows = match spec.validation.as_ref().map(|validation| &validation.split) {
        None => 0,
        Some(Split::Holdout(_)) => 1,
        Some(Split::WalkForward(walk)) => {
            let days = days(&spec.data);
            (days / days_of(walk.step)).saturating_add(1).min(MOST_WINDOWS as u64) as usize
        }
    };
    2 * windows
}

/// Days from the first date of the bars to the last, as far as is known.
fn days(data: &DataRef) -> u64 {
    let from = data.from.unwrap_or(EARLIEST_BARS);
    let to = data.to.unwrap_or_else(|| TimeZone::UTC.to_datetime(Timestamp::now()).date());
    u64::try_from((to - from).get_days()).unwrap_or(0)
}

/// Days of a length, at least 1, rather too few than too many.
fn days_of(length: Length) -> u64 {
    match length {
        Length::Years(count) => u64::from(count) * 365,
        Length::Months(count) => u64::from(count) * 28,
        Length::Weeks(count) => u64::from(count) * 7,
        Length::Days(count) => u64::from(count),
        // Bars may be minutes: as many windows as there can be.
        Length::Bars(_) => 1,
    }
}

/// Runs over `bars` bars, and as many again in windows, that make up this much work; at least 1.
pub(super) fn runs_of_work(bars: u64, segments: usize, work: Duration) -> u32 {
    // Windows overlap, so that all segments together have up to a few times the bars; their runs share the rules.
    let passes = if segments == 0 { 1 } else { WINDOW_PASSES };
    let nanos_per_run =
        bars.saturating_mul(NANOS_PER_BAR * passes).saturating_add(NANOS_PER_RUN * (1 + segments as u64));
    let runs = work.as_nanos() / u128::from(nanos_per_run);
    u32::try_from(runs).unwrap_or(u32::MAX).max(1)
}

/// Runs whose result is about [`ShardResult::TARGET_BYTES`] long; at least 1.
pub(super) fn runs_of_result(params: usize, segments: usize) -> u32 {
    let bytes_per_run = (1 + segments) * Metric::ALL.len() * METRIC_BYTES
        + 2 * BLOCKS * BLOCK_BYTES
        + params * PARAM_BYTES
        + RUNTIME_BYTES;
    // The benchmark's row has a value less than a run's, and each segment its name and times.
    let envelope = ENVELOPE_BYTES + segments * SEGMENT_BYTES + bytes_per_run;
    let runs = ShardResult::TARGET_BYTES.saturating_sub(envelope) / bytes_per_run;
    u32::try_from(runs).unwrap_or(u32::MAX).max(1)
}
