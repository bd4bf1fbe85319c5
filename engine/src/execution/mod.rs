//! Execution rules: how a strategy's decisions become fills, what they cost, and what ends a position early.

mod problems;

use serde::{Deserialize, Serialize};

use crate::bars::Bars;
use crate::metrics::risk_free_per_bar;

/// When an order decided at the close of bar *t* fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fill {
    /// At the open of bar *t + 1*.
    #[default]
    NextOpen,
    /// At the close of bar *t* itself.
    Close,
}

/// What happens to a position still open after the last bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndPolicy {
    /// It stays open, valued at the last close, and is left out of trade statistics.
    #[default]
    Mark,
    /// It is closed at the last close, with commission and slippage.
    Liquidate,
}

/// Which positions a strategy may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Long ones, by the template's `[long]` rules.
    #[default]
    Long,
    /// Short ones, by the template's `[short]` rules.
    Short,
    /// Either, one at a time, each by its own rules.
    ///
    /// At a close where both rules to enter are true neither counts. A position whose exit is decided at a close where
    /// the other side's rule to enter is true (and its own is not) is reversed: both orders fill at the same price.
    Both,
}

/// How many shares an entry trades. With no size is more spent, or sold short, than there is equity at the fill:
/// nothing is borrowed but the shares of a short position.
///
/// In a spec: `size = "all_in"`, `{ fraction = 0.5 }`, `{ cash = 10000 }` or `{ shares = 100 }`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// All of equity, commission included, so that a long entry leaves exactly no cash.
    #[default]
    AllIn,
    /// A fraction of equity, above 0 and at most 1, commission included.
    Fraction(f64),
    /// An amount in the currency of the bars, commission included; all of equity where that is less.
    Cash(f64),
    /// A number of shares; as many as all of equity pays for where those are fewer (as vectorbt does).
    Shares(f64),
}

/// A distance from a price, as a multiple of the average true range: `{ period = 14, multiple = 2 }`.
///
/// It is the `atr(period)` of the bar at whose close the entry was decided, and stays as it was then. While the
/// average true range is not known yet nothing is entered, because the position would have no such stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AtrDistance {
    /// Bars of the average true range, at least 1.
    pub period: u32,
    /// How many average true ranges, above 0.
    pub multiple: f64,
}

/// The execution rules of a sweep. Every field has a default, so that a spec names only what it changes.
///
/// # Order within a bar
///
/// 1. At the open: an order decided at the close before fills ([`Fill::NextOpen`]), and a position that was entered
///    [`Execution::max_bars`] ago ends.
/// 2. Stops and targets. A position entered at this open is protected already; one entered at a close is from the next
///    bar on. Where the open lies beyond a stop or target it fills at the open, else at its level once the bar's high
///    or low reaches it. Where the bar reaches both the stop comes first, and the bar counts as ambiguous. Of several
///    stops the nearest to the price counts, and so it is with targets.
/// 3. At the close: rules are evaluated, also those to enter again after an exit at the open or by a stop, and orders
///    fill if [`Fill::Close`] says so.
/// 4. Where equity is 0 or less the position is closed at this close, and nothing is left to trade with.
///
/// Stops pay slippage, targets, being limit orders, do not; both pay commission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Execution {
    /// Initial cash, in the currency of the bars.
    pub cash: f64,
    /// Commission a side, as a fraction of the traded value: 0.001 is 0.1%.
    pub commission: f64,
    /// Commission a side for each share.
    pub commission_per_share: f64,
    /// Least commission a side.
    pub commission_min: f64,
    /// Slippage as a fraction of the price: buys fill higher by it, sells lower.
    pub slippage: f64,
    /// When orders fill.
    pub fill: Fill,
    /// What happens to a position open at the end.
    pub end: EndPolicy,
    /// Risk-free rate a year, as a fraction.
    pub risk_free_rate: f64,
    /// Bars a year for annualising; derived from the bars when absent.
    pub bars_per_year: Option<f64>,
    /// Which positions may be taken.
    #[serde(skip_serializing_if = "is_default")]
    pub direction: Direction,
    /// How many shares an entry trades.
    #[serde(skip_serializing_if = "is_default")]
    pub size: Size,
    /// Whether the number of shares is rounded down to a whole one.
    #[serde(skip_serializing_if = "is_default")]
    pub whole_shares: bool,
    /// What borrowing the shares of a short position costs a year, as a fraction of their value at each close.
    #[serde(skip_serializing_if = "is_default")]
    pub borrow_rate: f64,
    /// Loss at which a position ends, as a fraction of its entry price, slippage included: 0.05 is 5%.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_loss: Option<f64>,
    /// Profit at which a position ends, as a fraction of its entry price.
    #[serde(skip_serializing_if = "is_default")]
    pub take_profit: Option<f64>,
    /// How far the price may fall back from its best since the entry, as a fraction of that best price.
    ///
    /// The best price is the highest high (of a short position the lowest low) up to the bar before; at the entry, and
    /// throughout the bar of the entry, it is the entry price.
    #[serde(skip_serializing_if = "is_default")]
    pub trailing_stop: Option<f64>,
    /// As [`Execution::stop_loss`], by the average true range.
    #[serde(skip_serializing_if = "is_default")]
    pub stop_loss_atr: Option<AtrDistance>,
    /// As [`Execution::take_profit`], by the average true range.
    #[serde(skip_serializing_if = "is_default")]
    pub take_profit_atr: Option<AtrDistance>,
    /// As [`Execution::trailing_stop`], by the average true range.
    #[serde(skip_serializing_if = "is_default")]
    pub trailing_stop_atr: Option<AtrDistance>,
    /// Bars after the bar of its entry at whose open a position ends, at least 1.
    #[serde(skip_serializing_if = "is_default")]
    pub max_bars: Option<u32>,
}

/// Rules that are not in use are left out of documents.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Execution {
    fn default() -> Self {
        Self {
            cash: 100_000.0,
            commission: 0.0,
            commission_per_share: 0.0,
            commission_min: 0.0,
            slippage: 0.0,
            fill: Fill::NextOpen,
            end: EndPolicy::Mark,
            risk_free_rate: 0.0,
            bars_per_year: None,
            direction: Direction::Long,
            size: Size::AllIn,
            whole_shares: false,
            borrow_rate: 0.0,
            stop_loss: None,
            take_profit: None,
            trailing_stop: None,
            stop_loss_atr: None,
            take_profit_atr: None,
            trailing_stop_atr: None,
            max_bars: None,
        }
    }
}

impl Execution {
    /// Names of all rules, as a spec writes them.
    pub const FIELDS: [&str; 20] = [
        "cash",
        "commission",
        "commission_per_share",
        "commission_min",
        "slippage",
        "fill",
        "end",
        "risk_free_rate",
        "bars_per_year",
        "direction",
        "size",
        "whole_shares",
        "borrow_rate",
        "stop_loss",
        "take_profit",
        "trailing_stop",
        "stop_loss_atr",
        "take_profit_atr",
        "trailing_stop_atr",
        "max_bars",
    ];

    /// The distances that need an average true range, by name.
    pub(crate) fn atr_distances(&self) -> [(&'static str, Option<AtrDistance>); 3] {
        [
            ("stop_loss_atr", self.stop_loss_atr),
            ("take_profit_atr", self.take_profit_atr),
            ("trailing_stop_atr", self.trailing_stop_atr),
        ]
    }

    /// Bars a year of runs over these bars.
    pub(crate) fn bars_per_year_of(&self, bars: &Bars) -> f64 {
        self.bars_per_year.unwrap_or(bars.bars_per_year())
    }

    /// The risk-free return a bar of runs over these bars.
    pub(crate) fn risk_free_per_bar(&self, bars: &Bars) -> f64 {
        risk_free_per_bar(self.risk_free_rate, self.bars_per_year_of(bars))
    }

    /// Whether a position may end for another reason than a rule of the strategy.
    pub(crate) fn has_stops(&self) -> bool {
        let fractions = [self.stop_loss, self.take_profit, self.trailing_stop];
        fractions.iter().any(Option::is_some)
            || self.atr_distances().iter().any(|(_, distance)| distance.is_some())
            || self.max_bars.is_some()
    }
}
