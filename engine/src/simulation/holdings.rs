//! A run taken down holding by holding, whatever their number of bars.

use std::ops::Range;

use super::account::Position;
use super::book::Book;
use super::run::Run;
use super::score::Score;
use super::tables::Tables;
use super::tables::powers::Sums;
use super::trade::Trade;
use crate::metrics::drawdown::Drawdown;
use crate::metrics::trades::TradeStats;
use crate::metrics::{BLOCKS, Metrics, PowerSums, ReturnSums, Summary, blocks};
use crate::simd;

/// What is collected of a run whose positions leave no cash beside them, by the tables of its bars: for `ALL` metrics,
/// or for a [`Score`] only.
pub(super) struct Holdings<'a, const ALL: bool> {
    run: &'a Run<'a>,
    tables: &'a Tables,
    closes: &'a [f64],
    /// The next bar.
    next: usize,
    /// Equity at the close before it.
    equity: f64,
    bars_held: usize,
    /// Returns of bars that no table knows, as a fill lies within them: the first `step_count` places.
    steps: &'a mut [f64],
    step_count: usize,
    sums: Sums,
    blocks: Blocks,
    drawdown: Drawdown,
    trades: TradeStats,
}

impl<'a, const ALL: bool> Holdings<'a, ALL> {
    /// Nothing yet; `space` has one place for each bar.
    pub(super) fn new(run: &'a Run<'a>, tables: &'a Tables, space: &'a mut [f64]) -> Self {
        let cash = run.execution.cash;
        Self {
            run,
            tables,
            closes: run.bars.close(),
            next: run.range.start,
            equity: cash,
            bars_held: 0,
            steps: space,
            step_count: 0,
            sums: Sums::default(),
            blocks: Blocks::new(run.range.clone()),
            drawdown: Drawdown::new(cash),
            trades: TradeStats::default(),
        }
    }

    /// The next bar, over which equity goes to `after` in a way of its own.
    fn step(&mut self, after: f64) {
        let value = after / self.equity - 1.0;
        self.steps[self.step_count] = value;
        self.step_count += 1;
        if ALL {
            self.blocks.add(self.next, [value, value * value]);
        }
        self.equity = after;
        self.next += 1;
    }
}

impl Holdings<'_, true> {
    /// Takes the remaining bars as flat and gives the metrics.
    pub(super) fn finish(&mut self) -> Metrics {
        let Range { start, end } = self.run.range;
        self.flat_until(end);
        simd::add_powers(&mut self.sums, &self.steps[..self.step_count], self.tables.risk_free());
        let returns = ReturnSums::of_powers(PowerSums {
            bars: end - start,
            active: self.step_count + self.blocks.spanned,
            risk_free: self.tables.risk_free(),
            powers: self.sums.powers(),
            downside: self.sums.downside(),
            block_returns: self.blocks.returns,
            block_squares: self.blocks.squares,
        });
        let summary = Summary {
            initial_cash: self.run.execution.cash,
            final_equity: self.equity,
            bars: end - start,
            bars_per_year: self.run.bars_per_year(),
            bars_held: self.bars_held,
            returns,
            max_drawdown: self.drawdown.deepest(),
            max_drawdown_bars: self.drawdown.longest_bars(),
            trades: std::mem::take(&mut self.trades),
        };
        summary.metrics()
    }
}

impl Holdings<'_, false> {
    /// Takes the remaining bars as flat and gives the score, the same bits as those of all metrics.
    pub(super) fn finish(&mut self) -> Score {
        let Range { start, end } = self.run.range;
        self.flat_until(end);
        simd::add_squares(&mut self.sums, &self.steps[..self.step_count]);
        let returns = ReturnSums::of_powers(PowerSums {
            bars: end - start,
            active: 0,
            risk_free: self.tables.risk_free(),
            powers: self.sums.powers(),
            downside: 0.0,
            block_returns: [0.0; BLOCKS],
            block_squares: [0.0; BLOCKS],
        });
        Score {
            total_return: self.equity / self.run.execution.cash - 1.0,
            sharpe: returns.sharpe(self.run.bars_per_year()).filter(|sharpe| sharpe.is_finite()),
            max_drawdown: self.drawdown.deepest(),
            trade_count: self.trades.closed(),
        }
    }
}

impl<const ALL: bool> Book for Holdings<'_, ALL> {
    fn flat_until(&mut self, end: usize) {
        self.drawdown.flat(end - self.next, self.equity);
        self.next = end;
    }

    fn hold_until(&mut self, end: usize, position: &Position) {
        if self.next >= end {
            return;
        }
        let (first, last) = (self.next, end - 1);
        let shares = position.shares_alone();
        self.bars_held += end - first;
        self.tables.falls.hold::<ALL>(&mut self.drawdown, self.closes, shares, first, last);
        self.step(shares * self.closes[first]);
        if first < last {
            if ALL {
                self.tables.powers.add(&mut self.sums, first + 1, last);
                self.blocks.span(self.tables, first + 1, end);
            } else {
                self.tables.powers.add_squared(&mut self.sums, first + 1, last);
            }
            self.equity = shares * self.closes[last];
            self.next = end;
        }
    }

    fn closed(&mut self, cash: f64) {
        self.drawdown.step(cash);
        self.step(cash);
    }

    fn liquidated(&mut self, cash: f64) {
        self.closed(cash);
        self.bars_held += 1;
    }

    fn trade(&mut self, trade: Trade) {
        if ALL {
            self.trades.add(&trade);
        } else {
            self.trades.count(&trade);
        }
    }

    fn skip(&mut self) {
        self.trades.skip();
    }
}

/// Sums over blocks of bars, which come in order.
struct Blocks {
    range: Range<usize>,
    returns: [f64; BLOCKS],
    squares: [f64; BLOCKS],
    /// The block of the last bar that came, and the bar at which it ends.
    block: usize,
    end: usize,
    /// Bars that came in spans.
    spanned: usize,
}

impl Blocks {
    fn new(range: Range<usize>) -> Self {
        let end = range.start + blocks::end_of(0, range.len());
        Self { range, returns: [0.0; BLOCKS], squares: [0.0; BLOCKS], block: 0, end, spanned: 0 }
    }

    /// Moves on to the block of a bar.
    fn reach(&mut self, bar: usize) {
        while bar >= self.end {
            self.block += 1;
            self.end = self.range.start + blocks::end_of(self.block, self.range.len());
        }
    }

    /// One bar.
    fn add(&mut self, bar: usize, [sum, square]: [f64; 2]) {
        self.reach(bar);
        self.returns[self.block] += sum;
        self.squares[self.block] += square;
    }

    /// Bars from `start` to `end`, not included, whose returns are those of the closes.
    fn span(&mut self, tables: &Tables, start: usize, end: usize) {
        self.spanned += end - start;
        let mut next = start;
        while next < end {
            self.reach(next);
            let until = end.min(self.end);
            self.add(next, tables.powers.block(next, until - 1));
            next = until;
        }
    }
}
