//! A batch in short: counts, failures by reason, medians by strategy, the best runs.
//!
//! The summary is the one row of one SQL statement, so that it is the same whether the file is read here or a
//! consolidator is asked for it.

use jetsweep_shared::events::BatchState;
use jetsweep_shared::ids::BatchId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Runs in [`BatchSummary::best`].
const BEST: usize = 10;

/// A batch in short: what the row of [`summary_sql`] says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BatchSummary {
    /// The batch.
    pub batch_id: BatchId,
    /// Name of its sweep.
    pub name: String,
    /// How far it is.
    pub state: BatchState,
    /// Its latest generation.
    pub generation: u32,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Runs with metrics.
    pub succeeded: u64,
    /// Runs that failed by themselves.
    pub failed: u64,
    /// Runs whose job was given up on.
    pub dead: u64,
    /// Runs that will not be computed.
    pub cancelled: u64,
    /// When its plan was made.
    pub created_at: Timestamp,
    /// When its last job was stored.
    pub sealed_at: Option<Timestamp>,
    /// When its last run became terminal.
    pub completed_at: Option<Timestamp>,
    /// From its plan to its end, in seconds.
    pub wall_seconds: Option<f64>,
    /// Time all its runs took, added up, in seconds.
    pub run_seconds: Option<f64>,
    /// Workers that computed runs of it.
    pub workers: u64,
    /// Runs without metrics by reason, the most frequent first.
    pub failures: Vec<FailureReason>,
    /// Medians by strategy, by name.
    pub strategies: Vec<StrategyMedians>,
    /// What the best in train did in test, by strategy; empty where the spec has no windows.
    #[serde(default)]
    pub out_of_sample: Vec<OutOfSample>,
    /// The ten best by Sharpe, the best first; runs without a Sharpe are not among them.
    pub best: Vec<BestRun>,
}

/// Runs that have no metrics for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReason {
    /// `failed` or `dead`.
    pub status: String,
    /// Stable word for the reason.
    pub code: String,
    /// How many runs.
    pub runs: u64,
    /// Of how many symbols.
    pub symbols: u64,
    /// The symbol of the first of them.
    pub first_symbol: String,
    /// What the first of them says.
    pub first_message: Option<String>,
}

/// Medians over the runs of one strategy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategyMedians {
    /// The strategy.
    pub strategy: String,
    /// Its runs with metrics.
    pub succeeded: u64,
    /// Median of `sharpe`.
    pub sharpe: Option<f64>,
    /// Median of `total_return`.
    pub total_return: Option<f64>,
    /// Median of `max_drawdown`.
    pub max_drawdown: Option<f64>,
    /// Median of `trade_count`.
    pub trade_count: Option<f64>,
    /// Share of the runs whose `total_return` is above 0.
    pub profitable_share: Option<f64>,
    /// Median of what buying and holding the runs' symbols returns.
    #[serde(default)]
    pub benchmark_return: Option<f64>,
    /// Share of the runs whose `total_return` is above that of buying and holding their symbol.
    #[serde(default)]
    pub beats_benchmark_share: Option<f64>,
}

/// What became, out of sample, of the runs of one strategy that were the best in train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutOfSample {
    /// The strategy.
    pub strategy: String,
    /// Windows, over all symbols.
    pub windows: u64,
    /// Median of the chosen runs' `sharpe` in train.
    pub train_sharpe: Option<f64>,
    /// Median of their `sharpe` in test.
    pub test_sharpe: Option<f64>,
    /// Median of their `total_return` in test.
    pub test_return: Option<f64>,
    /// Median of what buying and holding returned in the same test segments.
    pub benchmark_return: Option<f64>,
    /// Share of the windows whose chosen run did better than that.
    pub beats_benchmark_share: Option<f64>,
}

/// One of the best runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BestRun {
    /// Its number within the batch.
    pub run: u64,
    /// Its symbol.
    pub symbol: String,
    /// Its strategy.
    pub strategy: String,
    /// Its parameters by name.
    pub params: Map<String, Value>,
    /// Its Sharpe ratio.
    pub sharpe: f64,
    /// Its `sortino_ratio`.
    pub sortino_ratio: Option<f64>,
    /// Its `total_return`.
    pub total_return: Option<f64>,
    /// Its `cagr`.
    pub cagr: Option<f64>,
    /// Its `max_drawdown`.
    pub max_drawdown: Option<f64>,
    /// Its `win_rate`.
    pub win_rate: Option<f64>,
    /// Its `profit_factor`.
    pub profit_factor: Option<f64>,
    /// Its `trade_count`.
    pub trade_count: Option<i64>,
    /// What buying and holding its symbol returns.
    #[serde(default)]
    pub benchmark_return: Option<f64>,
}

/// The statement whose one row is a batch's [`BatchSummary`]; no row when there is no such batch.
pub fn summary_sql(batch: &BatchId) -> String {
    // A batch id has letters, digits, '-' and '_' only, so it needs no escaping.
    let of_batch = format!("batch_id = '{batch}'");
    format!(
        "SELECT batch_id, name, state, generation, total_runs, succeeded, failed, dead, cancelled,
             created_at, sealed_at, completed_at, epoch(completed_at - created_at) AS wall_seconds,
             (SELECT sum(runtime_us) / 1e6 FROM backtest_results WHERE {of_batch}) AS run_seconds,
             (SELECT count(DISTINCT worker) FROM backtest_results WHERE {of_batch}) AS workers,
             coalesce((SELECT list({{
                     'status': status, 'code': error_code, 'runs': runs, 'symbols': symbols,
                     'first_symbol': first_symbol, 'first_message': first_message
                 }} ORDER BY runs DESC, status, error_code)
                 FROM failures WHERE {of_batch}), []) AS failures,
             coalesce((SELECT list({{
                     'strategy': strategy, 'succeeded': succeeded, 'sharpe': median_sharpe,
                     'total_return': median_total_return, 'max_drawdown': median_max_drawdown,
                     'trade_count': median_trade_count, 'profitable_share': profitable_share,
                     'benchmark_return': median_benchmark_return, 'beats_benchmark_share': beats_benchmark_share
                 }} ORDER BY strategy)
                 FROM strategy_summary WHERE {of_batch}), []) AS strategies,
             coalesce((SELECT list({{
                     'strategy': strategy, 'windows': windows, 'train_sharpe': median_train_sharpe,
                     'test_sharpe': median_test_sharpe, 'test_return': median_test_return,
                     'benchmark_return': median_benchmark_return, 'beats_benchmark_share': beats_benchmark_share
                 }} ORDER BY strategy)
                 FROM walk_forward_summary WHERE {of_batch}), []) AS out_of_sample,
             -- As JSON, within which the parameters are values and no text.
             coalesce((SELECT to_json(list({{
                     'run': run, 'symbol': symbol, 'strategy': strategy, 'params': params, 'sharpe': sharpe,
                     'sortino_ratio': sortino_ratio, 'total_return': total_return, 'cagr': cagr,
                     'max_drawdown': max_drawdown, 'win_rate': win_rate, 'profit_factor': profit_factor,
                     'trade_count': trade_count, 'benchmark_return': benchmark_return
                 }} ORDER BY sharpe DESC, run))
                 FROM (SELECT * FROM backtest_results WHERE {of_batch} AND sharpe IS NOT NULL
                     ORDER BY sharpe DESC, run LIMIT {BEST})
                 LEFT JOIN (SELECT symbol, total_return AS benchmark_return FROM benchmarks
                     WHERE {of_batch} AND segment = 'full') USING (symbol)), '[]'::JSON) AS best
         FROM batches WHERE {of_batch}"
    )
}
