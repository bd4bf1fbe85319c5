//! The value some bars ago.
//!
//! `lag(x, n)[t] = x[t-n]`, NaN at the first `n` bars. Gaps move along and restart nothing. `n` is 0 or more: there
//! is no way to look ahead.
//!
//! Source: pandas `shift`.

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel};
use super::{Argument, Indicator};

/// `lag(x, n)`.
pub(super) static LAG: Indicator = Indicator {
    name: "lag",
    arguments: &[Argument::column("x"), Argument::whole("n", 0)],
    summary: "The value n bars ago.",
    build: |nodes, arguments| lag(nodes, arguments.column(0), arguments.number(0)),
};

static KERNEL: Kernel = Kernel { width: 1, run };

/// The node of `x` some bars ago.
pub(super) fn lag(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    nodes.kernel(&KERNEL, &[x], &[n])
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (x, n) = (inputs.column(0), inputs.whole(0).min(output.len()));
    let valid = output.len() - n;
    output[n..].copy_from_slice(&x[..valid]);
}
