//! One run computed in full, here or by a worker: what `backtest` and `replay` do and show.

mod place;
mod show;

use std::sync::Arc;

use indexmap::IndexMap;
use jetsweep_engine::backtest::RunFailure;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::metrics::{Kind, Metric};
use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::{self, ReplayInput, ReplayReply, ReplayRequest, TradeRow};
use jetsweep_shared::ids::{BatchId, Symbol};
use jetsweep_shared::plan::Plan;
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_worker::data::DataError;
use jetsweep_worker::replay;
use serde::Serialize;
use serde_json::{Number, Value};

use crate::failure::Failure;

pub(crate) use place::DataPlace;
pub(crate) use show::{Show, metric_text};

/// Who computes what is computed here. No worker has this name.
const HERE: &str = "";

/// A run that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// The bars cannot be had.
    #[error(transparent)]
    Data(#[from] DataError),
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
    /// The failure of whatever needed the run. `doing` completes "failed to "; the hint is for bars that cannot be had.
    pub(crate) fn into_failure(self, doing: &str, hint: &str) -> Failure {
        match self {
            RunError::Data(error) if error.is_retryable() => Failure::broken(doing, error),
            RunError::Data(error) => Failure::bad_input(doing, error).hint(hint),
            other => Failure::bad_input(doing, other),
        }
    }
}

/// Problems in one line.
pub(crate) fn list(problems: impl AsRef<[Problem]>) -> String {
    problems.as_ref().iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What a run of a batch is computed from, and the index of its strategy in the spec.
///
/// # Errors
///
/// When the plan has no such run.
pub(crate) fn planned(spec: &ResolvedSpec, plan: &Plan, run: u64) -> Result<(usize, ReplayInput), RunError> {
    let shard = plan.shard_of(run).ok_or(RunError::NotPlanned { run })?;
    let input = ReplayInput::of(spec, shard, run).ok_or(RunError::NotPlanned { run })?;
    Ok((shard.strategy, input))
}

/// One run in full.
#[derive(Debug)]
pub(crate) struct OneRun {
    /// As a worker tells it.
    pub(crate) reply: ReplayReply,
    /// For each parameter whether it is whole.
    whole: Vec<bool>,
}

impl OneRun {
    /// A run that somebody computed from `input`.
    pub(crate) fn new(reply: ReplayReply, input: &ReplayInput) -> Self {
        Self { reply, whole: input.template.params().values().map(|parameter| parameter.whole).collect() }
    }

    /// Computes a run over bars that are in memory. `digest` is theirs.
    ///
    /// # Errors
    ///
    /// When the engine refuses the rules, or the run fails.
    pub(crate) fn compute(
        bars: &Arc<Bars>,
        digest: &str,
        batch: &BatchId,
        run: u64,
        input: &ReplayInput,
    ) -> Result<Self, RunError> {
        let (version, batch_id) = (events::VERSION, batch.clone());
        let request = ReplayRequest { version, batch_id, run, input: None, data_digest: None };
        Ok(Self::new(replay::reply(&request, input, bars, digest, HERE)?, input))
    }

    /// The worker that computed it; `None` if it was computed here.
    pub(crate) fn worker(&self) -> Option<&str> {
        Some(self.reply.worker.as_str()).filter(|worker| *worker != HERE)
    }

    /// A metric; `None` where it is undefined.
    pub(crate) fn metric(&self, metric: Metric) -> Option<f64> {
        self.reply.metrics.get(metric.name()).copied().flatten()
    }

    /// The run as JSON shows it.
    pub(crate) fn document(&self) -> Document<'_> {
        let ReplayReply { symbol, strategy, params, trades, dates, data_digest, engine_version, .. } = &self.reply;
        let params = params.iter().zip(&self.whole);
        Document {
            symbol,
            strategy,
            params: params.map(|((name, value), whole)| (name.as_str(), number(*value, *whole))).collect(),
            metrics: metric_values(|metric| self.metric(metric)),
            trades,
            bars: dates.len(),
            first_date: dates.first(),
            last_date: dates.last(),
            data_digest,
            engine_version,
        }
    }

    /// The equity at each bar's close, as CSV: `date,equity`.
    pub(crate) fn equity_csv(&self) -> String {
        let rows = self.reply.dates.iter().zip(&self.reply.equity).map(|(date, equity)| format!("{date},{equity}\n"));
        std::iter::once("date,equity\n".to_owned()).chain(rows).collect()
    }
}

/// Every metric by name; counts are whole numbers, and what is undefined is null.
pub(crate) fn metric_values(of: impl Fn(Metric) -> Option<f64>) -> IndexMap<&'static str, Value> {
    let value = |metric: Metric| match of(metric) {
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
    trades: &'a [TradeRow],
    bars: usize,
    first_date: Option<&'a String>,
    last_date: Option<&'a String>,
    data_digest: &'a str,
    engine_version: &'a str,
}
