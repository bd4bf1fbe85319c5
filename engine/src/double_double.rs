//! Sums in about twice the digits of an `f64`.
//!
//! Differences of prefix sums, and central moments from power sums around zero, lose digits where they cancel. Here
//! a number is the unevaluated sum of two `f64`, which leaves more than enough of them.
//!
//! Sources: Dekker, *A floating-point technique for extending the available precision* (1971); Knuth, TAOCP 4.2.2.
//! No fused multiply-add is used, so that every machine gives the same bits.

use std::ops::{Add, Mul, Sub};

/// The sum `hi + lo`, with `hi` its nearest `f64`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct DoubleDouble {
    hi: f64,
    lo: f64,
}

/// The rounded sum of two numbers, and what rounding took away from it.
#[inline(always)]
pub(crate) fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_in_sum = sum - a;
    let a_in_sum = sum - b_in_sum;
    (sum, (a - a_in_sum) + (b - b_in_sum))
}

/// The rounded product of two numbers, and what rounding took away from it.
#[inline(always)]
pub(crate) fn two_product(a: f64, b: f64) -> (f64, f64) {
    let product = a * b;
    let ((a_high, a_low), (b_high, b_low)) = (split(a), split(b));
    let error = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    (product, error)
}

/// The upper and lower half of a number's digits, whose products are exact.
#[inline(always)]
fn split(a: f64) -> (f64, f64) {
    /// `2^27 + 1`: half of the 53 digits, rounded up.
    const SPLITTER: f64 = 134_217_729.0;
    let scaled = SPLITTER * a;
    let high = scaled - (scaled - a);
    (high, a - high)
}

impl DoubleDouble {
    /// The sum of `hi` and a `lo` that is small beside it.
    #[inline(always)]
    pub(crate) fn new(hi: f64, lo: f64) -> Self {
        let sum = hi + lo;
        Self { hi: sum, lo: lo - (sum - hi) }
    }

    /// A number divided by another, in all digits.
    #[inline]
    pub(crate) fn over(self, divisor: f64) -> Self {
        let quotient = self.hi / divisor;
        let (product, error) = two_product(quotient, divisor);
        let rest = ((self.hi - product) - error) + self.lo;
        Self::new(quotient, rest / divisor)
    }

    /// Its nearest `f64`.
    #[inline(always)]
    pub(crate) fn value(self) -> f64 {
        self.hi
    }

    /// Its two parts.
    #[inline(always)]
    pub(crate) fn parts(self) -> (f64, f64) {
        (self.hi, self.lo)
    }
}

impl From<f64> for DoubleDouble {
    #[inline(always)]
    fn from(hi: f64) -> Self {
        Self { hi, lo: 0.0 }
    }
}

impl Add for DoubleDouble {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        let (sum, error) = two_sum(self.hi, other.hi);
        Self::new(sum, error + (self.lo + other.lo))
    }
}

impl Sub for DoubleDouble {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self + Self { hi: -other.hi, lo: -other.lo }
    }
}

impl Mul for DoubleDouble {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        let (product, error) = two_product(self.hi, other.hi);
        Self::new(product, error + (self.hi * other.lo + self.lo * other.hi))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_an_f64_loses() {
        let large = DoubleDouble::from(1e16);
        let sum = large + DoubleDouble::from(1.0);
        assert_eq!((sum - large).value(), 1.0);
        // (1 + 2^-40)^2 - 1 - 2^-39 is 2^-80.
        let near_one = DoubleDouble::from(1.0 + 2.0_f64.powi(-40));
        let rest = near_one * near_one - DoubleDouble::from(1.0) - DoubleDouble::from(2.0_f64.powi(-39));
        assert_eq!(rest.value(), 2.0_f64.powi(-80));
        let third = DoubleDouble::from(1.0).over(3.0);
        let back = third * DoubleDouble::from(3.0) - DoubleDouble::from(1.0);
        assert!(back.value().abs() < 1e-31);
    }
}
