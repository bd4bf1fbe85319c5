//! Rows of `window_results` and `benchmarks`, filled shard by shard and appended a group at a time.

use std::sync::Arc;

use duckdb::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder};
use duckdb::arrow::error::ArrowError;
use jetsweep_shared::events::{ShardResult, WindowBars};

use super::metric_columns::MetricColumns;
use super::rows::{End, record_batch};
use crate::schema;

/// Name of the segment that is the whole period.
const WHOLE: &str = "full";

/// Where a segment lies.
#[derive(Debug, Default)]
struct SegmentColumns {
    window_number: Int64Builder,
    segment: StringBuilder,
    start: TimestampMicrosecondBuilder,
    end: TimestampMicrosecondBuilder,
}

impl SegmentColumns {
    /// A segment of a window; the whole period when there is none.
    fn push(&mut self, window: Option<&WindowBars>) {
        self.window_number.append_option(window.map(|window| i64::from(window.window)));
        self.segment.append_value(window.map_or(WHOLE, |window| window.segment.name()));
        self.start.append_option(window.map(|window| window.from.as_microsecond()));
        self.end.append_option(window.map(|window| window.to.as_microsecond()));
    }

    fn finish(&mut self) -> [ArrayRef; 4] {
        [
            Arc::new(self.window_number.finish()),
            Arc::new(self.segment.finish()),
            Arc::new(self.start.finish()),
            Arc::new(self.end.finish()),
        ]
    }
}

/// Rows of `window_results`.
#[derive(Debug, Default)]
pub(super) struct WindowRows {
    batch_id: StringBuilder,
    run: Int64Builder,
    generation: Int64Builder,
    symbol: StringBuilder,
    strategy: StringBuilder,
    segments: SegmentColumns,
    metrics: MetricColumns,
    len: usize,
}

impl WindowRows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a row for each segment of each run with metrics.
    pub(super) fn push(&mut self, result: &ShardResult, ends: &[End<'_>]) {
        let Some(windows) = &result.windows else { return };
        let segments = windows.windows.len();
        let with_metrics = || (0..ends.len()).filter(|run| ends[*run].has_metrics());
        for run in with_metrics() {
            for window in &windows.windows {
                self.batch_id.append_value(result.batch_id.as_str());
                self.run.append_value((result.runs.start + run as u64) as i64);
                self.generation.append_value(i64::from(result.generation));
                self.symbol.append_value(result.symbol.as_str());
                self.strategy.append_value(&result.strategy);
                self.segments.push(Some(window));
                self.len += 1;
            }
        }
        self.metrics
            .push(&windows.metrics, with_metrics().flat_map(|run| run * segments..(run + 1) * segments).map(Some));
    }

    /// The rows as they are appended; none remain here.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.len = 0;
        let names: [ArrayRef; 5] = [
            Arc::new(self.batch_id.finish()),
            Arc::new(self.run.finish()),
            Arc::new(self.generation.finish()),
            Arc::new(self.symbol.finish()),
            Arc::new(self.strategy.finish()),
        ];
        let columns = names.into_iter().chain(self.segments.finish()).chain(self.metrics.finish()).collect();
        record_batch(schema::window_columns().iter().map(|(name, _)| *name), columns)
    }
}

/// Rows of `benchmarks`.
#[derive(Debug, Default)]
pub(super) struct BenchmarkRows {
    batch_id: StringBuilder,
    generation: Int64Builder,
    symbol: StringBuilder,
    segments: SegmentColumns,
    metrics: MetricColumns,
    len: usize,
}

impl BenchmarkRows {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds the rows of a result's benchmark: the whole period, then each segment.
    pub(super) fn push(&mut self, result: &ShardResult) {
        let Some(benchmark) = &result.benchmark else { return };
        let windows = result.windows.iter().flat_map(|windows| &windows.windows);
        let before = self.len;
        for window in [None].into_iter().chain(windows.map(Some)) {
            self.batch_id.append_value(result.batch_id.as_str());
            self.generation.append_value(i64::from(result.generation));
            self.symbol.append_value(result.symbol.as_str());
            self.segments.push(window);
            self.len += 1;
        }
        self.metrics.push(&benchmark.metrics, (0..self.len - before).map(Some));
    }

    /// The rows as they are appended; none remain here.
    pub(super) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.len = 0;
        let names: [ArrayRef; 3] =
            [Arc::new(self.batch_id.finish()), Arc::new(self.generation.finish()), Arc::new(self.symbol.finish())];
        let columns = names.into_iter().chain(self.segments.finish()).chain(self.metrics.finish()).collect();
        record_batch(schema::benchmark_columns().iter().map(|(name, _)| *name), columns)
    }
}
