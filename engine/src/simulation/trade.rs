//! What a simulation did.

use serde::{Deserialize, Serialize};

/// The side of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Bought first, gains when the price rises.
    #[default]
    Long,
    /// Sold first, gains when the price falls.
    Short,
}

impl Side {
    /// The side that gains when this one loses.
    pub fn opposite(self) -> Self {
        match self {
            Side::Long => Side::Short,
            Side::Short => Side::Long,
        }
    }

    /// 1 for long, -1 for short.
    pub(super) fn sign(self) -> f64 {
        match self {
            Side::Long => 1.0,
            Side::Short => -1.0,
        }
    }
}

/// What ended a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// The strategy's rule.
    #[default]
    Rule,
    /// A stop loss or trailing stop.
    Stop,
    /// A profit target.
    Target,
    /// The most bars a position may last.
    MaxBars,
    /// Equity that fell to 0 or below.
    Ruin,
    /// The last bar: closed there, or still open and valued at its close.
    End,
}

/// One round trip, or the position still open at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// Its side.
    #[serde(default)]
    pub side: Side,
    /// Bar of the entry fill.
    pub entry_bar: usize,
    /// Price of the entry, slippage included.
    pub entry_price: f64,
    /// Bar of the exit fill; the last bar for a trade still open.
    pub exit_bar: usize,
    /// Price of the exit, slippage included; the last close for a trade still open.
    pub exit_price: f64,
    /// Shares, above 0 on either side.
    pub size: f64,
    /// Commission of the entry.
    pub entry_fee: f64,
    /// Commission of the exit; 0 for a trade still open.
    pub exit_fee: f64,
    /// What borrowing the shares of a short position cost.
    #[serde(default)]
    pub borrow_cost: f64,
    /// Profit net of commissions and borrowing, in the currency of the bars.
    pub pnl: f64,
    /// Net profit over `size * entry_price`.
    #[serde(rename = "return")]
    pub return_: f64,
    /// What ended it.
    #[serde(default)]
    pub exit_reason: ExitReason,
    /// Whether the position is still open after the last bar.
    pub open: bool,
}
