//! One run as the results' table has it, whether it comes from a result event or from the table itself.

use indexmap::IndexMap;
use jetsweep_engine::metrics::{Kind, Metric};
use jetsweep_shared::events::{Outcome, ShardResult};
use jetsweep_shared::ids::BatchId;
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use crate::names;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It has metrics.
    Succeeded,
    /// It has metrics, and lost everything.
    Ruined,
    /// It failed by itself, or its job was given up on (`dead`).
    Failed { status: &'static str, code: String, message: String },
}

impl End {
    fn has_metrics(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Ruined)
    }

    /// The word for it in the table.
    pub(crate) fn status(&self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Ruined => "ruined",
            Self::Failed { status, .. } => status,
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RunRow {
    pub(crate) batch_id: BatchId,
    pub(crate) run: u64,
    pub(crate) generation: u32,
    pub(crate) symbol: String,
    pub(crate) strategy: String,
    pub(crate) params: IndexMap<String, f64>,
    pub(crate) end: End,
    /// Those that are defined.
    pub(crate) metrics: Vec<(Metric, f64)>,
    pub(crate) block_returns: Option<Vec<f64>>,
    pub(crate) block_squares: Option<Vec<f64>>,
    pub(crate) runtime_us: Option<f64>,
    pub(crate) worker: String,
    pub(crate) data_digest: Option<String>,
    pub(crate) engine_version: String,
    pub(crate) spec_digest: String,
    /// When its shard was done, to the microsecond.
    pub(crate) timestamp: Timestamp,
}

/// A row that is not of the results' table.
#[derive(Debug, thiserror::Error)]
#[error("the row of a run has no {0} that can be used")]
pub(crate) struct NoRow(&'static str);

impl RunRow {
    /// The runs of a result, in order. Parameters of a dead shard are unknown.
    pub(crate) fn of_result(result: &ShardResult) -> Vec<Self> {
        (0..result.runs.count as usize).map(|index| Self::of_result_at(result, index)).collect()
    }

    fn of_result_at(result: &ShardResult, index: usize) -> Self {
        let run = result.runs.start + index as u64;
        let end = match &result.outcome {
            Outcome::Dead { code, message } => {
                End::Failed { status: "dead", code: code.clone(), message: message.clone() }
            }
            Outcome::Computed => match result.failed.iter().find(|failed| failed.runs.numbers().contains(&run)) {
                Some(failed) => {
                    End::Failed { status: "failed", code: failed.code.clone(), message: failed.message.clone() }
                }
                None if result.is_ruined(index) => End::Ruined,
                None => End::Succeeded,
            },
        };
        let has_metrics = end.has_metrics();
        let value = |metric: &Metric| {
            let value = result.metrics.get(metric.name())?.get(index).copied().flatten()?;
            (has_metrics && value.is_finite()).then_some((*metric, value))
        };
        let blocks = |rows: &[[f64; 16]]| rows.get(index).filter(|_| has_metrics).map(|blocks| blocks.to_vec());
        Self {
            batch_id: result.batch_id.clone(),
            run,
            generation: result.generation,
            symbol: result.symbol.to_string(),
            strategy: result.strategy.clone(),
            params: result.params.iter().filter_map(|(name, of)| Some((name.clone(), *of.get(index)?))).collect(),
            end,
            metrics: Metric::ALL.iter().filter_map(value).collect(),
            block_returns: blocks(&result.block_returns),
            block_squares: blocks(&result.block_squares),
            runtime_us: result.runtime_us.get(index).copied(),
            worker: result.worker.clone(),
            data_digest: result.data_digest.clone(),
            engine_version: result.engine_version.clone(),
            spec_digest: result.spec_digest.clone(),
            timestamp: to_microseconds(result.finished_at),
        }
    }

    /// A row of `backtest_results` as the query endpoint gives it.
    pub(crate) fn of_table(row: &Map<String, Value>) -> Result<Self, NoRow> {
        let text = |name: &'static str| row.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(NoRow(name));
        let optional = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let numbers = |name: &str| row.get(name)?.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        let failed = |status| End::Failed {
            status,
            code: optional("error_code").unwrap_or_default(),
            message: optional("error_message").unwrap_or_default(),
        };
        let end = match text("status")?.as_str() {
            "succeeded" => End::Succeeded,
            "ruined" => End::Ruined,
            "dead" => failed("dead"),
            _ => failed("failed"),
        };
        let params = row.get("params").and_then(Value::as_object);
        let params = params.into_iter().flatten().filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)));
        let metrics = Metric::ALL.iter().filter_map(|metric| Some((*metric, row.get(metric.name())?.as_f64()?)));
        Ok(Self {
            batch_id: text("batch_id")?.parse().map_err(|_| NoRow("batch_id"))?,
            run: row.get("run").and_then(Value::as_u64).ok_or(NoRow("run"))?,
            generation: row.get("generation").and_then(Value::as_u64).unwrap_or(0) as u32,
            symbol: text("symbol")?,
            strategy: text("strategy")?,
            params: params.collect(),
            end,
            metrics: metrics.collect(),
            block_returns: numbers("block_returns"),
            block_squares: numbers("block_squares"),
            runtime_us: row.get("runtime_us").and_then(Value::as_f64),
            worker: text("worker")?,
            data_digest: optional("data_digest"),
            engine_version: text("engine_version")?,
            spec_digest: text("spec_digest")?,
            timestamp: text("timestamp")?.parse().map_err(|_| NoRow("timestamp"))?,
        })
    }

    /// Whether it has metrics.
    pub(crate) fn has_metrics(&self) -> bool {
        self.end.has_metrics()
    }

    /// When its shard was done, in milliseconds since 1970.
    pub(crate) fn end_ms(&self) -> i64 {
        self.timestamp.as_millisecond()
    }

    /// When it was started, as far as the clock of MLflow goes.
    pub(crate) fn start_ms(&self) -> i64 {
        self.end_ms() - (self.runtime_us.unwrap_or(0.0) / 1000.0) as i64
    }

    /// Names of the metrics that are undefined.
    pub(crate) fn undefined(&self) -> Vec<&'static str> {
        let is_defined = |metric: &&Metric| self.metrics.iter().any(|(defined, _)| defined == *metric);
        Metric::ALL.iter().filter(|metric| !is_defined(metric)).map(|metric| metric.name()).collect()
    }

    /// The value of a metric.
    pub(crate) fn get(&self, metric: Metric) -> Option<f64> {
        self.metrics.iter().find(|(of, _)| *of == metric).map(|(_, value)| *value)
    }

    /// The row as JSON, with the columns of `backtest_results`.
    pub(crate) fn to_json(&self) -> Value {
        let mut row = Map::new();
        let mut put = |name: &str, value: Value| row.insert(name.to_owned(), value);
        let (code, message) = match &self.end {
            End::Succeeded | End::Ruined => (None, None),
            End::Failed { code, message, .. } => (Some(code.as_str()), Some(message.as_str())),
        };
        let params = self.params.iter().map(|(name, value)| (name.clone(), json_number(&names::number(*value))));
        put("batch_id", self.batch_id.as_str().into());
        put("run", self.run.into());
        put("generation", self.generation.into());
        put("symbol", self.symbol.as_str().into());
        put("strategy", self.strategy.as_str().into());
        put("params", Value::Object(params.collect()));
        put("status", self.end.status().into());
        put("error_code", code.into());
        put("error_message", message.into());
        for metric in Metric::ALL {
            let value = match (self.get(*metric), metric.kind()) {
                (None, _) => Value::Null,
                (Some(value), Kind::Count) => Value::from(value as i64),
                (Some(value), _) => value.into(),
            };
            put(metric.name(), value);
        }
        put("block_returns", self.block_returns.clone().into());
        put("block_squares", self.block_squares.clone().into());
        put("runtime_us", self.runtime_us.into());
        put("worker", self.worker.as_str().into());
        put("data_digest", self.data_digest.as_deref().into());
        put("engine_version", self.engine_version.as_str().into());
        put("spec_digest", self.spec_digest.as_str().into());
        put("timestamp", self.timestamp.to_string().into());
        Value::Object(row)
    }
}

fn json_number(text: &str) -> Value {
    text.parse::<Number>().map_or(Value::Null, Value::Number)
}

/// The table keeps times to the microsecond.
fn to_microseconds(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use jetsweep_shared::events::{RunsFailed, VERSION};
    use jetsweep_shared::plan::RunRange;

    use super::*;

    fn result() -> ShardResult {
        ShardResult {
            version: VERSION,
            batch_id: "b".parse().unwrap(),
            generation: 0,
            shard: 1,
            symbol: "BRK.B".parse().unwrap(),
            strategy: "sma_cross".to_owned(),
            runs: RunRange { start: 4, count: 3 },
            outcome: Outcome::Computed,
            params: IndexMap::from([("fast".to_owned(), vec![5.0, 10.0, 2.5])]),
            metrics: IndexMap::from([
                ("sharpe".to_owned(), vec![Some(0.1 + 0.2), None, None]),
                ("trade_count".to_owned(), vec![Some(105.0), None, Some(0.0)]),
            ]),
            block_returns: vec![[0.015625; 16]; 3],
            block_squares: vec![[0.000244140625; 16]; 3],
            runtime_us: vec![12_500.0, 0.0, 1.0],
            failed: vec![RunsFailed {
                runs: RunRange { start: 5, count: 1 },
                code: "panic".to_owned(),
                message: "index out of bounds".to_owned(),
            }],
            data_digest: Some("00ff".to_owned()),
            spec_digest: "ab12".to_owned(),
            engine_version: "0.1.0".to_owned(),
            worker: "host-1".to_owned(),
            finished_at: "2024-01-31T09:30:00.123456789Z".parse().unwrap(),
            timing: Default::default(),
            benchmark: None,
            windows: None,
        }
    }

    #[test]
    fn rows_of_a_result_are_rows_of_the_table() {
        let rows = RunRow::of_result(&result());
        assert_eq!(rows.len(), 3);
        for row in &rows {
            let Value::Object(json) = row.to_json() else { panic!("a row is an object") };
            assert_eq!(&RunRow::of_table(&json).unwrap(), row);
        }
        assert_eq!((rows[0].run, rows[0].start_ms(), rows[0].end_ms()), (4, 1_706_693_400_111, 1_706_693_400_123));
        assert!(matches!(&rows[1].end, End::Failed { status: "failed", code, .. } if code == "panic"));
        assert_eq!((rows[1].metrics.len(), rows[1].block_returns.is_none()), (0, true));
        assert_eq!(rows[2].get(Metric::TradeCount), Some(0.0));
        assert!(rows[2].undefined().contains(&"sharpe") && !rows[2].undefined().contains(&"trade_count"));

        let dead = Outcome::Dead { code: "child_died".to_owned(), message: "killed".to_owned() };
        let rows = RunRow::of_result(&ShardResult { outcome: dead, params: IndexMap::new(), ..result() });
        assert!(rows.iter().all(|row| matches!(row.end, End::Failed { status: "dead", .. }) && row.params.is_empty()));
    }
}
