//! Typical price and the commodity channel index.
//!
//! The typical price is `(high + low + close) / 3`. With `mean` its average over `n` bars and `spread` the mean of
//! the absolute distances from `mean` over the same bars, `cci(n) = (typical - mean) / (0.015 * spread)`, and 0 where
//! the spread is 0. First valid at bar `n - 1`.
//!
//! Order of summation: each window on its own, oldest first; the distances are from another mean at each bar, so
//! that nothing can be carried over and a value costs `n` steps.
//!
//! Source: TA-Lib `CCI`; D. R. Lambert, "Commodity Channel Index", Commodities 10 (1980).

use crate::columns::{NodeId, Nodes, Operand};
use crate::expr::{BinaryOp, Series};

use super::ema::mean;
use super::kernel::{Inputs, Kernel, segments};
use super::{Argument, Indicator};

/// `cci(n)`.
pub(super) static CCI: Indicator = Indicator {
    name: "cci",
    arguments: &[Argument::whole("n", 1)],
    summary: "Commodity channel index: distance of the typical price from its mean, in mean deviations.",
    build: |nodes, arguments| {
        let typical = typical_price(nodes);
        nodes.kernel(&KERNEL, &[typical], &[arguments.number(0)])
    },
};

static KERNEL: Kernel = Kernel { width: 1, run };

/// Lambert's constant: it puts most values between -100 and 100.
const SCALE: f64 = 0.015;

/// The node of the typical price.
pub(super) fn typical_price(nodes: &mut Nodes) -> NodeId {
    let prices = [Series::High, Series::Low, Series::Close].map(|series| Operand::Column(nodes.series(series)));
    let [high, low, close] = prices;
    let range = nodes.binary(BinaryOp::Add, high, low);
    let sum = nodes.binary(BinaryOp::Add, Operand::Column(range), close);
    nodes.binary(BinaryOp::Divide, Operand::Column(sum), Operand::number(3.0))
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        let (x, output) = (&x[segment.clone()], &mut output[segment]);
        for (out, window) in output[n - 1..].iter_mut().zip(x.windows(n)) {
            let mean = mean(window);
            let spread = window.iter().fold(0.0, |sum, x| sum + (x - mean).abs()) / periods;
            let distance = window[n - 1] - mean;
            *out = if spread == 0.0 { 0.0 } else { distance / (SCALE * spread) };
        }
    }
}
