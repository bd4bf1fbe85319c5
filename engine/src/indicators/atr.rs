//! True range and its average.
//!
//! `trange[t] = max(high[t] - low[t], |high[t] - close[t-1]|, |low[t] - close[t-1]|)`, first valid at bar 1.
//! `atr(n)` starts at bar `n`, the first valid one, as the mean of the first `n` true ranges, added in order; then
//! `atr[t] = (atr[t-1] * (n - 1) + trange[t]) / n`.
//!
//! Source: TA-Lib `TRANGE` and `ATR` without unstable period; Wilder, *New Concepts in Technical Trading Systems*.

use crate::bars::Bars;
use crate::columns::{NodeId, Nodes};
use crate::expr::Series;

use super::ema::mean;
use super::kernel::{Inputs, Kernel, MAX_NUMBERS, segments};
use super::{Argument, Indicator};

/// `trange()`.
pub(super) static TRANGE: Indicator = Indicator {
    name: "trange",
    arguments: &[],
    summary: "True range: the bar's range, extended to the close before it.",
    build: |nodes, _| true_range(nodes),
};

/// `atr(n)`.
pub(super) static ATR: Indicator = Indicator {
    name: "atr",
    arguments: &[Argument::whole("n", 1)],
    summary: "Average true range, with Wilder's smoothing over n bars.",
    build: |nodes, arguments| atr(nodes, arguments.number(0)),
};

static TRUE_RANGE: Kernel = Kernel { width: 1, run: run_true_range };
static WILDER_AVERAGE: Kernel = Kernel { width: 1, run: run_wilder_average };

fn true_range(nodes: &mut Nodes) -> NodeId {
    let prices = [Series::High, Series::Low, Series::Close].map(|series| nodes.series(series));
    nodes.kernel(&TRUE_RANGE, &prices, &[])
}

/// The node of `atr(n)`.
pub(crate) fn atr(nodes: &mut Nodes, n: f64) -> NodeId {
    let range = true_range(nodes);
    nodes.kernel(&WILDER_AVERAGE, &[range], &[n])
}

/// The values of `atr(n)` by themselves, one a bar.
pub(crate) fn average_true_range(bars: &Bars, n: u32) -> Vec<f64> {
    let mut ranges = vec![f64::NAN; bars.len()];
    let mut averages = ranges.clone();
    run_true_range(&Inputs::new([bars.high(), bars.low(), bars.close(), &[]], [0.0; MAX_NUMBERS]), &mut ranges);
    run_wilder_average(&Inputs::new([&ranges, &[], &[], &[]], [f64::from(n), 0.0, 0.0]), &mut averages);
    averages
}

/// The range of a bar, extended to the close before it.
pub(super) fn range(high: f64, low: f64, close_before: f64) -> f64 {
    (high - low).max((high - close_before).abs()).max((low - close_before).abs())
}

fn run_true_range(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (high, low, close) = (inputs.column(0), inputs.column(1), inputs.column(2));
    for t in 1..output.len() {
        output[t] = range(high[t], low[t], close[t - 1]);
    }
}

fn run_wilder_average(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        let x = &x[segment.clone()];
        let output = &mut output[segment];
        let mut average = mean(&x[..n]);
        output[n - 1] = average;
        for (out, &x) in output[n..].iter_mut().zip(&x[n..]) {
            average = (average * (periods - 1.0) + x) / periods;
            *out = average;
        }
    }
}
