//! Rows of a query, whose columns are only known when they come.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{Align, Look, Table};

/// Characters of a value shown in a table; lists of numbers go far beyond.
const LONGEST_CELL: usize = 60;

/// Characters between two columns of a table.
const GAP: usize = 3;

/// Significant digits shown of a number that is not whole.
const DIGITS: i32 = 6;

/// Writes rows as a table, or one below the other where the terminal is too narrow for one.
pub(crate) fn write(rows: &[Map<String, Value>], out: &mut dyn Write, look: Look) -> io::Result<()> {
    let Some(first) = rows.first() else { return Ok(()) };
    let names: Vec<&str> = first.keys().map(String::as_str).collect();
    let cells: Vec<Vec<String>> = rows.iter().map(|row| row.values().map(cell).collect()).collect();
    let widest = |column: usize| {
        let name = names[column].chars().count();
        cells.iter().map(|row| row[column].chars().count()).fold(name, usize::max) + GAP
    };
    let width: usize = (0..names.len()).map(widest).sum();
    if look.width.is_some_and(|terminal| width > usize::from(terminal)) && names.len() > 2 {
        return write_below(&names, &cells, out, look);
    }
    let is_number = |name: &str| rows.iter().filter_map(|row| row.get(name)).all(|v| v.is_number() || v.is_null());
    let align = |name: &str| if is_number(name) { Align::Right } else { Align::Left };
    let mut table = Table::new(look, names.iter().map(|name| (*name, align(name))));
    for row in &cells {
        table.row(row);
    }
    writeln!(out, "{table}")
}

/// Each row as lines of name and value.
fn write_below(names: &[&str], cells: &[Vec<String>], out: &mut dyn Write, look: Look) -> io::Result<()> {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    for (number, row) in cells.iter().enumerate() {
        writeln!(out, "{}", look.bold(&format!("row {}", number + 1)))?;
        for (name, value) in names.iter().zip(row) {
            writeln!(out, "  {name:longest$}  {}", super::table::printable(value))?;
        }
    }
    Ok(())
}

/// A value as a cell of a table.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map(float).unwrap_or_default(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST_CELL) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A number that is not whole, with the digits a person can use.
fn float(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0.0".to_owned();
    }
    if !(1e-4..1e12).contains(&size) {
        return format!("{value:.4e}");
    }
    let before_point = size.log10().floor() as i32 + 1;
    let decimals = (DIGITS - before_point.max(0)).clamp(2, DIGITS);
    let text = format!("{value:.*}", decimals as usize);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// A value without quotes: nothing for null; tabs and ends of lines are escaped, so that a row stays a line.
pub(crate) fn bare(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => {
            text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(rows: Value, width: Option<u16>) -> String {
        let rows: Vec<Map<String, Value>> = serde_json::from_value(rows).unwrap();
        let mut out = Vec::new();
        write(&rows, &mut out, Look { colour: false, width }).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_show_the_digits_that_matter() {
        let shown = [0.768_274_775, -0.543_001_198, 7_313_065.666_8, 12.0, 0.0, 1.5e-7, 3e20].map(float);
        assert_eq!(shown, ["0.768275", "-0.543001", "7313065.67", "12.0", "0.0", "1.5000e-7", "3.0000e20"]);
    }

    #[test]
    fn rows_are_a_table_where_they_fit() {
        let rows = json!([
            {"symbol": "AAPL", "params": {"fast": 10}, "sharpe": 0.768_274_775, "runs": 12},
            {"symbol": "SPY", "params": {"fast": 9}, "sharpe": null, "runs": 9},
        ]);
        insta::assert_snapshot!(text(rows.clone(), None));
        insta::assert_snapshot!(text(rows, Some(30)));
        assert_eq!(text(json!([]), None), "");
    }

    #[test]
    fn bare_values_stay_on_one_line() {
        let values = [json!(null), json!("a\tb\nc\\"), json!(1.5), json!([1, 2])].map(|value| bare(&value));
        assert_eq!(values, ["", "a\\tb\\nc\\\\", "1.5", "[1,2]"]);
    }
}
