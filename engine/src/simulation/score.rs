//! The few numbers that a search looks at first.

use crate::metrics::{Metric, Metrics};

/// A few metrics of a run, each the same bits as in [`Metrics`], at a fraction of the cost: enough to rank runs before
/// the best are looked at in full.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Final equity over initial cash, minus 1.
    pub total_return: f64,
    /// Mean excess return a bar over its standard deviation, annualised; `None` where all returns are equal.
    pub sharpe: Option<f64>,
    /// Deepest fall of equity below its running maximum, as a fraction, at most 0.
    pub max_drawdown: f64,
    /// Closed trades.
    pub trade_count: usize,
}

impl Score {
    /// That of a run over at least one bar.
    pub(super) fn of(metrics: &Metrics) -> Self {
        let value = |metric: Metric| metrics.get(metric).unwrap_or(f64::NAN);
        Self {
            total_return: value(Metric::TotalReturn),
            sharpe: metrics.get(Metric::Sharpe),
            max_drawdown: value(Metric::MaxDrawdown),
            trade_count: value(Metric::TradeCount) as usize,
        }
    }
}
