//! What a statement may be: one SELECT that reads the tables of this database and nothing else.
//!
//! A read-only transaction refuses writes to tables, and the instance cannot reach other files or change its settings.
//! That leaves functions which do more than compute: `FROM checkpoint()`, `FROM enable_logging()`, reading the
//! database's own file again. So the parsed statement is looked through before it runs, and a table function must be
//! one of those known to do no harm.

use duckdb::Connection;
use serde_json::Value;

use super::QueryError;

/// Table functions that only compute, or read the catalogue.
const TABLE_FUNCTIONS: [&str; 22] = [
    "duckdb_columns",
    "duckdb_constraints",
    "duckdb_databases",
    "duckdb_functions",
    "duckdb_indexes",
    "duckdb_keywords",
    "duckdb_memory",
    "duckdb_schemas",
    "duckdb_tables",
    "duckdb_types",
    "duckdb_views",
    "generate_series",
    "histogram",
    "histogram_values",
    "json_each",
    "json_tree",
    "pragma_database_size",
    "pragma_storage_info",
    "pragma_table_info",
    "range",
    "repeat",
    "unnest",
];

/// Other functions with an effect beyond their value.
const SCALAR_FUNCTIONS_REFUSED: [&str; 4] = ["currval", "nextval", "setseed", "write_log"];

/// What a refused statement could be instead.
const ALLOWED: &str = "a query is one SELECT (also FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW) over the tables of \
                       the database";

/// Checks that a text is one statement that only reads.
pub(super) fn check(connection: &Connection, sql: &str) -> Result<(), QueryError> {
    let parsed: String = connection
        .query_row(
            "SELECT json_serialize_sql(?::VARCHAR, skip_default := true, skip_empty := true, skip_null := true)",
            [sql],
            |row| row.get(0),
        )
        .map_err(|error| QueryError::from_duckdb(&error))?;
    let parsed: Value = serde_json::from_str(&parsed)
        .map_err(|error| QueryError::Invalid(format!("the statement is nested too deeply to be checked: {error}")))?;
    if parsed["error"] == true {
        let words = parsed["error_message"].as_str().unwrap_or("the statement does not parse");
        let is_other_kind = words.starts_with("Only SELECT statements");
        return Err(QueryError::Invalid(if is_other_kind {
            format!("not allowed: {ALLOWED}")
        } else {
            words.to_owned()
        }));
    }
    match parsed["statements"].as_array().map_or(0, Vec::len) {
        0 => return Err(QueryError::Invalid(format!("the query is empty: {ALLOWED}"))),
        1 => {}
        count => return Err(QueryError::Invalid(format!("{count} statements at once are not allowed: {ALLOWED}"))),
    }
    look_through(&parsed)
}

fn look_through(node: &Value) -> Result<(), QueryError> {
    match node {
        Value::Array(nodes) => nodes.iter().try_for_each(look_through),
        Value::Object(fields) => {
            check_table_function(node)?;
            check_scalar_function(node)?;
            check_table(node)?;
            fields.values().try_for_each(look_through)
        }
        _ => Ok(()),
    }
}

fn check_table_function(node: &Value) -> Result<(), QueryError> {
    if node["type"] != "TABLE_FUNCTION" {
        return Ok(());
    }
    let name = node["function"]["function_name"].as_str().unwrap_or_default().to_lowercase();
    if TABLE_FUNCTIONS.contains(&name.as_str()) {
        return Ok(());
    }
    let hint = TABLE_FUNCTIONS.join(", ");
    Err(QueryError::Invalid(format!("the table function \"{name}\" is not allowed in a query (allowed are {hint})")))
}

fn check_scalar_function(node: &Value) -> Result<(), QueryError> {
    let Some(name) = node["function_name"].as_str() else { return Ok(()) };
    if SCALAR_FUNCTIONS_REFUSED.contains(&name.to_lowercase().as_str()) {
        return Err(QueryError::Invalid(format!("the function \"{name}\" does more than read and is not allowed")));
    }
    Ok(())
}

/// A table's name that looks like a file's would be read as one.
fn check_table(node: &Value) -> Result<(), QueryError> {
    let Some(name) = node["table_name"].as_str() else { return Ok(()) };
    // DESCRIBE and SHOW keep what they describe between quotes.
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ' | '"');
    if name.chars().all(fits) {
        return Ok(());
    }
    Err(QueryError::Invalid(format!("no table can be called {name:?}; files cannot be read here")))
}
