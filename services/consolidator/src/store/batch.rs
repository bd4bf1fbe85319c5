//! What the writer keeps of a batch in memory while events of it arrive: its plan, its counts, one bit a shard.

use std::collections::HashMap;

use duckdb::{Connection, OptionalExt, Row};
use jetsweep_shared::events::{BatchState, BatchStatus, Begin, Event, ShardResult, VERSION};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::plan::ShardPlan;
use jiff::Timestamp;

use super::{Applied, Rejection};
use crate::database::DatabaseError;

/// Most batches kept in memory at a time. Those beyond it are loaded again when an event of them comes.
const MOST_LOADED: usize = 32;

/// How many runs there are of each standing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) dead: u64,
    pub(super) cancelled: u64,
}

impl Counts {
    pub(super) fn total(&self) -> u64 {
        self.succeeded + self.failed + self.dead + self.cancelled
    }

    fn add(&mut self, other: Counts) {
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.dead += other.dead;
        self.cancelled += other.cancelled;
    }

    fn take_away(&mut self, other: Counts) {
        self.succeeded = self.succeeded.saturating_sub(other.succeeded);
        self.failed = self.failed.saturating_sub(other.failed);
        self.dead = self.dead.saturating_sub(other.dead);
        self.cancelled = self.cancelled.saturating_sub(other.cancelled);
    }
}

/// One bit a shard.
#[derive(Debug, Clone)]
struct Marks {
    words: Vec<u64>,
    shards: u32,
    marked: u32,
}

impl Marks {
    fn none(shards: u32) -> Self {
        Self { words: vec![0; (shards as usize).div_ceil(64)], shards, marked: 0 }
    }

    fn contains(&self, shard: u32) -> bool {
        self.words.get(shard as usize / 64).is_some_and(|word| word >> (shard % 64) & 1 == 1)
    }

    fn insert(&mut self, shard: u32) {
        if shard < self.shards && !self.contains(shard) {
            self.words[shard as usize / 64] |= 1 << (shard % 64);
            self.marked += 1;
        }
    }

    fn first_missing(&self, from: u32) -> Option<u32> {
        (from..self.shards).find(|shard| !self.contains(*shard))
    }

    fn is_full(&self) -> bool {
        self.marked == self.shards
    }
}

/// A batch in its latest generation.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) begin: Begin,
    marks: Marks,
    pub(super) counts: Counts,
    pub(super) state: BatchState,
    pub(super) sealed_at: Option<Timestamp>,
    pub(super) cancelled_at: Option<Timestamp>,
    pub(super) completed_at: Option<Timestamp>,
    /// Set at each use, to tell which batch was used longest ago.
    last_used: u64,
}

impl Batch {
    /// A batch of which nothing is known but its plan.
    pub(super) fn new(begin: Begin) -> Self {
        Self {
            marks: Marks::none(begin.total_shards),
            begin,
            counts: Counts::default(),
            state: BatchState::Running,
            sealed_at: None,
            cancelled_at: None,
            completed_at: None,
            last_used: 0,
        }
    }

    pub(super) fn id(&self) -> &BatchId {
        &self.begin.batch_id
    }

    pub(super) fn generation(&self) -> u32 {
        self.begin.generation
    }

    /// Starts a later generation: every shard of its plan is open again. Rows stay until their runs' new ones come.
    pub(super) fn start_generation(&mut self, begin: Begin) {
        let Counts { succeeded, failed, dead, cancelled } = self.counts;
        *self = Self {
            counts: Counts { succeeded, failed, dead, cancelled },
            last_used: self.last_used,
            ..Self::new(begin)
        };
    }

    /// Whether a second `begin` of the same generation says the same.
    pub(super) fn same_plan(&self, begin: &Begin) -> Applied {
        let same_runs = self.begin.plan == begin.plan && self.begin.retry == begin.retry;
        if self.begin.spec_digest == begin.spec_digest && same_runs {
            return Applied::Duplicate;
        }
        let message = format!(
            "a begin event of batch {} and generation {} came before, with another plan (spec {}, this one {})",
            begin.batch_id, begin.generation, self.begin.spec_digest, begin.spec_digest
        );
        Applied::Rejected(Rejection::new(Rejection::NOT_OF_PLAN, message))
    }

    /// What to answer to an event of another generation; `None` for one of this.
    pub(super) fn other_generation(&self, generation: u32) -> Option<Applied> {
        if generation < self.generation() {
            return Some(Applied::Superseded);
        }
        if generation > self.generation() {
            let message = format!(
                "the event is of generation {generation}, the latest begin event of batch {} is of {}",
                self.id(),
                self.generation()
            );
            return Some(Applied::Rejected(Rejection::new(Rejection::UNKNOWN_BATCH, message)));
        }
        None
    }

    /// The shard a result answers, if the result is of the plan; else what it contradicts.
    pub(super) fn planned(&self, result: &ShardResult) -> Result<ShardPlan, String> {
        let shard = self.begin.shard(result.shard).ok_or_else(|| {
            format!("the result is of shard {}, the plan has {} shards", result.shard, self.begin.total_shards)
        })?;
        if result.spec_digest != self.begin.spec_digest {
            return Err(format!(
                "the result is of spec {}, the batch of spec {}",
                result.spec_digest, self.begin.spec_digest
            ));
        }
        if result.runs != shard.runs {
            return Err(format!(
                "the result is of {} runs from {}, the shard of {} from {}",
                result.runs.count, result.runs.start, shard.runs.count, shard.runs.start
            ));
        }
        let symbol = &self.begin.spec.symbols[shard.symbol];
        let strategy = &self.begin.spec.strategies[shard.strategy].name;
        if result.symbol != *symbol || result.strategy != *strategy {
            return Err(format!(
                "the result is of {} and {}, the shard of {symbol} and {strategy}",
                result.symbol, result.strategy
            ));
        }
        Ok(shard)
    }

    pub(super) fn is_marked(&self, shard: u32) -> bool {
        self.marks.contains(shard)
    }

    /// The first shard without a marker, not looking at those before `from`.
    pub(super) fn next_unmarked(&self, from: u32) -> Option<ShardPlan> {
        self.begin.shard(self.marks.first_missing(from)?)
    }

    /// Marks a shard whose runs ended as `outcomes` and stood as `before` until now.
    pub(super) fn count(&mut self, shard: ShardPlan, outcomes: Counts, before: Counts) {
        self.marks.insert(shard.shard);
        self.counts.take_away(before);
        self.counts.add(outcomes);
    }

    /// Marks a shard that will not be computed. Runs that stood otherwise `before`, in an older generation, stay so.
    pub(super) fn count_cancelled(&mut self, shard: ShardPlan, before: Counts) {
        self.marks.insert(shard.shard);
        self.counts.cancelled += u64::from(shard.runs.count).saturating_sub(before.total());
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed_at.is_some()
    }

    pub(super) fn seal(&mut self, at: Timestamp) {
        self.sealed_at = Some(at);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled_at.is_some()
    }

    pub(super) fn cancel(&mut self, at: Timestamp) {
        self.cancelled_at = Some(at);
    }

    fn is_over(&self) -> bool {
        self.state.is_terminal()
    }

    fn end(&mut self, at: Timestamp) {
        self.state = if self.counts.cancelled > 0 { BatchState::Cancelled } else { BatchState::Completed };
        // Clocks of several machines may disagree; nothing ends before it begins.
        self.completed_at = Some(at.max(self.begin.created_at));
    }

    /// The batch as others see it.
    pub(super) fn status(&self) -> BatchStatus {
        BatchStatus {
            version: VERSION,
            batch_id: self.id().clone(),
            state: self.state,
            generation: self.generation(),
            total_runs: self.begin.total_runs,
            succeeded: self.counts.succeeded,
            failed: self.counts.failed,
            dead: self.counts.dead,
            cancelled: self.counts.cancelled,
            created_at: Some(self.begin.created_at),
            completed_at: self.completed_at,
            updated_at: super::now(),
            problems: Vec::new(),
        }
    }
}

/// The batches in memory.
#[derive(Debug, Default)]
pub(super) struct Batches {
    loaded: HashMap<BatchId, Batch>,
    uses: u64,
}

impl Batches {
    pub(super) fn insert(&mut self, batch: Batch) {
        self.loaded.insert(batch.id().clone(), batch);
    }

    pub(super) fn get(&self, id: &BatchId) -> Option<&Batch> {
        self.loaded.get(id)
    }

    /// The batch, read from the database if it is not in memory.
    pub(super) fn load(&mut self, connection: &Connection, id: &BatchId) -> Result<Option<&mut Batch>, DatabaseError> {
        if !self.loaded.contains_key(id) {
            let Some(batch) = read(connection, id)? else { return Ok(None) };
            self.loaded.insert(id.clone(), batch);
        }
        self.uses += 1;
        let mut batch = self.loaded.get_mut(id);
        if let Some(batch) = &mut batch {
            batch.last_used = self.uses;
        }
        Ok(batch)
    }

    /// Forgets a batch that is deleted.
    pub(super) fn remove(&mut self, id: &BatchId) {
        self.loaded.remove(id);
    }

    /// Ends the batch if its last run is terminal and no more jobs will come. Says whether it ended just now.
    pub(super) fn end_if_all_terminal(&mut self, id: &BatchId, at: Timestamp) -> bool {
        let Some(batch) = self.loaded.get_mut(id) else { return false };
        let no_more_jobs = batch.is_sealed() || batch.is_cancelled();
        if batch.is_over() || !batch.marks.is_full() || !no_more_jobs {
            return false;
        }
        batch.end(at);
        true
    }

    /// Drops batches that are over, and those used longest ago beyond [`MOST_LOADED`]. Only right after a commit,
    /// when the database knows all that is known here.
    pub(super) fn forget_what_is_over(&mut self) {
        self.loaded.retain(|_, batch| !batch.is_over());
        while self.loaded.len() > MOST_LOADED {
            let oldest = self.loaded.values().min_by_key(|batch| batch.last_used).map(|batch| batch.id().clone());
            let Some(oldest) = oldest else { return };
            self.loaded.remove(&oldest);
        }
    }
}

const STANDING_COLUMNS: &str = "state, succeeded, failed, dead, cancelled, sealed_at, cancelled_at, completed_at";

fn read(connection: &Connection, id: &BatchId) -> Result<Option<Batch>, DatabaseError> {
    let sql = format!("SELECT {STANDING_COLUMNS}, plan FROM batches WHERE batch_id = ?");
    let reading = "read a batch";
    let row = connection
        .query_row(&sql, [id.as_str()], |row| {
            let plan: String = row.get(8)?;
            Ok((standing(row, 0)?, plan))
        })
        .optional()
        .map_err(DatabaseError::sql(reading))?;
    let Some((standing, plan)) = row else { return Ok(None) };
    let begin: Begin = serde_json::from_str(&plan)
        .map_err(|error| unreadable(error.to_string()))
        .and_then(|begin: Begin| begin.check().map(|()| begin).map_err(unreadable))
        .map_err(DatabaseError::sql("read the plan of a batch"))?;
    let mut batch = Batch {
        counts: standing.counts,
        state: standing.state,
        sealed_at: standing.sealed_at,
        cancelled_at: standing.cancelled_at,
        completed_at: standing.completed_at,
        ..Batch::new(begin)
    };
    read_marks(connection, &mut batch).map_err(DatabaseError::sql("read the markers of a batch"))?;
    Ok(Some(batch))
}

fn read_marks(connection: &Connection, batch: &mut Batch) -> duckdb::Result<()> {
    let mut statement = connection.prepare("SELECT shard FROM shards WHERE batch_id = ? AND generation = ?")?;
    let mut rows = statement.query(duckdb::params![batch.id().as_str(), i64::from(batch.generation())])?;
    while let Some(row) = rows.next()? {
        batch.marks.insert(row.get(0)?);
    }
    Ok(())
}

/// Where a batch stands, out of [`STANDING_COLUMNS`].
struct Standing {
    state: BatchState,
    counts: Counts,
    sealed_at: Option<Timestamp>,
    cancelled_at: Option<Timestamp>,
    completed_at: Option<Timestamp>,
}

fn standing(row: &Row<'_>, first: usize) -> duckdb::Result<Standing> {
    let state: String = row.get(first)?;
    let state =
        serde_json::from_value(serde_json::Value::from(state)).map_err(|error| unreadable(error.to_string()))?;
    Ok(Standing {
        state,
        counts: Counts {
            succeeded: row.get(first + 1)?,
            failed: row.get(first + 2)?,
            dead: row.get(first + 3)?,
            cancelled: row.get(first + 4)?,
        },
        sealed_at: timestamp(row, first + 5)?,
        cancelled_at: timestamp(row, first + 6)?,
        completed_at: timestamp(row, first + 7)?,
    })
}

/// A TIMESTAMP column as a timestamp.
fn timestamp(row: &Row<'_>, column: usize) -> duckdb::Result<Option<Timestamp>> {
    use duckdb::types::{TimeUnit, ValueRef};
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        ValueRef::Timestamp(TimeUnit::Microsecond, micros) => {
            Timestamp::from_microsecond(micros).map(Some).map_err(|error| unreadable(error.to_string()))
        }
        other => Err(unreadable(format!("column {column} is of type {}, not TIMESTAMP", other.data_type()))),
    }
}

fn unreadable(reason: String) -> duckdb::Error {
    duckdb::Error::FromSqlConversionFailure(0, duckdb::types::Type::Any, reason.into())
}

/// Views of all batches in the database.
pub(super) fn statuses(connection: &Connection) -> Result<Vec<BatchStatus>, DatabaseError> {
    let sql = format!("SELECT batch_id, total_runs, created_at, generation, {STANDING_COLUMNS} FROM batches");
    let read = || -> duckdb::Result<Vec<BatchStatus>> {
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| {
            let id: String = row.get(0)?;
            let standing = standing(row, 4)?;
            Ok(BatchStatus {
                version: VERSION,
                batch_id: id
                    .parse()
                    .map_err(|error: jetsweep_shared::ids::InvalidName| unreadable(error.to_string()))?,
                state: standing.state,
                generation: row.get(3)?,
                total_runs: row.get(1)?,
                succeeded: standing.counts.succeeded,
                failed: standing.counts.failed,
                dead: standing.counts.dead,
                cancelled: standing.counts.cancelled,
                created_at: timestamp(row, 2)?,
                completed_at: standing.completed_at,
                updated_at: super::now(),
                problems: Vec::new(),
            })
        })?;
        rows.collect()
    };
    read().map_err(DatabaseError::sql("read the batches"))
}
