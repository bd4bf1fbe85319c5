//! The walk through a run whose positions are long and end by a rule only: from decision to decision, not from bar to
//! bar.

use super::account::Position;
use super::book::Book;
use super::costs::Costs;
use super::run::Run;
use super::signals::Rules;
use super::trade::{ExitReason, Side};
use crate::execution::{EndPolicy, Fill};

/// Walks through all bars of the run and writes positions and trades into `book`.
pub(super) fn walk(run: &Run<'_>, book: &mut impl Book) {
    let Some(Rules { enter, exit }) = run.signals.long else { return };
    let costs = Costs::of(run.execution);
    let end = run.range.end;
    // How many bars after its decision an order fills, and at which price.
    let (delay, fill_prices) = match run.execution.fill {
        Fill::NextOpen => (1, run.bars.open()),
        Fill::Close => (0, run.bars.close()),
    };
    let mut cash = run.execution.cash;
    let mut undecided = run.range.start;
    while let Some(entry_decision) = enter.next_set(undecided) {
        if entry_decision + 1 >= end {
            return;
        }
        // The first close at which an exit may be decided, with either fill.
        undecided = entry_decision + 1;
        let entry_bar = entry_decision + delay;
        let Some(position) = Position::open(&costs, Side::Long, cash, entry_bar, fill_prices[entry_bar]) else {
            book.skip();
            continue;
        };
        book.flat_until(entry_bar);
        let filled_exit = exit.next_set(undecided).filter(|decision| decision + delay < end);
        let Some(exit_decision) = filled_exit else {
            return still_open(run, &costs, &position, book);
        };
        let exit_bar = exit_decision + delay;
        book.hold_until(exit_bar, &position);
        let (cash_after, trade) = position.close(&costs, exit_bar, fill_prices[exit_bar], ExitReason::Rule);
        book.closed(cash_after);
        book.trade(trade);
        cash = cash_after;
        // With either fill, the close after the exit's decision is the first one without the position.
        undecided = exit_decision + 1;
    }
}

/// A position open after the last bar, which is where its bars end.
fn still_open(run: &Run<'_>, costs: &Costs, position: &Position, book: &mut impl Book) {
    let last = run.range.end - 1;
    let close = run.bars.close()[last];
    match run.execution.end {
        EndPolicy::Mark => {
            book.hold_until(run.range.end, position);
            book.trade(position.mark(last, close));
        }
        EndPolicy::Liquidate => {
            book.hold_until(last, position);
            let (cash, trade) = position.close(costs, last, close, ExitReason::End);
            book.liquidated(cash);
            book.trade(trade);
        }
    }
}
