//! What is kept of a simulation as it passes by.

use super::trade::Trade;

/// Receives trades in order of entry and equity in order of bars.
pub(super) trait Recorder {
    /// A trade that ended, or the one still open after the last bar.
    fn trade(&mut self, trade: Trade);
    /// Equity at the closes of the next bars.
    fn equity(&mut self, values: impl Iterator<Item = f64>);
}

/// Keeps nothing: metrics only.
pub(super) struct Nothing;

impl Recorder for Nothing {
    fn trade(&mut self, _: Trade) {}

    fn equity(&mut self, _: impl Iterator<Item = f64>) {}
}

/// Keeps all trades and the equity at each close.
pub(super) struct Everything {
    pub(super) trades: Vec<Trade>,
    pub(super) equity: Vec<f64>,
}

impl Everything {
    /// Nothing yet, with room for the equity of `bars` bars.
    pub(super) fn with_capacity(bars: usize) -> Self {
        Self { trades: Vec::new(), equity: Vec::with_capacity(bars) }
    }
}

impl Recorder for Everything {
    fn trade(&mut self, trade: Trade) {
        self.trades.push(trade);
    }

    fn equity(&mut self, values: impl Iterator<Item = f64>) {
        self.equity.extend(values);
    }
}
