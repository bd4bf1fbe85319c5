//! Values of DuckDB as JSON.
//!
//! | DuckDB | JSON |
//! |---|---|
//! | integers, HUGEINT, DECIMAL | number |
//! | DOUBLE, FLOAT | number that reads back as the same double; NaN and infinity are null |
//! | BOOLEAN | true or false |
//! | VARCHAR, ENUM, UUID | string |
//! | JSON | what it says |
//! | DATE, TIME, TIMESTAMP | ISO 8601 string; timestamps are UTC and end in Z |
//! | INTERVAL | string: `1 month 2 days 3.5 s` |
//! | BLOB | string of hexadecimal digits |
//! | LIST, ARRAY | array |
//! | STRUCT | object |
//! | MAP | array of objects with `key` and `value` |
//! | NULL | null |

use duckdb::arrow::array::{Array, ArrayRef, AsArray, StructArray};
use duckdb::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    IntervalMonthDayNanoType, Time64MicrosecondType, Time64NanosecondType, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

/// Metadata under which Arrow names a type that another type stands for.
const EXTENSION: &str = "ARROW:extension:name";

/// A value that has no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column of type {data_type} cannot be shown: cast it to VARCHAR")]
pub(super) struct NoJson {
    data_type: String,
}

/// Whether a field is of DuckDB's JSON type.
pub(super) fn is_json(field: &Field) -> bool {
    field.metadata().get(EXTENSION).is_some_and(|name| name == "arrow.json")
}

/// The value in a row of a column. `json` says that texts of the column are JSON.
pub(super) fn value(column: &dyn Array, row: usize, json: bool) -> Result<Value, NoJson> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    let value = match column.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => column.as_boolean().value(row).into(),
        DataType::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        DataType::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => number(shortest(column.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(_, scale) => decimal(column.as_primitive::<Decimal128Type>().value(row), *scale),
        DataType::Utf8 => text(column.as_string::<i32>().value(row), json),
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(row), json),
        DataType::Utf8View => text(column.as_string_view().value(row), json),
        DataType::Binary => hexadecimal(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => hexadecimal(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => hexadecimal(column.as_binary_view().value(row)),
        DataType::Date32 => date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(unit, _) => timestamp(column, row, *unit),
        DataType::Time64(TimeUnit::Microsecond) => {
            time(column.as_primitive::<Time64MicrosecondType>().value(row).saturating_mul(1000))
        }
        DataType::Time64(TimeUnit::Nanosecond) => time(column.as_primitive::<Time64NanosecondType>().value(row)),
        DataType::Interval(_) => {
            let Some(intervals) = column.as_primitive_opt::<IntervalMonthDayNanoType>() else {
                return Err(no_json(column));
            };
            let interval = intervals.value(row);
            let seconds = interval.nanoseconds as f64 / 1e9;
            format!("{} months {} days {seconds} s", interval.months, interval.days).into()
        }
        DataType::Dictionary(_, _) => {
            let dictionary = column.as_any_dictionary();
            let key = dictionary.normalized_keys()[row];
            return self::value(dictionary.values().as_ref(), key, json);
        }
        DataType::List(field) => list(&column.as_list::<i32>().value(row), is_json(field))?,
        DataType::LargeList(field) => list(&column.as_list::<i64>().value(row), is_json(field))?,
        DataType::FixedSizeList(field, _) => list(&column.as_fixed_size_list().value(row), is_json(field))?,
        DataType::Struct(_) => Value::Object(object(column.as_struct(), row)?),
        DataType::Map(_, _) => {
            let entries: ArrayRef = std::sync::Arc::new(column.as_map().value(row));
            list(&entries, false)?
        }
        _ => return Err(no_json(column)),
    };
    Ok(value)
}

fn no_json(column: &dyn Array) -> NoJson {
    NoJson { data_type: column.data_type().to_string() }
}

fn list(values: &ArrayRef, json: bool) -> Result<Value, NoJson> {
    (0..values.len()).map(|index| value(values.as_ref(), index, json)).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn object(values: &StructArray, row: usize) -> Result<Map<String, Value>, NoJson> {
    values
        .fields()
        .iter()
        .zip(values.columns())
        .map(|(field, column)| Ok((field.name().clone(), value(column.as_ref(), row, is_json(field))?)))
        .collect()
}

fn number(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

/// The double with the digits of a float, so that 0.1 is shown as 0.1.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

fn decimal(value: i128, scale: i8) -> Value {
    if scale == 0 {
        if let Ok(whole) = i64::try_from(value) {
            return whole.into();
        }
        if let Ok(whole) = u64::try_from(value) {
            return whole.into();
        }
    }
    // Digits first, then the nearest double: dividing would round twice.
    format!("{value}e{}", -i32::from(scale)).parse().map_or(Value::Null, number)
}

fn text(text: &str, json: bool) -> Value {
    if json && let Ok(value) = serde_json::from_str(text) {
        return value;
    }
    text.into()
}

fn hexadecimal(bytes: &[u8]) -> Value {
    jetsweep_shared::hex::encode(bytes).into()
}

fn date(days: i32) -> Value {
    let since_epoch = jiff::Span::new().try_days(days);
    since_epoch
        .and_then(|days| jiff::civil::date(1970, 1, 1).checked_add(days))
        .map_or(Value::Null, |date| date.to_string().into())
}

fn timestamp(column: &dyn Array, row: usize, unit: TimeUnit) -> Value {
    let at = match unit {
        TimeUnit::Second => Timestamp::from_second(column.as_primitive::<TimestampSecondType>().value(row)),
        TimeUnit::Millisecond => {
            Timestamp::from_millisecond(column.as_primitive::<TimestampMillisecondType>().value(row))
        }
        TimeUnit::Microsecond => {
            Timestamp::from_microsecond(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        TimeUnit::Nanosecond => {
            Timestamp::from_nanosecond(column.as_primitive::<TimestampNanosecondType>().value(row).into())
        }
    };
    // DuckDB's own infinities lie outside of what a timestamp can be.
    at.map_or(Value::Null, |at| at.to_string().into())
}

fn time(nanoseconds: i64) -> Value {
    let (seconds, rest) = (nanoseconds / 1_000_000_000, nanoseconds % 1_000_000_000);
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if rest == 0 {
        return clock.into();
    }
    format!("{clock}.{}", format!("{rest:09}").trim_end_matches('0')).into()
}
