//! Bars of one symbol: reading, validating, slicing, identifying.
//!
//! Every way in goes through one validation ([`BarsError`] says what it refuses), so that the rest of the engine may
//! rely on ascending timestamps and finite, positive, consistent prices.

mod build;
mod csv;
mod digest;
mod error;
mod frequency;
mod series;
mod time;

pub use error::{BarsError, Fault};
pub use series::{Bars, BarsColumns};
#[cfg(test)]
pub(crate) use time::start_of as start_of_date;

/// Milliseconds in a day, the unit of timestamps being the millisecond.
pub(crate) const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Names of the columns, as a header has them.
pub(crate) const COLUMN_NAMES: [&str; 6] = ["date", "open", "high", "low", "close", "volume"];
