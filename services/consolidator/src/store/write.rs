//! The one transaction of a group, and what it has to look up.

use duckdb::{Connection, params};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::plan::RunRange;
use jiff::Timestamp;

use super::Position;
use super::batch::{Batch, Batches, Counts};
use super::group::{Change, Group, Replaced};
use crate::database::DatabaseError;
use crate::schema;

/// Writes the group and the position in one transaction; after an error nothing of it is in the tables.
pub(super) fn commit(
    connection: &Connection,
    group: &mut Group,
    batches: &Batches,
    position: Option<&Position>,
) -> Result<(), DatabaseError> {
    connection.execute_batch("BEGIN TRANSACTION").map_err(DatabaseError::sql("begin a transaction"))?;
    let written = write(connection, group, batches, position).and_then(|()| connection.execute_batch("COMMIT"));
    if let Err(source) = written {
        // A transaction that failed is over whether or not this succeeds.
        let _ = connection.execute_batch("ROLLBACK");
        return Err(DatabaseError::Sql { doing: "commit results", source });
    }
    Ok(())
}

fn write(
    connection: &Connection,
    group: &mut Group,
    batches: &Batches,
    position: Option<&Position>,
) -> duckdb::Result<()> {
    for Replaced { batch, runs, generation } in group.replaced() {
        for table in ["backtest_results", "window_results"] {
            connection.execute(
                &format!("DELETE FROM {table} WHERE batch_id = ? AND run >= ? AND run < ? AND generation < ?"),
                params![batch.as_str(), runs.start, runs.end(), generation],
            )?;
        }
    }
    for event in group.deleted() {
        for table in schema::TABLES_OF_BATCHES {
            connection.execute(&format!("DELETE FROM {table} WHERE batch_id = ?"), [event.batch_id.as_str()])?;
        }
        connection.execute(
            "INSERT OR IGNORE INTO deleted_batches VALUES (?, ?)",
            params![event.batch_id.as_str(), micros(Some(event.deleted_at))],
        )?;
    }
    let appended = group.take_columns().map_err(|error| duckdb::Error::ToSqlConversionFailure(Box::new(error)))?;
    for part in appended {
        let mut appender = connection.appender(part.table)?;
        // Columns are shared, not copied, by this clone.
        appender.append_record_batch(part.columns.clone())?;
        appender.flush()?;
    }
    for Replaced { batch, generation, .. } in group.replaced() {
        // A benchmark that a retried shard brought again.
        connection.execute(
            "DELETE FROM benchmarks WHERE batch_id = ? AND generation < ? AND symbol IN
                 (SELECT symbol FROM benchmarks WHERE batch_id = ? AND generation = ?)",
            params![batch.as_str(), generation, batch.as_str(), generation],
        )?;
    }
    for (id, change) in group.changes_to_write() {
        let Some(batch) = batches.get(id) else { continue };
        match change {
            Change::Written => {}
            Change::Counts => write_counts(connection, batch)?,
            Change::Plan => write_batch(connection, batch)?,
        }
    }
    if let Some(position) = position {
        connection.execute(
            "INSERT OR REPLACE INTO position VALUES (?, ?, ?)",
            params![position.source.stream, position.source.created, position.sequence],
        )?;
    }
    Ok(())
}

fn write_batch(connection: &Connection, batch: &Batch) -> duckdb::Result<()> {
    let begin = &batch.begin;
    let as_json = |error: serde_json::Error| duckdb::Error::ToSqlConversionFailure(Box::new(error));
    let spec = serde_json::to_string(&begin.spec).map_err(as_json)?;
    let plan = serde_json::to_string(begin).map_err(as_json)?;
    connection.execute(
        "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            begin.batch_id.as_str(),
            begin.spec.name,
            state_word(batch),
            begin.generation,
            begin.priority.as_str(),
            begin.total_runs,
            batch.counts.succeeded,
            batch.counts.failed,
            batch.counts.dead,
            batch.counts.cancelled,
            spec,
            plan,
            begin.spec_digest,
            begin.planner_version,
            micros(Some(begin.created_at)),
            micros(batch.sealed_at),
            micros(batch.cancelled_at),
            micros(batch.completed_at),
        ],
    )?;
    Ok(())
}

fn write_counts(connection: &Connection, batch: &Batch) -> duckdb::Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE batches SET state = ?, succeeded = ?, failed = ?, dead = ?, cancelled = ?, sealed_at = ?, \
         cancelled_at = ?, completed_at = ? WHERE batch_id = ?",
    )?;
    statement.execute(params![
        state_word(batch),
        batch.counts.succeeded,
        batch.counts.failed,
        batch.counts.dead,
        batch.counts.cancelled,
        micros(batch.sealed_at),
        micros(batch.cancelled_at),
        micros(batch.completed_at),
        batch.id().as_str(),
    ])?;
    Ok(())
}

fn state_word(batch: &Batch) -> &'static str {
    use jetsweep_shared::events::BatchState;
    match batch.state {
        BatchState::Refused => "refused",
        BatchState::Running => "running",
        BatchState::Completed => "completed",
        BatchState::Cancelled => "cancelled",
    }
}

fn micros(at: Option<Timestamp>) -> Option<duckdb::types::Value> {
    use duckdb::types::{TimeUnit, Value};
    at.map(|at| Value::Timestamp(TimeUnit::Microsecond, at.as_microsecond()))
}

/// Whether a batch was deleted.
pub(super) fn is_deleted(connection: &Connection, batch: &BatchId) -> Result<bool, DatabaseError> {
    connection
        .query_row("SELECT count(*) > 0 FROM deleted_batches WHERE batch_id = ?", [batch.as_str()], |row| row.get(0))
        .map_err(DatabaseError::sql("look whether a batch was deleted"))
}

/// How runs of a batch stand in the tables, before its latest generation touches them. Runs that are terminal in no
/// generation are not counted.
pub(super) fn standing(connection: &Connection, batch: &Batch, runs: RunRange) -> Result<Counts, DatabaseError> {
    if batch.generation() == 0 {
        return Ok(Counts::default());
    }
    let read = || -> duckdb::Result<Counts> {
        let (succeeded, failed, dead) = connection.query_row(
            "SELECT count(*) FILTER (WHERE error_code IS NULL), count(*) FILTER (WHERE status = 'failed'),
                 count(*) FILTER (WHERE status = 'dead')
             FROM backtest_results WHERE batch_id = ? AND run >= ? AND run < ?",
            params![batch.id().as_str(), runs.start, runs.end()],
            |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?)),
        )?;
        let cancelled_once: u64 = connection.query_row(
            "SELECT coalesce(sum(least(run_start + run_count, ?) - greatest(run_start, ?)), 0)::BIGINT
             FROM shards
             WHERE batch_id = ? AND outcome = 'cancelled' AND generation < ?
                 AND run_start < ? AND run_start + run_count > ?",
            params![runs.end(), runs.start, batch.id().as_str(), batch.generation(), runs.end(), runs.start],
            |row| row.get(0),
        )?;
        // Runs that were cancelled and computed by a later generation have a row and count by it.
        let without_row = u64::from(runs.count).saturating_sub(succeeded + failed + dead);
        Ok(Counts { succeeded, failed, dead, cancelled: cancelled_once.min(without_row) })
    };
    read().map_err(DatabaseError::sql("read how runs of an older generation ended"))
}
