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

/// Powers that are summed.
const POWERS: usize = 5;

/// The first of them: returns and their squares.
pub(crate) const SQUARES: usize = 2;

/// Returns whose powers are computed side by side.
const WIDTH: usize = 8;

/// The first four powers of a return, and the square of what it lacks of the risk-free one.
#[inline(always)]
fn powers_of(value: f64, risk_free: f64) -> [DoubleDouble; POWERS] {
    let excess = value - risk_free;
    let below = DoubleDouble::from(if excess < 0.0 { excess } else { 0.0 });
    let first = DoubleDouble::from(value);
    let second = first * first;
    [first, second, second * first, second * second, below * below]
}

impl Sums {
    /// The powers of one return.
    fn of(value: f64, risk_free: f64) -> Self {
        let mut sums = Self::default();
        for (lane, power) in powers_of(value, risk_free).into_iter().enumerate() {
            (sums.upper[lane], sums.lower[lane]) = power.parts();
        }
        sums
    }

    /// Adds the powers of single returns.
    ///
    /// Returns are taken [`WIDTH`] at a time, each power of them in a vector of its own; in the end the sums of each
    /// place are added in order.
    #[inline(always)]
    pub(crate) fn add_each(sums: &mut Self, returns: &[f64], risk_free: f64) {
        Self::add_powers::<POWERS>(sums, returns, risk_free);
    }

    /// Adds the first two powers of single returns, in the same order of additions.
    #[inline(always)]
    pub(crate) fn add_each_squared(sums: &mut Self, returns: &[f64]) {
        Self::add_powers::<SQUARES>(sums, returns, 0.0);
    }

    #[inline(always)]
    fn add_powers<const COUNT: usize>(sums: &mut Self, returns: &[f64], risk_free: f64) {
        let mut places = [[[0.0; WIDTH]; 2]; COUNT];
        let (chunks, rest) = returns.as_chunks::<WIDTH>();
        let mut last = [0.0; WIDTH];
        last[..rest.len()].copy_from_slice(rest);
        // Zeros add nothing to powers, but may lie below the risk-free return.
        let last = (!rest.is_empty()).then_some((last, rest.len()));
        let chunks = chunks.iter().map(|chunk| (*chunk, WIDTH)).chain(last);
        for (chunk, used) in chunks {
            let mut powers = [[[0.0; WIDTH]; 2]; COUNT];
            for place in 0..WIDTH {
                let of_one = powers_of(chunk[place], if place < used { risk_free } else { 0.0 });
                for (power, value) in powers.iter_mut().zip(of_one) {
                    (power[0][place], power[1][place]) = value.parts();
                }
            }
            for (sum, power) in places.iter_mut().zip(&powers) {
                for place in 0..WIDTH {
                    let (upper, error) = two_sum(sum[0][place], power[0][place]);
                    sum[0][place] = upper;
                    sum[1][place] += error + power[1][place];
                }
            }
        }
        for place in 0..WIDTH {
            let mut of_place = Self::default();
            for (lane, sum) in places.iter().enumerate() {
                (of_place.upper[lane], of_place.lower[lane]) = (sum[0][place], sum[1][place]);
            }
            sums.add(&of_place);
        }
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

    /// Adds what lies between two prefix sums, of the first `COUNT` sums.
    #[inline(always)]
    fn add_difference<const COUNT: usize>(&mut self, to: &Self, from: &Self) {
        for lane in 0..COUNT {
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
        Self { prefix }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.prefix[..])
    }

    /// Adds the returns of bars from `first` to `last`, both included; `first` is at least 1.
    #[inline(always)]
    pub(crate) fn add(&self, sums: &mut Sums, first: usize, last: usize) {
        sums.add_difference::<LANES>(&self.prefix[last], &self.prefix[first - 1]);
    }

    /// Adds only the first two powers of them.
    #[inline(always)]
    pub(crate) fn add_squared(&self, sums: &mut Sums, first: usize, last: usize) {
        sums.add_difference::<SQUARES>(&self.prefix[last], &self.prefix[first - 1]);
    }

    /// The sums of returns and of squared returns of bars from `first` to `last`.
    #[inline(always)]
    pub(crate) fn block(&self, first: usize, last: usize) -> [f64; 2] {
        Sums::block_difference(&self.prefix[last], &self.prefix[first - 1])
    }
}
