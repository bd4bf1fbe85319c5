//! Running a SELECT and reading its rows one by one.

use duckdb::arrow::array::{Array, StructArray};
use duckdb::{Connection, Statement};
use serde_json::{Map, Value};

use super::{QueryError, guard, json};

/// A row: values by column name, in the order of columns.
pub type Row = Map<String, Value>;

/// A read-only transaction, rolled back when dropped.
#[derive(Debug)]
struct Reading<'a> {
    connection: &'a Connection,
}

impl<'a> Reading<'a> {
    fn begin(connection: &'a Connection) -> Result<Self, QueryError> {
        connection
            .execute_batch("BEGIN TRANSACTION READ ONLY")
            .map_err(|error| QueryError::Unavailable(format!("failed to begin reading: {error}")))?;
        Ok(Self { connection })
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // Nothing was written; a transaction that was aborted is over already.
        let _ = self.connection.execute_batch("ROLLBACK");
    }
}

/// The rows of a query, computed as they are asked for.
///
/// They are of one moment, whatever is written meanwhile. A connection has one query at a time.
pub struct Rows<'a> {
    // Dropped in this order: a transaction ends after the statement in it.
    statement: Statement<'a>,
    _reading: Reading<'a>,
    columns: Vec<Column>,
    chunk: Option<StructArray>,
    next_row: usize,
}

impl std::fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").field("columns", &self.columns).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Column {
    name: String,
    is_json: bool,
}

/// The name, or with a number after it when an earlier column has it: an object has each key once.
fn unused_name(name: &str, earlier: &[Column]) -> String {
    let is_used = |name: &str| earlier.iter().any(|column| column.name == name);
    if !is_used(name) {
        return name.to_owned();
    }
    let mut number = 1;
    loop {
        let numbered = format!("{name}_{number}");
        if !is_used(&numbered) {
            return numbered;
        }
        number += 1;
    }
}

impl<'a> Rows<'a> {
    /// Checks a statement of a user's and starts it.
    pub(crate) fn of_user(connection: &'a Connection, sql: &str) -> Result<Self, QueryError> {
        guard::check(connection, sql)?;
        Self::of(connection, sql)
    }

    /// Starts a statement of this program's.
    pub(crate) fn of(connection: &'a Connection, sql: &str) -> Result<Self, QueryError> {
        let asked = |error: duckdb::Error| QueryError::from_duckdb(&error);
        let reading = Reading::begin(connection)?;
        let mut statement = connection.prepare(sql).map_err(asked)?;
        // Starts the statement. Its chunks are asked for one by one later, where an error is an error and no panic.
        drop(statement.stream_arrow([]).map_err(asked)?);
        let schema = statement.schema();
        let mut columns: Vec<Column> = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let alias = statement.column_logical_type(index).get_alias();
            let is_json = json::is_json(field) || alias.as_deref() == Some("JSON");
            columns.push(Column { name: unused_name(field.name(), &columns), is_json });
        }
        Ok(Self { statement, _reading: reading, columns, chunk: None, next_row: 0 })
    }

    /// Names of the columns.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The next row, if there is one.
    pub fn next_row(&mut self) -> Result<Option<Row>, QueryError> {
        loop {
            if let Some(chunk) = self.chunk.as_ref().filter(|chunk| self.next_row < chunk.len()) {
                let row = self.next_row;
                self.next_row += 1;
                return read(chunk, row, &self.columns).map(Some);
            }
            self.next_row = 0;
            self.chunk = self.statement.step().map_err(|error| QueryError::from_duckdb(&error))?;
            if self.chunk.is_none() {
                return Ok(None);
            }
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, QueryError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_row().transpose()
    }
}

fn read(chunk: &StructArray, row: usize, columns: &[Column]) -> Result<Row, QueryError> {
    let mut values = Row::with_capacity(columns.len());
    for (column, array) in columns.iter().zip(chunk.columns()) {
        let value = json::value(array.as_ref(), row, column.is_json)
            .map_err(|error| QueryError::Invalid(format!("column {}: {error}", column.name)))?;
        values.insert(column.name.clone(), value);
    }
    Ok(values)
}
