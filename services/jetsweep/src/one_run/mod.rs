//! One run computed on this machine, in full: what `backtest` and `replay` do and show.

mod place;
mod show;

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;
use jetsweep_engine::backtest::{Replay, RunFailure, Strategy};
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::{Kind, Metric, Metrics};
use jetsweep_engine::problem::Problem;
use jetsweep_engine::validation::Window;
use jetsweep_shared::events::TradeRow;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::plan::Plan;
use jetsweep_shared::spec::{ResolvedSpec, StrategySpec};
use jetsweep_worker::data::{self, DataError};
use jetsweep_worker::replay::trade_rows;
use serde::Serialize;
use serde_json::{Number, Value};

use crate::failure::Failure;

pub(crate) use place::DataPlace;
pub(crate) use show::{Show, metric_text};

/// Memory for the indicator columns of one run between runs, in bytes: one run shares nothing with a next one.
const COLUMNS_BYTES: usize = 0;

/// A run that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The bars cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refuses the execution rules.
    #[error("{}", list(.0))]
    Rules(Vec<Problem>),
    /// The plan has no such run.
    #[error("the plan has no run {run}")]
    NotPlanned {
        /// Its number.
        run: u64,
    },
    /// The run fails.
    #[error(transparent)]
    Run(#[from] RunFailure),
}

impl RunError {
    /// The failure of whatever needed the run. `doing` completes "failed to "; `root` is where bars were looked for.
    pub(crate) fn into_failure(self, doing: &str, root: &Path) -> Failure {
        match self {
            RunError::Data(error) if error.is_retryable() => Failure::broken(doing, error),
            RunError::Data(error) => Failure::bad_input(doing, error).hint(looked_under(root)),
            other => Failure::bad_input(doing, other),
        }
    }
}

fn looked_under(root: &Path) -> String {
    format!("bars are looked for under {}; --data says where else", root.display())
}

/// Problems in one line.
pub(crate) fn list(problems: impl AsRef<[Problem]>) -> String {
    problems.as_ref().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a plan says of a run.
#[derive(Debug)]
pub(crate) struct Planned<'a> {
    pub(crate) symbol: &'a Symbol,
    pub(crate) strategy: &'a StrategySpec,
    /// Index of the strategy in the spec.
    pub(crate) strategy_index: usize,
    /// Its parameters, in the template's order.
    pub(crate) values: Vec<f64>,
}

/// The symbol, strategy and parameters of a run.
///
/// # Errors
///
/// When the plan has no such run, or the grid cannot be walked.
pub(crate) fn planned<'a>(spec: &'a ResolvedSpec, plan: &Plan, run: u64) -> Result<Planned<'a>, RunError> {
    let shard = plan.shard_of(run).ok_or(RunError::NotPlanned { run })?;
    let (symbol, strategy) = (&spec.symbols[shard.symbol], &spec.strategies[shard.strategy]);
    let points = strategy.grid.points(&strategy.template).map_err(RunError::Rules)?;
    let mut walk = points.walk(shard.cursor, shard.first_point);
    for _ in shard.runs.start..run {
        walk.next_point();
    }
    let values = walk.next_point().map(|(_, values)| values.to_vec()).ok_or(RunError::NotPlanned { run })?;
    Ok(Planned { symbol, strategy, strategy_index: shard.strategy, values })
}

/// One run in full.
#[derive(Debug)]
pub(crate) struct OneRun {
    /// Its bars.
    pub(crate) bars: Arc<Bars>,
    /// Its metrics, trades and equity.
    pub(crate) replay: Replay,
    /// Its metrics over each segment of the windows that the spec has.
    pub(crate) windows: Vec<(Window, Metrics)>,
    symbol: Symbol,
    strategy: String,
    /// Values by name, and whether they are whole.
    params: Vec<(String, f64, bool)>,
}

impl OneRun {
    /// Computes a run of a sweep: its symbol and strategy, and parameter values in the template's order. The bars are
    /// read under the folder `root`.
    ///
    /// # Errors
    ///
    /// When the bars cannot be had, the engine refuses the rules, or the run fails.
    pub(crate) fn compute(
        spec: &ResolvedSpec,
        symbol: &Symbol,
        strategy: &StrategySpec,
        values: &[f64],
        root: &Path,
    ) -> Result<Self, RunError> {
        let bars = data::load(root, &spec.data, symbol)?;
        Self::compute_over(Arc::new(bars), spec, symbol, strategy, values)
    }

    /// Computes a run over bars that are in memory already.
    ///
    /// # Errors
    ///
    /// When the engine refuses the rules, or the run fails.
    pub(crate) fn compute_over(
        bars: Arc<Bars>,
        spec: &ResolvedSpec,
        symbol: &Symbol,
        strategy: &StrategySpec,
        values: &[f64],
    ) -> Result<Self, RunError> {
        let compiled = Strategy::new(&strategy.template, &spec.execution).map_err(RunError::Rules)?;
        let mut columns = Columns::new(Arc::clone(&bars), COLUMNS_BYTES);
        let replay = compiled.replay(&mut columns, values)?;
        let windows = spec.validation.as_ref().map_or(Ok(Vec::new()), |validation| validation.windows(&bars))?;
        let scored = windows.into_iter().map(|window| {
            let metrics = compiled.run_window(&mut columns, values, window.bars.clone())?;
            Ok((window, metrics))
        });
        let windows = scored.collect::<Result<_, RunFailure>>()?;
        let parameters = strategy.template.params().iter().zip(values);
        let params = parameters.map(|((name, parameter), value)| (name.clone(), *value, parameter.whole)).collect();
        Ok(Self { bars, replay, windows, symbol: symbol.clone(), strategy: strategy.name.clone(), params })
    }

    /// The run as JSON shows it.
    pub(crate) fn document(&self) -> Document<'_> {
        let bars = &self.bars;
        Document {
            symbol: &self.symbol,
            strategy: &self.strategy,
            params: self.params.iter().map(|(name, value, whole)| (name.as_str(), number(*value, *whole))).collect(),
            metrics: metric_values(&self.replay.metrics),
            trades: trade_rows(bars, &self.replay.trades),
            bars: bars.len(),
            first_date: bars.date_label(0),
            last_date: bars.date_label(bars.len() - 1),
            data_digest: bars.digest(),
            engine_version: jetsweep_engine::VERSION,
        }
    }

    /// The equity at each bar's close, as CSV: `date,equity`.
    pub(crate) fn equity_csv(&self) -> String {
        let rows = self.replay.equity.iter().enumerate();
        let rows = rows.map(|(t, equity)| format!("{},{equity}\n", self.bars.date_label(t)));
        std::iter::once("date,equity\n".to_owned()).chain(rows).collect()
    }
}

/// Every metric by name; counts are whole numbers, and what is undefined is null.
pub(crate) fn metric_values(metrics: &Metrics) -> IndexMap<&'static str, Value> {
    let value = |metric: Metric| match metrics.get(metric) {
        None => Value::Null,
        Some(value) => number(value, metric.kind() == Kind::Count),
    };
    Metric::ALL.iter().map(|metric| (metric.name(), value(*metric))).collect()
}

/// A number as JSON writes it: `10` where it is known to be whole, else `10.0`.
fn number(value: f64, whole: bool) -> Value {
    if whole && value.fract() == 0.0 && value.abs() < i64::MAX as f64 {
        return Value::from(value as i64);
    }
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// A run as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    symbol: &'a Symbol,
    strategy: &'a str,
    params: IndexMap<&'a str, Value>,
    metrics: IndexMap<&'static str, Value>,
    trades: Vec<TradeRow>,
    bars: usize,
    first_date: String,
    last_date: String,
    data_digest: String,
    engine_version: &'static str,
}
