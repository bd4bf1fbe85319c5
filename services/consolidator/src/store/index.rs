//! The index on symbol, strategy and time: there while no batch runs, gone while rows come.
//!
//! What it costs, by `benches/store.rs` on two busy cores: 0.3 to 0.5 s to build over a million rows, and 0.07 GB of
//! memory that cannot be put on disk. Kept up to date row by row it makes commits about a tenth slower and a checkpoint
//! twice as long, and without bound it would one day fill DuckDB's memory limit, so that nothing could be committed.
//!
//! What it saves: nothing yet. DuckDB 1.5 does not scan an index of several columns (`TableScan: No support for index
//! scans on compound ARTs`), so a question is answered from the zone maps of the columns with or without it: 1 to 2 ms
//! for the 2,000 rows of one symbol and strategy among a million, because results come symbol by symbol and lie
//! together.

use duckdb::Connection;

use crate::database::DatabaseError;

/// Its name.
const NAME: &str = "results_by_symbol_strategy_time";

/// Most rows that are indexed. Building takes half a second a million of them, and memory that cannot be put on disk.
const MOST_ROWS: u64 = 1_000_000;

pub(super) fn exists(connection: &Connection) -> Result<bool, DatabaseError> {
    connection
        .query_row("SELECT count(*) > 0 FROM duckdb_indexes() WHERE index_name = ?", [NAME], |row| row.get(0))
        .map_err(DatabaseError::sql("look for the index"))
}

pub(super) fn drop(connection: &Connection) -> Result<(), DatabaseError> {
    connection.execute_batch(&format!("DROP INDEX IF EXISTS {NAME}")).map_err(DatabaseError::sql("drop the index"))
}

/// Builds it unless a batch is running or there are too many rows. Says whether it is there now.
pub(super) fn build_if_idle(connection: &Connection) -> Result<bool, DatabaseError> {
    let is_idle = "SELECT (SELECT count(*) FROM batches WHERE state = 'running') = 0
        AND (SELECT count(*) FROM backtest_results) <= ?";
    let is_idle: bool = connection
        .query_row(is_idle, [MOST_ROWS], |row| row.get(0))
        .map_err(DatabaseError::sql("see whether a batch is running"))?;
    if !is_idle {
        return Ok(false);
    }
    connection
        .execute_batch(&format!("CREATE INDEX IF NOT EXISTS {NAME} ON backtest_results (symbol, strategy, timestamp)"))
        .map_err(DatabaseError::sql("build the index"))?;
    Ok(true)
}
