//! Everything about a whole batch: metrics, tables, charts and note of its batch run.

use std::sync::Arc;

use bytes::Bytes;
use jetsweep_charts::{Colours, Heatmap};
use jetsweep_engine::metrics::Metric as RunMetric;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::batch::{BatchLog, LogError};
use crate::client::{Content, Metric, Param, Tag};
use crate::correlation::{self, DailyReturns};
use crate::names::{self, tag};
use crate::notes::{BatchNote, Best};
use crate::row::RunRow;
use crate::source::{Row, Source};
use crate::table;

/// Runs of the leaderboard's file.
const LEADERBOARD: u32 = 100;
/// Runs of the leaderboard in the note.
const LEADERBOARD_OF_NOTE: usize = 10;
/// Heatmaps in the note.
const HEATMAPS_OF_NOTE: usize = 4;
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

/// What the batch run gets.
pub(crate) struct Ending<'a, S> {
    log: &'a BatchLog,
    source: &'a S,
    totals: &'a Row,
    rank_by: RunMetric,
}

impl<'a, S: Source> Ending<'a, S> {
    /// `totals` is the row of the batch.
    pub(crate) fn new(log: &'a BatchLog, source: &'a S, totals: &'a Row, rank_by: RunMetric) -> Self {
        Self { log, source, totals, rank_by }
    }

    /// When the batch ended, if it has.
    pub(crate) fn completed_at(&self) -> Option<Timestamp> {
        self.totals.get("completed_at")?.as_str()?.parse().ok()
    }

    /// Writes all of it, and ends the batch run if the batch has ended.
    pub(crate) async fn write(&self) -> Result<(), LogError> {
        let batch = &self.log.begin.batch_id;
        let best = self.source.rows(&table::best_sql(batch, self.rank_by, LEADERBOARD)).await?;
        let best: Vec<RunRow> = best.iter().filter_map(|row| RunRow::of_table(row).ok()).collect();
        let statistics = self.source.rows(&table::statistics_sql(batch)).await?.into_iter().next().unwrap_or_default();
        let failures = self.source.rows(&table::failures_sql(batch)).await?;

        self.put_json("spec.json", &json!(self.log.begin.spec)).await?;
        self.put_json("summary.json", &self.summary(&statistics, &failures)).await?;
        self.put("leaderboard.csv", self.leaderboard(&best)).await?;
        self.parquet().await?;
        let heatmaps = self.heatmaps().await?;
        self.correlation(&best).await?;

        let mlflow = &self.log.context().mlflow;
        let run_id = &self.log.batch_run.run_id;
        let mut tags = self.tags();
        tags.push(Tag::new(tag::NOTE, self.note(&best, &failures, &heatmaps)));
        mlflow.log_batch(run_id, &self.metrics(&best, &statistics), &self.params(), &tags).await?;
        let Some(ended) = self.completed_at() else { return Ok(()) };
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
        let at = self.completed_at().unwrap_or(self.log.begin.created_at).as_millisecond();
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

    fn tags(&self) -> Vec<Tag> {
        let config = &self.log.context().config;
        let spec = &self.log.begin.spec;
        let pattern = names::experiment(&config.experiment, names::asset_class(spec), "%", "%");
        vec![
            Tag::new("state", self.text("state")),
            Tag::new("logged_runs", self.log.counts().logged.to_string()),
            Tag::new("log_policy", &config.log),
            Tag::new("rank_by", self.rank_by.name()),
            Tag::new("experiments_filter", format!("name LIKE '{pattern}'")),
        ]
    }

    fn note(&self, best: &[RunRow], failures: &[Row], heatmaps: &[String]) -> String {
        let counts = ["succeeded", "failed", "dead", "cancelled"].map(|name| (name, self.count(name)));
        let best = best.iter().take(LEADERBOARD_OF_NOTE).map(|row| {
            let page = self.log.logged(row.run).map(|logged| (logged.experiment_id, logged.run_id));
            Best { row, page }
        });
        let images = heatmaps.iter().take(HEATMAPS_OF_NOTE);
        let images: Vec<String> = images.filter_map(|path| self.log.batch_run.image(path)).collect();
        let text = |row: &Row, name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let note = BatchNote {
            batch: &self.log.begin.batch_id,
            sweep: &self.log.begin.spec.name,
            state: self.text("state"),
            counts: &[&counts[..], &[("in MLflow", self.log.counts().logged)]].concat(),
            speed: self.number("wall_seconds").zip(self.throughput()),
            images: &images,
            rank_by: self.rank_by,
            best: &best.collect::<Vec<_>>(),
            failure: failures.first().map(|row| (text(row, "code"), text(row, "first_message"))),
        };
        note.text()
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

    /// Paths of those that are there.
    async fn heatmaps(&self) -> Result<Vec<String>, LogError> {
        let mut paths = Vec::new();
        let batch = &self.log.begin.batch_id;
        let metric = self.rank_by.name();
        let cells = self.source.rows(&table::universe_sql(batch, self.rank_by)).await?;
        let title = format!("Best {metric} by symbol and strategy");
        if let Some(svg) = heatmap(&cells, &title, "over all parameter sets", "strategy", "symbol") {
            let path = "heatmaps/universe.svg".to_owned();
            self.put(&path, svg).await?;
            paths.push(path);
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
                let path = format!("heatmaps/{}.svg", strategy.name);
                self.put(&path, svg).await?;
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// Of the best that are logged.
    async fn correlation(&self, best: &[RunRow]) -> Result<(), LogError> {
        let mut returns = Vec::new();
        for row in best.iter().filter(|row| self.log.has(row.run, row.generation)) {
            let Some(request) = self.log.replay_request(row) else { continue };
            let replay = match self.source.replay(&request).await {
                Ok(replay) => replay,
                Err(error) if error.is_passing => return Err(error.into()),
                // Its bars are gone, or not the same any more: the others still have theirs.
                Err(_) => continue,
            };
            returns.push(DailyReturns::new(format!("#{} {} {}", row.run, row.symbol, row.strategy), &replay));
        }
        if returns.len() < 2 {
            return Ok(());
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
