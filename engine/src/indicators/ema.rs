//! Exponential moving average.
//!
//! `ema[t] = (x[t] - ema[t-1]) * 2 / (n + 1) + ema[t-1]`, seeded at bar `n - 1`, its first valid one, by the mean of
//! the first `n` values, which are added in order.
//!
//! Source: TA-Lib `EMA` without unstable period.

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};
use super::{Argument, Indicator};

/// `ema(x, n)`.
pub(super) static EMA: Indicator = Indicator {
    name: "ema",
    arguments: &[Argument::column("x"), Argument::whole("n", 1)],
    summary: "Exponential moving average with weight 2 / (n + 1), seeded by the mean of the first n values.",
    build: |nodes, arguments| ema(nodes, arguments.column(0), arguments.number(0)),
};

static KERNEL: Kernel = Kernel { width: 1, run };

/// The node of the exponential moving average of `x`.
pub(super) fn ema(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    nodes.kernel(&KERNEL, &[x], &[n])
}

/// Weight of the newest value in an average of `n`.
pub(super) fn weight(n: f64) -> f64 {
    2.0 / (n + 1.0)
}

/// The mean of values added in order: the seed.
pub(super) fn mean(values: &[f64]) -> f64 {
    let sum = values.iter().fold(0.0, |sum, x| sum + x);
    sum / values.len() as f64
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (n, weight) = (inputs.whole(0), weight(inputs.number(0)));
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        let x = &x[segment.clone()];
        let output = &mut output[segment];
        let mut average = mean(&x[..n]);
        output[n - 1] = average;
        for (out, &x) in output[n..].iter_mut().zip(&x[n..]) {
            average = (x - average) * weight + average;
            *out = average;
        }
    }
}
