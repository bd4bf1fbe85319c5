//! Prefix sums: one for each column, shared by all windows over it.
//!
//! `P[t] = x[s] + ... + x[t]`, added one bar after the other from the first bar `s` of the segment. NaN in gaps.

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};

static PREFIX_SUM: Kernel = Kernel { width: 1, run };

/// The node of the prefix sums of `x`.
pub(super) fn prefix_sum(nodes: &mut Nodes, x: NodeId) -> NodeId {
    nodes.kernel(&PREFIX_SUM, &[x], &[])
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    for segment in segments(x) {
        let mut sum = 0.0;
        for (out, &x) in output[segment.clone()].iter_mut().zip(&x[segment]) {
            sum += x;
            *out = sum;
        }
    }
}
