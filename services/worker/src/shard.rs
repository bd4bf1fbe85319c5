//! Computing a shard: the grid walked from the job's cursor, one run a point, the rows put into columns.
//!
//! A pure function of job and bars, apart from the clock: times, and deadlines that are looked at between runs and, every few
//! thousand bars, within them.

use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use indexmap::IndexMap;
use jetsweep_engine::backtest::{RunFailure, Strategy};
use jetsweep_engine::benchmark::buy_and_hold;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::{BLOCKS, Metric, Metrics};
use jetsweep_engine::patience::Patience;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::{self, Benchmark, Job, Outcome, RunsFailed, ShardResult, Timing, WindowBars, Windows};
use jetsweep_shared::plan::RunRange;
use jiff::Timestamp;

use crate::data::SharedBars;
use crate::failure::{Failure, code};
use crate::governor::Governor;
use crate::stats::micros;

/// What the runs of a shard are computed from.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The symbol's bars.
    Bars(Arc<SharedBars>),
    /// There are none that may be used, so every run fails like this.
    Unusable {
        failure: RunFailure,
        /// Digest of the bars, if they could be read.
        digest: Option<String>,
    },
}

/// Reasons to stop.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Set when the batch is cancelled.
    pub(crate) is_cancelled: Arc<AtomicBool>,
    /// Set when the worker must end now.
    pub(crate) is_aborted: Arc<AtomicBool>,
    /// From when on runs are not started any more; they fail with `timeout`.
    pub(crate) deadline: Instant,
    /// How long before the deadline the job began, for the message.
    pub(crate) allowed: Duration,
    /// How long each run may take; one that takes longer fails with `timeout`.
    pub(crate) allowed_a_run: Duration,
    /// How much of the time may be worked.
    pub(crate) governor: Arc<Governor>,
}

impl Limits {
    /// Whether the job is not wanted any more.
    fn stopped<T>(&self) -> Option<Ending<T>> {
        if self.is_cancelled.load(Ordering::Relaxed) {
            return Some(Ending::Cancelled);
        }
        self.is_aborted.load(Ordering::Relaxed).then_some(Ending::Aborted)
    }
}

/// How long a slot waits for the run it is at.
#[derive(Debug)]
struct RunLimits {
    of_job: Limits,
    until: Mutex<Instant>,
}

impl RunLimits {
    fn new(of_job: &Limits) -> Arc<Self> {
        Arc::new(Self { of_job: of_job.clone(), until: Mutex::new(of_job.deadline) })
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        // A time is whole whatever panicked meanwhile.
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run starts.
    fn starts(&self, now: Instant) {
        *self.until() = (now + self.of_job.allowed_a_run).min(self.of_job.deadline);
    }

    /// What became of a run that the engine stopped.
    fn too_slow(&self) -> RunFailure {
        let Limits { deadline, allowed, allowed_a_run, .. } = &self.of_job;
        let message = match *self.until() == *deadline {
            true => format!("not done within the job's deadline of {} s", allowed.as_secs_f64()),
            false => format!("took longer than {} s (worker.run_deadline_seconds)", allowed_a_run.as_secs_f64()),
        };
        RunFailure::new(code::TIMEOUT, message)
    }
}

impl Patience for RunLimits {
    fn is_over(&self) -> bool {
        self.of_job.stopped::<()>().is_some() || Instant::now() >= *self.until()
    }
}

/// A shard's result, ready to publish.
#[derive(Debug, Clone)]
pub(crate) struct Computed {
    pub(crate) payload: Bytes,
    pub(crate) timing: Timing,
    pub(crate) runs: u64,
    pub(crate) runs_failed: u64,
    /// Time of each run, in microseconds.
    pub(crate) runtime_us: Vec<f64>,
}

impl Computed {
    pub(crate) fn new(result: &ShardResult) -> Self {
        Self {
            payload: events::encode(result),
            timing: result.timing,
            runs: u64::from(result.runs.count),
            runs_failed: result.failed.iter().map(|failed| u64::from(failed.runs.count)).sum(),
            runtime_us: result.runtime_us.clone(),
        }
    }
}

/// How computing a shard ended.
#[derive(Debug, Clone)]
pub(crate) enum Ending<T> {
    /// Every run was computed or failed by itself.
    Computed(T),
    /// Stopped: the batch is cancelled.
    Cancelled,
    /// Stopped: the worker must end.
    Aborted,
}

/// The columns of one slot: those of the bars it last used, so that consecutive shards of a symbol share indicators.
#[derive(Debug)]
pub(crate) struct SlotColumns {
    budget_bytes: usize,
    columns: Option<(String, Columns)>,
}

impl SlotColumns {
    /// No bars yet; columns may take `budget_bytes` of memory beside the bars.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, columns: None }
    }

    fn of(&mut self, bars: &SharedBars) -> &mut Columns {
        if self.columns.as_ref().is_none_or(|(digest, _)| *digest != bars.digest) {
            self.columns = None;
        }
        let fresh = || (bars.digest.clone(), Columns::new(Arc::clone(&bars.bars), self.budget_bytes));
        &mut self.columns.get_or_insert_with(fresh).1
    }

    /// Drops the columns: after a panic they may be incomplete.
    pub(crate) fn forget(&mut self) {
        self.columns = None;
    }
}

/// Computes a shard. The timing of the result has the time of computing only.
///
/// # Errors
/// [`Failure::Fatal`] if the job's strategy or grid cannot be used.
pub(crate) fn compute(
    job: &Job,
    input: &Input,
    slot: &mut SlotColumns,
    limits: &Limits,
    worker: &str,
) -> Result<Ending<ShardResult>, Failure> {
    let start = Instant::now();
    let template = &job.strategy.template;
    let strategy = Strategy::new(template, &job.execution)
        .map_err(|problems| Failure::fatal(code::INVALID_STRATEGY, list(&problems)))?;
    let points =
        job.strategy.grid.points(template).map_err(|problems| Failure::fatal(code::INVALID_GRID, list(&problems)))?;
    let windows = Segments::of(job, input);
    let mut walk = points.walk(job.cursor, job.first_point);
    let mut rows = Rows::new(job, template.params().keys(), windows.as_ref().map_or(0, |windows| windows.ranges.len()));
    let mut working_since = start;
    let patience = RunLimits::new(limits);
    for index in 0..job.runs.count {
        if let Some(stopped) = limits.stopped() {
            return Ok(stopped);
        }
        let Some((_, values)) = walk.next_point() else {
            let message = format!("from cursor {} on the grid has {index} points, not {}", job.cursor, job.runs.count);
            return Err(Failure::fatal(code::INVALID_GRID, message));
        };
        let run_start = Instant::now();
        patience.starts(run_start);
        let outcome = match (input, &windows) {
            (Input::Unusable { failure, .. }, _) | (Input::Bars(_), Err(failure)) => Err(failure.clone()),
            (Input::Bars(_), _) if run_start >= limits.deadline => Err(not_reached(limits.allowed)),
            (Input::Bars(bars), Ok(windows)) => match run(&strategy, slot, bars, &patience, values, &windows.ranges) {
                Err(failure) if failure.code == RunFailure::TIMEOUT => match limits.stopped() {
                    Some(stopped) => return Ok(stopped),
                    None => Err(patience.too_slow()),
                },
                outcome => outcome,
            },
        };
        let run_end = Instant::now();
        rows.push(values, outcome, run_end - run_start);
        if limits.governor.rest_after(run_end - working_since) {
            working_since = Instant::now();
        }
    }
    let benchmark = match (input, &windows) {
        (Input::Bars(bars), Ok(windows)) if job.first_point == 0 => {
            patience.starts(Instant::now());
            benchmark(job, slot, bars, &patience, &windows.ranges)
        }
        _ => None,
    };
    let digest = match input {
        Input::Bars(bars) => Some(bars.digest.clone()),
        Input::Unusable { digest, .. } => digest.clone(),
    };
    let windows = windows.ok().filter(|_| job.validation.is_some()).map(|windows| windows.bars);
    let mut result = rows.into_result(job, windows, digest, worker);
    result.benchmark = benchmark;
    result.timing.compute_us = micros(start.elapsed());
    Ok(Ending::Computed(result))
}

fn not_reached(allowed: Duration) -> RunFailure {
    let message = format!("not reached within the job's deadline of {} s", allowed.as_secs_f64());
    RunFailure::new(code::TIMEOUT, message)
}

/// The segments of windows that each run is scored on beside the whole period.
#[derive(Debug, Default)]
struct Segments {
    /// As the result names them.
    bars: Vec<WindowBars>,
    /// As the engine does.
    ranges: Vec<Range<usize>>,
}

impl Segments {
    /// Those of the job's bars; none without bars.
    fn of(job: &Job, input: &Input) -> Result<Self, RunFailure> {
        let (Some(validation), Input::Bars(shared)) = (&job.validation, input) else { return Ok(Self::default()) };
        let at = |bar: usize| Timestamp::from_millisecond(shared.bars.timestamps()[bar]).unwrap_or_default();
        let windows = validation.windows(&shared.bars)?;
        let bars = windows.iter().map(|window| WindowBars {
            window: window.number,
            segment: window.segment,
            from: at(window.bars.start),
            to: at(window.bars.end - 1),
        });
        Ok(Self { bars: bars.collect(), ranges: windows.iter().map(|window| window.bars.clone()).collect() })
    }
}

/// The metrics of one run over the whole period, and over each window.
type Scored = (Metrics, Vec<Metrics>);

/// One run. A panic within it is its failure.
fn run(
    strategy: &Strategy,
    slot: &mut SlotColumns,
    bars: &SharedBars,
    patience: &Arc<RunLimits>,
    values: &[f64],
    windows: &[Range<usize>],
) -> Result<Scored, RunFailure> {
    let columns = slot.of(bars);
    columns.wait_with(Arc::clone(patience) as Arc<dyn Patience>);
    let scored = catch_panic(|| strategy.run_with_windows(columns, values, windows)).unwrap_or_else(|message| {
        slot.forget();
        Err(RunFailure::new(code::PANIC, message))
    })?;
    let is_finite = |sums: &[f64; BLOCKS]| sums.iter().all(|sum| sum.is_finite());
    if is_finite(&scored.0.block_returns) && is_finite(&scored.0.block_squares) {
        return Ok(scored);
    }
    Err(RunFailure::new(code::OVERFLOW, "the run's returns are too large for 64-bit floats"))
}

/// Buying and holding the bars; `None` where that has no metrics, as with a commission that eats all cash.
fn benchmark(
    job: &Job,
    slot: &mut SlotColumns,
    bars: &SharedBars,
    patience: &Arc<RunLimits>,
    windows: &[Range<usize>],
) -> Option<Benchmark> {
    let strategy = buy_and_hold(&job.execution).ok()?;
    let (whole, each) = run(&strategy, slot, bars, patience, &[], windows).ok()?;
    let column = |metric: &Metric| [&whole].into_iter().chain(&each).map(|metrics| metrics.get(*metric)).collect();
    let metrics = Metric::ALL.iter().map(|metric| (metric.name().to_owned(), column(metric)));
    Some(Benchmark { metrics: metrics.collect() })
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

/// The rows of a shard as they come, one column a name.
struct Rows {
    first_run: u64,
    /// Segments of windows of each run.
    segments: usize,
    params: IndexMap<String, Vec<f64>>,
    metrics: Vec<Vec<Option<f64>>>,
    window_metrics: Vec<Vec<Option<f64>>>,
    block_returns: Vec<[f64; BLOCKS]>,
    block_squares: Vec<[f64; BLOCKS]>,
    runtime_us: Vec<f64>,
    failed: Vec<RunsFailed>,
}

impl Rows {
    fn new<'a>(job: &Job, params: impl Iterator<Item = &'a String>, segments: usize) -> Self {
        // A job may claim any number of runs; memory is taken as they come.
        const MOST_RESERVED: usize = 4096;
        let rows = (job.runs.count as usize).min(MOST_RESERVED);
        Self {
            first_run: job.runs.start,
            segments,
            params: params.map(|name| (name.clone(), Vec::with_capacity(rows))).collect(),
            metrics: Metric::ALL.iter().map(|_| Vec::with_capacity(rows)).collect(),
            window_metrics: Metric::ALL.iter().map(|_| Vec::with_capacity(rows * segments)).collect(),
            block_returns: Vec::with_capacity(rows),
            block_squares: Vec::with_capacity(rows),
            runtime_us: Vec::with_capacity(rows),
            failed: Vec::new(),
        }
    }

    fn push(&mut self, values: &[f64], outcome: Result<Scored, RunFailure>, time: Duration) {
        for (column, value) in self.params.values_mut().zip(values) {
            column.push(*value);
        }
        let run = self.first_run + self.runtime_us.len() as u64;
        self.runtime_us.push(time.as_nanos() as f64 / 1000.0);
        match outcome {
            Ok((metrics, windows)) => {
                for (column, metric) in self.metrics.iter_mut().zip(Metric::ALL) {
                    column.push(metrics.get(*metric));
                }
                for (column, metric) in self.window_metrics.iter_mut().zip(Metric::ALL) {
                    column.extend(windows.iter().map(|window| window.get(*metric)));
                }
                self.block_returns.push(metrics.block_returns);
                self.block_squares.push(metrics.block_squares);
            }
            Err(failure) => {
                for column in &mut self.metrics {
                    column.push(None);
                }
                for column in &mut self.window_metrics {
                    column.resize(column.len() + self.segments, None);
                }
                self.block_returns.push([0.0; BLOCKS]);
                self.block_squares.push([0.0; BLOCKS]);
                self.fail(run, failure);
            }
        }
    }

    /// Neighbours that failed alike are one entry.
    fn fail(&mut self, run: u64, failure: RunFailure) {
        if let Some(last) = self.failed.last_mut()
            && last.runs.end() == run
            && last.code == failure.code
            && last.message == failure.message
        {
            last.runs.count += 1;
            return;
        }
        let runs = RunRange { start: run, count: 1 };
        self.failed.push(RunsFailed { runs, code: failure.code, message: failure.message });
    }

    fn into_result(
        self,
        job: &Job,
        windows: Option<Vec<WindowBars>>,
        data_digest: Option<String>,
        worker: &str,
    ) -> ShardResult {
        let named = |columns: Vec<_>| Metric::ALL.iter().map(|metric| metric.name().to_owned()).zip(columns).collect();
        ShardResult {
            version: events::VERSION,
            batch_id: job.batch_id.clone(),
            generation: job.generation,
            shard: job.shard,
            symbol: job.symbol.clone(),
            strategy: job.strategy.name.clone(),
            runs: job.runs,
            outcome: Outcome::Computed,
            params: self.params,
            metrics: named(self.metrics),
            block_returns: self.block_returns,
            block_squares: self.block_squares,
            runtime_us: self.runtime_us,
            failed: self.failed,
            windows: windows.map(|windows| Windows { windows, metrics: named(self.window_metrics) }),
            benchmark: None,
            data_digest,
            spec_digest: job.spec_digest.clone(),
            engine_version: jetsweep_engine::VERSION.to_owned(),
            worker: worker.to_owned(),
            finished_at: Timestamp::now(),
            timing: Timing::default(),
        }
    }
}

thread_local! {
    /// Where a panic of this thread says what happened, while somebody listens.
    static PANIC_MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// What `f` returns, or what it panicked with. The panic is not printed: it becomes a row or a dead letter.
pub(crate) fn catch_panic<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_caught = PANIC_MESSAGE.with_borrow_mut(|message| {
                let Some(message) = message else { return false };
                let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
                *message = format!("{}{place}", info.payload_as_str().unwrap_or("panicked"));
                true
            });
            if !is_caught {
                default_hook(info);
            }
        }));
    });
    let outer = PANIC_MESSAGE.replace(Some(String::new()));
    // Whatever f leaves half-changed, its caller forgets.
    let outcome = catch_unwind(AssertUnwindSafe(f));
    let message = PANIC_MESSAGE.replace(outer);
    outcome.map_err(|_| message.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_message() {
        assert_eq!(catch_panic(|| 3), Ok(3));
        let message = catch_panic(|| panic!("no {}", "way")).unwrap_err();
        assert!(message.starts_with("no way (") && message.contains("shard.rs:"), "{message}");
        let nested = catch_panic(|| {
            let inner = catch_panic(|| panic!("inner")).unwrap_err();
            assert!(inner.starts_with("inner"), "{inner}");
            panic!("outer");
        });
        assert!(nested.unwrap_err().starts_with("outer"));
    }
}
