//! The way through a run that depends on its path: bar by bar while in a position.
//!
//! For the order within a bar see [`Execution`].

use super::account::Position;
use super::costs::Costs;
use super::record::Recorder;
use super::run::Run;
use super::signals::Rules;
use super::stops::{Hit, Levels};
use super::trade::{ExitReason, Side, Trade};
use crate::execution::{Direction, EndPolicy, Fill};
use crate::metrics::drawdown::Drawdown;
use crate::metrics::trades::TradeStats;
use crate::metrics::{Metrics, Returns, Summary};
use crate::simd;

/// An order to enter.
#[derive(Debug, Clone, Copy)]
struct Entry {
    side: Side,
    /// The bar at whose close it was decided.
    decision: usize,
}

/// How the bars of a position end.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// Within a bar, at whose close it is not held any more.
    Within {
        bar: usize,
        /// Before slippage.
        price: f64,
        reason: ExitReason,
        /// The first close at which the next entry may be decided.
        undecided: usize,
        /// An order the other way which fills together with the exit.
        reverse: Option<Entry>,
    },
    /// At the close of a bar which counts as held.
    AtClose { bar: usize, reason: ExitReason },
    /// Not before the last bar is over.
    Open,
}

/// An exit that is known beforehand, as rules are evaluated for all bars at once.
#[derive(Debug, Clone, Copy)]
struct PlannedExit {
    bar: usize,
    /// At the open, before stops are looked at; else at the close, after them.
    at_open: bool,
    ending: Ending,
}

/// The state of the loop.
struct BarLoop<'a, R> {
    run: &'a Run<'a>,
    costs: Costs,
    /// Bars from a decision to its fill.
    delay: usize,
    fill_prices: &'a [f64],
    borrow_rate_a_bar: f64,
    /// All there is, while flat.
    cash: f64,
    /// Equity at the close of each bar of the run up to `next`.
    equity: &'a mut [f64],
    next: usize,
    bars_held: usize,
    trades: TradeStats,
    recorder: &'a mut R,
}

/// Simulates the run; `equity` and `returns` have one place for each of its bars.
pub(super) fn simulate(
    run: &Run<'_>,
    equity: &mut [f64],
    returns: &mut [f64],
    recorder: &mut impl Recorder,
) -> Metrics {
    let (delay, fill_prices) = match run.execution.fill {
        Fill::NextOpen => (1, run.bars.open()),
        Fill::Close => (0, run.bars.close()),
    };
    let mut bar_loop = BarLoop {
        run,
        costs: Costs::of(run.execution),
        delay,
        fill_prices,
        borrow_rate_a_bar: run.execution.borrow_rate / run.bars_per_year(),
        cash: run.execution.cash,
        equity,
        next: run.range.start,
        bars_held: 0,
        trades: TradeStats::default(),
        recorder,
    };
    bar_loop.through_all_bars();
    bar_loop.finish(returns)
}

impl<R: Recorder> BarLoop<'_, R> {
    fn through_all_bars(&mut self) {
        let mut undecided = self.run.range.start;
        while let Some(mut entry) = self.next_entry(undecided) {
            // Each turn is one position; more than one only where positions are reversed.
            loop {
                let bar = entry.decision + self.delay;
                let opened = Position::open(&self.costs, entry.side, self.cash, bar, self.fill_prices[bar]);
                let Some(mut position) = opened else {
                    self.trades.skip();
                    undecided = entry.decision + 1;
                    break;
                };
                self.flat_until(bar);
                let ending = self.hold(&mut position, entry);
                let Some((after, reverse)) = self.end(&position, ending) else { return };
                undecided = after;
                match reverse {
                    Some(reversed) => entry = reversed,
                    None => break,
                }
            }
        }
    }

    /// The first entry that is decided at or after the close of bar `from` and fills.
    fn next_entry(&self, from: usize) -> Option<Entry> {
        let mut from = from;
        // The last bar opens nothing with either fill.
        let last = self.run.range.end - 1;
        loop {
            let decision = self.next_enter_rule(from)?;
            if decision >= last {
                return None;
            }
            if let Some(side) = self.side_to_enter(decision) {
                return Some(Entry { side, decision });
            }
            from = decision + 1;
        }
    }

    /// The first bar from `from` on at which any rule to enter holds.
    fn next_enter_rule(&self, from: usize) -> Option<usize> {
        let next = |side: Side| self.allowed(side).and_then(|rules| rules.enter.next_set(from));
        match (next(Side::Long), next(Side::Short)) {
            (Some(long), Some(short)) => Some(long.min(short)),
            (long, short) => long.or(short),
        }
    }

    /// The side that a flat run enters by what holds at the close of a bar: none where both rules hold, or where an
    /// average true range that a stop needs is not known.
    fn side_to_enter(&self, bar: usize) -> Option<Side> {
        let enters = |side: Side| self.allowed(side).is_some_and(|rules| rules.enter.get(bar));
        let side = match (enters(Side::Long), enters(Side::Short)) {
            (true, false) => Side::Long,
            (false, true) => Side::Short,
            _ => return None,
        };
        self.run.atr.known(bar).then_some(side)
    }

    /// The rules of a side, if its positions may be taken.
    fn allowed(&self, side: Side) -> Option<Rules<'_>> {
        let allowed = match self.run.execution.direction {
            Direction::Both => true,
            Direction::Long => side == Side::Long,
            Direction::Short => side == Side::Short,
        };
        self.run.signals.side(side).filter(|_| allowed)
    }

    fn flat_until(&mut self, end: usize) {
        let start = self.run.range.start;
        self.equity[self.next - start..end - start].fill(self.cash);
        self.next = end;
    }

    /// The bars of a position up to its end. Writes equity at each close at which it is held.
    fn hold(&mut self, position: &mut Position, entry: Entry) -> Ending {
        let run = self.run;
        let end = run.range.end;
        let planned = self.planned_exit(entry);
        let planned_bar = planned.map_or(end, |exit| exit.bar);
        // To look for the exit takes longer the farther it is, however soon a stop ends the position.
        if run.worked(planned_bar - position.entry_bar) {
            return Ending::Open;
        }
        // An entry at a close is protected from the next bar on; stops come before an exit at a close.
        let protected_from = position.entry_bar + 1 - self.delay;
        let protected_until = planned.map_or(end, |exit| exit.bar + usize::from(!exit.at_open));
        let mut levels = Levels::of(run, position.side, position.entry_price, entry.decision);
        let stopped = levels.first_reached(run.bars, protected_from..protected_until);
        let held_until = stopped.map_or(planned_bar, |(bar, _)| bar);
        if let Some(ruin) = self.write_equity(position, held_until) {
            return Ending::AtClose { bar: ruin, reason: ExitReason::Ruin };
        }
        if let Some((bar, Hit { price, reason, ambiguous })) = stopped {
            if ambiguous {
                self.trades.ambiguous();
            }
            // To enter again may be decided at the close of this very bar.
            return Ending::Within { bar, price, reason, undecided: bar, reverse: None };
        }
        match planned {
            Some(exit) => exit.ending,
            None if run.execution.end == EndPolicy::Liquidate => {
                Ending::AtClose { bar: end - 1, reason: ExitReason::End }
            }
            None => Ending::Open,
        }
    }

    /// Writes equity at the closes of a position up to `end`, not included. Stops at the bar where nothing is left,
    /// which it gives.
    fn write_equity(&mut self, position: &mut Position, end: usize) -> Option<usize> {
        let (entry_bar, start) = (position.entry_bar, self.run.range.start);
        let closes = &self.run.bars.close()[entry_bar..end];
        let equity = &mut self.equity[entry_bar - start..end - start];
        if position.side == Side::Long {
            let (cash, shares) = position.cash_and_shares();
            simd::equity_of(cash, shares, closes, equity);
            return None;
        }
        for (t, (place, &close)) in equity.iter_mut().zip(closes).enumerate() {
            position.pay_borrowing(self.borrow_rate_a_bar, close);
            *place = position.equity(close);
            if *place <= 0.0 {
                return Some(entry_bar + t);
            }
        }
        None
    }

    /// The exit by rule or by the most bars, whichever comes first and fills within the run.
    fn planned_exit(&self, entry: Entry) -> Option<PlannedExit> {
        let end = self.run.range.end;
        let by_rule = self.exit_by_rule(entry);
        let by_age = self.run.execution.max_bars.and_then(|most| {
            let bar = (entry.decision + self.delay).checked_add(most as usize)?;
            let price = *self.run.bars.open().get(bar)?;
            let reason = ExitReason::MaxBars;
            let ending = Ending::Within { bar, price, reason, undecided: bar, reverse: None };
            (bar < end).then_some(PlannedExit { bar, at_open: true, ending })
        });
        match (by_rule, by_age) {
            // At the same open the rule's exit stands, as it may reverse; a close comes after the open of its bar.
            (Some(rule), Some(age)) if rule.bar < age.bar || (rule.bar == age.bar && rule.at_open) => Some(rule),
            (rule, age) => age.or(rule),
        }
    }

    fn exit_by_rule(&self, entry: Entry) -> Option<PlannedExit> {
        let rules = self.allowed(entry.side)?;
        let decision = rules.exit.next_set(entry.decision + 1)?;
        let bar = decision + self.delay;
        if bar >= self.run.range.end {
            return None;
        }
        let reverses = decision + 1 < self.run.range.end && self.side_to_enter(decision) == Some(entry.side.opposite());
        let ending = Ending::Within {
            bar,
            price: self.fill_prices[bar],
            reason: ExitReason::Rule,
            undecided: decision + 1,
            reverse: reverses.then_some(Entry { side: entry.side.opposite(), decision }),
        };
        Some(PlannedExit { bar, at_open: self.delay == 1, ending })
    }

    /// Closes a position. Gives the first close at which the next entry may be decided and an order the other way,
    /// or nothing where the bars are over.
    fn end(&mut self, position: &Position, ending: Ending) -> Option<(usize, Option<Entry>)> {
        let (start, end) = (self.run.range.start, self.run.range.end);
        let closes = self.run.bars.close();
        match ending {
            Ending::Within { bar, price, reason, undecided, reverse } => {
                let (cash, trade) = position.close(&self.costs, bar, price, reason);
                self.take_down(trade, bar - position.entry_bar);
                self.cash = cash;
                self.next = bar;
                Some((undecided, reverse))
            }
            Ending::AtClose { bar, reason } => {
                let (cash, trade) = position.close(&self.costs, bar, closes[bar], reason);
                self.take_down(trade, bar + 1 - position.entry_bar);
                // Nothing is left of a ruin, whatever its costs would have been.
                self.cash = if reason == ExitReason::Ruin { 0.0 } else { cash };
                self.equity[bar - start] = self.cash;
                self.next = bar + 1;
                Some((bar + 1, None))
            }
            Ending::Open => {
                self.take_down(position.mark(end - 1, closes[end - 1]), end - position.entry_bar);
                self.next = end;
                None
            }
        }
    }

    fn take_down(&mut self, trade: Trade, bars_held: usize) {
        self.bars_held += bars_held;
        self.trades.add(&trade);
        self.recorder.trade(trade);
    }

    /// Takes the remaining bars as flat and gives the metrics.
    fn finish(mut self, space: &mut [f64]) -> Metrics {
        self.flat_until(self.run.range.end);
        let cash = self.run.execution.cash;
        let equity = &*self.equity;
        let mut returns = Returns::new(space);
        let mut drawdown = Drawdown::new(cash);
        // Once nothing is left, which then stays so, returns are 0 and not 0/0.
        let is_ruined = equity.last().is_some_and(|&last| last <= 0.0);
        let ruin = if is_ruined { equity.iter().position(|&value| value <= 0.0) } else { None };
        let until_ruin = &equity[..ruin.map_or(equity.len(), |bar| bar + 1)];
        if let Some(&first) = until_ruin.first() {
            returns.step(cash, first);
            returns.hold(until_ruin, 0.0, 1.0);
        }
        returns.idle(equity.len() - until_ruin.len());
        drawdown.hold(equity, 0.0, 1.0);
        self.recorder.equity(equity.iter().copied());
        let summary = Summary {
            initial_cash: cash,
            final_equity: equity.last().copied().unwrap_or(cash),
            bars: equity.len(),
            bars_per_year: self.run.bars_per_year(),
            bars_held: self.bars_held,
            returns: returns.sums(self.run.risk_free()),
            max_drawdown: drawdown.deepest(),
            max_drawdown_bars: drawdown.longest_bars(),
            trades: self.trades,
        };
        summary.metrics()
    }
}
