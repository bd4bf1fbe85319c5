//! What one run simulates.

use std::ops::Range;

use super::signals::Signals;
use super::tables::Tables;
use crate::bars::Bars;
use crate::execution::Execution;
use crate::patience::Pace;

/// The input of one run. Bars are numbered as in all bars of the symbol, whatever part of them the run covers.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) bars: &'a Bars,
    pub(crate) signals: Signals<'a>,
    /// Without [`problems`](Execution::problems).
    pub(crate) execution: &'a Execution,
    pub(crate) atr: TrueRanges<'a>,
    /// Tables over the closes for the risk-free return of the run, if its way needs them and others made them.
    pub(crate) tables: Option<&'a Tables>,
    /// The bars covered.
    pub(crate) range: Range<usize>,
    /// Stops the run, if somebody may. What it comes to is then of no use.
    pub(crate) pace: Option<&'a Pace>,
}

impl Run<'_> {
    /// Adds bars of work. Whether the run is to stop.
    pub(super) fn worked(&self, bars: usize) -> bool {
        self.pace.is_some_and(|pace| pace.worked(bars))
    }

    /// Bars a year, of the whole series whatever part of it is covered.
    pub(super) fn bars_per_year(&self) -> f64 {
        self.execution.bars_per_year_of(self.bars)
    }

    /// The risk-free return a bar.
    pub(super) fn risk_free(&self) -> f64 {
        self.execution.risk_free_per_bar(self.bars)
    }
}

/// The average true ranges that stops need, one value a bar: those of the stop loss, the target and the trailing
/// stop, as in [`Execution::atr_distances`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct TrueRanges<'a>(pub(crate) [Option<&'a [f64]>; 3]);

impl TrueRanges<'_> {
    /// Whether all that are needed are known at a bar.
    pub(super) fn known(&self, bar: usize) -> bool {
        self.0.iter().flatten().all(|values| values[bar].is_finite())
    }

    /// Distances from a price for an entry decided at the close of a bar.
    pub(super) fn distances(&self, execution: &Execution, bar: usize) -> [Option<f64>; 3] {
        let multiples = execution.atr_distances().map(|(_, distance)| distance.map(|distance| distance.multiple));
        std::array::from_fn(|index| Some(multiples[index]? * self.0[index]?[bar]))
    }
}
