//! Prefix sums of powers of returns, in double-double.

use crate::double_double::{DoubleDouble, two_sum};

/// Sums side by side, each in double-double: upper parts, then lower parts.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Lanes<const N: usize> {
    upper: [f64; N],
    lower: [f64; N],
}

/// The sums of returns and of their squares, which lie in one line of a cache.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Squares(Lanes<SQUARES>);

/// The sums of cubes and fourth powers, and that of the squares of what returns lack of the risk-free one; and a zero,
/// up to a whole vector.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(64))]
struct Others(Lanes<OTHERS>);

/// Sums of powers of returns in double-double.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sums {
    squares: Squares,
    others: Others,
}

/// The first of the powers: returns and their squares.
pub(crate) const SQUARES: usize = 2;

/// Places for the others.
const OTHERS: usize = 4;

/// Powers that are summed.
const POWERS: usize = 5;

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

impl<const N: usize> Default for Lanes<N> {
    fn default() -> Self {
        Self { upper: [0.0; N], lower: [0.0; N] }
    }
}

impl<const N: usize> Lanes<N> {
    fn set(&mut self, lane: usize, (upper, lower): (f64, f64)) {
        (self.upper[lane], self.lower[lane]) = (upper, lower);
    }

    /// Adds others; the parts are not normalised, so that lanes need not wait for each other.
    #[inline(always)]
    fn add(&mut self, other: &Self) {
        for lane in 0..N {
            let (sum, error) = two_sum(self.upper[lane], other.upper[lane]);
            self.upper[lane] = sum;
            self.lower[lane] += error + other.lower[lane];
        }
    }

    /// Adds what lies between two prefix sums.
    #[inline(always)]
    fn add_difference(&mut self, to: &Self, from: &Self) {
        for lane in 0..N {
            let (difference, error) = two_sum(to.upper[lane], -from.upper[lane]);
            let (sum, second_error) = two_sum(self.upper[lane], difference);
            self.upper[lane] = sum;
            self.lower[lane] += (error + second_error) + (to.lower[lane] - from.lower[lane]);
        }
    }

    fn normalise(&mut self) {
        for lane in 0..N {
            self.set(lane, self.sum(lane).parts());
        }
    }

    fn sum(&self, lane: usize) -> DoubleDouble {
        DoubleDouble::new(self.upper[lane], self.lower[lane])
    }
}

impl Sums {
    /// The first powers of one return, up to all [`POWERS`].
    #[inline(always)]
    fn of(powers: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut sums = Self::default();
        for (lane, parts) in powers.into_iter().enumerate() {
            if lane < SQUARES {
                sums.squares.0.set(lane, parts);
            } else {
                sums.others.0.set(lane - SQUARES, parts);
            }
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
            let of_place = Self::of(places.iter().map(|[upper, lower]| (upper[place], lower[place])));
            sums.squares.0.add(&of_place.squares.0);
            if COUNT > SQUARES {
                sums.others.0.add(&of_place.others.0);
            }
        }
    }

    /// The sums of the first four powers.
    pub(crate) fn powers(&self) -> [DoubleDouble; 4] {
        let Self { squares: Squares(squares), others: Others(others) } = self;
        [squares.sum(0), squares.sum(1), others.sum(0), others.sum(1)]
    }

    /// The sum of squares of what returns lack of the risk-free one.
    pub(crate) fn downside(&self) -> f64 {
        self.others.0.sum(2).value()
    }
}

/// Prefix sums over bars: those of bar `t` hold the returns `close[s] / close[s-1] - 1` of bars 1 to `t`.
#[derive(Debug)]
pub(crate) struct Powers {
    squares: Vec<Squares>,
    others: Vec<Others>,
}

impl Powers {
    pub(super) fn new(closes: &[f64], risk_free: f64) -> Self {
        let mut sums = Sums::default();
        let (mut squares, mut others) = (Vec::with_capacity(closes.len()), Vec::with_capacity(closes.len()));
        squares.extend(closes.first().map(|_| sums.squares));
        others.extend(closes.first().map(|_| sums.others));
        for pair in closes.windows(2) {
            let bar = Sums::of(powers_of(pair[1] / pair[0] - 1.0, risk_free).map(DoubleDouble::parts));
            sums.squares.0.add(&bar.squares.0);
            sums.others.0.add(&bar.others.0);
            // Normalised once a bar, or the lower parts of long sums would lose digits themselves.
            sums.squares.0.normalise();
            sums.others.0.normalise();
            squares.push(sums.squares);
            others.push(sums.others);
        }
        Self { squares, others }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&self.squares[..]) + size_of_val(&self.others[..])
    }

    /// Adds the returns of bars from `first` to `last`, both included; `first` is at least 1.
    #[inline(always)]
    pub(crate) fn add(&self, sums: &mut Sums, first: usize, last: usize) {
        self.add_squared(sums, first, last);
        sums.others.0.add_difference(&self.others[last].0, &self.others[first - 1].0);
    }

    /// Adds only the first two powers of them.
    #[inline(always)]
    pub(crate) fn add_squared(&self, sums: &mut Sums, first: usize, last: usize) {
        sums.squares.0.add_difference(&self.squares[last].0, &self.squares[first - 1].0);
    }

    /// The sums of returns and of squared returns of bars from `first` to `last`, to the digits of an `f64`.
    #[inline(always)]
    pub(crate) fn block(&self, first: usize, last: usize) -> [f64; SQUARES] {
        let (to, from) = (&self.squares[last].0, &self.squares[first - 1].0);
        std::array::from_fn(|lane| (to.upper[lane] - from.upper[lane]) + (to.lower[lane] - from.lower[lane]))
    }
}
