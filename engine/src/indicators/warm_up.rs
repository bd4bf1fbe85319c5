//! A column without its first bars, for outputs which TA-Lib starts later than they could.

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};

static KERNEL: Kernel = Kernel { width: 1, run };

/// The node of `x` without the first `n - 1` bars of each segment: valid where an average of `n` would be.
pub(super) fn warmed_up(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    nodes.kernel(&KERNEL, &[x], &[n])
}

fn run(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (x, n) = (inputs.column(0), inputs.whole(0));
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        let valid = segment.start + n - 1..segment.end;
        output[valid.clone()].copy_from_slice(&x[valid]);
    }
}
