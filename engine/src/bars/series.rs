//! The bars themselves.

use jiff::civil::Date;

use super::build::{Bar, Builder, Keep};
use super::error::{BarsError, Fault};
use super::{DAY_MS, frequency, time};

/// Memory that a bar takes, in bytes: its timestamp, four prices and its volume.
const BAR_BYTES: u64 = 6 * 8;

/// Columns of bars that nobody has looked at yet; [`Bars::from_columns`] validates them.
///
/// All columns have the same length, one value a bar, oldest first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BarsColumns {
    /// Milliseconds since 1970-01-01T00:00:00 on the clock of the market, ascending.
    pub timestamps: Vec<i64>,
    /// First price of each bar.
    pub open: Vec<f64>,
    /// Highest price of each bar.
    pub high: Vec<f64>,
    /// Lowest price of each bar.
    pub low: Vec<f64>,
    /// Last price of each bar.
    pub close: Vec<f64>,
    /// Shares traded in each bar, 0 or more.
    pub volume: Vec<f64>,
}

impl BarsColumns {
    pub(super) fn shrink(&mut self) {
        self.timestamps.shrink_to_fit();
        for column in [&mut self.open, &mut self.high, &mut self.low, &mut self.close, &mut self.volume] {
            column.shrink_to_fit();
        }
    }

    /// Copies of the bars in `range`.
    fn slice(&self, range: std::ops::Range<usize>) -> Self {
        Self {
            timestamps: self.timestamps[range.clone()].to_vec(),
            open: self.open[range.clone()].to_vec(),
            high: self.high[range.clone()].to_vec(),
            low: self.low[range.clone()].to_vec(),
            close: self.close[range.clone()].to_vec(),
            volume: self.volume[range].to_vec(),
        }
    }
}

/// Validated bars of one symbol, oldest first, as columns. All runs of a symbol share one through an `Arc`.
///
/// Timestamps ascend; prices are finite and above 0, with `low <= open, close <= high`; volumes are finite and 0 or
/// more. There may be no bars at all, after [`Bars::between`].
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    columns: BarsColumns,
    bars_per_year: f64,
    /// Whether every bar starts at midnight, so that a date alone names it.
    dates_only: bool,
}

impl Bars {
    /// Validates columns; `file` names them in errors, whose line is the number of the bar, from 1.
    ///
    /// # Errors
    ///
    /// Columns of different lengths, no bars, or the first bar that is wrong: see [`Fault`].
    pub fn from_columns(columns: BarsColumns, file: &str) -> Result<Self, BarsError> {
        let refuse = |line, field: Option<&str>, fault| BarsError {
            file: file.to_owned(),
            line,
            field: field.map(str::to_owned),
            fault,
        };
        let expected = columns.timestamps.len();
        let values = [
            ("open", &columns.open),
            ("high", &columns.high),
            ("low", &columns.low),
            ("close", &columns.close),
            ("volume", &columns.volume),
        ];
        for (name, column) in values {
            if column.len() != expected {
                let fault = Fault::ColumnLength { found: column.len(), expected };
                return Err(refuse(None, Some(name), fault));
            }
        }
        if expected == 0 {
            return Err(refuse(None, None, Fault::NoBars));
        }
        let mut builder = Builder::new(Keep::all());
        for (t, &timestamp) in columns.timestamps.iter().enumerate() {
            let bar = Bar {
                timestamp,
                open: columns.open[t],
                high: columns.high[t],
                low: columns.low[t],
                close: columns.close[t],
                volume: columns.volume[t],
            };
            builder.push(bar).map_err(|(field, fault)| refuse(Some(t as u64 + 1), Some(field), fault))?;
        }
        Ok(Self::from_valid(builder.finish()))
    }

    /// Bars of columns that went through [`Builder`].
    pub(super) fn from_valid(columns: BarsColumns) -> Self {
        let bars_per_year = frequency::bars_per_year(&columns.timestamps);
        let dates_only = columns.timestamps.iter().all(|at| at.rem_euclid(DAY_MS) == 0);
        Self { columns, bars_per_year, dates_only }
    }

    /// Number of bars.
    pub fn len(&self) -> usize {
        self.columns.timestamps.len()
    }

    /// Whether there are no bars.
    pub fn is_empty(&self) -> bool {
        self.columns.timestamps.is_empty()
    }

    /// Milliseconds since 1970-01-01T00:00:00 as written in the file, ascending.
    pub fn timestamps(&self) -> &[i64] {
        &self.columns.timestamps
    }

    /// First price of each bar.
    pub fn open(&self) -> &[f64] {
        &self.columns.open
    }

    /// Highest price of each bar.
    pub fn high(&self) -> &[f64] {
        &self.columns.high
    }

    /// Lowest price of each bar.
    pub fn low(&self) -> &[f64] {
        &self.columns.low
    }

    /// Last price of each bar.
    pub fn close(&self) -> &[f64] {
        &self.columns.close
    }

    /// Shares traded in each bar.
    pub fn volume(&self) -> &[f64] {
        &self.columns.volume
    }

    /// The bars from the date `from` to the date `to`, both included, as bars of their own: digest and bars a year
    /// are those of the bars that remain, as if the file had no others. May be empty.
    pub fn between(&self, from: Option<Date>, to: Option<Date>) -> Self {
        let timestamps = self.timestamps();
        let first = from.map_or(0, |day| self.first_from(day));
        let end = to.map_or(self.len(), |day| timestamps.partition_point(|&at| at < time::start_of(day) + DAY_MS));
        Self::from_valid(self.columns.slice(first.min(end)..end))
    }

    /// The first bar on a date or after it; the number of bars if there is none.
    pub(crate) fn first_from(&self, date: Date) -> usize {
        let start = time::start_of(date);
        self.timestamps().partition_point(|&at| at < start)
    }

    /// The date of the first bar.
    pub(crate) fn first_date(&self) -> Option<Date> {
        self.timestamps().first().and_then(|at| time::civil(*at)).map(|at| at.date())
    }

    /// The date of the last bar.
    pub(crate) fn last_date(&self) -> Option<Date> {
        self.timestamps().last().and_then(|at| time::civil(*at)).map(|at| at.date())
    }

    /// Bars a year, to annualise with.
    ///
    /// The dates with bars decide: at most 4 days apart (the median) they are daily, 252 a year, or 365 where
    /// Saturdays and Sundays have bars; at most 20 days apart weekly, 52; else monthly, 12. Times the median number
    /// of bars a date, which makes the number for bars within a day.
    ///
    /// ```text
    /// daily 252 (365 with weekends)    weekly 52    monthly 12    intraday = daily x median bars a date
    /// ```
    pub fn bars_per_year(&self) -> f64 {
        self.bars_per_year
    }

    /// SHA-256 of the bars, in lower-case hexadecimal: the same bars have the same digest, whatever file they came
    /// from, on every machine.
    ///
    /// What is hashed, all numbers little-endian:
    ///
    /// ```text
    /// the 16 bytes "jetsweep bars 1\n"
    /// u64       number of bars, N
    /// i64 x N   timestamps, in milliseconds
    /// f64 x N   open; then in the same way high, low, close, volume
    /// ```
    pub fn digest(&self) -> String {
        super::digest::of(&self.columns)
    }

    /// Memory the bars take, in bytes.
    pub fn size_bytes(&self) -> usize {
        let columns = &self.columns;
        let values = [&columns.open, &columns.high, &columns.low, &columns.close, &columns.volume];
        let value_bytes: usize = values.iter().map(|column| column.capacity() * size_of::<f64>()).sum();
        size_of::<Self>() + columns.timestamps.capacity() * size_of::<i64>() + value_bytes
    }

    /// Memory that so many bars take, in bytes.
    pub(super) fn bytes_of(bars: usize) -> u64 {
        size_of::<Self>() as u64 + (bars as u64).saturating_mul(BAR_BYTES)
    }

    /// Most bars that take no more memory than this.
    pub(super) fn most_within(bytes: u64) -> u64 {
        bytes.saturating_sub(size_of::<Self>() as u64) / BAR_BYTES
    }

    /// The timestamp of bar `t` as text: `1998-01-02` if all bars start at midnight, else `1998-01-02T09:00:00`.
    ///
    /// # Panics
    ///
    /// If there is no bar `t`.
    pub fn date_label(&self, t: usize) -> String {
        let at = time::civil(self.columns.timestamps[t]).expect("validated bars lie within the calendar");
        if self.dates_only { at.date().to_string() } else { at.to_string() }
    }
}
