//! Equity of a run, bar after bar, and all that is collected from it.

use super::account::Position;
use super::record::Recorder;
use super::trade::Trade;
use crate::bars::Bars;
use crate::execution::Execution;
use crate::metrics::drawdown::Drawdown;
use crate::metrics::trades::TradeStats;
use crate::metrics::{Metrics, Returns, Summary};

/// Takes the bars of a run in order, each exactly once, and collects what metrics need.
pub(super) struct Ledger<'a, R> {
    closes: &'a [f64],
    /// The next bar.
    next: usize,
    /// Equity at the close before it.
    equity: f64,
    summary: Summary<'a>,
    recorder: &'a mut R,
}

impl<'a, R: Recorder> Ledger<'a, R> {
    /// A ledger before the first bar; `space` has one place for each bar.
    pub(super) fn new(bars: &'a Bars, execution: &Execution, space: &'a mut [f64], recorder: &'a mut R) -> Self {
        let summary = Summary {
            initial_cash: execution.cash,
            final_equity: execution.cash,
            bars: bars.len(),
            bars_per_year: execution.bars_per_year.unwrap_or(bars.bars_per_year()),
            risk_free_rate: execution.risk_free_rate,
            bars_held: 0,
            returns: Returns::new(space),
            drawdown: Drawdown::new(execution.cash),
            trades: TradeStats::default(),
        };
        Self { closes: bars.close(), next: 0, equity: execution.cash, summary, recorder }
    }

    /// Bars up to `end`, not included, without a position.
    pub(super) fn flat_until(&mut self, end: usize) {
        let count = end - self.next;
        self.summary.returns.idle(count);
        self.summary.drawdown.flat(count, self.equity);
        self.recorder.equity(std::iter::repeat_n(self.equity, count));
        self.next = end;
    }

    /// Bars up to `end`, not included, at whose closes `position` is held.
    pub(super) fn hold_until(&mut self, end: usize, position: &Position) {
        let held = &self.closes[self.next..end];
        let (Some(&first), Some(&last)) = (held.first(), held.last()) else {
            return;
        };
        let equity = |close: f64| position.equity(close);
        self.summary.returns.step(self.equity, equity(first));
        self.summary.returns.hold(held, equity);
        self.summary.drawdown.hold(held, equity);
        self.summary.bars_held += held.len();
        self.recorder.equity(held.iter().map(|&close| equity(close)));
        self.equity = equity(last);
        self.next = end;
    }

    /// The next bar, within which the position was sold; `cash` is what there is at its close.
    pub(super) fn sold(&mut self, cash: f64) {
        self.summary.returns.step(self.equity, cash);
        self.summary.drawdown.step(cash);
        self.recorder.equity(std::iter::once(cash));
        self.equity = cash;
        self.next += 1;
    }

    /// The last bar, at whose close the position was sold because no bar follows: it counts as held.
    pub(super) fn liquidated(&mut self, cash: f64) {
        self.sold(cash);
        self.summary.bars_held += 1;
    }

    /// A trade that ended, or the one still open after the last bar.
    pub(super) fn trade(&mut self, trade: Trade) {
        self.summary.trades.add(&trade);
        self.recorder.trade(trade);
    }

    /// An entry that bought nothing.
    pub(super) fn skip(&mut self) {
        self.summary.trades.skip();
    }

    /// Takes the remaining bars as flat and gives the metrics.
    pub(super) fn finish(mut self) -> Metrics {
        self.flat_until(self.closes.len());
        self.summary.final_equity = self.equity;
        self.summary.metrics()
    }
}
