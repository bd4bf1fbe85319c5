//! One run computed on this machine, in full: what `backtest` and `replay` do and show.

mod show;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use jetsweep_engine::backtest::{Replay, Strategy};
use jetsweep_engine::bars::{Bars, BarsError};
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::metrics::{Kind, Metric, Metrics};
use jetsweep_engine::problem::Problem;
use jetsweep_engine::template::Template;
use jetsweep_shared::ids::Symbol;
use jiff::civil::Date;
use serde::Serialize;
use serde_json::{Number, Value};

pub(crate) use show::Show;

/// Memory for the indicator columns of one run between runs, in bytes: one run shares nothing with a next one.
const COLUMNS_BYTES: usize = 0;

/// A run that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The file of bars cannot be opened.
    #[error("{}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The bars are refused.
    #[error(transparent)]
    Bars(#[from] BarsError),
    /// The dates leave no bar.
    #[error("{file} has no bars {range}; it has bars from {first} to {last}")]
    NoBars {
        /// The file.
        file: String,
        /// The dates asked for.
        range: String,
        /// Its first date.
        first: String,
        /// Its last date.
        last: String,
    },
    /// The engine refuses the execution rules.
    #[error("{}", list(.0))]
    Rules(Vec<Problem>),
    /// The run fails.
    #[error(transparent)]
    Run(#[from] jetsweep_engine::backtest::RunFailure),
}

/// Problems in one line.
pub(crate) fn list(problems: impl AsRef<[Problem]>) -> String {
    problems.as_ref().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The file of a symbol's bars: `source`, with the symbol in its place, under `root`.
pub(crate) fn bars_path(root: &Path, source: &str, symbol: &Symbol) -> PathBuf {
    root.join(source.replace("{symbol}", symbol.as_str()))
}

/// Bars of a file between two dates, both included.
///
/// # Errors
///
/// When the file cannot be read, its bars are refused, or none of them lies between the dates.
pub(crate) fn load_bars(path: &Path, from: Option<Date>, to: Option<Date>) -> Result<Arc<Bars>, RunError> {
    let open = |error| RunError::Open { path: path.to_owned(), error };
    let file = File::open(path).map_err(open)?;
    let name = path.display().to_string();
    let all = Bars::read_csv(file, &name)?;
    if from.is_none() && to.is_none() {
        return Ok(Arc::new(all));
    }
    let bars = all.between(from, to);
    if bars.is_empty() {
        let (first, last) = (all.date_label(0), all.date_label(all.len() - 1));
        return Err(RunError::NoBars { file: name, range: range(from, to), first, last });
    }
    Ok(Arc::new(bars))
}

/// `from 2005-01-01 to 2010-12-31`, with what is given.
fn range(from: Option<Date>, to: Option<Date>) -> String {
    let from = from.map(|date| format!("from {date}"));
    let to = to.map(|date| format!("to {date}"));
    from.into_iter().chain(to).collect::<Vec<_>>().join(" ")
}

/// One run in full.
#[derive(Debug)]
pub(crate) struct OneRun {
    /// Its bars.
    pub(crate) bars: Arc<Bars>,
    /// Its metrics, trades and equity.
    pub(crate) replay: Replay,
    symbol: Symbol,
    strategy: String,
    /// Values by name, and whether they are whole.
    params: Vec<(String, f64, bool)>,
}

impl OneRun {
    /// Computes a run. `strategy` is its name in results, and `values` are its parameters in the template's order.
    ///
    /// # Errors
    ///
    /// When the engine refuses the rules or the run fails.
    pub(crate) fn compute(
        symbol: Symbol,
        strategy: &str,
        template: &Template,
        execution: &Execution,
        bars: Arc<Bars>,
        values: &[f64],
    ) -> Result<Self, RunError> {
        let compiled = Strategy::new(template, execution).map_err(RunError::Rules)?;
        let mut columns = Columns::new(Arc::clone(&bars), COLUMNS_BYTES);
        let replay = compiled.replay(&mut columns, values)?;
        let parameters = template.params().iter().zip(values);
        let params = parameters.map(|((name, parameter), value)| (name.clone(), *value, parameter.whole)).collect();
        Ok(Self { bars, replay, symbol, strategy: strategy.to_owned(), params })
    }

    /// The run as JSON shows it.
    pub(crate) fn document(&self) -> Document<'_> {
        let bars = &self.bars;
        let trades = self.replay.trades.iter().map(|trade| TradeDocument {
            entry_date: bars.date_label(trade.entry_bar),
            entry_bar: trade.entry_bar,
            entry_price: trade.entry_price,
            exit_date: bars.date_label(trade.exit_bar),
            exit_bar: trade.exit_bar,
            exit_price: trade.exit_price,
            size: trade.size,
            entry_fee: trade.entry_fee,
            exit_fee: trade.exit_fee,
            pnl: trade.pnl,
            return_: trade.return_,
            bars_held: trade.exit_bar - trade.entry_bar,
            open: trade.open,
        });
        Document {
            symbol: &self.symbol,
            strategy: &self.strategy,
            params: self.params.iter().map(|(name, value, whole)| (name.as_str(), number(*value, *whole))).collect(),
            metrics: metric_values(&self.replay.metrics),
            trades: trades.collect(),
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
    trades: Vec<TradeDocument>,
    bars: usize,
    first_date: String,
    last_date: String,
    data_digest: String,
    engine_version: &'static str,
}

/// A trade as JSON.
#[derive(Debug, Serialize)]
struct TradeDocument {
    entry_date: String,
    entry_bar: usize,
    entry_price: f64,
    exit_date: String,
    exit_bar: usize,
    exit_price: f64,
    size: f64,
    entry_fee: f64,
    exit_fee: f64,
    pnl: f64,
    #[serde(rename = "return")]
    return_: f64,
    bars_held: usize,
    open: bool,
}
