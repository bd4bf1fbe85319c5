//! A run taken down bar by bar.

use std::ops::Range;

use super::account::Position;
use super::book::Book;
use super::record::Recorder;
use super::run::Run;
use super::trade::Trade;
use crate::metrics::drawdown::Drawdown;
use crate::metrics::trades::TradeStats;
use crate::metrics::{Metrics, Returns, Summary};

/// Equity of a run, bar after bar, and all that is collected from it.
pub(super) struct EveryBar<'a, R> {
    run: &'a Run<'a>,
    closes: &'a [f64],
    /// The next bar.
    next: usize,
    /// Equity at the close before it.
    equity: f64,
    bars_held: usize,
    returns: Returns<'a>,
    drawdown: Drawdown,
    trades: TradeStats,
    recorder: &'a mut R,
}

impl<'a, R: Recorder> EveryBar<'a, R> {
    /// Nothing yet; `space` has one place for each bar.
    pub(super) fn new(run: &'a Run<'a>, space: &'a mut [f64], recorder: &'a mut R) -> Self {
        let cash = run.execution.cash;
        Self {
            run,
            closes: run.bars.close(),
            next: run.range.start,
            equity: cash,
            bars_held: 0,
            returns: Returns::new(space),
            drawdown: Drawdown::new(cash),
            trades: TradeStats::default(),
            recorder,
        }
    }

    /// Takes the remaining bars as flat and gives the metrics.
    pub(super) fn finish(mut self) -> Metrics {
        let Range { start, end } = self.run.range;
        self.flat_until(end);
        let summary = Summary {
            initial_cash: self.run.execution.cash,
            final_equity: self.equity,
            bars: end - start,
            bars_per_year: self.run.bars_per_year(),
            bars_held: self.bars_held,
            returns: self.returns.sums(self.run.risk_free()),
            max_drawdown: self.drawdown.deepest(),
            max_drawdown_bars: self.drawdown.longest_bars(),
            trades: self.trades,
        };
        summary.metrics()
    }
}

impl<R: Recorder> Book for EveryBar<'_, R> {
    fn flat_until(&mut self, end: usize) {
        let count = end - self.next;
        self.returns.idle(count);
        self.drawdown.flat(count, self.equity);
        self.recorder.equity(std::iter::repeat_n(self.equity, count));
        self.next = end;
    }

    fn hold_until(&mut self, end: usize, position: &Position) {
        let held = &self.closes[self.next..end];
        let (Some(&first), Some(&last)) = (held.first(), held.last()) else {
            return;
        };
        let equity = |close: f64| position.equity(close);
        self.returns.step(self.equity, equity(first));
        let (cash, shares) = position.cash_and_shares();
        self.returns.hold(held, cash, shares);
        self.drawdown.hold(held, cash, shares);
        self.bars_held += held.len();
        self.recorder.equity(held.iter().map(|&close| equity(close)));
        self.equity = equity(last);
        self.next = end;
    }

    fn closed(&mut self, cash: f64) {
        self.returns.step(self.equity, cash);
        self.drawdown.step(cash);
        self.recorder.equity(std::iter::once(cash));
        self.equity = cash;
        self.next += 1;
    }

    fn liquidated(&mut self, cash: f64) {
        self.closed(cash);
        self.bars_held += 1;
    }

    fn trade(&mut self, trade: Trade) {
        self.trades.add(&trade);
        self.recorder.trade(trade);
    }

    fn skip(&mut self) {
        self.trades.skip();
    }
}
