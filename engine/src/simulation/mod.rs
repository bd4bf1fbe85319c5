//! From decisions to fills: positions, trades and equity, bar by bar.
//!
//! [`simulate`] and [`replay`] are one code path, so that both give the same metrics, bit for bit: a run in full is a
//! run with a recorder that keeps what passes by.

mod account;
mod costs;
mod ledger;
mod long;
mod record;
mod trade;

use std::cell::Cell;

use crate::backtest::Replay;
use crate::bars::Bars;
use crate::execution::Execution;
use crate::mask::Mask;
use crate::metrics::Metrics;

use ledger::Ledger;
use record::{Everything, Nothing, Recorder};

pub use trade::Trade;

thread_local! {
    /// Space for the returns of one run, kept from run to run so that a run allocates nothing.
    static RETURNS: Cell<Vec<f64>> = const { Cell::new(Vec::new()) };
}

/// Simulates one run and gives its metrics.
///
/// `enter` and `exit` say, for each bar, whether a rule holds at its close. They are levels: while flat only `enter` is
/// looked at, while in a position only `exit`. An order decided at the close of a bar fills as
/// [`Execution::fill`] says; one decided on the last bar never fills at a next open. With
/// [`Fill::Close`](crate::execution::Fill::Close) the last bar closes positions but opens none.
///
/// `execution` has no [`problems`](Execution::problems).
///
/// # Panics
///
/// If a mask does not cover the same bars.
pub fn simulate(bars: &Bars, enter: &Mask, exit: &Mask, execution: &Execution) -> Metrics {
    run(bars, enter, exit, execution, &mut Nothing)
}

/// Simulates one run and gives its metrics, the same as from [`simulate`], with every trade and the equity at the
/// close of each bar.
///
/// # Panics
///
/// If a mask does not cover the same bars.
pub fn replay(bars: &Bars, enter: &Mask, exit: &Mask, execution: &Execution) -> Replay {
    let mut everything = Everything::with_capacity(bars.len());
    let metrics = run(bars, enter, exit, execution, &mut everything);
    let Everything { trades, equity } = everything;
    Replay { metrics, trades, equity }
}

fn run(bars: &Bars, enter: &Mask, exit: &Mask, execution: &Execution, recorder: &mut impl Recorder) -> Metrics {
    assert_eq!(enter.len(), bars.len(), "the enter mask covers the bars of the run");
    assert_eq!(exit.len(), bars.len(), "the exit mask covers the bars of the run");
    let mut space = RETURNS.take();
    if space.len() < bars.len() {
        space.resize(bars.len(), 0.0);
    }
    let mut ledger = Ledger::new(bars, execution, &mut space[..bars.len()], recorder);
    long::walk(bars, enter, exit, execution, &mut ledger);
    let metrics = ledger.finish();
    RETURNS.set(space);
    metrics
}
