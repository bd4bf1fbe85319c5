//! Rows of a batch as a file in a format other programs read.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use duckdb::Connection;
use jetsweep_shared::ids::BatchId;
use serde_json::Value;

use crate::query::{QueryError, Rows};

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header; parameters and blocks of returns are JSON, undefined values are empty.
    Csv,
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    JsonLines,
    /// Apache Parquet, with the table's own types.
    Parquet,
}

/// Where rows go.
pub enum Destination<'a> {
    /// A file, replaced if it is there.
    File(&'a Path),
    /// Anything that takes bytes, such as standard output.
    Writer(&'a mut dyn Write),
}

/// Rows cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// There is no such batch.
    #[error("there is no batch {0} in the database")]
    UnknownBatch(BatchId),
    /// The format goes to files only.
    #[error("Parquet is written to a file only: name one")]
    NeedsFile,
    /// The file's name cannot be handed to DuckDB.
    #[error("failed to write {0}: the name of an exported file must be UTF-8")]
    Name(PathBuf),
    /// The rows cannot be read, or DuckDB cannot write them.
    #[error("failed to export batch {batch}: {source}")]
    Query {
        /// The batch.
        batch: BatchId,
        /// DuckDB's words.
        source: QueryError,
    },
    /// The file cannot be written.
    #[error("failed to write {what}: {source}")]
    Write {
        /// The file, or what else.
        what: String,
        /// The system's words. A closed pipe is one.
        source: io::Error,
    },
}

/// Writes the rows of a batch in order of runs; returns how many.
pub(crate) fn export(
    connection: &Connection,
    batch: &BatchId,
    format: Format,
    to: Destination<'_>,
) -> Result<u64, ExportError> {
    let failed = |source: QueryError| ExportError::Query { batch: batch.clone(), source };
    let known = count(connection, &format!("SELECT count(*) AS n FROM batches WHERE batch_id = '{batch}'"));
    if known.map_err(failed)? == 0 {
        return Err(ExportError::UnknownBatch(batch.clone()));
    }
    export_rows(connection, batch, format, to)
}

/// Writes the rows of a batch that may be known by its rows only.
pub(crate) fn export_rows(
    connection: &Connection,
    batch: &BatchId,
    format: Format,
    to: Destination<'_>,
) -> Result<u64, ExportError> {
    let failed = |source: QueryError| ExportError::Query { batch: batch.clone(), source };
    match to {
        Destination::File(path) => {
            to_file(connection, batch, format, path)?;
            let rows =
                count(connection, &format!("SELECT count(*) AS n FROM backtest_results WHERE batch_id = '{batch}'"));
            rows.map_err(failed)
        }
        Destination::Writer(writer) => to_writer(connection, batch, format, writer),
    }
}

/// The rows, with times as text: the formats of text have no type for them, and DuckDB's own text has no time zone.
fn select_as_text(batch: &BatchId) -> String {
    format!(
        "SELECT * REPLACE (strftime(timestamp, '%Y-%m-%dT%H:%M:%S.%fZ') AS timestamp)
         FROM backtest_results WHERE batch_id = '{batch}' ORDER BY run"
    )
}

fn to_file(connection: &Connection, batch: &BatchId, format: Format, path: &Path) -> Result<(), ExportError> {
    let partial = partial_name(path);
    let target = partial.to_str().ok_or_else(|| ExportError::Name(path.to_owned()))?.replace('\'', "''");
    let (rows, options) = match format {
        Format::Csv => (select_as_text(batch), "FORMAT csv, HEADER"),
        Format::Json => (select_as_text(batch), "FORMAT json, ARRAY true"),
        Format::JsonLines => (select_as_text(batch), "FORMAT json"),
        Format::Parquet => {
            // As lists: other readers cannot make out which rows an array is absent from.
            let rows = format!(
                "SELECT * REPLACE (block_returns::DOUBLE[] AS block_returns, block_squares::DOUBLE[] AS block_squares)
                 FROM backtest_results WHERE batch_id = '{batch}' ORDER BY run"
            );
            (rows, "FORMAT parquet, COMPRESSION zstd")
        }
    };
    let copied = connection.execute_batch(&format!("COPY ({rows}) TO '{target}' ({options})"));
    let written = copied
        .map_err(|error| ExportError::Query { batch: batch.clone(), source: QueryError::from_duckdb(&error) })
        .and_then(|()| {
            fs::rename(&partial, path).map_err(|source| ExportError::Write { what: path.display().to_string(), source })
        });
    if written.is_err() {
        // It may not be there at all, and the first error says more.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// A name beside the file's, so that renaming does not cross file systems.
fn partial_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.partial", std::process::id()))
}

fn to_writer(
    connection: &Connection,
    batch: &BatchId,
    format: Format,
    writer: &mut dyn Write,
) -> Result<u64, ExportError> {
    if format == Format::Parquet {
        return Err(ExportError::NeedsFile);
    }
    let failed = |source: QueryError| ExportError::Query { batch: batch.clone(), source };
    let rows = Rows::of(connection, &select_as_text(batch)).map_err(failed)?;
    let mut writer = io::BufWriter::new(writer);
    let unwritten = |source: io::Error| ExportError::Write { what: "the exported rows".to_owned(), source };
    let mut count = 0;
    if format == Format::Csv {
        write_csv_line(&mut writer, rows.columns().map(csv_text)).map_err(unwritten)?;
    }
    for row in rows {
        let row = row.map_err(failed)?;
        match format {
            Format::Csv => write_csv_line(&mut writer, row.values().map(csv_value)),
            Format::Json => writer
                .write_all(if count == 0 { b"[\n\t" } else { b",\n\t" })
                .and_then(|()| serde_json::to_writer(&mut writer, &row).map_err(io::Error::from)),
            Format::JsonLines | Format::Parquet => {
                serde_json::to_writer(&mut writer, &row).map_err(io::Error::from).and_then(|()| writer.write_all(b"\n"))
            }
        }
        .map_err(unwritten)?;
        count += 1;
    }
    if format == Format::Json {
        writer.write_all(if count == 0 { b"[\n]\n" } else { b"\n]\n" }).map_err(unwritten)?;
    }
    writer.flush().map_err(unwritten)?;
    Ok(count)
}

fn count(connection: &Connection, sql: &str) -> Result<u64, QueryError> {
    let row = Rows::of(connection, sql)?.next_row()?;
    Ok(row.and_then(|row| row.get("n").and_then(Value::as_u64)).unwrap_or_default())
}

fn write_csv_line(writer: &mut dyn Write, fields: impl Iterator<Item = String>) -> io::Result<()> {
    let line: Vec<String> = fields.collect();
    writer.write_all(line.join(",").as_bytes())?;
    writer.write_all(b"\n")
}

fn csv_value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => csv_text(text),
        other => csv_text(&other.to_string()),
    }
}

/// Quoted where RFC 4180 asks for it; an empty text too, to be told from an undefined value.
fn csv_text(text: &str) -> String {
    let needs_quotes = text.is_empty() || text.contains(['"', ',', '\n', '\r']);
    if needs_quotes { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_read_back() {
        assert_eq!(csv_text("AAPL"), "AAPL");
        assert_eq!(csv_text("say \"no\", twice"), "\"say \"\"no\"\", twice\"");
        assert_eq!(csv_text(""), "\"\"");
        assert_eq!(csv_value(&Value::Null), "");
        assert_eq!(csv_value(&serde_json::json!({"fast": 10})), "\"{\"\"fast\"\":10}\"");
    }
}
