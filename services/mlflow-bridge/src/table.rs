//! Statements over a complete batch, and what is read from their rows.

use std::ops::Range;

use jetsweep_engine::metrics::Metric;
use jetsweep_shared::ids::BatchId;
use serde_json::Value;

use crate::source::Row;

/// Runs that failed, of a batch whose runs are not all logged.
pub(crate) const FAILED_SAMPLES: u32 = 50;

/// Statistics of a metric: name in the answer, and how it is computed from the metric's column.
const STATISTICS: [(&str, &str); 9] = [
    ("count", "count({})"),
    ("mean", "avg({})"),
    ("min", "min({})"),
    ("q05", "quantile_cont({}, 0.05)"),
    ("q25", "quantile_cont({}, 0.25)"),
    ("median", "quantile_cont({}, 0.5)"),
    ("q75", "quantile_cont({}, 0.75)"),
    ("q95", "quantile_cont({}, 0.95)"),
    ("max", "max({})"),
];

/// A batch id has letters, digits, '-' and '_' only, so it needs no escaping.
fn of_batch(batch: &BatchId) -> String {
    format!("batch_id = '{batch}'")
}

/// A text within a statement.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The one row of a batch.
pub(crate) fn batch_sql(batch: &BatchId) -> String {
    let of = of_batch(batch);
    format!(
        "SELECT state, total_runs, succeeded, failed, dead, cancelled, created_at, completed_at,
             epoch(completed_at - created_at) AS wall_seconds,
             (SELECT sum(runtime_us) / 1e6 FROM backtest_results WHERE {of}) AS run_seconds,
             (SELECT count(DISTINCT worker) FROM backtest_results WHERE {of}) AS workers
         FROM batches WHERE {of}"
    )
}

/// Number and generation of every one of these runs that has a row.
pub(crate) fn runs_sql(batch: &BatchId, runs: Range<u64>) -> String {
    let (of, Range { start, end }) = (of_batch(batch), runs);
    format!("SELECT run, generation FROM backtest_results WHERE {of} AND run >= {start} AND run < {end} ORDER BY run")
}

/// The rows of these runs.
pub(crate) fn rows_sql(batch: &BatchId, runs: &[u64]) -> String {
    let runs = runs.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    format!("SELECT * FROM backtest_results WHERE {} AND run IN ({runs}) ORDER BY run", of_batch(batch))
}

/// The best runs by a metric, the best first.
pub(crate) fn best_sql(batch: &BatchId, rank_by: Metric, count: u32) -> String {
    let (of, metric) = (of_batch(batch), rank_by.name());
    format!(
        "SELECT * FROM backtest_results WHERE {of} AND error_code IS NULL AND {metric} IS NOT NULL
         ORDER BY {metric} DESC, run LIMIT {count}"
    )
}

/// A few runs that failed, of every reason as evenly as there are.
pub(crate) fn failed_samples_sql(batch: &BatchId) -> String {
    format!(
        "SELECT * EXCLUDE (nth) FROM (
             SELECT *, row_number() OVER (PARTITION BY error_code ORDER BY run) AS nth
             FROM backtest_results WHERE {} AND error_code IS NOT NULL)
         ORDER BY nth, error_code, run LIMIT {FAILED_SAMPLES}",
        of_batch(batch)
    )
}

/// Why runs failed, and how many.
pub(crate) fn failures_sql(batch: &BatchId) -> String {
    format!(
        "SELECT status, error_code AS code, count(*) AS runs, count(DISTINCT symbol) AS symbols,
             min(run) AS first_run, arg_min(error_message, run) AS first_message
         FROM backtest_results WHERE {} AND error_code IS NOT NULL
         GROUP BY status, error_code ORDER BY runs DESC, status, code LIMIT 100",
        of_batch(batch)
    )
}

/// Statistics of every metric, in one row; see [`statistics`].
pub(crate) fn statistics_sql(batch: &BatchId) -> String {
    let columns = Metric::ALL.iter().flat_map(|metric| {
        let name = metric.name();
        STATISTICS.map(|(statistic, sql)| format!("{} AS {name}__{statistic}", sql.replace("{}", name)))
    });
    let columns = columns.collect::<Vec<_>>().join(", ");
    format!("SELECT {columns} FROM backtest_results WHERE {} AND error_code IS NULL", of_batch(batch))
}

/// The statistics of a metric, by name, from the row of [`statistics_sql`].
pub(crate) fn statistics(row: &Row, metric: Metric) -> Vec<(&'static str, f64)> {
    let value = |statistic: &str| row.get(&format!("{}__{statistic}", metric.name())).and_then(Value::as_f64);
    STATISTICS.iter().filter_map(|(statistic, _)| Some((*statistic, value(statistic)?))).collect()
}

/// How many values each parameter of a strategy has, in one row by name.
pub(crate) fn values_sql<'a>(batch: &BatchId, strategy: &str, params: impl Iterator<Item = &'a String>) -> String {
    let counts = params.map(|name| format!("count(DISTINCT {}) AS \"{name}\"", param(name)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    format!("SELECT {counts} FROM backtest_results WHERE {} AND strategy = {}", of_batch(batch), quoted(strategy))
}

/// The median of a metric over two parameters of a strategy: `x`, `y`, `value`.
pub(crate) fn heatmap_sql(batch: &BatchId, strategy: &str, x: &str, y: &str, metric: Metric) -> String {
    let (of, strategy, x, y, metric) = (of_batch(batch), quoted(strategy), param(x), param(y), metric.name());
    format!(
        "SELECT {x} AS x, {y} AS y, median({metric}) AS value
         FROM backtest_results WHERE {of} AND strategy = {strategy} AND error_code IS NULL GROUP BY ALL ORDER BY ALL"
    )
}

/// The best of a metric by symbol and strategy: `x`, `y`, `value`.
pub(crate) fn universe_sql(batch: &BatchId, metric: Metric) -> String {
    let (of, metric) = (of_batch(batch), metric.name());
    format!(
        "SELECT strategy AS x, symbol AS y, max({metric}) AS value
         FROM backtest_results WHERE {of} AND error_code IS NULL GROUP BY ALL ORDER BY ALL"
    )
}

/// A parameter of a row. Parameter names are identifiers: letters, digits and '_'.
fn param(name: &str) -> String {
    format!("CAST(json_extract(params, '$.{name}') AS DOUBLE)")
}
