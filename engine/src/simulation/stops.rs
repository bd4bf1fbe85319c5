//! Levels at which a position ends early.

use super::run::Run;
use super::trade::{ExitReason, Side};

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

    /// What the bar of these prices reaches, if anything: beyond a level at the open already, or within the bar.
    pub(super) fn reached(&self, open: f64, high: f64, low: f64) -> Option<Hit> {
        let [open, worst, best] = self.signed(open, high, low);
        let stop = if self.trails { self.stop.max(self.trail()) } else { self.stop };
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
    pub(super) fn pass(&mut self, high: f64, low: f64) {
        let [_, _, best] = self.signed(high, high, low);
        self.best = self.best.max(best);
    }

    /// Open, worst and best price of a bar, each times the sign.
    fn signed(&self, open: f64, high: f64, low: f64) -> [f64; 3] {
        if self.sign > 0.0 { [open, low, high] } else { [-open, -high, -low] }
    }

    fn trail(&self) -> f64 {
        let by_fraction = self.trail_factor.map(|factor| self.best * factor);
        let by_distance = self.trail_distance.map(|distance| self.best - distance);
        [by_fraction, by_distance].into_iter().flatten().fold(f64::NEG_INFINITY, f64::max)
    }
}
