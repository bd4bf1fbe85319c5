//! Price and volume together: money flow index and on-balance volume.
//!
//! The typical price is `(high + low + close) / 3`, the flow of a bar its typical price times its volume: positive
//! where the typical price rose from the bar before, negative where it fell, none where it stayed.
//! `mfi(n) = 100 * P / (P + N)` with `P` and `N` the positive and negative flow of the last `n` bars, 0 where there
//! is none; first valid at bar `n`. `obv` starts with the volume of bar 0, adds that of every bar which closes
//! higher than the one before and subtracts that of every bar which closes lower.
//!
//! Order of summation: flows as `sma`, `obv` in order.
//!
//! Source: TA-Lib `MFI` (which also gives 0 where the total flow is below 1) and `OBV`.

use crate::columns::{NodeId, Nodes};
use crate::expr::Series;

use super::kernel::{Inputs, Kernel};
use super::sma::sma;
use super::typical::typical_price;
use super::{Argument, Indicator};

/// `mfi(n)`.
pub(super) static MFI: Indicator = Indicator {
    name: "mfi",
    arguments: &[Argument::whole("n", 1)],
    summary: "Money flow index from 0 to 100: share of rising bars in the traded value of n bars.",
    build: |nodes, arguments| {
        let n = arguments.number(0);
        let flows = [mean_flow(nodes, &RISING_FLOW, n), mean_flow(nodes, &FALLING_FLOW, n)];
        nodes.kernel(&SHARE, &flows, &[])
    },
};

/// `obv()`.
pub(super) static OBV: Indicator = Indicator {
    name: "obv",
    arguments: &[],
    summary: "On-balance volume: volume added on rising closes, subtracted on falling ones.",
    build: |nodes, _| {
        let inputs = [nodes.series(Series::Close), nodes.series(Series::Volume)];
        nodes.kernel(&ON_BALANCE, &inputs, &[])
    },
};

static RISING_FLOW: Kernel =
    Kernel { width: 1, run: |inputs, output| run_flow(inputs, output, |now, before| now > before) };
static FALLING_FLOW: Kernel =
    Kernel { width: 1, run: |inputs, output| run_flow(inputs, output, |now, before| now < before) };
static SHARE: Kernel = Kernel { width: 1, run: run_share };
static ON_BALANCE: Kernel = Kernel { width: 1, run: run_on_balance };

/// The node of a flow's mean over `n` bars; the index is a ratio of sums, so it is one of means too.
fn mean_flow(nodes: &mut Nodes, kernel: &'static Kernel, n: f64) -> NodeId {
    let inputs = [typical_price(nodes), nodes.series(Series::Volume)];
    let flow = nodes.kernel(kernel, &inputs, &[]);
    sma(nodes, flow, n)
}

fn run_flow(inputs: &Inputs<'_>, output: &mut [f64], counts: impl Fn(f64, f64) -> bool) {
    let (typical, volume) = (inputs.column(0), inputs.column(1));
    for t in 1..output.len() {
        output[t] = if counts(typical[t], typical[t - 1]) { typical[t] * volume[t] } else { 0.0 };
    }
}

fn run_share(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (rising, falling) = (inputs.column(0), inputs.column(1));
    for (t, out) in output.iter_mut().enumerate() {
        let total = rising[t] + falling[t];
        *out = if total == 0.0 { 0.0 } else { 100.0 * (rising[t] / total) };
    }
}

fn run_on_balance(inputs: &Inputs<'_>, output: &mut [f64]) {
    let (close, volume) = (inputs.column(0), inputs.column(1));
    let mut balance = 0.0;
    for (t, out) in output.iter_mut().enumerate() {
        if t == 0 || close[t] > close[t - 1] {
            balance += volume[t];
        } else if close[t] < close[t - 1] {
            balance -= volume[t];
        }
        *out = balance;
    }
}
