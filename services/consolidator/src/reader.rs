//! Reading the database while no consolidator has it.

use std::path::Path;

use jetsweep_shared::events::Begin;
use jetsweep_shared::ids::BatchId;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::database::{Database, DatabaseError, Resources};
use crate::export::{self, Destination, ExportError, Format};
use crate::query::{QueryError, Row, Rows};
use crate::summary::{BatchSummary, summary_sql};

/// The database does not give what is asked.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It cannot be read.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// What it says is not what this program writes.
    #[error("failed to read {what}: {source}")]
    Content {
        /// What was read.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// The database, open for reading. One query at a time.
#[derive(Debug)]
pub struct Reader {
    database: Database,
}

impl Reader {
    /// Opens the database.
    ///
    /// # Errors
    ///
    /// When there is none, or a consolidator has it: the error says which process.
    pub fn open(path: &Path, resources: Resources) -> Result<Self, DatabaseError> {
        Database::open_for_reading(path, resources).map(|database| Self { database })
    }

    /// The rows of a user's query, computed as they are asked for. What may be asked is what a consolidator's query
    /// endpoint allows too.
    pub fn query(&self, sql: &str) -> Result<Rows<'_>, QueryError> {
        Rows::of_user(&self.database.connection, sql)
    }

    /// A batch in short, if there is such a batch.
    pub fn summary(&self, batch: &BatchId) -> Result<Option<BatchSummary>, ReadError> {
        let Some(row) = self.first_row(&summary_sql(batch))? else { return Ok(None) };
        parse(Value::Object(row), || format!("the summary of batch {batch}")).map(Some)
    }

    /// The plan of a batch's latest generation, if there is such a batch.
    pub fn plan_of(&self, batch: &BatchId) -> Result<Option<Begin>, ReadError> {
        let Some(mut row) = self.first_row(&plan_sql(batch))? else { return Ok(None) };
        let plan = row.remove("plan").unwrap_or_default();
        parse(plan, || format!("the plan of batch {batch}")).map(Some)
    }

    /// The row of one run, if it has one: values by column name.
    pub fn row_of(&self, batch: &BatchId, run: u64) -> Result<Option<Row>, ReadError> {
        Ok(self.first_row(&row_sql(batch, run))?)
    }

    /// Writes the rows of a batch, in order of runs. Returns how many.
    ///
    /// A file appears under its name only when it is complete.
    pub fn export(&self, batch: &BatchId, format: Format, to: Destination<'_>) -> Result<u64, ExportError> {
        export::export(&self.database.connection, batch, format, to)
    }

    fn first_row(&self, sql: &str) -> Result<Option<Row>, QueryError> {
        Rows::of(&self.database.connection, sql)?.next_row()
    }
}

/// The statement whose one row has the plan of a batch, as `plan`.
pub fn plan_sql(batch: &BatchId) -> String {
    format!("SELECT plan FROM batches WHERE batch_id = '{batch}'")
}

/// The statement whose one row is that of a run.
pub fn row_sql(batch: &BatchId, run: u64) -> String {
    format!("SELECT * FROM backtest_results WHERE batch_id = '{batch}' AND run = {run}")
}

fn parse<T: DeserializeOwned>(value: Value, what: impl FnOnce() -> String) -> Result<T, ReadError> {
    serde_json::from_value(value).map_err(|source| ReadError::Content { what: what(), source })
}
