//! Rows that came over the network, as a database of their own, so that they are exported as the consolidator's are.

use std::path::Path;

use duckdb::Connection;
use jetsweep_shared::ids::BatchId;

use crate::database::{DatabaseError, Resources};
use crate::export::{self, Destination, ExportError, Format};
use crate::schema;

/// Rows of one batch in a private database.
#[derive(Debug)]
pub struct Imported {
    connection: Connection,
    batch: BatchId,
}

impl Imported {
    /// Reads rows of `backtest_results` from a file with one JSON object a line, as the query endpoint gives them. The
    /// database lies in `folder`, which the caller removes.
    ///
    /// # Errors
    ///
    /// When DuckDB cannot be started there, or the rows are not of that table.
    pub fn from_json_lines(
        lines: &Path,
        batch: &BatchId,
        folder: &Path,
        resources: Resources,
    ) -> Result<Self, DatabaseError> {
        let config = duckdb::Config::default()
            .threads(i64::try_from(resources.threads.max(1)).unwrap_or(i64::MAX))
            .and_then(|config| config.max_memory(&format!("{}B", resources.memory_bytes)))
            .map_err(DatabaseError::sql("configure DuckDB"))?;
        let connection = Connection::open_with_flags(folder.join("import.duckdb"), config)
            .map_err(DatabaseError::sql("open a database for the rows"))?;
        connection.execute_batch(&load_sql(lines)).map_err(DatabaseError::sql("take in the rows"))?;
        Ok(Self { connection, batch: batch.clone() })
    }

    /// Writes the rows in order of runs; returns how many. A file appears under its name only when it is complete.
    pub fn export(&self, format: Format, to: Destination<'_>) -> Result<u64, ExportError> {
        export::export_rows(&self.connection, &self.batch, format, to)
    }
}

/// A table with the types of `backtest_results`, read from the file.
fn load_sql(lines: &Path) -> String {
    let columns = schema::result_columns();
    let types = columns.iter().map(|(name, sql_type)| {
        let sql_type = sql_type.trim_end_matches(" NOT NULL");
        format!("{name}: '{sql_type}'")
    });
    let types = types.collect::<Vec<_>>().join(", ");
    let file = lines.display().to_string().replace('\'', "''");
    format!(
        "CREATE TABLE backtest_results AS
         SELECT * FROM read_json('{file}', format = 'newline_delimited', columns = {{{types}}});"
    )
}
