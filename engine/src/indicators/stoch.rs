//! Where the close stands in the range of the last bars: stochastic oscillator and Williams' %R.
//!
//! With `H = highest(high, n)` and `L = lowest(low, n)`: the raw %K is `(close - L) / ((H - L) / 100)`, and 0 where
//! `H` equals `L`. `stoch_k(n, k, d)` is its simple moving average over `k` bars, `stoch_d` that of `stoch_k` over
//! `d`; both first valid at bar `n - 1 + k - 1 + d - 1`. `willr(n) = (H - close) / ((H - L) / -100)`, from -100 to
//! 0, and 0 where `H` equals `L`; first valid at bar `n - 1`.
//!
//! Order of summation: as `sma`.
//!
//! Source: TA-Lib `STOCH` (both averages simple) and `WILLR`.

use crate::columns::{NodeId, Nodes};
use crate::expr::Series;

use super::extremes::{highest, lowest};
use super::kernel::{Inputs, Kernel};
use super::sma::sma;
use super::warm_up::warmed_up;
use super::{Argument, Arguments, Indicator};

const STOCH_ARGUMENTS: &[Argument] = &[Argument::whole("n", 1), Argument::whole("k", 1), Argument::whole("d", 1)];

/// `stoch_k(n, k, d)`.
pub(super) static STOCH_K: Indicator = Indicator {
    name: "stoch_k",
    arguments: STOCH_ARGUMENTS,
    summary: "Slow stochastic %K from 0 to 100: %K over n bars, averaged over k; valid from %D's first bar.",
    build: |nodes, arguments| {
        let slow = slow_k(nodes, arguments);
        warmed_up(nodes, slow, arguments.number(2))
    },
};

/// `stoch_d(n, k, d)`.
pub(super) static STOCH_D: Indicator = Indicator {
    name: "stoch_d",
    arguments: STOCH_ARGUMENTS,
    summary: "Slow stochastic %D from 0 to 100: slow %K averaged over d bars.",
    build: |nodes, arguments| {
        let slow = slow_k(nodes, arguments);
        sma(nodes, slow, arguments.number(2))
    },
};

/// `willr(n)`.
pub(super) static WILLR: Indicator = Indicator {
    name: "willr",
    arguments: &[Argument::whole("n", 1)],
    summary: "Williams' %R from -100 to 0: how far the close is below the high of the last n bars.",
    build: |nodes, arguments| in_range(nodes, arguments.number(0), &WILLIAMS_R),
};

static RAW_K: Kernel = Kernel {
    width: 1,
    run: |inputs, output| run(inputs, output, |close, high, low| (close - low) / ((high - low) / 100.0)),
};
static WILLIAMS_R: Kernel = Kernel {
    width: 1,
    run: |inputs, output| run(inputs, output, |close, high, low| (high - close) / ((high - low) / -100.0)),
};

/// The node of `kernel` over the close and the highest and lowest price of the last `n` bars.
fn in_range(nodes: &mut Nodes, n: f64, kernel: &'static Kernel) -> NodeId {
    let [close, high, low] = [Series::Close, Series::High, Series::Low].map(|series| nodes.series(series));
    let inputs = [close, highest(nodes, high, n), lowest(nodes, low, n)];
    nodes.kernel(kernel, &inputs, &[])
}

fn slow_k(nodes: &mut Nodes, arguments: &Arguments) -> NodeId {
    let raw = in_range(nodes, arguments.number(0), &RAW_K);
    sma(nodes, raw, arguments.number(1))
}

fn run(inputs: &Inputs<'_>, output: &mut [f64], position: impl Fn(f64, f64, f64) -> f64) {
    let (close, high, low) = (inputs.column(0), inputs.column(1), inputs.column(2));
    for (t, out) in output.iter_mut().enumerate() {
        *out = if high[t] == low[t] { 0.0 } else { position(close[t], high[t], low[t]) };
    }
}
