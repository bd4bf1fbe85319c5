//! Levels at which a position ends early.

use std::ops::Range;

use super::run::Run;
use super::trade::{ExitReason, Side};
use crate::bars::Bars;
use crate::simd;

/// The stops and targets of one position.
///
/// Prices are taken times the side's sign, -1 when short: then every position gains when its price rises, stops lie
/// below and targets above. Changing a sign rounds nothing.
#[derive(Debug)]
pub(super) struct Levels {
    sign: f64,
    /// The highest of the fixed stops; minus infinity without one.
    stop: f64,
    /// The lowest of the targets; infinity without one.
    target: f64,
    /// Whether a stop trails the best price.
    trails: bool,
    /// What the best price is multiplied with for the trailing stop, and how far below it the other one lies.
    trail_factor: Option<f64>,
    trail_distance: Option<f64>,
    /// The best price up to the bar before; at first that of the entry.
    best: f64,
}

/// A stop or target that was reached.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hit {
    /// Where it fills, before slippage.
    pub(super) price: f64,
    pub(super) reason: ExitReason,
    /// Whether the bar reaches both a stop and a target, so that their order is not known.
    pub(super) ambiguous: bool,
}

impl Levels {
    /// Those of a position entered at `price`, slippage included, and decided at the close of bar `decision`.
    pub(super) fn of(run: &Run<'_>, side: Side, price: f64, decision: usize) -> Self {
        let execution = run.execution;
        let sign = side.sign();
        let entry = sign * price;
        let [stop_distance, target_distance, trail_distance] = run.atr.distances(execution, decision);
        // A fraction below the price, when short above it, and the other way round.
        let below = |fraction: f64| entry * (1.0 - sign * fraction);
        let above = |fraction: f64| entry * (1.0 + sign * fraction);
        let stops = [execution.stop_loss.map(below), stop_distance.map(|distance| entry - distance)];
        let targets = [execution.take_profit.map(above), target_distance.map(|distance| entry + distance)];
        let trail_factor = execution.trailing_stop.map(|fraction| 1.0 - sign * fraction);
        Self {
            sign,
            stop: stops.into_iter().flatten().fold(f64::NEG_INFINITY, f64::max),
            target: targets.into_iter().flatten().fold(f64::INFINITY, f64::min),
            trails: trail_factor.is_some() || trail_distance.is_some(),
            trail_factor,
            trail_distance,
            best: entry,
        }
    }

    /// The first bar of a range that reaches a level, and what it reaches.
    pub(super) fn first_reached(&mut self, bars: &Bars, range: Range<usize>) -> Option<(usize, Hit)> {
        if self.trails {
            return self.first_reached_trailing(bars, range);
        }
        let [floor, ceiling] = self.bounds(self.stop);
        if floor == f64::NEG_INFINITY && ceiling == f64::INFINITY {
            return None;
        }
        let first = simd::bars_between(&bars.low()[range.clone()], &bars.high()[range.clone()], floor, ceiling);
        let bar = range.start + first;
        range.contains(&bar).then(|| Some((bar, self.reached(bars, bar)?))).flatten()
    }

    /// The same with a trailing stop: in stretches, within which it lies at most where their last bar puts it.
    fn first_reached_trailing(&mut self, bars: &Bars, range: Range<usize>) -> Option<(usize, Hit)> {
        /// Bars of a stretch.
        const STRETCH: usize = 16;
        let (lows, highs) = (bars.low(), bars.high());
        let mut next = range.start;
        while next < range.end {
            let stretch = next..range.end.min(next + STRETCH);
            next = stretch.end;
            let (lows, highs) = (&lows[stretch.clone()], &highs[stretch.clone()]);
            let best = if self.sign > 0.0 { highest(highs) } else { highest_negated(lows) };
            let best = self.best.max(best);
            let [floor, ceiling] = self.bounds(self.stop_at(best));
            if simd::bars_between(lows, highs, floor, ceiling) == stretch.len() {
                self.best = best;
                continue;
            }
            for bar in stretch {
                if let Some(hit) = self.reached(bars, bar) {
                    return Some((bar, hit));
                }
                self.pass(bars, bar);
            }
        }
        None
    }

    /// The low at or below which, and the high at or above which, a bar reaches this stop or the target.
    fn bounds(&self, stop: f64) -> [f64; 2] {
        if self.sign > 0.0 { [stop, self.target] } else { [-self.target, -stop] }
    }

    /// What a bar reaches, if anything: beyond a level at the open already, or within the bar.
    fn reached(&self, bars: &Bars, bar: usize) -> Option<Hit> {
        let [open, worst, best] = self.signed(bars, bar);
        let stop = self.stop_at(self.best);
        if worst > stop && best < self.target {
            return None;
        }
        let hit =
            |price: f64, reason: ExitReason, ambiguous: bool| Some(Hit { price: self.sign * price, reason, ambiguous });
        if open <= stop {
            return hit(open, ExitReason::Stop, false);
        }
        if open >= self.target {
            return hit(open, ExitReason::Target, false);
        }
        if worst <= stop {
            return hit(stop, ExitReason::Stop, best >= self.target);
        }
        hit(self.target, ExitReason::Target, false)
    }

    /// Lets the trailing stop know a bar that is over.
    fn pass(&mut self, bars: &Bars, bar: usize) {
        let [_, _, best] = self.signed(bars, bar);
        self.best = self.best.max(best);
    }

    /// Open, worst and best price of a bar, each times the sign.
    fn signed(&self, bars: &Bars, bar: usize) -> [f64; 3] {
        let (open, high, low) = (bars.open()[bar], bars.high()[bar], bars.low()[bar]);
        if self.sign > 0.0 { [open, low, high] } else { [-open, -high, -low] }
    }

    /// The stop where this is the best price.
    fn stop_at(&self, best: f64) -> f64 {
        let by_fraction = self.trail_factor.map(|factor| best * factor);
        let by_distance = self.trail_distance.map(|distance| best - distance);
        [by_fraction, by_distance].into_iter().flatten().fold(self.stop, f64::max)
    }
}

/// The number of bars before the first whose low is at most `floor` or whose high is at least `ceiling`.
#[inline(always)]
pub(crate) fn bars_between(lows: &[f64], highs: &[f64], floor: f64, ceiling: f64) -> usize {
    /// Bars looked at side by side.
    const LANES: usize = 16;
    // Without a branch between the two, so that they become vector instructions.
    let reaches = |low: f64, high: f64| (low <= floor) | (high >= ceiling);
    let ((low_chunks, low_rest), (high_chunks, high_rest)) = (lows.as_chunks::<LANES>(), highs.as_chunks::<LANES>());
    for (index, (lows, highs)) in low_chunks.iter().zip(high_chunks).enumerate() {
        let mut any = false;
        for lane in 0..LANES {
            any |= reaches(lows[lane], highs[lane]);
        }
        if any {
            let within = lows.iter().zip(highs).position(|(&low, &high)| reaches(low, high));
            return index * LANES + within.unwrap_or(0);
        }
    }
    let within = low_rest.iter().zip(high_rest).position(|(&low, &high)| reaches(low, high));
    low_chunks.len() * LANES + within.unwrap_or(low_rest.len())
}

/// The highest of some prices.
fn highest(prices: &[f64]) -> f64 {
    prices.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// The highest of some prices times -1.
fn highest_negated(prices: &[f64]) -> f64 {
    prices.iter().map(|price| -price).fold(f64::NEG_INFINITY, f64::max)
}
