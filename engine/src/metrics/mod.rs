//! Statistics of a run, one file a group, each with its formula and the reference it agrees with.
//!
//! `r[t] = E[t] / E[t-1] - 1` is the return of bar `t`, with `E[t]` the equity at its close and `E[-1]` the initial
//! cash: N bars have N returns. P is the number of bars a year. Every reduction has one fixed order of summation, so
//! that a run has the same bits on every machine.

pub(crate) mod blocks;
mod catalogue;
pub(crate) mod drawdown;
mod moments;
mod returns;
mod summary;
pub(crate) mod trades;

pub use catalogue::{BLOCKS, Kind, Metric, Metrics};

pub(crate) use moments::central_sums;
pub(crate) use returns::{PowerSums, ReturnSums, Returns, block_sums, equity_of, returns_of, risk_free_per_bar};
pub(crate) use summary::Summary;

/// Deviations at or below this are rounding, not risk.
///
/// A return is a ratio near 1, minus 1, so it carries an absolute error of about one [`f64::EPSILON`] however small
/// it is. A ratio over such a deviation would be a large number that says nothing; it counts as undefined.
const ROUNDING: f64 = 4.0 * f64::EPSILON;
