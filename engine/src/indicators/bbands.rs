//! Bollinger bands.
//!
//! Middle: `sma(x, n)`. Upper and lower: middle plus and minus `k` times the standard deviation of the last `n` bars
//! around their mean, divided by `n` (ddof 0). First valid at bar `n - 1`.
//!
//! Order of summation: the middle as `sma`, the deviation as in [`super::moments`].
//!
//! Source: TA-Lib `BBANDS` with a simple moving average.

use crate::columns::{NodeId, Nodes, Operand};
use crate::expr::BinaryOp;

use super::moments::stddev;
use super::sma::sma;
use super::{Argument, Arguments, Indicator};

const BAND_ARGUMENTS: &[Argument] = &[Argument::column("x"), Argument::whole("n", 1), Argument::number("k")];

/// `bbands_upper(x, n, k)`.
pub(super) static UPPER: Indicator = Indicator {
    name: "bbands_upper",
    arguments: BAND_ARGUMENTS,
    summary: "Upper Bollinger band: k standard deviations above the mean of the last n bars.",
    build: |nodes, arguments| band(nodes, arguments, BinaryOp::Add),
};

/// `bbands_middle(x, n)`.
pub(super) static MIDDLE: Indicator = Indicator {
    name: "bbands_middle",
    arguments: &[Argument::column("x"), Argument::whole("n", 1)],
    summary: "Middle Bollinger band: the mean of the last n bars.",
    build: |nodes, arguments| sma(nodes, arguments.column(0), arguments.number(0)),
};

/// `bbands_lower(x, n, k)`.
pub(super) static LOWER: Indicator = Indicator {
    name: "bbands_lower",
    arguments: BAND_ARGUMENTS,
    summary: "Lower Bollinger band: k standard deviations below the mean of the last n bars.",
    build: |nodes, arguments| band(nodes, arguments, BinaryOp::Subtract),
};

fn band(nodes: &mut Nodes, arguments: &Arguments, side: BinaryOp) -> NodeId {
    let (x, n, k) = (arguments.column(0), arguments.number(0), arguments.number(1));
    let middle = sma(nodes, x, n);
    let deviation = stddev(nodes, x, n);
    let width = nodes.binary(BinaryOp::Multiply, Operand::Column(deviation), Operand::number(k));
    nodes.binary(side, Operand::Column(middle), Operand::Column(width))
}
