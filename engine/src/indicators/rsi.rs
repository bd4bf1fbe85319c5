//! Relative strength index, with Wilder's smoothing.
//!
//! With `gain` and `loss` the rises and falls from bar to bar (both 0 or more), `G` and `L` start at bar `n`, the
//! first valid one, as the means of the first `n` gains and losses, added in order; then
//! `G[t] = (G[t-1] * (n - 1) + gain[t]) / n`, `L` alike. `rsi = 100 * G / (G + L)`, and 0 where `G + L` is 0.
//!
//! Source: TA-Lib `RSI` without unstable period; J. Welles Wilder, *New Concepts in Technical Trading Systems* (1978).

use super::kernel::{Inputs, Kernel, segments};
use super::{Argument, Indicator};

/// `rsi(x, n)`.
pub(super) static RSI: Indicator = Indicator {
    name: "rsi",
    arguments: &[Argument::column("x"), Argument::whole("n", 1)],
    summary: "Relative strength index from 0 to 100, with Wilder's smoothing over n bars.",
    build: |nodes, arguments| nodes.kernel(&KERNEL, &[arguments.column(0)], &[arguments.number(0)]),
};

static KERNEL: Kernel = Kernel { width: 1, run };

/// The rise and the fall from one value to the next.
fn moves(pair: &[f64]) -> (f64, f64) {
    let change = pair[1] - pair[0];
    if change > 0.0 { (change, 0.0) } else { (0.0, -change) }
}

fn index(gain: f64, loss: f64) -> f64 {
    let total = gain + loss;
    if total == 0.0 { 0.0 } else { 100.0 * (gain / total) }
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    for segment in segments(x).filter(|segment| segment.len() > n) {
        let x = &x[segment.clone()];
        let output = &mut output[segment];
        let (mut gain, mut loss) = (0.0, 0.0);
        for pair in x[..=n].windows(2) {
            let (rise, fall) = moves(pair);
            gain += rise;
            loss += fall;
        }
        gain /= periods;
        loss /= periods;
        output[n] = index(gain, loss);
        for (out, pair) in output[n + 1..].iter_mut().zip(x[n..].windows(2)) {
            let (rise, fall) = moves(pair);
            gain = (gain * (periods - 1.0) + rise) / periods;
            loss = (loss * (periods - 1.0) + fall) / periods;
            *out = index(gain, loss);
        }
    }
}
