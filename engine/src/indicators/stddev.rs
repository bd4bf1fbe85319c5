//! Standard deviation, and the distance from the mean in units of it.
//!
//! `stddev(x, n)` divides by `n` (ddof 0); formula and order of summation in [`super::moments`].
//! `zscore(x, n) = (x - sma(x, n)) / stddev(x, n)`, NaN where the deviation is 0. Both first valid at bar `n - 1`.
//!
//! Source: TA-Lib `STDDEV` with one deviation; the z-score has no counterpart there.

use crate::columns::Operand;
use crate::expr::BinaryOp;

use super::moments::stddev;
use super::sma::sma;
use super::{Argument, Indicator};

const ARGUMENTS: &[Argument] = &[Argument::column("x"), Argument::whole("n", 1)];

/// `stddev(x, n)`.
pub(super) static STDDEV: Indicator = Indicator {
    name: "stddev",
    arguments: ARGUMENTS,
    summary: "Standard deviation of the last n bars, dividing by n.",
    build: |nodes, arguments| stddev(nodes, arguments.column(0), arguments.number(0)),
};

/// `zscore(x, n)`.
pub(super) static ZSCORE: Indicator = Indicator {
    name: "zscore",
    arguments: ARGUMENTS,
    summary: "Distance from the mean of the last n bars, in standard deviations.",
    build: |nodes, arguments| {
        let (x, n) = (arguments.column(0), arguments.number(0));
        let (mean, deviation) = (sma(nodes, x, n), stddev(nodes, x, n));
        let distance = nodes.binary(BinaryOp::Subtract, Operand::Column(x), Operand::Column(mean));
        nodes.binary(BinaryOp::Divide, Operand::Column(distance), Operand::Column(deviation))
    },
};
