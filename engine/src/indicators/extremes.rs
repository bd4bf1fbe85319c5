//! Highest and lowest value of a window.
//!
//! `highest(x, n)[t] = max(x[t-n+1], ..., x[t])`, `lowest` alike, both including bar `t` and first valid at bar
//! `n - 1`. For the window before bar `t` write `lag(highest(x, n), 1)`. Nothing is summed.
//!
//! Computed with a monotonic queue: each bar enters and leaves it once, whatever the period.
//!
//! Source: TA-Lib `MAX` and `MIN`.

use std::collections::VecDeque;

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};
use super::{Argument, Indicator};

const ARGUMENTS: &[Argument] = &[Argument::column("x"), Argument::whole("n", 1)];

/// `highest(x, n)`.
pub(super) static HIGHEST: Indicator = Indicator {
    name: "highest",
    arguments: ARGUMENTS,
    summary: "Highest value of the last n bars, this one included.",
    build: |nodes, arguments| highest(nodes, arguments.column(0), arguments.number(0)),
};

/// `lowest(x, n)`.
pub(super) static LOWEST: Indicator = Indicator {
    name: "lowest",
    arguments: ARGUMENTS,
    summary: "Lowest value of the last n bars, this one included.",
    build: |nodes, arguments| lowest(nodes, arguments.column(0), arguments.number(0)),
};

static HIGHEST_KERNEL: Kernel = Kernel { width: 1, run: |inputs, output| run(inputs, output, |new, old| new >= old) };
static LOWEST_KERNEL: Kernel = Kernel { width: 1, run: |inputs, output| run(inputs, output, |new, old| new <= old) };

/// The node of the highest value of `x` over the last `n` bars.
pub(super) fn highest(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    nodes.kernel(&HIGHEST_KERNEL, &[x], &[n])
}

/// The node of the lowest value of `x` over the last `n` bars.
pub(super) fn lowest(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    nodes.kernel(&LOWEST_KERNEL, &[x], &[n])
}

fn run(inputs: &Inputs<'_>, output: &mut [f64], replaces: impl Fn(f64, f64) -> bool) {
    let (x, n) = (inputs.column(0), inputs.whole(0));
    // Bars which can still be the extreme of a window to come: ascending, the current extreme first.
    let mut candidates = VecDeque::new();
    for segment in segments(x).filter(|segment| segment.len() >= n) {
        candidates.clear();
        let first = segment.start + n - 1;
        for t in segment {
            while candidates.back().is_some_and(|&old: &usize| replaces(x[t], x[old])) {
                candidates.pop_back();
            }
            candidates.push_back(t);
            if candidates.front().is_some_and(|&oldest| t - oldest >= n) {
                candidates.pop_front();
            }
            if t >= first {
                output[t] = x[candidates[0]];
            }
        }
    }
}
