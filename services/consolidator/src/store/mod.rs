//! The database as the writer sees it: events go in one by one, and a commit makes a group of them durable at once.
//!
//! Everything a group changes is written in one transaction: rows, shard markers, counts of batches, and the position
//! in the log up to which all of this was read. Whatever is lost with the process is read again from that position,
//! and what is read twice finds its markers and changes nothing.

mod batch;
mod group;
mod index;
mod metric_columns;
mod rows;
mod text;
mod window_rows;
mod write;

use std::path::Path;
use std::sync::Arc;

use duckdb::OptionalExt;
use jetsweep_shared::events::{BatchStatus, Begin, Cancelled, Deleted, Outcome, Purged, Sealed, ShardResult};
use jetsweep_shared::ids::BatchId;
use jiff::Timestamp;

use crate::database::Database;
pub use crate::database::{DatabaseError, Resources};
use crate::event::LogEvent;
use batch::{Batch, Batches};
use group::Group;

pub use text::params_json;

/// A stream, as one that is told from a later one of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub stream: String,
    /// When it was created, as the server says.
    pub created: String,
}

/// Up to where a stream was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub source: Arc<Source>,
    /// Sequence of the last message whose effect is committed.
    pub sequence: u64,
}

/// An event that cannot be taken, and why: it goes to the stream of messages given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable word for why.
    pub code: &'static str,
    /// Why, in words.
    pub message: String,
}

impl Rejection {
    /// The payload is not what its subject promises.
    pub const MALFORMED: &'static str = "malformed";
    /// The event is about a batch or generation whose `begin` event was never seen.
    pub const UNKNOWN_BATCH: &'static str = "unknown_batch";
    /// The event contradicts the plan of its batch.
    pub const NOT_OF_PLAN: &'static str = "not_of_plan";

    /// A rejection with one of this type's codes.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// It changes the database with the next commit.
    Changed,
    /// It, or one like it, was there before.
    Duplicate,
    /// It is of an older generation than the batch's latest; nothing of it counts any more.
    Superseded,
    /// It cannot be taken.
    Rejected(Rejection),
}

/// What a commit did.
#[derive(Debug, Default)]
pub struct Committed {
    /// Rows appended.
    pub rows: usize,
    /// Up to which message of the log it was, if it passed any.
    pub sequence: Option<u64>,
    /// Views of the batches that changed, as of now.
    pub batches: Vec<BatchStatus>,
    /// Batches that were deleted.
    pub deleted: Vec<BatchId>,
}

/// The database with one group of events that is not committed yet.
#[derive(Debug)]
pub struct Store {
    database: Database,
    batches: Batches,
    group: Group,
    /// Where the group ends; committed with it.
    passed: Option<Position>,
    /// Deleted by a flush; told with the next commit.
    deleted: Vec<BatchId>,
    has_index: bool,
}

impl Store {
    /// Opens the database for writing, creating it when there is none.
    pub fn open(path: &Path, resources: Resources) -> Result<Self, DatabaseError> {
        let database = Database::open_for_writing(path, resources)?;
        let has_index = index::exists(&database.connection)?;
        Ok(Self {
            database,
            batches: Batches::default(),
            group: Group::default(),
            passed: None,
            deleted: Vec::new(),
            has_index,
        })
    }

    /// Up to where a stream was read, if it ever was.
    pub fn position(&self, stream: &str) -> Result<Option<Position>, DatabaseError> {
        self.database
            .connection
            .query_row("SELECT stream_created, sequence FROM position WHERE stream = ?", [stream], |row| {
                let source = Source { stream: stream.to_owned(), created: row.get(0)? };
                Ok(Position { source: Arc::new(source), sequence: row.get(1)? })
            })
            .optional()
            .map_err(DatabaseError::sql("read the position"))
    }

    /// Views of all batches there are.
    pub fn statuses(&self) -> Result<Vec<BatchStatus>, DatabaseError> {
        batch::statuses(&self.database.connection)
    }

    /// Takes an event into the group. Its effect is durable after the next commit.
    ///
    /// # Errors
    ///
    /// When the database cannot be read. An event that cannot be taken is no error: see [`Applied::Rejected`].
    pub fn apply(&mut self, event: &LogEvent, sequence: u64) -> Result<Applied, DatabaseError> {
        let applied = match event {
            LogEvent::Begin(begin) => self.begin(begin)?,
            LogEvent::Sealed(sealed) => self.sealed(sealed)?,
            LogEvent::Cancelled(cancelled) => self.cancelled(cancelled, sequence)?,
            LogEvent::Deleted(deleted) => return self.deleted(deleted),
            LogEvent::Purged(purged) => return self.purged(purged),
            LogEvent::Result(result) => self.result(result, sequence)?,
        };
        match applied {
            Applied::Changed => self.note_end(event.batch(), event.at()),
            // What comes late of a batch that was deleted is no surprise.
            Applied::Rejected(Rejection { code: Rejection::UNKNOWN_BATCH, .. })
                if self.is_deleted(event.batch())? =>
            {
                return Ok(Applied::Superseded);
            }
            _ => {}
        }
        Ok(applied)
    }

    /// Notes that everything up to `sequence` is in the group, or needs nothing done.
    pub fn pass(&mut self, source: &Arc<Source>, sequence: u64) {
        self.passed = Some(Position { source: source.clone(), sequence });
    }

    /// Rows that wait for a commit.
    pub fn pending_rows(&self) -> usize {
        self.group.rows()
    }

    /// Whether a batch ends with this group, which somebody may be waiting for.
    pub fn completes_a_batch(&self) -> bool {
        self.group.completes_a_batch()
    }

    /// Writes the group in one transaction. After an error nothing of it is written, and the same call can be tried
    /// again.
    pub fn commit(&mut self) -> Result<Committed, DatabaseError> {
        if self.group.is_empty() && self.passed.is_none() && self.deleted.is_empty() {
            return Ok(Committed::default());
        }
        write::commit(&self.database.connection, &mut self.group, &self.batches, self.passed.as_ref())?;
        let rows = self.group.rows();
        let batches = self.group.changed().filter_map(|id| self.batches.get(id)).map(Batch::status).collect();
        let mut deleted = std::mem::take(&mut self.deleted);
        deleted.extend(self.group.deleted().iter().map(|event| event.batch_id.clone()));
        self.group.clear();
        let sequence = self.passed.take().map(|position| position.sequence);
        self.batches.forget_what_is_over();
        Ok(Committed { rows, sequence, batches, deleted })
    }

    /// Puts the file in order after a batch has ended: builds the index if nothing is running, and moves DuckDB's log
    /// into the file. What of this cannot be done now is done later; nobody depends on it.
    pub fn tidy(&mut self) {
        if !self.has_index {
            match index::build_if_idle(&self.database.connection) {
                Ok(built) => self.has_index = built,
                Err(error) => tracing::info!(%error, "the index is not built now"),
            }
        }
        self.checkpoint();
    }

    /// Moves DuckDB's log into the file. That is not possible while somebody reads; DuckDB then does it with a later
    /// commit.
    pub fn checkpoint(&self) {
        if let Err(error) = self.database.connection.execute_batch("CHECKPOINT") {
            tracing::debug!(%error, "no checkpoint now");
        }
    }

    /// Drops the index before rows come.
    fn prepare_for_rows(&mut self) {
        if !self.has_index {
            return;
        }
        match index::drop(&self.database.connection) {
            Ok(()) => self.has_index = false,
            // It is kept up to date then, which only takes longer.
            Err(error) => tracing::info!(%error, "the index stays"),
        }
    }

    /// The database with a connection of its own, for reading.
    pub(crate) fn connect(&self) -> Result<Database, DatabaseError> {
        self.database.connect()
    }

    /// The database's file.
    pub fn path(&self) -> &Path {
        self.database.path()
    }

    fn begin(&mut self, begin: &Begin) -> Result<Applied, DatabaseError> {
        let id = &begin.batch_id;
        let Some(known) = self.batches.load(&self.database.connection, id)? else {
            self.prepare_for_rows();
            self.batches.insert(Batch::new(begin.clone()));
            self.group.changes_plan_of(id);
            return Ok(Applied::Changed);
        };
        if begin.generation < known.generation() {
            return Ok(Applied::Superseded);
        }
        if begin.generation == known.generation() {
            return Ok(known.same_plan(begin));
        }
        // What the new generation replaces must be in the tables before it is looked for there.
        self.flush()?;
        self.prepare_for_rows();
        let Some(known) = self.batches.load(&self.database.connection, id)? else {
            return Ok(Applied::Rejected(Rejection::new(Rejection::UNKNOWN_BATCH, "the batch is gone")));
        };
        known.start_generation(begin.clone());
        self.group.changes_plan_of(id);
        Ok(Applied::Changed)
    }

    fn sealed(&mut self, sealed: &Sealed) -> Result<Applied, DatabaseError> {
        let id = &sealed.batch_id;
        let Some(batch) = self.batches.load(&self.database.connection, id)? else {
            return Ok(unknown_batch(id));
        };
        if let Some(other) = batch.other_generation(sealed.generation) {
            return Ok(other);
        }
        if batch.is_sealed() {
            return Ok(Applied::Duplicate);
        }
        batch.seal(sealed.sealed_at);
        self.group.changes(id);
        Ok(Applied::Changed)
    }

    fn cancelled(&mut self, event: &Cancelled, sequence: u64) -> Result<Applied, DatabaseError> {
        let id = &event.batch_id;
        let Some(batch) = self.batches.load(&self.database.connection, id)? else {
            return Ok(unknown_batch(id));
        };
        if let Some(other) = batch.other_generation(event.generation) {
            return Ok(other);
        }
        if batch.is_cancelled() {
            return Ok(Applied::Duplicate);
        }
        batch.cancel(event.cancelled_at);
        let mut from = 0;
        while let Some(shard) = batch.next_unmarked(from) {
            let before = write::standing(&self.database.connection, batch, shard.runs)?;
            batch.count_cancelled(shard, before);
            self.group.mark(batch, shard, "cancelled", sequence);
            from = shard.shard + 1;
        }
        self.group.changes(id);
        Ok(Applied::Changed)
    }

    fn result(&mut self, result: &ShardResult, sequence: u64) -> Result<Applied, DatabaseError> {
        let id = &result.batch_id;
        let Some(batch) = self.batches.load(&self.database.connection, id)? else {
            return Ok(unknown_batch(id));
        };
        if let Some(other) = batch.other_generation(result.generation) {
            return Ok(other);
        }
        // A second copy with another range than the marker's contradicts the plan, which the marker was checked
        // against: it is refused here, before the marker is looked at.
        let shard = match batch.planned(result) {
            Ok(shard) => shard,
            Err(message) => return Ok(Applied::Rejected(Rejection::new(Rejection::NOT_OF_PLAN, message))),
        };
        if batch.is_marked(shard.shard) {
            return Ok(Applied::Duplicate);
        }
        let before = write::standing(&self.database.connection, batch, shard.runs)?;
        let outcomes = match self.group.append(result, batch, shard) {
            Ok(outcomes) => outcomes,
            Err(message) => return Ok(Applied::Rejected(Rejection::new(Rejection::MALFORMED, message))),
        };
        batch.count(shard, outcomes, before);
        if batch.generation() > 0 {
            self.group.replaces(id, batch.generation(), shard.runs);
        }
        let outcome = match result.outcome {
            Outcome::Computed => "computed",
            Outcome::Dead { .. } => "dead",
        };
        self.group.mark(batch, shard, outcome, sequence);
        self.group.changes(id);
        Ok(Applied::Changed)
    }

    fn deleted(&mut self, event: &Deleted) -> Result<Applied, DatabaseError> {
        let id = &event.batch_id;
        if self.is_deleted(id)? {
            return Ok(Applied::Duplicate);
        }
        // Rows of it that wait would be appended after the others are gone.
        self.flush()?;
        self.batches.remove(id);
        self.group.deletes(event);
        Ok(Applied::Changed)
    }

    fn is_deleted(&self, id: &BatchId) -> Result<bool, DatabaseError> {
        let waits = self.group.deleted().iter().any(|event| event.batch_id == *id);
        Ok(waits || write::is_deleted(&self.database.connection, id)?)
    }

    /// Nothing to do for who has the batch. Who has not, because the database was made anew or is older, cannot have it.
    fn purged(&mut self, event: &Purged) -> Result<Applied, DatabaseError> {
        if self.batches.load(&self.database.connection, &event.batch_id)?.is_none() {
            tracing::warn!(
                batch = %event.batch_id,
                runs = event.total_runs,
                purged_at = %event.purged_at,
                "the results of a batch left the log before this database had read them: they are not in it"
            );
        }
        Ok(Applied::Superseded)
    }

    fn note_end(&mut self, id: &BatchId, at: Timestamp) {
        // As precisely as the database keeps it.
        let at = Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at);
        if self.batches.end_if_all_terminal(id, at) {
            self.group.completes();
        }
    }

    fn flush(&mut self) -> Result<(), DatabaseError> {
        write::commit(&self.database.connection, &mut self.group, &self.batches, self.passed.as_ref())?;
        // Whoever waits for the batches' views gets them with the next commit, which names them again.
        self.deleted.extend(self.group.deleted().iter().map(|event| event.batch_id.clone()));
        self.group.clear_written();
        Ok(())
    }
}

/// Now, as precisely as the database keeps it.
fn now() -> Timestamp {
    let micros = Timestamp::now().as_microsecond();
    Timestamp::from_microsecond(micros).unwrap_or_default()
}

fn unknown_batch(id: &BatchId) -> Applied {
    let message = format!("no begin event of batch {id} comes before this event in the log");
    Applied::Rejected(Rejection::new(Rejection::UNKNOWN_BATCH, message))
}
