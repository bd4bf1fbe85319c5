//! Events that are committed together.

use std::collections::BTreeMap;
use std::sync::Arc;

use duckdb::arrow::array::{ArrayRef, Int64Builder, RecordBatch, StringBuilder};
use duckdb::arrow::error::ArrowError;
use jetsweep_shared::events::{Deleted, ShardResult};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::plan::{RunRange, ShardPlan};

use super::batch::{Batch, Counts};
use super::metric_columns::check_counts;
use super::rows::{Rows, ends, record_batch, tally};
use super::window_rows::{BenchmarkRows, WindowRows};

/// Rows of an older generation that go when the group is committed.
#[derive(Debug, Clone)]
pub(super) struct Replaced {
    pub(super) batch: BatchId,
    /// The generation that replaces them.
    pub(super) generation: u32,
    pub(super) runs: RunRange,
}

/// How a batch changed since the last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing to write; its view is still to be told.
    Written,
    /// Its counts or times.
    Counts,
    /// Its plan too: it is new, or in a new generation.
    Plan,
}

/// What one transaction will write.
#[derive(Debug, Default)]
pub(super) struct Group {
    rows: Rows,
    windows: WindowRows,
    benchmarks: BenchmarkRows,
    markers: Markers,
    replaced: Vec<Replaced>,
    deleted: Vec<Deleted>,
    changed: BTreeMap<BatchId, Change>,
    completes_a_batch: bool,
    /// Rows and markers as they are appended. Kept until the commit succeeds, so that it can be tried again.
    appended: Vec<Appended>,
    /// Rows in `appended`.
    appended_rows: usize,
}

/// Columns ready for a table.
#[derive(Debug, Clone)]
pub(super) struct Appended {
    pub(super) table: &'static str,
    pub(super) columns: RecordBatch,
}

impl Group {
    pub(super) fn is_empty(&self) -> bool {
        self.rows() == 0
            && self.markers.len == 0
            && self.appended.is_empty()
            && self.changed.is_empty()
            && self.deleted.is_empty()
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len() + self.windows.len() + self.benchmarks.len() + self.appended_rows
    }

    /// Adds the rows of a result. `Err` says what in it cannot be stored; nothing was added then.
    pub(super) fn append(&mut self, result: &ShardResult, batch: &Batch, shard: ShardPlan) -> Result<Counts, String> {
        check_counts(&result.metrics)?;
        result.windows.as_ref().map_or(Ok(()), |windows| check_counts(&windows.metrics))?;
        result.benchmark.as_ref().map_or(Ok(()), |benchmark| check_counts(&benchmark.metrics))?;
        let ends = ends(result);
        self.rows.push(result, &ends, batch, shard);
        self.windows.push(result, &ends);
        // One shard of each symbol has the benchmark's rows, that of its first run.
        if shard.strategy == 0 && shard.first_point == 0 {
            self.benchmarks.push(result);
        }
        Ok(tally(&ends))
    }

    pub(super) fn mark(&mut self, batch: &Batch, shard: ShardPlan, outcome: &str, sequence: u64) {
        self.markers.push(batch, shard, outcome, sequence);
    }

    pub(super) fn replaces(&mut self, batch: &BatchId, generation: u32, runs: RunRange) {
        self.replaced.push(Replaced { batch: batch.clone(), generation, runs });
    }

    /// Deletes all of a batch with the commit. Nothing else of it may wait for that commit.
    pub(super) fn deletes(&mut self, event: &Deleted) {
        self.changed.remove(&event.batch_id);
        self.deleted.push(event.clone());
    }

    pub(super) fn deleted(&self) -> &[Deleted] {
        &self.deleted
    }

    pub(super) fn changes(&mut self, id: &BatchId) {
        let change = self.changed.entry(id.clone()).or_insert(Change::Counts);
        if *change == Change::Written {
            *change = Change::Counts;
        }
    }

    pub(super) fn changes_plan_of(&mut self, id: &BatchId) {
        self.changed.insert(id.clone(), Change::Plan);
    }

    pub(super) fn completes(&mut self) {
        self.completes_a_batch = true;
    }

    pub(super) fn completes_a_batch(&self) -> bool {
        self.completes_a_batch
    }

    /// Batches that changed, and how.
    pub(super) fn changes_to_write(&self) -> impl Iterator<Item = (&BatchId, Change)> {
        self.changed.iter().map(|(id, change)| (id, *change))
    }

    /// Batches whose view changed.
    pub(super) fn changed(&self) -> impl Iterator<Item = &BatchId> {
        self.changed.keys()
    }

    pub(super) fn replaced(&self) -> &[Replaced] {
        &self.replaced
    }

    /// Everything to append, moved out of the builders. The same again when it is asked for again before a commit succeeds.
    pub(super) fn take_columns(&mut self) -> Result<&[Appended], ArrowError> {
        self.appended_rows += self.rows.len() + self.windows.len() + self.benchmarks.len();
        if self.rows.len() > 0 {
            self.appended.push(Appended { table: "backtest_results", columns: self.rows.take()? });
        }
        if self.windows.len() > 0 {
            self.appended.push(Appended { table: "window_results", columns: self.windows.take()? });
        }
        if self.benchmarks.len() > 0 {
            self.appended.push(Appended { table: "benchmarks", columns: self.benchmarks.take()? });
        }
        if self.markers.len > 0 {
            self.appended.push(Appended { table: "shards", columns: self.markers.take()? });
        }
        Ok(&self.appended)
    }

    /// After a commit: nothing waits any more, and whoever asked for views of batches has them.
    pub(super) fn clear(&mut self) {
        self.clear_written();
        self.changed.clear();
        self.completes_a_batch = false;
    }

    /// After a commit whose views nobody has seen yet.
    pub(super) fn clear_written(&mut self) {
        self.appended.clear();
        self.appended_rows = 0;
        self.replaced.clear();
        self.deleted.clear();
        for change in self.changed.values_mut() {
            *change = Change::Written;
        }
    }
}

/// Rows of `shards` that wait to be appended.
#[derive(Debug, Default)]
struct Markers {
    batch_id: StringBuilder,
    generation: Int64Builder,
    shard: Int64Builder,
    run_start: Int64Builder,
    run_count: Int64Builder,
    outcome: StringBuilder,
    sequence: Int64Builder,
    len: usize,
}

impl Markers {
    fn push(&mut self, batch: &Batch, shard: ShardPlan, outcome: &str, sequence: u64) {
        self.batch_id.append_value(batch.id().as_str());
        self.generation.append_value(i64::from(batch.generation()));
        self.shard.append_value(i64::from(shard.shard));
        self.run_start.append_value(shard.runs.start as i64);
        self.run_count.append_value(i64::from(shard.runs.count));
        self.outcome.append_value(outcome);
        self.sequence.append_value(sequence as i64);
        self.len += 1;
    }

    fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.len = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.batch_id.finish()),
            Arc::new(self.generation.finish()),
            Arc::new(self.shard.finish()),
            Arc::new(self.run_start.finish()),
            Arc::new(self.run_count.finish()),
            Arc::new(self.outcome.finish()),
            Arc::new(self.sequence.finish()),
        ];
        let names = ["batch_id", "generation", "shard", "run_start", "run_count", "outcome", "sequence"];
        record_batch(names.into_iter(), columns)
    }
}
