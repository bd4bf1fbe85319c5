//! Tables and views of the database.
//!
//! | table | one row | written |
//! |---|---|---|
//! | `backtest_results` | a run that succeeded, failed or is dead | with its shard's marker |
//! | `batches` | a batch, with its plan and counts | with every commit that changes it |
//! | `shards` | a marker: this shard's runs are terminal | with its rows |
//! | `position` | the stream read, and how far | with every commit |
//! | `schema_version` | the version of all this | once |
//!
//! Numbers are BIGINT or DOUBLE, times are TIMESTAMP in UTC. No value is ever NaN or infinite: what is undefined is
//! NULL.

mod views;

use std::path::Path;

use duckdb::{Connection, OptionalExt};
use jetsweep_engine::metrics::{BLOCKS, Kind, Metric};

use crate::database::DatabaseError;

/// Version of the tables. A program refuses a database of a later one.
pub const VERSION: i64 = 1;

/// Columns of `backtest_results` before the metrics, with their types.
const COLUMNS_BEFORE_METRICS: [(&str, &str); 9] = [
    ("batch_id", "VARCHAR NOT NULL"),
    ("run", "BIGINT NOT NULL"),
    ("generation", "BIGINT NOT NULL"),
    ("symbol", "VARCHAR NOT NULL"),
    ("strategy", "VARCHAR NOT NULL"),
    ("params", "JSON"),
    ("status", "VARCHAR NOT NULL"),
    ("error_code", "VARCHAR"),
    ("error_message", "VARCHAR"),
];

/// Columns of `backtest_results` after the blocks of returns, with their types.
const COLUMNS_AFTER_BLOCKS: [(&str, &str); 6] = [
    ("runtime_us", "DOUBLE"),
    ("worker", "VARCHAR NOT NULL"),
    ("data_digest", "VARCHAR"),
    ("engine_version", "VARCHAR NOT NULL"),
    ("spec_digest", "VARCHAR NOT NULL"),
    ("timestamp", "TIMESTAMP NOT NULL"),
];

const OTHER_TABLES: &str = "
CREATE TABLE batches (
    batch_id VARCHAR PRIMARY KEY,
    name VARCHAR NOT NULL,
    state VARCHAR NOT NULL,
    generation BIGINT NOT NULL,
    priority VARCHAR NOT NULL,
    total_runs BIGINT NOT NULL,
    succeeded BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    spec JSON NOT NULL,
    plan JSON NOT NULL,
    spec_digest VARCHAR NOT NULL,
    planner_version VARCHAR NOT NULL,
    created_at TIMESTAMP NOT NULL,
    sealed_at TIMESTAMP,
    cancelled_at TIMESTAMP,
    completed_at TIMESTAMP
);
CREATE TABLE shards (
    batch_id VARCHAR NOT NULL,
    generation BIGINT NOT NULL,
    shard BIGINT NOT NULL,
    run_start BIGINT NOT NULL,
    run_count BIGINT NOT NULL,
    outcome VARCHAR NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (batch_id, generation, shard)
);
CREATE TABLE position (
    stream VARCHAR PRIMARY KEY,
    stream_created VARCHAR NOT NULL,
    sequence BIGINT NOT NULL
);
CREATE TABLE schema_version (version BIGINT NOT NULL);
";

/// Names and types of the columns of `backtest_results`, in order.
pub fn result_columns() -> Vec<(&'static str, String)> {
    let metrics = Metric::ALL.iter().map(|metric| {
        let sql_type = match metric.kind() {
            Kind::Count => "BIGINT",
            Kind::Ratio | Kind::Money => "DOUBLE",
        };
        (metric.name(), sql_type.to_owned())
    });
    let blocks = ["block_returns", "block_squares"].map(|name| (name, format!("DOUBLE[{BLOCKS}]")));
    let owned = |(name, sql_type): (&'static str, &str)| (name, sql_type.to_owned());
    COLUMNS_BEFORE_METRICS
        .into_iter()
        .map(owned)
        .chain(metrics)
        .chain(blocks)
        .chain(COLUMNS_AFTER_BLOCKS.into_iter().map(owned))
        .collect()
}

/// Creates the tables in a new database, or checks that those of an old one are known.
pub(crate) fn create_or_check(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    if version(connection)?.is_none() {
        create(connection).map_err(DatabaseError::sql("create the tables"))?;
    }
    check(connection, path)?;
    // Views hold no data: the program's own are put in place of whatever an earlier one left.
    connection.execute_batch(&views::sql()).map_err(DatabaseError::sql("create the views"))
}

/// Checks that the tables are there and of a version this program knows. Without tables the file counts as missing: its
/// writer was killed before there was anything to read.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    let found = version(connection)?.ok_or_else(|| DatabaseError::Missing { path: path.to_owned() })?;
    if found > VERSION {
        return Err(DatabaseError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<Option<i64>, DatabaseError> {
    let reading = DatabaseError::sql("read the schema's version");
    let has_table: bool = match connection.query_row(
        "SELECT count(*) > 0 FROM duckdb_tables() WHERE table_name = 'schema_version'",
        [],
        |row| row.get(0),
    ) {
        Ok(has_table) => has_table,
        Err(error) => return Err(reading(error)),
    };
    if !has_table {
        return Ok(None);
    }
    connection
        .query_row("SELECT version FROM schema_version", [], |row| row.get(0))
        .optional()
        .map_err(DatabaseError::sql("read the schema's version"))
}

fn create(connection: &Connection) -> duckdb::Result<()> {
    let columns: Vec<String> =
        result_columns().into_iter().map(|(name, sql_type)| format!("    {name} {sql_type}")).collect();
    let results = format!("CREATE TABLE backtest_results (\n{}\n);", columns.join(",\n"));
    // The views too: a reader of a database whose writer was killed at its start finds all of it or nothing.
    let views = views::sql();
    connection.execute_batch(&format!(
        "BEGIN TRANSACTION;\n{results}\n{OTHER_TABLES}\n{views}\nINSERT INTO schema_version VALUES ({VERSION});\nCOMMIT;"
    ))
}
