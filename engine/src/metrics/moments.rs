//! Central moments of returns, and what is made of them.

use super::ROUNDING;
use super::returns::{LANES, differences, filled_up, lanes_total};
use crate::double_double::DoubleDouble;
use crate::simd;

/// Central moments: means of powers of the distance from the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moments {
    count: f64,
    mean: f64,
    second: f64,
    third: f64,
    fourth: f64,
}

impl Moments {
    /// Moments of `active` and `idle` further zeros, around their `mean`.
    ///
    /// A second pass over the returns, after the one that gave the mean: differences of power sums around zero would
    /// lose all digits where the deviation is small beside the mean.
    pub(super) fn around(mean: f64, active: &[f64], idle: usize) -> Self {
        let count = (active.len() + idle) as f64;
        let [second, third, fourth] = simd::central_sums(active, mean);
        let (idle, square) = (idle as f64, mean * mean);
        Self {
            count,
            mean,
            second: (second + idle * square) / count,
            third: (third - idle * (square * mean)) / count,
            fourth: (fourth + idle * (square * square)) / count,
        }
    }

    /// Moments from the sums of the first four powers of `count` returns.
    ///
    /// ```text
    /// m2 = a2 - m^2    m3 = a3 - 3 m a2 + 2 m^3    m4 = a4 - 4 m a3 + 6 m^2 a2 - 3 m^4    with ak = sum(r^k) / N, m = a1
    /// ```
    ///
    /// Where the deviation is small beside the mean nearly all digits cancel, hence the double-double.
    #[inline(always)]
    pub(super) fn of_powers(count: f64, sums: [DoubleDouble; 4]) -> Self {
        let [mean, a2, a3, a4] = sums.map(|sum| sum.over(count));
        let times = |factor: f64, value: DoubleDouble| DoubleDouble::from(factor) * value;
        let square = mean * mean;
        let second = a2 - square;
        let third = a3 - mean * (times(3.0, a2) - times(2.0, square));
        let fourth = a4 - mean * times(4.0, a3) + square * (times(6.0, a2) - times(3.0, square));
        let (mean, second) = (mean.value(), second.value());
        // Rounding may leave less than nothing of a deviation that is none.
        let second = if second < 0.0 { 0.0 } else { second };
        Self { count, mean, second, third: third.value(), fourth: fourth.value() }
    }

    /// Standard deviation with `ddof = 1`: `sqrt(sum((r - mean)^2) / (N - 1))`. `None` of fewer than two returns.
    pub(super) fn deviation(&self) -> Option<f64> {
        (self.count > 1.0).then(|| (self.second * (self.count / (self.count - 1.0))).sqrt())
    }

    /// Standard deviation with `ddof = 1`, `None` where all returns are equal up to rounding.
    pub(super) fn risk(&self) -> Option<f64> {
        self.deviation().filter(|deviation| *deviation > ROUNDING * (1.0 + self.mean.abs()))
    }

    /// Skewness `m3 / m2^1.5`, not corrected for bias [scipy.stats.skew]. `None` where all returns are equal.
    pub(super) fn skew(&self) -> Option<f64> {
        self.risk().map(|_| self.third / (self.second * self.second.sqrt()))
    }

    /// Excess kurtosis `m4 / m2^2 - 3`, not corrected for bias [scipy.stats.kurtosis]. `None` where all returns are
    /// equal.
    pub(super) fn kurtosis(&self) -> Option<f64> {
        self.risk().map(|_| self.fourth / (self.second * self.second) - 3.0)
    }
}

/// Sums of squares, cubes and fourth powers of distances from a mean.
#[inline(always)]
pub(crate) fn central_sums(returns: &[f64], mean: f64) -> [f64; 3] {
    #[inline(always)]
    fn add([second, third, fourth]: &mut [[f64; LANES]; 3], distances: &[f64; LANES]) {
        for lane in 0..LANES {
            let distance = distances[lane];
            let square = distance * distance;
            second[lane] += square;
            third[lane] += square * distance;
            fourth[lane] += square * square;
        }
    }
    let mut sums = [[0.0; LANES]; 3];
    let (chunks, rest) = returns.as_chunks();
    for chunk in chunks {
        add(&mut sums, &differences(chunk, mean));
    }
    if !rest.is_empty() {
        add(&mut sums, &filled_up(rest, mean).1);
    }
    sums.map(lanes_total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close_to(a: Option<f64>, b: f64) -> bool {
        a.is_some_and(|a| (a - b).abs() <= 1e-12 * b.abs().max(1.0))
    }

    #[test]
    fn agrees_with_the_definitions() {
        // [1, 2, 3, 10, 0, 0], computed with Python from the formulas of scipy.stats.skew and kurtosis.
        let moments = Moments::around(16.0 / 6.0, &[1.0, 2.0, 3.0, 10.0], 2);
        assert!(close_to(moments.deviation(), 3.7771241264574122), "{:?}", moments.deviation());
        assert!(close_to(moments.skew(), 1.429324416514243), "{:?}", moments.skew());
        assert!(close_to(moments.kurtosis(), 0.5387370075989164), "{:?}", moments.kurtosis());
    }

    #[test]
    fn keeps_digits_where_the_deviation_is_small_beside_the_mean() {
        let returns: Vec<f64> = (0..1000).map(|i| 0.01 + if i % 2 == 0 { 1e-9 } else { -1e-9 }).collect();
        let moments = Moments::around(0.01, &returns, 0);
        assert!((moments.kurtosis().unwrap() + 2.0).abs() < 1e-6);
        assert!(moments.skew().unwrap().abs() < 1e-6);
    }

    #[test]
    fn undefined_where_all_returns_are_equal() {
        let moments = Moments::around(0.1, &[0.1; 7], 0);
        assert_eq!((moments.risk(), moments.skew(), moments.kurtosis()), (None, None, None));
        assert_eq!(Moments::around(0.1, &[0.1], 0).deviation(), None);
    }
}
