//! Tables and views of the database.
//!
//! | table | one row | written |
//! |---|---|---|
//! | `backtest_results` | a run that succeeded, failed or is dead | with its shard's marker |
//! | `window_results` | a run over one segment of a window, where the spec has windows | with the run's row |
//! | `benchmarks` | buying and holding a symbol, over the whole period or one segment | with the symbol's first shard |
//! | `batches` | a batch, with its plan and counts | with every commit that changes it |
//! | `shards` | a marker: this shard's runs are terminal | with its rows |
//! | `deleted_batches` | a batch that was deleted | with the deletion of its rows |
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

/// Version of the tables. A program refuses a database of a later one, and brings one of an earlier one up to it.
pub const VERSION: i64 = 2;

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

/// Columns of `window_results` before the metrics, with their types.
const COLUMNS_OF_WINDOWS: [(&str, &str); 9] = [
    ("batch_id", "VARCHAR NOT NULL"),
    ("run", "BIGINT NOT NULL"),
    ("generation", "BIGINT NOT NULL"),
    ("symbol", "VARCHAR NOT NULL"),
    ("strategy", "VARCHAR NOT NULL"),
    ("window_number", "BIGINT NOT NULL"),
    ("segment", "VARCHAR NOT NULL"),
    ("segment_start", "TIMESTAMP NOT NULL"),
    ("segment_end", "TIMESTAMP NOT NULL"),
];

/// Columns of `benchmarks` before the metrics, with their types. The whole period has no window and no times.
const COLUMNS_OF_BENCHMARKS: [(&str, &str); 7] = [
    ("batch_id", "VARCHAR NOT NULL"),
    ("generation", "BIGINT NOT NULL"),
    ("symbol", "VARCHAR NOT NULL"),
    ("window_number", "BIGINT"),
    ("segment", "VARCHAR NOT NULL"),
    ("segment_start", "TIMESTAMP"),
    ("segment_end", "TIMESTAMP"),
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

/// A column's name and type.
type Column = (&'static str, String);

/// Tables with rows of batches, each with a column `batch_id`.
pub(crate) const TABLES_OF_BATCHES: [&str; 5] =
    ["backtest_results", "window_results", "benchmarks", "shards", "batches"];

/// Tables that a database may not have yet.
const LATER_TABLES: &str = "
CREATE TABLE IF NOT EXISTS deleted_batches (batch_id VARCHAR PRIMARY KEY, deleted_at TIMESTAMP NOT NULL);
";

/// Names and types of the columns of `backtest_results`, in order.
pub fn result_columns() -> Vec<Column> {
    let blocks = ["block_returns", "block_squares"].map(|name| (name, format!("DOUBLE[{BLOCKS}]")));
    let before = COLUMNS_BEFORE_METRICS.into_iter().map(owned);
    before.chain(metric_columns()).chain(blocks).chain(COLUMNS_AFTER_BLOCKS.into_iter().map(owned)).collect()
}

/// Names and types of the columns of `window_results`, in order.
pub(crate) fn window_columns() -> Vec<Column> {
    COLUMNS_OF_WINDOWS.into_iter().map(owned).chain(metric_columns()).collect()
}

/// Names and types of the columns of `benchmarks`, in order.
pub(crate) fn benchmark_columns() -> Vec<Column> {
    COLUMNS_OF_BENCHMARKS.into_iter().map(owned).chain(metric_columns()).collect()
}

fn owned((name, sql_type): (&'static str, &str)) -> Column {
    (name, sql_type.to_owned())
}

fn metric_columns() -> impl Iterator<Item = Column> {
    Metric::ALL.iter().map(|metric| {
        let sql_type = match metric.kind() {
            Kind::Count => "BIGINT",
            Kind::Ratio | Kind::Money => "DOUBLE",
        };
        (metric.name(), sql_type.to_owned())
    })
}

/// Creates the tables in a new database, or checks that those of an old one are known.
pub(crate) fn create_or_check(connection: &Connection, path: &Path) -> Result<(), DatabaseError> {
    match version(connection)? {
        None => create(connection).map_err(DatabaseError::sql("create the tables"))?,
        Some(1) => upgrade_from_1(connection).map_err(DatabaseError::sql("bring the tables up to date"))?,
        Some(_) => {}
    }
    check(connection, path)?;
    connection.execute_batch(LATER_TABLES).map_err(DatabaseError::sql("create the tables"))?;
    // Views hold no data: the program's own are put in place of whatever an earlier one left.
    connection.execute_batch(&views::sql()).map_err(DatabaseError::sql("create the views"))
}

/// Checks that the tables are there and of a version this program knows, which is the answer. Without tables the file counts as missing: its
/// writer was killed before there was anything to read.
pub(crate) fn check(connection: &Connection, path: &Path) -> Result<i64, DatabaseError> {
    let found = version(connection)?.ok_or_else(|| DatabaseError::Missing { path: path.to_owned() })?;
    if found > VERSION {
        return Err(DatabaseError::Newer { path: path.to_owned(), found, known: VERSION });
    }
    Ok(found)
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
    let results = create_table("backtest_results", result_columns());
    let later = tables_since_2();
    // The views too: a reader of a database whose writer was killed at its start finds all of it or nothing.
    let views = views::sql();
    connection.execute_batch(&format!(
        "BEGIN TRANSACTION;\n{results}\n{OTHER_TABLES}\n{later}\n{LATER_TABLES}\n{views}\n\
         INSERT INTO schema_version VALUES ({VERSION});\nCOMMIT;"
    ))
}

fn upgrade_from_1(connection: &Connection) -> duckdb::Result<()> {
    let later = tables_since_2();
    connection.execute_batch(&format!("BEGIN TRANSACTION;\n{later}\nUPDATE schema_version SET version = 2;\nCOMMIT;"))
}

fn tables_since_2() -> String {
    create_table("window_results", window_columns()) + "\n" + &create_table("benchmarks", benchmark_columns())
}

fn create_table(name: &str, columns: Vec<Column>) -> String {
    let columns: Vec<String> = columns.into_iter().map(|(name, sql_type)| format!("    {name} {sql_type}")).collect();
    format!("CREATE TABLE {name} (\n{}\n);", columns.join(",\n"))
}
