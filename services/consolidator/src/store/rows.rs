//! Rows of `backtest_results` as columns, filled shard by shard and appended a group at a time.

use std::sync::Arc;

use duckdb::arrow::array::{
    ArrayRef, FixedSizeListBuilder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use duckdb::arrow::datatypes::{Field, Schema};
use duckdb::arrow::error::ArrowError;
use jetsweep_engine::metrics::BLOCKS;
use jetsweep_shared::events::{Outcome, RunsFailed, ShardResult};
use jetsweep_shared::plan::ShardPlan;

use super::batch::{Batch, Counts};
use super::metric_columns::MetricColumns;
use super::text::params_json;
use crate::schema;

/// Rows that wait to be appended.
#[derive(Debug)]
pub(super) struct Rows {
    batch_id: StringBuilder,
    run: Int64Builder,
    generation: Int64Builder,
    symbol: StringBuilder,
    strategy: StringBuilder,
    params: StringBuilder,
    status: StringBuilder,
    error_code: StringBuilder,
    error_message: StringBuilder,
    metrics: MetricColumns,
    block_returns: FixedSizeListBuilder<Float64Builder>,
    block_squares: FixedSizeListBuilder<Float64Builder>,
    runtime_us: Float64Builder,
    worker: StringBuilder,
    data_digest: StringBuilder,
    engine_version: StringBuilder,
    spec_digest: StringBuilder,
    timestamp: TimestampMicrosecondBuilder,
    len: usize,
}

impl Default for Rows {
    fn default() -> Self {
        let blocks = || FixedSizeListBuilder::new(Float64Builder::new(), BLOCKS as i32);
        Self {
            batch_id: StringBuilder::new(),
            run: Int64Builder::new(),
            generation: Int64Builder::new(),
            symbol: StringBuilder::new(),
            strategy: StringBuilder::new(),
            params: StringBuilder::new(),
            status: StringBuilder::new(),
            error_code: StringBuilder::new(),
            error_message: StringBuilder::new(),
            metrics: MetricColumns::default(),
            block_returns: blocks(),
            block_squares: blocks(),
            runtime_us: Float64Builder::new(),
            worker: StringBuilder::new(),
            data_digest: StringBuilder::new(),
            engine_version: StringBuilder::new(),
            spec_digest: StringBuilder::new(),
            timestamp: TimestampMicrosecondBuilder::new(),
            len: 0,
        }
    }
}

/// How one run of a shard ended.
#[derive(Clone, Copy)]
pub(super) enum End<'a> {
    Succeeded,
    /// Succeeded, and lost everything.
    Ruined,
    Failed(&'a RunsFailed),
    Dead {
        code: &'a str,
        message: &'a str,
    },
}

impl End<'_> {
    pub(super) fn has_metrics(self) -> bool {
        matches!(self, Self::Succeeded | Self::Ruined)
    }
}

impl Rows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the rows of a result.
    pub(super) fn push(&mut self, result: &ShardResult, ends: &[End<'_>], batch: &Batch, shard: ShardPlan) {
        let count = result.runs.count as usize;
        self.push_names(result, count);
        self.push_params(result, batch, shard, count);
        self.push_ends(ends);
        self.metrics.push(&result.metrics, ends.iter().enumerate().map(|(row, end)| end.has_metrics().then_some(row)));
        push_blocks(&mut self.block_returns, &result.block_returns, ends);
        push_blocks(&mut self.block_squares, &result.block_squares, ends);
        for index in 0..count {
            self.runtime_us.append_option(result.runtime_us.get(index).copied().filter(|value| value.is_finite()));
        }
        self.push_origin(result, count);
        self.len += count;
    }

    fn push_names(&mut self, result: &ShardResult, count: usize) {
        for run in result.runs.numbers() {
            self.run.append_value(run as i64);
        }
        for _ in 0..count {
            self.batch_id.append_value(result.batch_id.as_str());
            self.generation.append_value(i64::from(result.generation));
            self.symbol.append_value(result.symbol.as_str());
            self.strategy.append_value(&result.strategy);
        }
    }

    fn push_params(&mut self, result: &ShardResult, batch: &Batch, shard: ShardPlan, count: usize) {
        if result.outcome == Outcome::Computed {
            for index in 0..count {
                let params = result.params.iter().map(|(name, values)| (name.as_str(), values[index]));
                self.params.append_value(params_json(params));
            }
            return;
        }
        // Whoever gave the job up did not walk the grid; the plan says what would have run.
        let mut planned = planned_params(batch, shard, count).into_iter();
        for _ in 0..count {
            self.params.append_option(planned.next());
        }
    }

    fn push_ends(&mut self, ends: &[End<'_>]) {
        for end in ends {
            let (status, code, message) = match end {
                End::Succeeded => ("succeeded", None, None),
                End::Ruined => ("ruined", None, None),
                End::Failed(failed) => ("failed", Some(failed.code.as_str()), Some(failed.message.as_str())),
                End::Dead { code, message } => ("dead", Some(*code), Some(*message)),
            };
            self.status.append_value(status);
            self.error_code.append_option(code);
            self.error_message.append_option(message);
        }
    }

    fn push_origin(&mut self, result: &ShardResult, count: usize) {
        for _ in 0..count {
            self.worker.append_value(&result.worker);
            self.data_digest.append_option(result.data_digest.as_deref());
            self.engine_version.append_value(&result.engine_version);
            self.spec_digest.append_value(&result.spec_digest);
            self.timestamp.append_value(result.finished_at.as_microsecond());
        }
    }

    /// The rows as they are appended, in the table's order of columns; none remain here.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.len = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.batch_id.finish()),
            Arc::new(self.run.finish()),
            Arc::new(self.generation.finish()),
            Arc::new(self.symbol.finish()),
            Arc::new(self.strategy.finish()),
            Arc::new(self.params.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.error_code.finish()),
            Arc::new(self.error_message.finish()),
        ];
        columns.extend(self.metrics.finish());
        let rest: [ArrayRef; 8] = [
            Arc::new(self.block_returns.finish()),
            Arc::new(self.block_squares.finish()),
            Arc::new(self.runtime_us.finish()),
            Arc::new(self.worker.finish()),
            Arc::new(self.data_digest.finish()),
            Arc::new(self.engine_version.finish()),
            Arc::new(self.spec_digest.finish()),
            Arc::new(self.timestamp.finish()),
        ];
        columns.extend(rest);
        record_batch(schema::result_columns().iter().map(|(name, _)| *name), columns)
    }
}

/// Columns of these names, every one of which may have nulls: the table says which may not.
pub(super) fn record_batch<'a>(
    names: impl Iterator<Item = &'a str>,
    columns: Vec<ArrayRef>,
) -> Result<RecordBatch, ArrowError> {
    let fields: Vec<Field> =
        names.zip(&columns).map(|(name, column)| Field::new(name, column.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// How each run of a result ended.
pub(super) fn ends(result: &ShardResult) -> Vec<End<'_>> {
    let count = result.runs.count as usize;
    if let Outcome::Dead { code, message } = &result.outcome {
        return vec![End::Dead { code, message }; count];
    }
    let computed = |run| if result.is_ruined(run) { End::Ruined } else { End::Succeeded };
    let mut ends: Vec<_> = (0..count).map(computed).collect();
    for failed in &result.failed {
        let first = (failed.runs.start - result.runs.start) as usize;
        for end in &mut ends[first..first + failed.runs.count as usize] {
            *end = End::Failed(failed);
        }
    }
    ends
}

pub(super) fn tally(ends: &[End<'_>]) -> Counts {
    let mut counts = Counts::default();
    for end in ends {
        match end {
            End::Succeeded | End::Ruined => counts.succeeded += 1,
            End::Failed(_) => counts.failed += 1,
            End::Dead { .. } => counts.dead += 1,
        }
    }
    counts
}

fn push_blocks(column: &mut FixedSizeListBuilder<Float64Builder>, rows: &[[f64; BLOCKS]], ends: &[End<'_>]) {
    for (index, end) in ends.iter().enumerate() {
        match (end, rows.get(index)) {
            (end, Some(blocks)) if end.has_metrics() => {
                for block in blocks {
                    column.values().append_option(Some(*block).filter(|value| value.is_finite()));
                }
                column.append(true);
            }
            _ => {
                column.values().append_nulls(BLOCKS);
                column.append(false);
            }
        }
    }
}

/// Parameters of a shard's runs out of the plan; fewer than `count`, or none, when the grid cannot be walked here.
fn planned_params(batch: &Batch, shard: ShardPlan, count: usize) -> Vec<String> {
    let strategy = &batch.begin.spec.strategies[shard.strategy];
    let Ok(points) = strategy.grid.points(&strategy.template) else {
        return Vec::new();
    };
    let mut walk = points.walk(shard.cursor, shard.first_point);
    let mut planned = Vec::with_capacity(count);
    while planned.len() < count {
        let Some((_, values)) = walk.next_point() else { break };
        let names = strategy.template.params().keys().map(String::as_str);
        planned.push(params_json(names.zip(values.iter().copied())));
    }
    planned
}
