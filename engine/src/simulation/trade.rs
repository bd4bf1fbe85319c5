//! What a simulation did.

use serde::{Deserialize, Serialize};

/// One round trip, or the position still open at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trade {
    /// Bar of the entry fill.
    pub entry_bar: usize,
    /// Price of the entry, slippage included.
    pub entry_price: f64,
    /// Bar of the exit fill; the last bar for a trade still open.
    pub exit_bar: usize,
    /// Price of the exit, slippage included; the last close for a trade still open.
    pub exit_price: f64,
    /// Shares.
    pub size: f64,
    /// Commission of the entry.
    pub entry_fee: f64,
    /// Commission of the exit; 0 for a trade still open.
    pub exit_fee: f64,
    /// Profit net of both commissions, in the currency of the bars.
    pub pnl: f64,
    /// Net profit over `size * entry_price`.
    #[serde(rename = "return")]
    pub return_: f64,
    /// Whether the position is still open after the last bar.
    pub open: bool,
}
