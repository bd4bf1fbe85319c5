//! Weighted moving average.
//!
//! `wma(x, n)[t] = (1 * x[t-n+1] + 2 * x[t-n+2] + ... + n * x[t]) / (n * (n + 1) / 2)`, first valid at bar `n - 1`.
//!
//! Order of summation: running, as TA-Lib does it. The first window is added oldest first; from bar to bar the
//! weighted sum loses the plain sum of its window and gains `n` times the new value, and the plain sum gains the new
//! value and loses the oldest.
//!
//! Source: TA-Lib `WMA`.

use super::kernel::{Inputs, Kernel, segments};
use super::{Argument, Indicator};

/// `wma(x, n)`.
pub(super) static WMA: Indicator = Indicator {
    name: "wma",
    arguments: &[Argument::column("x"), Argument::whole("n", 1)],
    summary: "Weighted moving average: the newest of n bars counts n times, the oldest once.",
    build: |nodes, arguments| nodes.kernel(&KERNEL, &[arguments.column(0)], &[arguments.number(0)]),
};

static KERNEL: Kernel = Kernel { width: 1, run };

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    let divisor = periods * (periods + 1.0) / 2.0;
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        let x = &x[segment.clone()];
        let output = &mut output[segment];
        let (mut plain, mut weighted, mut weight) = (0.0, 0.0, 0.0);
        for &x in &x[..n] {
            weight += 1.0;
            plain += x;
            weighted += x * weight;
        }
        output[n - 1] = weighted / divisor;
        for ((out, &new), &oldest) in output[n..].iter_mut().zip(&x[n..]).zip(x) {
            weighted -= plain;
            weighted += new * periods;
            plain += new;
            plain -= oldest;
            *out = weighted / divisor;
        }
    }
}
