//! Directional movement: `plus_di`, `minus_di`, `adx`.
//!
//! With `up = high[t] - high[t-1]` and `down = low[t-1] - low[t]`, the plus movement is `up` where it is above both 0
//! and `down`, the minus movement `down` where it is above both 0 and `up`. Movements and true ranges are summed in
//! order over bars 1 to `n - 1`, and from bar `n` on smoothed: `S[t] = S[t-1] - S[t-1] / n + value[t]`.
//!
//! `plus_di = 100 * plus / range` and `minus_di` alike, first valid at bar `n`, 0 where the range is 0.
//! `dx = 100 * |plus_di - minus_di| / (plus_di + minus_di)`. `adx` starts at bar `2n - 1`, its first valid one, as
//! the mean of the first `n` of these, added in order; then `adx[t] = (adx[t-1] * (n - 1) + dx[t]) / n`. A bar whose
//! `dx` divides by 0 adds 0 to the mean, and later leaves `adx` as it is.
//!
//! Source: TA-Lib `PLUS_DI`, `MINUS_DI`, `ADX` without unstable period; Wilder, *New Concepts in Technical Trading
//! Systems*.

use crate::columns::{NodeId, Nodes};
use crate::expr::Series;

use super::atr::range;
use super::kernel::{Inputs, Kernel};
use super::{Argument, Arguments, Indicator};

const ARGUMENTS: &[Argument] = &[Argument::whole("n", 1)];

/// `plus_di(n)`.
pub(super) static PLUS_DI: Indicator = Indicator {
    name: "plus_di",
    arguments: ARGUMENTS,
    summary: "Plus directional indicator from 0 to 100: how much of the range was upward movement.",
    build: |nodes, arguments| over_prices(nodes, arguments, &PLUS_KERNEL),
};

/// `minus_di(n)`.
pub(super) static MINUS_DI: Indicator = Indicator {
    name: "minus_di",
    arguments: ARGUMENTS,
    summary: "Minus directional indicator from 0 to 100: how much of the range was downward movement.",
    build: |nodes, arguments| over_prices(nodes, arguments, &MINUS_KERNEL),
};

/// `adx(n)`.
pub(super) static ADX: Indicator = Indicator {
    name: "adx",
    arguments: ARGUMENTS,
    summary: "Average directional index from 0 to 100: strength of the trend, whichever its direction.",
    build: |nodes, arguments| over_prices(nodes, arguments, &ADX_KERNEL),
};

static PLUS_KERNEL: Kernel =
    Kernel { width: 1, run: |inputs, output| run_indicator(inputs, output, Movement::plus_di) };
static MINUS_KERNEL: Kernel =
    Kernel { width: 1, run: |inputs, output| run_indicator(inputs, output, Movement::minus_di) };
static ADX_KERNEL: Kernel = Kernel { width: 1, run: run_adx };

fn over_prices(nodes: &mut Nodes, arguments: &Arguments, kernel: &'static Kernel) -> NodeId {
    let prices = [Series::High, Series::Low, Series::Close].map(|series| nodes.series(series));
    nodes.kernel(kernel, &prices, &[arguments.number(0)])
}

/// Smoothed movements and range.
#[derive(Debug, Clone, Copy, Default)]
struct Movement {
    plus: f64,
    minus: f64,
    range: f64,
}

impl Movement {
    /// Those of bar `t` alone, which is not the first.
    fn at(inputs: &Inputs<'_>, t: usize) -> Self {
        let (high, low, close) = (inputs.column(0), inputs.column(1), inputs.column(2));
        let (up, down) = (high[t] - high[t - 1], low[t - 1] - low[t]);
        Self {
            plus: if up > 0.0 && up > down { up } else { 0.0 },
            minus: if down > 0.0 && down > up { down } else { 0.0 },
            range: range(high[t], low[t], close[t - 1]),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self { plus: self.plus + other.plus, minus: self.minus + other.minus, range: self.range + other.range }
    }

    /// One bar on.
    fn smoothed(self, periods: f64, next: Self) -> Self {
        Self {
            plus: self.plus - self.plus / periods + next.plus,
            minus: self.minus - self.minus / periods + next.minus,
            range: self.range - self.range / periods + next.range,
        }
    }

    fn plus_di(self) -> f64 {
        if self.range == 0.0 { 0.0 } else { 100.0 * (self.plus / self.range) }
    }

    fn minus_di(self) -> f64 {
        if self.range == 0.0 { 0.0 } else { 100.0 * (self.minus / self.range) }
    }

    /// How far apart the two indicators are, if either is above 0.
    fn dx(self) -> Option<f64> {
        let (plus, minus) = (self.plus_di(), self.minus_di());
        let total = plus + minus;
        (total != 0.0).then(|| 100.0 * ((minus - plus).abs() / total))
    }
}

/// Calls `visit` with every bar from `n` on and its smoothed movements.
fn smoothed(inputs: &Inputs<'_>, mut visit: impl FnMut(usize, Movement)) {
    let bars = inputs.column(0).len();
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    if bars <= n {
        return;
    }
    let mut movement = (1..n).fold(Movement::default(), |sum, t| sum.plus(Movement::at(inputs, t)));
    for t in n..bars {
        movement = movement.smoothed(periods, Movement::at(inputs, t));
        visit(t, movement);
    }
}

fn run_indicator(inputs: &Inputs<'_>, output: &mut [f64], indicator: impl Fn(Movement) -> f64) {
    smoothed(inputs, |t, movement| output[t] = indicator(movement));
}

fn run_adx(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    let (mut sum, mut adx) = (0.0, 0.0);
    smoothed(inputs, |t, movement| {
        // Bars `n` to `2n - 1` are the first `n`.
        let seeding = t - n < n;
        if seeding {
            sum += movement.dx().unwrap_or(0.0);
            adx = sum / periods;
        } else if let Some(dx) = movement.dx() {
            adx = (adx * (periods - 1.0) + dx) / periods;
        }
        if t - n >= n - 1 {
            output[t] = adx;
        }
    });
}
