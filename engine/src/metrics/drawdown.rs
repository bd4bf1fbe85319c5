//! How far, and how long, equity lies below its running maximum.

use super::ROUNDING;
use crate::simd;

/// Bars looked at together: only when their highest equity reaches the running maximum are they looked at one by one.
const CHUNK: usize = 16;

/// Follows the running maximum of equity.
///
/// A *stretch* is what lies between one running maximum and the bar that next reaches it. The deepest fall of a
/// stretch is its lowest equity over its maximum, so that one division a stretch is enough.
#[derive(Debug)]
pub(crate) struct Drawdown {
    peak: f64,
    /// Lowest equity since the peak.
    trough: f64,
    /// Bars since the peak.
    below: usize,
    /// Least ratio of trough to peak in the stretches that ended.
    worst: f64,
    longest: usize,
}

impl Drawdown {
    /// The running maximum starts at the initial cash.
    pub(crate) fn new(initial_cash: f64) -> Self {
        Self { peak: initial_cash, trough: initial_cash, below: 0, worst: 1.0, longest: 0 }
    }

    /// `count` bars of the same equity.
    pub(crate) fn flat(&mut self, count: usize, equity: f64) {
        if count == 0 {
            return;
        }
        self.step(equity);
        if equity < self.peak {
            self.below += count - 1;
        }
    }

    /// One bar.
    #[inline]
    pub(crate) fn step(&mut self, equity: f64) {
        if equity >= self.peak {
            self.end_stretch();
            self.peak = equity;
            self.trough = equity;
            self.below = 0;
        } else {
            self.trough = if equity < self.trough { equity } else { self.trough };
            self.below += 1;
        }
    }

    /// Bars within a position of `shares`, at least 0, with `cash` beside them, one for each close.
    pub(crate) fn hold(&mut self, closes: &[f64], cash: f64, shares: f64) {
        simd::hold(self, closes, cash, shares);
    }

    /// See [`Drawdown::hold`].
    #[inline(always)]
    pub(crate) fn hold_chunks(&mut self, closes: &[f64], cash: f64, shares: f64) {
        let equity = |close: f64| cash + shares * close;
        let (chunks, rest) = closes.as_chunks::<CHUNK>();
        for chunk in chunks {
            // Equity does not fall where the close rises.
            let [lowest, highest] = extremes(chunk).map(equity);
            if highest < self.peak {
                self.trough = if lowest < self.trough { lowest } else { self.trough };
                self.below += CHUNK;
            } else {
                chunk.iter().for_each(|&close| self.step(equity(close)));
            }
        }
        rest.iter().for_each(|&close| self.step(equity(close)));
    }

    /// The running maximum.
    pub(crate) fn peak(&self) -> f64 {
        self.peak
    }

    /// Bars with this lowest equity, of which one lies at `ratio` of a higher one before it and none is deeper below
    /// another. Whatever rises among them, the lowest is at least as deep as it is below the maximum so far.
    pub(crate) fn deepen(&mut self, lowest: f64, ratio: f64) {
        self.trough = if lowest < self.trough { lowest } else { self.trough };
        self.worst = if ratio < self.worst { ratio } else { self.worst };
    }

    /// `count` bars below the running maximum.
    pub(crate) fn stay_below(&mut self, count: usize) {
        self.below += count;
    }

    /// A stretch between two running maxima, both of which are passed.
    pub(crate) fn stretch(&mut self, bars: usize) {
        self.longest = self.longest.max(bars);
    }

    /// Whether this stretch would be the longest so far if it had `more` bars.
    pub(crate) fn could_be_longest(&self, more: usize) -> bool {
        self.below + more > self.longest
    }

    /// Whether a stretch of so many bars would be the longest so far.
    pub(crate) fn is_longest(&self, bars: usize) -> bool {
        bars > self.longest
    }

    /// A new running maximum, with `below` bars after it.
    pub(crate) fn rise(&mut self, peak: f64, below: usize) {
        self.end_stretch();
        self.peak = peak;
        self.trough = peak;
        self.below = below;
    }

    /// `min(E / running_max(E, initial cash) - 1)`, at most 0 [empyrical].
    pub(crate) fn deepest(&self) -> f64 {
        self.worst.min(self.trough / self.peak) - 1.0
    }

    /// Longest stretch of bars whose equity lies below the running maximum.
    pub(crate) fn longest_bars(&self) -> usize {
        self.longest.max(self.below)
    }

    fn end_stretch(&mut self) {
        // Where equity only rises there is nothing to divide.
        if self.trough < self.peak {
            let ratio = self.trough / self.peak;
            self.worst = if ratio < self.worst { ratio } else { self.worst };
        }
        self.longest = self.longest.max(self.below);
    }
}

/// The lowest and the highest of some values.
#[inline(always)]
fn extremes(values: &[f64; CHUNK]) -> [f64; 2] {
    /// Values compared side by side.
    const LANES: usize = 8;
    let (rows, _) = values.as_chunks::<LANES>();
    let (mut lowest, mut highest) = (rows[0], rows[0]);
    for row in &rows[1..] {
        for lane in 0..LANES {
            lowest[lane] = if row[lane] < lowest[lane] { row[lane] } else { lowest[lane] };
            highest[lane] = if row[lane] > highest[lane] { row[lane] } else { highest[lane] };
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let (low, high) = (lowest[lane + width], highest[lane + width]);
            lowest[lane] = if low < lowest[lane] { low } else { lowest[lane] };
            highest[lane] = if high > highest[lane] { high } else { highest[lane] };
        }
    }
    [lowest[0], highest[0]]
}

/// `cagr / -max_drawdown` [empyrical]. `None` where equity never fell.
pub(super) fn calmar(cagr: f64, max_drawdown: f64) -> Option<f64> {
    (max_drawdown < -ROUNDING).then(|| cagr / -max_drawdown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, bar by bar.
    fn plain(initial: f64, equity: &[f64]) -> (f64, usize) {
        let (mut peak, mut deepest, mut below, mut longest) = (initial, 0.0_f64, 0, 0);
        for &value in equity {
            peak = peak.max(value);
            deepest = deepest.min(value / peak - 1.0);
            below = if value < peak { below + 1 } else { 0 };
            longest = longest.max(below);
        }
        (deepest, longest)
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(
            initial in 0.5..2.0_f64,
            spans in prop::collection::vec((prop::collection::vec(0.1..3.0_f64, 0..40), 0_usize..5), 0..6),
        ) {
            let mut drawdown = Drawdown::new(initial);
            let mut equity = Vec::new();
            for (closes, flat) in spans {
                drawdown.hold(&closes, 0.0, 1.0);
                equity.extend(&closes);
                let last = equity.last().copied().unwrap_or(initial);
                drawdown.flat(flat, last);
                equity.extend(std::iter::repeat_n(last, flat));
            }
            prop_assert_eq!((drawdown.deepest(), drawdown.longest_bars()), plain(initial, &equity));
        }
    }
}
