//! Indicators: the functions of rules which look at more than one bar.
//!
//! One file each. Values and first valid bars are TA-Lib's; before its first valid bar an indicator is NaN.
//!
//! - **Leading gaps shift.** Where an input starts with NaN (an indicator of an indicator), the first valid bar
//!   counts from the input's first value.
//! - **A gap restarts.** After a NaN or an infinity in the middle of an input, which division or a logarithm can
//!   make, an indicator starts again as if the bar after it were the first.
//! - **Only the past.** A value at bar `t` depends on bars up to `t`.
//! - **One order of summation**, named in each file, so that every machine gets the same bits.
//!
//! To add one: a file with its [`Indicator`] and a line in [`ALL`]. An indicator is built of nodes, of which the
//! inner ones (the prefix sums of a column, say) are shared by every indicator and period which needs them; a
//! kernel is the arithmetic of one kind of node.

mod atr;
mod bbands;
mod directional;
mod ema;
mod extremes;
mod kernel;
mod lag;
mod macd;
mod moments;
mod momentum;
mod prefix_sum;
mod rsi;
mod sma;
mod stddev;
mod stoch;
#[cfg(test)]
mod tests;
mod typical;
mod volume;
mod warm_up;
mod wma;

pub(crate) use atr::{atr, average_true_range};
pub(crate) use kernel::{Inputs, Kernel, KernelRef, MAX_INPUTS, MAX_NUMBERS};

use crate::columns::{NodeId, Nodes};

/// What an argument of an indicator must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgumentKind {
    /// A column of the bars or an expression over them.
    Column,
    /// A number or a parameter.
    Number,
    /// A whole number, such as a period. Below `least` a run fails with `bad_period`.
    Whole {
        /// The least it can be.
        least: u32,
    },
}

/// An argument of an indicator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Its name in signatures and messages.
    pub name: &'static str,
    /// What it must be.
    pub kind: ArgumentKind,
}

impl Argument {
    const fn column(name: &'static str) -> Self {
        Self { name, kind: ArgumentKind::Column }
    }

    const fn number(name: &'static str) -> Self {
        Self { name, kind: ArgumentKind::Number }
    }

    const fn whole(name: &'static str, least: u32) -> Self {
        Self { name, kind: ArgumentKind::Whole { least } }
    }
}

/// An indicator, as rules call it.
#[derive(Debug)]
pub struct Indicator {
    /// Its name in rules.
    pub name: &'static str,
    /// Its arguments, all of them required.
    pub arguments: &'static [Argument],
    /// One line that says what it is.
    pub summary: &'static str,
    /// Makes its nodes.
    pub(crate) build: fn(&mut Nodes, &Arguments) -> NodeId,
}

impl Indicator {
    /// How it is called: `sma(x, n)`.
    pub fn signature(&self) -> String {
        let names: Vec<&str> = self.arguments.iter().map(|argument| argument.name).collect();
        format!("{}({})", self.name, names.join(", "))
    }
}

/// Every indicator.
pub static ALL: &[&Indicator] = &[
    &sma::SMA,
    &ema::EMA,
    &rsi::RSI,
    &macd::MACD,
    &macd::MACD_SIGNAL,
    &macd::MACD_HIST,
    &bbands::UPPER,
    &bbands::MIDDLE,
    &bbands::LOWER,
    &extremes::HIGHEST,
    &extremes::LOWEST,
    &lag::LAG,
    &wma::WMA,
    &stddev::STDDEV,
    &stddev::ZSCORE,
    &momentum::MOM,
    &momentum::ROC,
    &atr::TRANGE,
    &atr::ATR,
    &directional::PLUS_DI,
    &directional::MINUS_DI,
    &directional::ADX,
    &stoch::STOCH_K,
    &stoch::STOCH_D,
    &stoch::WILLR,
    &typical::CCI,
    &volume::MFI,
    &volume::OBV,
];

/// The indicator of a name, if there is one.
pub fn find(name: &str) -> Option<&'static Indicator> {
    ALL.iter().copied().find(|indicator| indicator.name == name)
}

/// The arguments of one call: columns and numbers, each in the order of the signature.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    columns: [Option<NodeId>; MAX_ARGUMENTS],
    numbers: [f64; MAX_ARGUMENTS],
    column_count: usize,
    number_count: usize,
}

/// Most columns, and most numbers, in a signature.
const MAX_ARGUMENTS: usize = 4;

impl Arguments {
    pub(crate) fn push_column(&mut self, column: NodeId) {
        self.columns[self.column_count] = Some(column);
        self.column_count += 1;
    }

    pub(crate) fn push_number(&mut self, number: f64) {
        self.numbers[self.number_count] = number;
        self.number_count += 1;
    }

    /// The column at a position among the columns of the signature.
    fn column(&self, position: usize) -> NodeId {
        self.columns[position].expect("a call is checked to have all arguments")
    }

    /// The number at a position among the numbers and whole numbers of the signature.
    fn number(&self, position: usize) -> f64 {
        self.numbers[position]
    }
}
