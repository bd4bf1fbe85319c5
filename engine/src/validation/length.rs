//! Lengths of time as a spec writes them: `3y`, `18mo`, `26w`, `90d`, `500bars`.

use std::fmt;
use std::str::FromStr;

use jiff::Span;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

/// Largest number in front of a unit: more days than any calendar of bars has.
const LARGEST: u32 = 1_000_000;

/// A length of time, by the calendar or in bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Length {
    /// Years.
    Years(u32),
    /// Months.
    Months(u32),
    /// Weeks.
    Weeks(u32),
    /// Days by the calendar, whether or not they have bars.
    Days(u32),
    /// Bars.
    Bars(u32),
}

impl Length {
    /// How lengths are written, for messages.
    pub const EXAMPLES: &'static str = "\"3y\", \"18mo\", \"26w\", \"90d\" or \"500bars\"";

    /// Whether it counts bars.
    pub fn is_bars(self) -> bool {
        matches!(self, Self::Bars(_))
    }

    /// The date this much after `date`, `times` over; `None` outside the calendar, or in bars.
    pub(super) fn after(self, date: Date, times: u32) -> Option<Date> {
        date.checked_add(self.span(times)?).ok()
    }

    /// The date this much before `date`; `None` outside the calendar, or in bars.
    pub(super) fn before(self, date: Date) -> Option<Date> {
        date.checked_sub(self.span(1)?).ok()
    }

    fn span(self, times: u32) -> Option<Span> {
        let all = |count: u32| i64::from(count) * i64::from(times);
        match self {
            Self::Years(count) => Span::new().try_years(all(count)).ok(),
            Self::Months(count) => Span::new().try_months(all(count)).ok(),
            Self::Weeks(count) => Span::new().try_weeks(all(count)).ok(),
            Self::Days(count) => Span::new().try_days(all(count)).ok(),
            Self::Bars(_) => None,
        }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Years(count) => write!(f, "{count}y"),
            Self::Months(count) => write!(f, "{count}mo"),
            Self::Weeks(count) => write!(f, "{count}w"),
            Self::Days(count) => write!(f, "{count}d"),
            Self::Bars(count) => write!(f, "{count}bars"),
        }
    }
}

impl FromStr for Length {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("{text:?} is no length ({})", Length::EXAMPLES);
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, unit) = text.split_at(digits);
        let count: u32 = count.parse().map_err(|_| wanted())?;
        if count == 0 || count > LARGEST {
            return Err(format!("{text:?} is no length: the number must be 1 to {LARGEST}"));
        }
        match unit.trim_start() {
            "y" => Ok(Self::Years(count)),
            "mo" => Ok(Self::Months(count)),
            "w" => Ok(Self::Weeks(count)),
            "d" => Ok(Self::Days(count)),
            "bars" => Ok(Self::Bars(count)),
            _ => Err(wanted()),
        }
    }
}

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Length> for String {
    fn from(length: Length) -> Self {
        length.to_string()
    }
}
