//! Standard deviation over a window, from prefix sums of values and squares.
//!
//! `stddev(x, n)[t]` is the root of the mean squared distance of the last `n` values from their mean (ddof 0), first
//! valid at bar `n - 1`: with `A` the sum of the window and `B` the sum of its squares, `sqrt(n * B - A^2) / n`.
//!
//! Order of summation: `A` and `B` are differences of sequential prefix sums from the first bar. A difference of
//! prefix sums loses digits, and so does `n * B - A^2`; so all of it is kept in double-double (about 32 digits), and
//! only the variance is rounded to an `f64`. Products are split after Dekker, sums after Knuth, with no fused
//! multiply-add, so that every machine gets the same bits.
//!
//! Source: TA-Lib `STDDEV` with one deviation. T. J. Dekker, "A floating-point technique for extending the available
//! precision", Numerische Mathematik 18 (1971).

use crate::columns::{NodeId, Nodes};

use super::kernel::{Inputs, Kernel, segments};

/// Sums of values (high parts, then low parts), then of squares (high parts, then low parts).
static PREFIX_MOMENTS: Kernel = Kernel { width: 4, run: run_prefix };
static WINDOW_DEVIATION: Kernel = Kernel { width: 1, run: run_deviation };

/// The node of the standard deviation of `x` over the last `n` bars.
pub(super) fn stddev(nodes: &mut Nodes, x: NodeId, n: f64) -> NodeId {
    let moments = nodes.kernel(&PREFIX_MOMENTS, &[x], &[]);
    nodes.kernel(&WINDOW_DEVIATION, &[moments], &[n])
}

/// An unevaluated sum of two `f64`, the second at most half a unit in the last place of the first.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Double {
    high: f64,
    low: f64,
}

impl Double {
    const ZERO: Double = Double { high: 0.0, low: 0.0 };

    /// `a + b`, exactly (Knuth).
    fn sum(a: f64, b: f64) -> Self {
        let high = a + b;
        let of_b = high - a;
        Self { high, low: (a - (high - of_b)) + (b - of_b) }
    }

    /// `a + b`, exactly, where `a` is the larger in size (Dekker).
    fn quick_sum(a: f64, b: f64) -> Self {
        let high = a + b;
        Self { high, low: b - (high - a) }
    }

    /// `a * b`, exactly unless it overflows (Dekker).
    fn product(a: f64, b: f64) -> Self {
        let high = a * b;
        let (a_high, a_low) = split(a);
        let (b_high, b_low) = split(b);
        Self { high, low: ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low }
    }

    fn plus(self, other: Self) -> Self {
        let high = Self::sum(self.high, other.high);
        let low = Self::sum(self.low, other.low);
        let first = Self::quick_sum(high.high, high.low + low.high);
        Self::quick_sum(first.high, first.low + low.low)
    }

    fn minus(self, other: Self) -> Self {
        self.plus(Self { high: -other.high, low: -other.low })
    }

    fn times(self, factor: f64) -> Self {
        let product = Self::product(self.high, factor);
        Self::quick_sum(product.high, product.low + self.low * factor)
    }

    fn squared(self) -> Self {
        let product = Self::product(self.high, self.high);
        Self::quick_sum(product.high, product.low + 2.0 * (self.high * self.low))
    }
}

/// The upper and lower 26 bits of a number.
fn split(a: f64) -> (f64, f64) {
    /// 2^27 + 1.
    const SPLITTER: f64 = 134_217_729.0;
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

fn run_prefix(inputs: &Inputs<'_>, output: &mut [f64]) {
    let x = inputs.column(0);
    let (sums, squares) = output.split_at_mut(2 * x.len());
    let (sum_high, sum_low) = sums.split_at_mut(x.len());
    let (square_high, square_low) = squares.split_at_mut(x.len());
    for segment in segments(x) {
        let (mut sum, mut square) = (Double::ZERO, Double::ZERO);
        for t in segment {
            sum = sum.plus(Double { high: x[t], low: 0.0 });
            square = square.plus(Double::product(x[t], x[t]));
            (sum_high[t], sum_low[t]) = (sum.high, sum.low);
            (square_high[t], square_low[t]) = (square.high, square.low);
        }
    }
}

fn run_deviation(inputs: &Inputs<'_>, output: &mut [f64]) {
    let moments = inputs.column(0);
    let (n, periods) = (inputs.whole(0), inputs.number(0));
    let bars = output.len();
    let (sums, squares) = moments.split_at(2 * bars);
    let sum = |t: usize| Double { high: sums[t], low: sums[bars + t] };
    let square = |t: usize| Double { high: squares[t], low: squares[bars + t] };
    let deviation = |sum: Double, square: Double| {
        let scaled_variance = square.times(periods).minus(sum.squared());
        // Rounding can leave a little less than nothing where all values of a window are equal.
        let not_negative = if scaled_variance.high < 0.0 { 0.0 } else { scaled_variance.high };
        not_negative.sqrt() / periods
    };
    for segment in segments(&sums[..bars]).filter(|segment| segment.len() >= n) {
        let first = segment.start + n - 1;
        output[first] = deviation(sum(first), square(first));
        let rest = first + 1..segment.end;
        for (t, out) in rest.clone().zip(&mut output[rest]) {
            *out = deviation(sum(t).minus(sum(t - n)), square(t).minus(square(t - n)));
        }
    }
}
