//! Prefix sums of powers of returns, in double-double.

use crate::double_double::{DoubleDouble, two_sum};

/// Numbers side by side: sums of returns, their squares, cubes and fourth powers, that of [`DOWNSIDE`], and zeros up
/// to a whole number of vectors.
const LANES: usize = 8;

/// Where the sum of squares of what returns lack of the risk-free one is.
const DOWNSIDE: usize = 4;

/// Sums in double-double, upper parts and lower parts side by side.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(64))]
pub(crate) struct Sums {
    upper: [f64; LANES],
    lower: [f64; LANES],
}

impl Sums {
    /// The powers of one return.
    fn of(value: f64, risk_free: f64) -> Self {
        let excess = value - risk_free;
        let below = if excess < 0.0 { excess } else { 0.0 };
        let first = DoubleDouble::from(value);
        let second = first * first;
        let below = DoubleDouble::from(below);
        let powers = [first, second, second * first, second * second, below * below];
        let mut sums = Self::default();
        for (lane, power) in powers.into_iter().enumerate() {
            (sums.upper[lane], sums.lower[lane]) = power.parts();
        }
        sums
    }

    /// Adds another; the parts are not normalised, so that lanes need not wait for each other.
    #[inline(always)]
    fn add(&mut self, other: &Self) {
        for lane in 0..LANES {
            let (sum, error) = two_sum(self.upper[lane], other.upper[lane]);
            self.upper[lane] = sum;
            self.lower[lane] += error + other.lower[lane];
        }
    }

    /// Adds what lies between two prefix sums.
    #[inline(always)]
    fn add_difference(&mut self, to: &Self, from: &Self) {
        for lane in 0..LANES {
            let (difference, error) = two_sum(to.upper[lane], -from.upper[lane]);
            let (sum, second_error) = two_sum(self.upper[lane], difference);
            self.upper[lane] = sum;
            self.lower[lane] += (error + second_error) + (to.lower[lane] - from.lower[lane]);
        }
    }

    /// The sums of the first four powers.
    pub(crate) fn powers(&self) -> [DoubleDouble; 4] {
        std::array::from_fn(|lane| self.lane(lane))
    }

    /// The sum of squares of what returns lack of the risk-free one.
    pub(crate) fn downside(&self) -> f64 {
        self.lane(DOWNSIDE).value()
    }

    fn lane(&self, lane: usize) -> DoubleDouble {
        DoubleDouble::new(self.upper[lane], self.lower[lane])
    }

    /// The sums of returns and of squared returns between two prefix sums, to the digits of an `f64`.
    #[inline(always)]
    fn block_difference(to: &Self, from: &Self) -> [f64; 2] {
        std::array::from_fn(|lane| (to.upper[lane] - from.upper[lane]) + (to.lower[lane] - from.lower[lane]))
    }
}

/// Prefix sums over bars: those of bar `t` hold the returns `close[s] / close[s-1] - 1` of bars 1 to `t`.
#[derive(Debug)]
pub(crate) struct Powers {
    prefix: Vec<Sums>,
    risk_free: f64,
}

impl Powers {
    pub(super) fn new(closes: &[f64], risk_free: f64) -> Self {
        let mut sums = Sums::default();
        let mut prefix = Vec::with_capacity(closes.len());
        prefix.extend(closes.first().map(|_| sums));
        for pair in closes.windows(2) {
            sums.add(&Sums::of(pair[1] / pair[0] - 1.0, risk_free));
            // Normalised once a bar, or the lower parts of long sums would lose digits themselves.
            for lane in 0..LANES {
                (sums.upper[lane], sums.lower[lane]) = sums.lane(lane).parts();
            }
            prefix.push(sums);
        }
        Self { prefix, risk_free }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.prefix[..])
    }

    /// Adds the returns of bars from `first` to `last`, both included; `first` is at least 1.
    #[inline(always)]
    pub(crate) fn add(&self, sums: &mut Sums, first: usize, last: usize) {
        sums.add_difference(&self.prefix[last], &self.prefix[first - 1]);
    }

    /// The sums of returns and of squared returns of bars from `first` to `last`.
    #[inline(always)]
    pub(crate) fn block(&self, first: usize, last: usize) -> [f64; 2] {
        Sums::block_difference(&self.prefix[last], &self.prefix[first - 1])
    }

    /// Adds single returns.
    pub(crate) fn add_steps(&self, sums: &mut Sums, steps: &[f64]) {
        for &step in steps {
            sums.add(&Sums::of(step, self.risk_free));
        }
    }
}
