//! Why bars are refused.

use std::fmt;

/// Bars that cannot be used: where they came from, the place, and what is wrong there.
///
/// Reads as `AAPL.csv:14: high: 3.2 is below the low, 3.5`.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}{}: {}{fault}", Line(*.line), Field(.field))]
pub struct BarsError {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Line in the file, from 1; the number of the bar, from 1, for bars that came as columns. `None` when the fault
    /// is not in one line.
    pub line: Option<u64>,
    /// Column, as in the header. `None` when the fault is not in one field.
    pub field: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

impl BarsError {
    /// Whether reading failed, rather than what was read: trying again may help.
    pub fn is_read_failure(&self) -> bool {
        matches!(self.fault, Fault::Read(_))
    }
}

/// What is wrong with bars.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The reader failed.
    #[error("cannot be read: {0}")]
    Read(String),
    /// No byte at all.
    #[error("is empty; expected the header `date,open,high,low,close,volume` and one bar a line")]
    Empty,
    /// A header and nothing below it.
    #[error("has a header but no bars")]
    NoBars,
    /// Columns the header lacks.
    #[error("the header has no column {missing} (it has: {found}); needed are date, open, high, low, close, volume")]
    MissingColumn {
        /// The names that are missing, quoted.
        missing: String,
        /// The header as found.
        found: String,
    },
    /// A column the header has twice.
    #[error("the header has this column more than once; keep one")]
    RepeatedColumn,
    /// Bytes that are not UTF-8.
    #[error("is not UTF-8 text; save the file as UTF-8")]
    NotUtf8,
    /// A line longer than any bar, such as from a quote never closed.
    #[error("the line is longer than {limit} bytes, so this is no file of bars (or a quote is never closed)")]
    LineTooLong {
        /// Longest line read, in bytes.
        limit: usize,
    },
    /// More bars than one symbol may have.
    #[error("more than {limit} bars; split the file")]
    TooManyBars {
        /// Most bars read.
        limit: usize,
    },
    /// More bars than there is memory for.
    #[error("the bars take {bytes} bytes, and {limit} are the most")]
    TooLarge {
        /// What they would take, in bytes.
        bytes: u64,
        /// What they may, in bytes.
        limit: u64,
    },
    /// A row with more or fewer fields than the header.
    #[error("{found} fields, but the header has {expected}")]
    FieldCount {
        /// Fields in this row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// Columns of different lengths.
    #[error("{found} values, but there are {expected} timestamps")]
    ColumnLength {
        /// Values in this column.
        found: usize,
        /// Timestamps.
        expected: usize,
    },
    /// Text that is no date.
    #[error("\"{0}\" is not a date (2024-01-31, or 2024-01-31T09:30:00 for bars within a day)")]
    NotADate(String),
    /// A timestamp outside the years -9999 to 9999.
    #[error("the timestamp {0} ms is outside the calendar")]
    OutsideCalendar(i64),
    /// Text that is no number.
    #[error("\"{0}\" is not a number")]
    NotANumber(String),
    /// NaN or infinity.
    #[error("{0} is not a finite number")]
    NotFinite(f64),
    /// A price of zero or below.
    #[error("{0} is not a price above 0")]
    NotPositive(f64),
    /// A volume below zero.
    #[error("{0} is below 0")]
    NegativeVolume(f64),
    /// A high below another price of its bar.
    #[error("{high} is below the {other}, {value}")]
    HighBelow {
        /// The high.
        high: f64,
        /// Name of the price it is below.
        other: &'static str,
        /// That price.
        value: f64,
    },
    /// A low above another price of its bar.
    #[error("{low} is above the {other}, {value}")]
    LowAbove {
        /// The low.
        low: f64,
        /// Name of the price it is above.
        other: &'static str,
        /// That price.
        value: f64,
    },
    /// A second bar at the same time.
    #[error("a second bar at {0}; keep one")]
    Duplicate(String),
    /// A bar before its predecessor.
    #[error("{date} comes after {previous}; sort the bars by date, oldest first")]
    NotAscending {
        /// This bar's timestamp.
        date: String,
        /// Timestamp of the bar before it.
        previous: String,
    },
}

/// `:14`, or nothing.
struct Line(Option<u64>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// `high: `, or nothing.
struct Field<'a>(&'a Option<String>);

impl fmt::Display for Field<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().map_or(Ok(()), |field| write!(f, "{field}: "))
    }
}
