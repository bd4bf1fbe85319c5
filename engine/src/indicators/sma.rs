//! Simple moving average.
//!
//! `sma(x, n)[t] = (x[t-n+1] + ... + x[t]) / n`, first valid at bar `n - 1`.
//!
//! Order of summation: `(S[t+1] - S[t+1-n]) / n` with `S` the sequential prefix sum from the first bar, so that all
//! periods over one column share one pass of additions.
//!
//! Source: TA-Lib `SMA`, which adds and subtracts in a running window instead; both agree to about 1e-12 relative.

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};
use super::prefix_sum::prefix_sum;
use super::{Argument, Indicator};

/// `sma(x, n)`.
pub(super) static SMA: Indicator = Indicator {
    name: "sma",
    arguments: &[Argument::column("x"), Argument::whole("n", 1)],
    summary: "Simple moving average of the last n bars.",
    build: |nodes, arguments| sma(nodes, arguments.column(0), arguments.number(0)),
};

static WINDOW_MEAN: Kernel = Kernel { width: 1, run };

/// The node of the mean of `x` over the last `n` bars.
pub(super) fn sma(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    let sums = prefix_sum(nodes, x);
    nodes.kernel(&WINDOW_MEAN, &[sums], &[n])
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let sums = inputs.column(0);
    let (n, divisor) = (inputs.whole(0), inputs.number(0));
    for segment in segments(sums).filter(|segment| segment.len() >= n) {
        let sums = &sums[segment.clone()];
        let output = &mut output[segment];
        output[n - 1] = sums[n - 1] / divisor;
        for ((out, &sum), &before) in output[n..].iter_mut().zip(&sums[n..]).zip(sums) {
            *out = (sum - before) / divisor;
        }
    }
}
