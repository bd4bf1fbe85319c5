//! The end of a batch: what is still missing of its runs, then the batch run with everything about the whole.
//!
//! All of it can be done any number of times; doing it again completes what an earlier time left out.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jetsweep_charts::{Colours, Heatmap};
use jetsweep_engine::metrics::Metric as RunMetric;
use jetsweep_shared::config::LogRuns;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::batch::{BatchLog, LogError};
use crate::client::{Content, Metric, Param, Tag};
use crate::correlation::{self, DailyReturns};
use crate::names::{self, tag};
use crate::row::RunRow;
use crate::source::{Row, Source};
use crate::table;

/// Runs of the leaderboard's file.
const LEADERBOARD: u32 = 100;
/// Runs of the leaderboard in the note.
const LEADERBOARD_OF_NOTE: usize = 10;
/// Rows asked for at a time.
const ROWS_AT_ONCE: usize = 500;
/// Most values of an axis of a heatmap.
const MOST_VALUES: u64 = 100;
/// Metrics whose statistics the batch run has as metrics; a file has those of all.
const SUMMED_UP: [RunMetric; 10] = [
    RunMetric::Sharpe,
    RunMetric::SortinoRatio,
    RunMetric::TotalReturn,
    RunMetric::Cagr,
    RunMetric::MaxDrawdown,
    RunMetric::Volatility,
    RunMetric::Calmar,
    RunMetric::WinRate,
    RunMetric::ProfitFactor,
    RunMetric::TradeCount,
];
/// Statistics that they have.
const STATISTICS: [&str; 5] = ["q05", "q25", "median", "q75", "q95"];

/// What was refused for good while a batch was completed: run and words.
pub(crate) type Refusals = Vec<(u64, String)>;

/// Told after each run that is looked at.
pub(crate) type Progress<'a> = dyn Fn() + Send + Sync + 'a;

/// Completes a batch that has ended. Returns when it ended, and what MLflow refused.
pub(crate) async fn finish<S: Source>(
    log: &BatchLog,
    source: &S,
    on_progress: &Progress<'_>,
) -> Result<(Option<Timestamp>, Refusals), LogError> {
    let batch = &log.begin.batch_id;
    let Some(totals) = source.rows(&table::batch_sql(batch)).await?.into_iter().next() else {
        return Err(LogError::NotNow(format!("the database does not have {batch} yet")));
    };
    log.look_again().await?;
    let refusals = log_missing(log, source, on_progress).await?;
    Ending { log, source, totals: &totals, rank_by: rank_by(log) }.write().await?;
    Ok((time(&totals, "completed_at"), refusals))
}

fn rank_by(log: &BatchLog) -> RunMetric {
    // Checked when the configuration was loaded.
    RunMetric::from_name(&log.context().config.rank_by).unwrap_or(RunMetric::Sharpe)
}

fn time(row: &Row, name: &str) -> Option<Timestamp> {
    row.get(name)?.as_str()?.parse().ok()
}

/// Logs the runs that are wanted and not there.
async fn log_missing<S: Source>(log: &BatchLog, source: &S, on_progress: &Progress<'_>) -> Result<Refusals, LogError> {
    let batch = &log.begin.batch_id;
    match log.context().config.log_runs().of_batch(log.begin.total_runs) {
        LogRuns::None => Ok(Vec::new()),
        LogRuns::Top(count) => {
            let mut rows = source.rows(&table::best_sql(batch, rank_by(log), count)).await?;
            rows.extend(source.rows(&table::failed_samples_sql(batch)).await?);
            log_rows(log, source, rows, on_progress).await
        }
        LogRuns::All | LogRuns::Auto => {
            let mut missing = Vec::new();
            for row in source.rows(&table::runs_sql(batch)).await? {
                let number = |name: &str| row.get(name).and_then(Value::as_u64);
                let (Some(run), Some(generation)) = (number("run"), number("generation")) else { continue };
                if !log.has(run, generation as u32) {
                    missing.push(run);
                }
            }
            let mut refusals = Vec::new();
            for runs in missing.chunks(ROWS_AT_ONCE) {
                let rows = source.rows(&table::rows_sql(batch, runs)).await?;
                refusals.extend(log_rows(log, source, rows, on_progress).await?);
            }
            Ok(refusals)
        }
    }
}

async fn log_rows<S: Source>(
    log: &BatchLog,
    source: &S,
    rows: Vec<Row>,
    on_progress: &Progress<'_>,
) -> Result<Refusals, LogError> {
    let log_one = |row: Row| async move {
        let row = RunRow::of_table(&row).map_err(|error| LogError::NotNow(error.to_string()))?;
        let refusal = match log.log_run(source, &row).await {
            Ok(()) => None,
            Err(LogError::Refused(words)) => Some((row.run, words)),
            Err(error) => return Err(error),
        };
        on_progress();
        Ok(refusal)
    };
    let logging = rows.into_iter().map(log_one);
    let concurrency = log.context().config.concurrency;
    let logged: Vec<Option<(u64, String)>> = stream::iter(logging).buffer_unordered(concurrency).try_collect().await?;
    Ok(logged.into_iter().flatten().collect())
}

/// What the batch run gets.
struct Ending<'a, S> {
    log: &'a BatchLog,
    source: &'a S,
    totals: &'a Row,
    rank_by: RunMetric,
}

impl<S: Source> Ending<'_, S> {
    async fn write(&self) -> Result<(), LogError> {
        let batch = &self.log.begin.batch_id;
        let best = self.source.rows(&table::best_sql(batch, self.rank_by, LEADERBOARD)).await?;
        let best: Vec<RunRow> = best.iter().filter_map(|row| RunRow::of_table(row).ok()).collect();
        let statistics = self.source.rows(&table::statistics_sql(batch)).await?.into_iter().next().unwrap_or_default();
        let failures = self.source.rows(&table::failures_sql(batch)).await?;

        self.put_json("spec.json", &json!(self.log.begin.spec)).await?;
        self.put_json("summary.json", &self.summary(&statistics, &failures)).await?;
        self.put("leaderboard.csv", self.leaderboard(&best)).await?;
        self.parquet().await?;
        self.heatmaps().await?;
        self.correlation().await?;

        let mlflow = &self.log.context().mlflow;
        let run_id = &self.log.batch_run.run_id;
        let tags = self.tags(&best, &failures);
        mlflow.log_batch(run_id, &self.metrics(&best, &statistics), &self.params(), &tags).await?;
        let ended = time(self.totals, "completed_at").unwrap_or(self.log.begin.created_at);
        let status = if self.text("state") == "cancelled" { "KILLED" } else { "FINISHED" };
        Ok(mlflow.end_run(run_id, status, ended.as_millisecond()).await?)
    }

    async fn put(&self, path: &str, bytes: impl Into<Bytes>) -> Result<(), LogError> {
        self.log.put(path, Content::Bytes(bytes.into())).await
    }

    async fn put_json(&self, path: &str, value: &Value) -> Result<(), LogError> {
        self.put(path, serde_json::to_vec_pretty(value).unwrap_or_default()).await
    }

    fn count(&self, name: &str) -> u64 {
        self.totals.get(name).and_then(Value::as_u64).unwrap_or(0)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.totals.get(name).and_then(Value::as_f64)
    }

    fn text(&self, name: &str) -> &str {
        self.totals.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    /// Share of the runs that were computed, or failed trying, which succeeded.
    fn success_rate(&self) -> Option<f64> {
        let tried = self.count("succeeded") + self.count("failed") + self.count("dead");
        (tried > 0).then(|| self.count("succeeded") as f64 / tried as f64)
    }

    fn throughput(&self) -> Option<f64> {
        let seconds = self.number("wall_seconds").filter(|seconds| *seconds > 0.0)?;
        Some((self.count("total_runs") - self.count("cancelled")) as f64 / seconds)
    }

    fn metrics(&self, best: &[RunRow], statistics: &Row) -> Vec<Metric> {
        let at = time(self.totals, "completed_at").unwrap_or(self.log.begin.created_at).as_millisecond();
        let mut metrics = Vec::new();
        let mut put =
            |key: String, value: Option<f64>| metrics.extend(value.and_then(|value| Metric::new(key, value, at)));
        for name in ["total_runs", "succeeded", "failed", "dead", "cancelled"] {
            put(format!("runs/{name}"), Some(self.count(name) as f64));
        }
        put("runs/success_rate".to_owned(), self.success_rate());
        put("runtime/wall_seconds".to_owned(), self.number("wall_seconds"));
        put("runtime/run_seconds".to_owned(), self.number("run_seconds"));
        put("runtime/runs_per_second".to_owned(), self.throughput());
        put("runtime/workers".to_owned(), self.number("workers"));
        for metric in SUMMED_UP {
            put(format!("best/{}", metric.name()), best.first().and_then(|row| row.get(metric)));
            for (statistic, value) in table::statistics(statistics, metric) {
                if STATISTICS.contains(&statistic) {
                    put(format!("{statistic}/{}", metric.name()), Some(value));
                }
            }
        }
        metrics
    }

    fn params(&self) -> Vec<Param> {
        let spec = &self.log.begin.spec;
        let strategies: Vec<&str> = spec.strategies.iter().map(|strategy| strategy.name.as_str()).collect();
        let mut params = vec![
            Param::new("sweep", &spec.name),
            Param::new("asset_class", names::asset_class(spec)),
            Param::new("symbols", spec.symbols.len().to_string()),
            Param::new("strategies", strategies.join(", ")),
            Param::new("total_runs", self.log.begin.total_runs.to_string()),
            Param::new("source", &spec.data.source),
        ];
        params.extend(spec.data.from.map(|from| Param::new("from", from.to_string())));
        params.extend(spec.data.to.map(|to| Param::new("to", to.to_string())));
        if let Ok(Value::Object(rules)) = serde_json::to_value(&spec.execution) {
            for (name, value) in rules.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_f64().map_or_else(|| value.to_string().replace('"', ""), names::number);
                params.push(Param::new(format!("execution/{name}"), value));
            }
        }
        params
    }

    fn tags(&self, best: &[RunRow], failures: &[Row]) -> Vec<Tag> {
        let config = &self.log.context().config;
        let spec = &self.log.begin.spec;
        let pattern = names::experiment(&config.experiment, names::asset_class(spec), "%", "%");
        vec![
            Tag::new("state", self.text("state")),
            Tag::new("logged_runs", self.log.counts().logged.to_string()),
            Tag::new("log_policy", &config.log),
            Tag::new("rank_by", self.rank_by.name()),
            Tag::new("experiments_filter", format!("name LIKE '{pattern}'")),
            Tag::new(tag::NOTE, self.note(best, failures)),
        ]
    }

    fn note(&self, best: &[RunRow], failures: &[Row]) -> String {
        let (batch, rank_by) = (&self.log.begin.batch_id, self.rank_by.name());
        let total = self.count("total_runs");
        let mut note = format!(
            "Batch `{batch}` of the sweep **{}**: {total} runs, {}.\n\n",
            self.log.begin.spec.name,
            self.text("state")
        );
        note += "| succeeded | failed | dead | cancelled | in MLflow |\n|---|---|---|---|---|\n";
        let [succeeded, failed, dead, cancelled] =
            ["succeeded", "failed", "dead", "cancelled"].map(|name| self.count(name));
        note += &format!("| {succeeded} | {failed} | {dead} | {cancelled} | {} |\n", self.log.counts().logged);
        if let (Some(seconds), Some(throughput)) = (self.number("wall_seconds"), self.throughput()) {
            note += &format!("\n{seconds:.1} s, {throughput:.0} runs a second.\n");
        }
        note += &format!("\nThe best by `{rank_by}` (all rows: artifact `results.parquet`):\n\n");
        note += &format!(
            "| run | symbol | strategy | parameters | {rank_by} | total_return | max_drawdown |\n|---|---|---|---|---|---|---|\n"
        );
        for row in best.iter().take(LEADERBOARD_OF_NOTE) {
            let params: Vec<String> =
                row.params.iter().map(|(name, value)| format!("{name}={}", names::number(*value))).collect();
            let shown = |metric| row.get(metric).map_or("-".to_owned(), |value| format!("{value:.4}"));
            let run = match self.log.logged(row.run) {
                Some(logged) => format!("[{}](#/experiments/{}/runs/{})", row.run, logged.experiment_id, logged.run_id),
                None => row.run.to_string(),
            };
            let [ranked, total_return, drawdown] =
                [self.rank_by, RunMetric::TotalReturn, RunMetric::MaxDrawdown].map(shown);
            let (symbol, strategy, params) = (&row.symbol, &row.strategy, params.join(" "));
            note += &format!("| {run} | {symbol} | {strategy} | {params} | {ranked} | {total_return} | {drawdown} |\n");
        }
        if let Some(failure) = failures.first() {
            let text =
                |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default().replace(['|', '`'], " ");
            note += &format!("\nMost failures: `{}`, {}\n", text("code"), text("first_message"));
        }
        if let Some(row) = best.first() {
            note += &format!("\nThe best again, bit for bit:\n\n```\njetsweep replay {batch} {}\n```\n", row.run);
        }
        note
    }

    fn summary(&self, statistics: &Row, failures: &[Row]) -> Value {
        let metrics: Map<String, Value> = RunMetric::ALL
            .iter()
            .map(|metric| {
                let of = table::statistics(statistics, *metric).into_iter();
                let of: Map<String, Value> = of.map(|(name, value)| (name.to_owned(), value.into())).collect();
                (metric.name().to_owned(), Value::Object(of))
            })
            .collect();
        json!({
            "batch_id": self.log.begin.batch_id,
            "totals": self.totals,
            "success_rate": self.success_rate(),
            "runs_per_second": self.throughput(),
            "logged_runs": self.log.counts().logged,
            "metrics": metrics,
            "failures": failures,
        })
    }

    fn leaderboard(&self, best: &[RunRow]) -> Vec<u8> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let columns = ["rank", "run", "symbol", "strategy", "params"].into_iter();
        let columns = columns.chain(RunMetric::ALL.iter().map(|metric| metric.name())).chain(["mlflow_run_id"]);
        // Memory takes everything, and every row is as long as the header.
        csv.write_record(columns).expect("a header is a row");
        for (index, row) in best.iter().enumerate() {
            let params = row.to_json().get("params").map(Value::to_string).unwrap_or_default();
            let start =
                [(index + 1).to_string(), row.run.to_string(), row.symbol.clone(), row.strategy.clone(), params];
            let values = RunMetric::ALL.iter().map(|metric| row.get(*metric).map_or(String::new(), names::number));
            let id = self.log.logged(row.run).map_or(String::new(), |logged| logged.run_id);
            csv.write_record(start.into_iter().chain(values).chain([id])).expect("a run is a row");
        }
        csv.into_inner().expect("memory takes everything")
    }

    async fn parquet(&self) -> Result<(), LogError> {
        let not_now = |error: std::io::Error| LogError::NotNow(error.to_string());
        let folder = tempfile::tempdir().map_err(not_now)?;
        let path = folder.path().join("results.parquet");
        self.source.parquet(self.log.begin.batch_id.as_str(), &path).await?;
        let bytes = tokio::fs::metadata(&path).await.map_err(not_now)?.len();
        self.log.put("results.parquet", Content::File { path, bytes }).await
    }

    async fn heatmaps(&self) -> Result<(), LogError> {
        let batch = &self.log.begin.batch_id;
        let metric = self.rank_by.name();
        let cells = self.source.rows(&table::universe_sql(batch, self.rank_by)).await?;
        let title = format!("Best {metric} by symbol and strategy");
        if let Some(svg) = heatmap(&cells, &title, "over all parameter sets", "strategy", "symbol") {
            self.put("heatmaps/universe.svg", svg).await?;
        }
        for strategy in &self.log.begin.spec.strategies {
            let params = strategy.template.params();
            if params.is_empty() {
                continue;
            }
            let counts = self.source.rows(&table::values_sql(batch, &strategy.name, params.keys())).await?;
            let counts = counts.into_iter().next().unwrap_or_default();
            let count = |name: &String| counts.get(name).and_then(Value::as_u64).unwrap_or(0);
            let mut varying: Vec<&String> =
                params.keys().filter(|name| (2..=MOST_VALUES).contains(&count(name))).collect();
            // The two with the most values; of equals the first of the template.
            varying.sort_by_key(|name| std::cmp::Reverse(count(name)));
            let [x, y, ..] = varying[..] else { continue };
            let cells = self.source.rows(&table::heatmap_sql(batch, &strategy.name, x, y, self.rank_by)).await?;
            let title = format!("{}: median {metric}", strategy.name);
            if let Some(svg) = heatmap(&cells, &title, "over all symbols and other parameters", x, y) {
                self.put(&format!("heatmaps/{}.svg", strategy.name), svg).await?;
            }
        }
        Ok(())
    }

    async fn correlation(&self) -> Result<(), LogError> {
        let runs = self.log.succeeded();
        if runs.len() < 2 {
            return Ok(());
        }
        let batch = &self.log.begin.batch_id;
        let sql = table::best_of_sql(batch, self.rank_by, &runs, correlation::MOST_RUNS);
        let mut returns = Vec::new();
        for row in self.source.rows(&sql).await? {
            let Some(row) = RunRow::of_table(&row).ok() else { continue };
            let Some(request) = self.log.replay_request(&row) else { continue };
            let replay = match self.source.replay(&request).await {
                Ok(replay) => replay,
                Err(error) if error.is_passing => return Err(error.into()),
                // Its bars are gone, or not the same any more: the others still have theirs.
                Err(_) => continue,
            };
            returns.push(DailyReturns::new(format!("#{} {} {}", row.run, row.symbol, row.strategy), &replay));
        }
        let returns = Arc::new(returns);
        let computing = tokio::task::spawn_blocking({
            let returns = Arc::clone(&returns);
            move || {
                let values = correlation::matrix(&returns);
                (correlation::csv(&returns, &values), correlation::chart(&returns, &values))
            }
        });
        let (csv, chart) = computing.await.map_err(|error| LogError::NotNow(error.to_string()))?;
        if returns.len() < 2 {
            return Ok(());
        }
        self.put("correlation.csv", csv).await?;
        self.put("correlation.svg", chart).await
    }
}

/// A chart of cells `x`, `y`, `value`; `None` if there are none, or too many.
fn heatmap(cells: &[Row], title: &str, subtitle: &str, x_name: &str, y_name: &str) -> Option<String> {
    let label = |row: &Row, name: &str| match row.get(name)? {
        Value::String(text) => Some(text.clone()),
        value => value.as_f64().map(names::number),
    };
    let labels = |name: &str| {
        let mut labels: Vec<String> = Vec::new();
        for label in cells.iter().filter_map(|row| label(row, name)) {
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels.sort_by(|a, b| match (a.parse::<f64>(), b.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.total_cmp(&b),
            _ => a.cmp(b),
        });
        labels
    };
    let (x, y) = (labels("x"), labels("y"));
    if cells.is_empty() || x.len() as u64 > MOST_VALUES || y.len() as u64 > MOST_VALUES {
        return None;
    }
    let mut values = vec![None; x.len() * y.len()];
    for row in cells {
        let place = |labels: &[String], name: &str| {
            let wanted = label(row, name)?;
            labels.iter().position(|label| *label == wanted)
        };
        let (Some(column), Some(line)) = (place(&x, "x"), place(&y, "y")) else { continue };
        values[line * x.len() + column] = row.get("value").and_then(Value::as_f64);
    }
    Some(Heatmap { title, subtitle, x_name, y_name, x: &x, y: &y, values: &values, colours: Colours::Sequential }.svg())
}
