//! Change over some bars, as a difference and in percent.
//!
//! `mom(x, n)[t] = x[t] - x[t-n]`; `roc(x, n)[t] = (x[t] / x[t-n] - 1) * 100`. First valid at bar `n`. Nothing is
//! summed. Where `x[t-n]` is 0 the quotient is what division makes of it, infinite or NaN.
//!
//! Source: TA-Lib `MOM` and `ROC` (which gives 0 where it would divide by 0).

use crate::columns::{NodeId, Nodes, Operand};
use crate::expr::BinaryOp;

use super::lag::lag;
use super::{Argument, Arguments, Indicator};

const ARGUMENTS: &[Argument] = &[Argument::column("x"), Argument::whole("n", 1)];

/// `mom(x, n)`.
pub(super) static MOM: Indicator = Indicator {
    name: "mom",
    arguments: ARGUMENTS,
    summary: "Change over n bars.",
    build: |nodes, arguments| with_lagged(nodes, arguments, BinaryOp::Subtract),
};

/// `roc(x, n)`.
pub(super) static ROC: Indicator = Indicator {
    name: "roc",
    arguments: ARGUMENTS,
    summary: "Change over n bars, in percent.",
    build: |nodes, arguments| {
        let ratio = with_lagged(nodes, arguments, BinaryOp::Divide);
        let change = nodes.binary(BinaryOp::Subtract, Operand::Column(ratio), Operand::number(1.0));
        nodes.binary(BinaryOp::Multiply, Operand::Column(change), Operand::number(100.0))
    },
};

fn with_lagged(nodes: &mut Nodes, arguments: &Arguments, op: BinaryOp) -> NodeId {
    let x = arguments.column(0);
    let before = lag(nodes, x, arguments.number(0));
    nodes.binary(op, Operand::Column(x), Operand::Column(before))
}
