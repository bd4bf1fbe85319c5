//! Moving average convergence/divergence.
//!
//! With `f` the smaller and `s` the larger of `fast` and `slow`, both exponential averages start at bar `s - 1`: the
//! slow one seeded by the mean of the first `s` values, the fast one by the mean of the last `f` of these, each added
//! in order. The line is fast minus slow; the signal is `ema(line, signal)`; the histogram is line minus signal. All
//! three are first valid at bar `s - 1 + signal - 1`.
//!
//! Source: TA-Lib `MACD` without unstable period, which also swaps `fast` and `slow` where they come the wrong way
//! round.

use crate::columns::{NodeId, Nodes, Operand};
use crate::expr::BinaryOp;

use super::ema::{ema, mean, weight};
use super::kernel::{Inputs, Kernel, segments};
use super::warm_up::warmed_up;
use super::{Argument, Arguments, Indicator};

const ARGUMENTS: &[Argument] =
    &[Argument::column("x"), Argument::whole("fast", 1), Argument::whole("slow", 1), Argument::whole("signal", 1)];

/// `macd(x, fast, slow, signal)`.
pub(super) static MACD: Indicator = Indicator {
    name: "macd",
    arguments: ARGUMENTS,
    summary: "MACD line: fast minus slow exponential average, valid from the signal's first bar.",
    build: macd,
};

/// `macd_signal(x, fast, slow, signal)`.
pub(super) static MACD_SIGNAL: Indicator = Indicator {
    name: "macd_signal",
    arguments: ARGUMENTS,
    summary: "MACD signal: exponential average of the MACD line.",
    build: macd_signal,
};

/// `macd_hist(x, fast, slow, signal)`.
pub(super) static MACD_HIST: Indicator = Indicator {
    name: "macd_hist",
    arguments: ARGUMENTS,
    summary: "MACD histogram: line minus signal.",
    build: |nodes, arguments| {
        let (line, signal) = (macd(nodes, arguments), macd_signal(nodes, arguments));
        nodes.binary(BinaryOp::Subtract, Operand::Column(line), Operand::Column(signal))
    },
};

static LINE: Kernel = Kernel { width: 1, run: run_line };

/// The line from bar `s - 1` on, before the signal is valid.
fn line(nodes: &mut Nodes, arguments: &Arguments) -> NodeId {
    nodes.kernel(&LINE, &[arguments.column(0)], &[arguments.number(0), arguments.number(1)])
}

fn macd(nodes: &mut Nodes, arguments: &Arguments) -> NodeId {
    let line = line(nodes, arguments);
    warmed_up(nodes, line, arguments.number(2))
}

fn macd_signal(nodes: &mut Nodes, arguments: &Arguments) -> NodeId {
    let line = line(nodes, arguments);
    ema(nodes, line, arguments.number(2))
}

fn run_line(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let fast = inputs.whole(0).min(inputs.whole(1));
    let slow = inputs.whole(0).max(inputs.whole(1));
    let fast_weight = weight(inputs.number(0).min(inputs.number(1)));
    let slow_weight = weight(inputs.number(0).max(inputs.number(1)));
    for segment in segments(x).filter(|segment| segment.len() >= slow) {
        let x = &x[segment.clone()];
        let output = &mut output[segment];
        let mut fast_average = mean(&x[slow - fast..slow]);
        let mut slow_average = mean(&x[..slow]);
        output[slow - 1] = fast_average - slow_average;
        for (out, &x) in output[slow..].iter_mut().zip(&x[slow..]) {
            fast_average = (x - fast_average) * fast_weight + fast_average;
            slow_average = (x - slow_average) * slow_weight + slow_average;
            *out = fast_average - slow_average;
        }
    }
}
