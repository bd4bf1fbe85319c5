//! From decisions to fills: positions, trades and equity.
//!
//! There are three ways through a run. Which one it takes depends on nothing but its execution rules:
//!
//! - A run that may end a position by more than a rule of the strategy (stops, targets, the most bars), or may be
//!   short, depends on its path: the *bar loop* goes through each bar of a position.
//! - Else the *walk* goes from decision to decision, and takes down the bars between them one by one.
//! - If moreover entries take all cash, equity within a holding is a multiple of the close: the walk takes it down
//!   *holding by holding*, by tables computed once for all runs over the bars. How long a run takes then depends on
//!   its number of trades alone.
//!
//! Trades are the same in all three, bit for bit; metrics differ by rounding.

mod account;
mod bar_loop;
mod book;
mod costs;
mod every_bar;
mod holdings;
mod record;
mod run;
mod score;
mod signals;
mod stops;
mod tables;
#[cfg(test)]
mod tests;
mod trade;
mod walk;

use std::cell::Cell;

use crate::backtest::Replay;
use crate::bars::Bars;
use crate::execution::{Direction, Execution, Size};
use crate::metrics::Metrics;

use every_bar::EveryBar;
use holdings::Holdings;
use record::{Everything, Nothing, Recorder};

pub(crate) use run::{Run, TrueRanges};
pub use score::Score;
pub use signals::{Rules, Signals};
pub(crate) use stops::bars_between;
pub(crate) use tables::Tables;
pub(crate) use tables::powers::Sums;
pub use trade::{ExitReason, Side, Trade};

thread_local! {
    /// Space for numbers of one run, kept from run to run so that a run allocates nothing.
    static SPACE: Cell<[Vec<f64>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// The ways through a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From decision to decision, taking down holding by holding.
    Holdings,
    /// From decision to decision, taking down every bar.
    EveryBar,
    /// Bar by bar.
    BarLoop,
}

impl Way {
    /// The way that runs of these rules take.
    pub(crate) fn of(execution: &Execution) -> Self {
        if execution.direction != Direction::Long || execution.has_stops() {
            return Way::BarLoop;
        }
        let takes_all_cash = execution.size == Size::AllIn && !execution.whole_shares;
        if takes_all_cash { Way::Holdings } else { Way::EveryBar }
    }
}

impl Run<'_> {
    /// Simulates the run and gives its metrics.
    ///
    /// # Panics
    ///
    /// If a mask does not cover the bars, or there are no bars in the range.
    pub(crate) fn metrics(&self) -> Metrics {
        self.metrics_by(Way::of(self.execution))
    }

    /// Simulates the run and gives its metrics, the same as from [`Run::metrics`], with every trade and the equity at
    /// the close of each bar.
    pub(crate) fn replay(&self) -> Replay {
        self.replay_by(Way::of(self.execution))
    }

    fn metrics_by(&self, way: Way) -> Metrics {
        self.simulate(way, &mut Nothing)
    }

    fn replay_by(&self, way: Way) -> Replay {
        let mut everything = Everything::with_capacity(self.range.len());
        let metrics = match way {
            // Tables know no single bars: these come from a walk of their own.
            Way::Holdings => {
                self.simulate(Way::EveryBar, &mut everything);
                self.metrics_by(Way::Holdings)
            }
            Way::EveryBar | Way::BarLoop => self.simulate(way, &mut everything),
        };
        let Everything { trades, equity } = everything;
        Replay { metrics, trades, equity }
    }

    fn simulate(&self, way: Way, recorder: &mut impl Recorder) -> Metrics {
        self.with_space(|[first, second]| match way {
            Way::Holdings => self.with_tables(|tables| {
                let mut book = Holdings::<true>::new(self, tables, first);
                walk::walk(self, &mut book);
                book.finish()
            }),
            Way::EveryBar => {
                let mut book = EveryBar::new(self, first, recorder);
                walk::walk(self, &mut book);
                book.finish()
            }
            Way::BarLoop => bar_loop::simulate(self, first, second, recorder),
        })
    }

    /// Simulates the run and gives its score.
    pub(crate) fn score(&self) -> Score {
        if Way::of(self.execution) != Way::Holdings {
            return Score::of(&self.metrics());
        }
        self.with_space(|[space, _]| {
            self.with_tables(|tables| {
                let mut book = Holdings::<false>::new(self, tables, space);
                walk::walk(self, &mut book);
                book.finish()
            })
        })
    }

    /// Lends space for two numbers a bar of the run.
    fn with_space<T>(&self, simulate: impl FnOnce([&mut [f64]; 2]) -> T) -> T {
        let bars = self.bars.len();
        assert!(self.signals.masks().all(|mask| mask.len() == bars), "the masks cover all bars");
        let mut spaces = SPACE.take();
        let result = simulate(spaces.each_mut().map(|space| {
            if space.len() < bars {
                space.resize(bars, 0.0);
            }
            &mut space[..self.range.len()]
        }));
        SPACE.set(spaces);
        result
    }

    /// Lends the tables of the bars, made now if the run came without.
    fn with_tables<T>(&self, simulate: impl FnOnce(&Tables) -> T) -> T {
        match self.tables {
            Some(tables) => simulate(tables),
            None => simulate(&Tables::new(self.bars.close(), self.risk_free())),
        }
    }
}

/// A run over all bars, by itself.
fn run_of<'a>(
    bars: &'a Bars,
    signals: Signals<'a>,
    execution: &'a Execution,
    atr: &'a [Option<Vec<f64>>; 3],
) -> Run<'a> {
    let atr = TrueRanges(atr.each_ref().map(|column| column.as_deref()));
    Run { bars, signals, execution, atr, tables: None, range: 0..bars.len(), pace: None }
}

/// Average true ranges for the stops of one run.
fn true_ranges(bars: &Bars, execution: &Execution) -> [Option<Vec<f64>>; 3] {
    execution.atr_distances().map(|(_, distance)| Some(crate::indicators::average_true_range(bars, distance?.period)))
}

/// Simulates one run and gives its metrics.
///
/// An order decided at the close of a bar fills as [`Execution::fill`] says; one decided on the last bar never fills
/// at a next open. With [`Fill::Close`](crate::execution::Fill::Close) the last bar closes positions but opens none.
///
/// `execution` has no [`problems`](Execution::problems).
///
/// # Panics
///
/// If a mask does not cover the same bars.
pub fn simulate(bars: &Bars, signals: Signals<'_>, execution: &Execution) -> Metrics {
    run_of(bars, signals, execution, &true_ranges(bars, execution)).metrics()
}

/// Simulates one run and gives its metrics, the same as from [`simulate`], with every trade and the equity at the
/// close of each bar.
///
/// # Panics
///
/// If a mask does not cover the same bars.
pub fn replay(bars: &Bars, signals: Signals<'_>, execution: &Execution) -> Replay {
    run_of(bars, signals, execution, &true_ranges(bars, execution)).replay()
}
