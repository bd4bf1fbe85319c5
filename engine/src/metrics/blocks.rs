//! Sums over blocks of bars: enough to estimate the probability of backtest overfitting (Bailey, Borwein, Lopez de
//! Prado, Zhu: "The Probability of Backtest Overfitting", 2015) by combinatorially symmetric cross-validation without
//! keeping the equity.

use super::BLOCKS;

/// The bar at which block `index` ends: `floor((index + 1) * bars / BLOCKS)`, the start of the next one.
pub(crate) fn end_of(index: usize, bars: usize) -> usize {
    (index + 1) * bars / BLOCKS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_bars() {
        for bars in [0, 1, 15, 16, 17, 2520, 5849] {
            assert_eq!(end_of(BLOCKS - 1, bars), bars);
            assert!((1..BLOCKS).all(|k| end_of(k - 1, bars) == k * bars / BLOCKS));
        }
    }
}
