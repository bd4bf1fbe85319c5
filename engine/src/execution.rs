//! Execution rules: how a strategy's decisions become fills, and what they cost.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

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
    /// It is sold at the last close, with commission and slippage.
    Liquidate,
}

/// The execution rules of a sweep. Every field has a default, so that a spec names only what it changes.
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
        }
    }
}

impl Execution {
    /// Names of all rules, as a spec writes them.
    pub const FIELDS: [&str; 9] = [
        "cash",
        "commission",
        "commission_per_share",
        "commission_min",
        "slippage",
        "fill",
        "end",
        "risk_free_rate",
        "bars_per_year",
    ];

    /// Everything that is wrong with these rules; empty when they can be run.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |name: &str, value: f64, fits: bool, wanted: &str| {
            if !fits {
                problems.push(Problem::new(name, format!("must be {wanted}, is {value}")));
            }
        };
        let fraction = |x: f64| (0.0..1.0).contains(&x);
        let amount = |x: f64| x.is_finite() && x >= 0.0;
        check("cash", self.cash, self.cash.is_finite() && self.cash > 0.0, "above 0");
        check("commission", self.commission, fraction(self.commission), "a fraction from 0 to below 1 (0.001 is 0.1%)");
        check("slippage", self.slippage, fraction(self.slippage), "a fraction from 0 to below 1 (0.001 is 0.1%)");
        check("commission_per_share", self.commission_per_share, amount(self.commission_per_share), "0 or more");
        check("commission_min", self.commission_min, amount(self.commission_min), "0 or more");
        let rate = self.risk_free_rate;
        check("risk_free_rate", rate, rate > -1.0 && rate < 1.0, "a fraction a year between -1 and 1 (0.02 is 2%)");
        if let Some(bars) = self.bars_per_year {
            check("bars_per_year", bars, bars.is_finite() && bars > 0.0, "above 0");
        }
        problems
    }
}
