//! The walk through the bars of a run that only buys: from decision to decision, not from bar to bar.

use super::account::Position;
use super::costs::Costs;
use super::ledger::Ledger;
use super::record::Recorder;
use crate::bars::Bars;
use crate::execution::{EndPolicy, Execution, Fill};
use crate::mask::Mask;

/// Walks through all bars and writes positions, trades and equity into `ledger`.
pub(super) fn walk(
    bars: &Bars,
    enter: &Mask,
    exit: &Mask,
    execution: &Execution,
    ledger: &mut Ledger<'_, impl Recorder>,
) {
    let costs = Costs::of(execution);
    // How many bars after its decision an order fills, and at which price.
    let (delay, fill_prices) = match execution.fill {
        Fill::NextOpen => (1, bars.open()),
        Fill::Close => (0, bars.close()),
    };
    let mut cash = execution.cash;
    let mut undecided = 0;
    while let Some(entry_decision) = enter.next_set(undecided) {
        if entry_decision + 1 >= bars.len() {
            return;
        }
        // The first close at which an exit may be decided, with either fill.
        undecided = entry_decision + 1;
        let entry_bar = entry_decision + delay;
        let Some(position) = Position::open(&costs, cash, entry_bar, fill_prices[entry_bar]) else {
            ledger.skip();
            continue;
        };
        ledger.flat_until(entry_bar);
        let filled_exit = exit.next_set(undecided).filter(|decision| decision + delay < bars.len());
        let Some(exit_decision) = filled_exit else {
            return end(bars, execution, &costs, &position, ledger);
        };
        let exit_bar = exit_decision + delay;
        ledger.hold_until(exit_bar, &position);
        let (cash_after, trade) = position.close(&costs, exit_bar, fill_prices[exit_bar]);
        ledger.sold(cash_after);
        ledger.trade(trade);
        cash = cash_after;
        // With either fill, the close after the exit's decision is the first one without the position.
        undecided = exit_decision + 1;
    }
}

/// A position open after the last bar, which is where its bars end.
fn end(bars: &Bars, execution: &Execution, costs: &Costs, position: &Position, ledger: &mut Ledger<'_, impl Recorder>) {
    let last = bars.len() - 1;
    let close = bars.close()[last];
    match execution.end {
        EndPolicy::Mark => {
            ledger.hold_until(bars.len(), position);
            ledger.trade(position.mark(last, close));
        }
        EndPolicy::Liquidate => {
            ledger.hold_until(last, position);
            let (cash, trade) = position.close(costs, last, close);
            ledger.liquidated(cash);
            ledger.trade(trade);
        }
    }
}
