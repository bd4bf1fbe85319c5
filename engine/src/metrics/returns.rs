//! Returns of a run, their sums, and the ratios of mean return to risk.

use super::moments::Moments;
use super::{BLOCKS, ROUNDING, blocks};
use crate::double_double::DoubleDouble;
use crate::simd;

/// Partial sums kept side by side, so that additions need not wait for each other. Part of the order of summation,
/// hence of the results' bits; no vector width of any machine changes it.
pub(super) const LANES: usize = 8;

/// The one order in which partial sums are added up.
pub(super) fn lanes_total(lanes: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}

/// Returns of the bars of one run, as they come.
///
/// Only returns that can differ from zero are kept: while flat a return is exactly 0.
#[derive(Debug)]
pub(crate) struct Returns<'a> {
    /// Space for one return a bar; the first `active` are in use.
    space: &'a mut [f64],
    active: usize,
    /// Bars that came so far, flat ones included.
    bars: usize,
    /// How many of the active returns lie before the end of each block.
    block_ends: [usize; BLOCKS],
    block: usize,
}

impl<'a> Returns<'a> {
    /// No returns yet; `space` has one place for each bar of the run.
    pub(crate) fn new(space: &'a mut [f64]) -> Self {
        let mut returns = Self { space, active: 0, bars: 0, block_ends: [0; BLOCKS], block: 0 };
        returns.advance(0, 0);
        returns
    }

    /// `count` bars while flat.
    pub(crate) fn idle(&mut self, count: usize) {
        self.advance(count, 0);
    }

    /// One bar over which equity went from `before` to `after`.
    pub(crate) fn step(&mut self, before: f64, after: f64) {
        self.space[self.active] = after / before - 1.0;
        self.active += 1;
        self.advance(1, 1);
    }

    /// Bars within a position of `shares` with `cash` beside them: one for each of `closes` but the first, from whose
    /// equity the first return starts.
    pub(crate) fn hold(&mut self, closes: &[f64], cash: f64, shares: f64) {
        let count = closes.len() - 1;
        simd::returns_of(cash, shares, closes, &mut self.space[self.active..self.active + count]);
        self.active += count;
        self.advance(count, count);
    }

    /// Counts `count` bars, the last that came, of which all or none are `active`, and notes the blocks they end.
    fn advance(&mut self, count: usize, active: usize) {
        let total = self.space.len();
        self.bars += count;
        while self.block < BLOCKS && blocks::end_of(self.block, total) <= self.bars {
            let after_block = self.bars - blocks::end_of(self.block, total);
            self.block_ends[self.block] = self.active - after_block.min(active);
            self.block += 1;
        }
    }

    /// Sums over all bars, `risk_free` being the risk-free return a bar.
    pub(crate) fn sums(&self, risk_free: f64) -> ReturnSums {
        let mut sums = ReturnSums::default();
        let active = &self.space[..self.active];
        let mut start = 0;
        for (block, &end) in self.block_ends.iter().enumerate() {
            let [sum, squares, downside] = simd::block_sums(&active[start..end], risk_free);
            sums.block_returns[block] = sum;
            sums.block_squares[block] = squares;
            sums.total += sum;
            sums.downside += downside;
            start = end;
        }
        let idle = self.bars - self.active;
        let below = (-risk_free).min(0.0);
        sums.downside += idle as f64 * (below * below);
        sums.count = self.bars as f64;
        sums.risk_free = risk_free;
        sums.moments = (self.bars > 0).then(|| Moments::around(sums.total / sums.count, active, idle));
        sums
    }
}

/// Returns of equity `cash + shares * close` from each close to the next.
#[inline(always)]
pub(crate) fn returns_of(cash: f64, shares: f64, closes: &[f64], returns: &mut [f64]) {
    let (before, after) = (&closes[..returns.len()], &closes[1..]);
    for ((place, &before), &after) in returns.iter_mut().zip(before).zip(after) {
        *place = (cash + shares * after) / (cash + shares * before) - 1.0;
    }
}

/// Equity `cash + shares * close` at each close.
#[inline(always)]
pub(crate) fn equity_of(cash: f64, shares: f64, closes: &[f64], equity: &mut [f64]) {
    for (place, &close) in equity.iter_mut().zip(closes) {
        *place = cash + shares * close;
    }
}

/// Sums of returns, of their squares, and of the squares of what they lack of `risk_free`.
#[inline(always)]
pub(crate) fn block_sums(returns: &[f64], risk_free: f64) -> [f64; 3] {
    #[inline(always)]
    fn add([sum, squares, downside]: &mut [[f64; LANES]; 3], values: &[f64; LANES], excesses: &[f64; LANES]) {
        for lane in 0..LANES {
            let (value, excess) = (values[lane], excesses[lane]);
            let below = if excess < 0.0 { excess } else { 0.0 };
            sum[lane] += value;
            squares[lane] += value * value;
            downside[lane] += below * below;
        }
    }
    let mut sums = [[0.0; LANES]; 3];
    let (chunks, rest) = returns.as_chunks();
    for chunk in chunks {
        add(&mut sums, chunk, &differences(chunk, risk_free));
    }
    if !rest.is_empty() {
        let (values, excesses) = filled_up(rest, risk_free);
        add(&mut sums, &values, &excesses);
    }
    sums.map(lanes_total)
}

/// How far values lie above a level.
#[inline(always)]
pub(super) fn differences(values: &[f64; LANES], level: f64) -> [f64; LANES] {
    let mut differences = *values;
    for difference in &mut differences {
        *difference -= level;
    }
    differences
}

/// Fewer than [`LANES`] values and how far they lie above a level, filled up with zeros: adding these, or products of
/// them, changes no sum.
#[inline(always)]
pub(super) fn filled_up(values: &[f64], level: f64) -> ([f64; LANES], [f64; LANES]) {
    let (mut filled, mut differences) = ([0.0; LANES], [0.0; LANES]);
    for ((place, difference), &value) in filled.iter_mut().zip(&mut differences).zip(values) {
        (*place, *difference) = (value, value - level);
    }
    (filled, differences)
}

/// Sums over the bars of a run.
#[derive(Debug)]
pub(crate) struct PowerSums {
    pub(crate) bars: usize,
    /// Bars whose return may differ from 0: the sums are over these.
    pub(crate) active: usize,
    /// The risk-free return a bar.
    pub(crate) risk_free: f64,
    /// Of returns, their squares, cubes and fourth powers.
    pub(crate) powers: [DoubleDouble; 4],
    /// Of the squares of what returns lack of the risk-free one.
    pub(crate) downside: f64,
    pub(crate) block_returns: [f64; BLOCKS],
    pub(crate) block_squares: [f64; BLOCKS],
}

/// What the ratios below are made of.
#[derive(Debug, Default)]
pub(crate) struct ReturnSums {
    count: f64,
    risk_free: f64,
    total: f64,
    downside: f64,
    moments: Option<Moments>,
    pub(super) block_returns: [f64; BLOCKS],
    pub(super) block_squares: [f64; BLOCKS],
}

impl ReturnSums {
    /// From sums of powers of returns. Inlined, so that who asks for the Sharpe ratio only pays for nothing else.
    #[inline(always)]
    pub(crate) fn of_powers(powers: PowerSums) -> Self {
        let PowerSums { bars, active, risk_free, powers, downside, block_returns, block_squares } = powers;
        let count = bars as f64;
        let below = (-risk_free).min(0.0);
        Self {
            count,
            risk_free,
            total: powers[0].value(),
            downside: downside + (bars - active) as f64 * (below * below),
            // Not by `then`, whose closure is not inlined.
            moments: if bars > 0 { Some(Moments::of_powers(count, powers)) } else { None },
            block_returns,
            block_squares,
        }
    }

    /// `mean(r - rf) / std(r, ddof 1) * sqrt(P)` [empyrical, quantstats, vectorbt at P = 252]. `None` where all
    /// returns are equal.
    pub(crate) fn sharpe(&self, bars_per_year: f64) -> Option<f64> {
        let risk = self.moments?.risk()?;
        Some(self.mean_excess() / risk * bars_per_year.sqrt())
    }

    /// `mean(r - rf) / sqrt(mean(min(r - rf, 0)^2)) * sqrt(P)`, the mean below being over all bars [empyrical,
    /// quantstats, vectorbt at P = 252]. `None` where no return lies below the risk-free one.
    pub(super) fn sortino(&self, bars_per_year: f64) -> Option<f64> {
        let downside_risk = (self.downside / self.count).sqrt();
        (downside_risk > ROUNDING).then(|| self.mean_excess() / downside_risk * bars_per_year.sqrt())
    }

    /// `std(r, ddof 1) * sqrt(P)` [empyrical]. `None` of fewer than two returns.
    pub(super) fn volatility(&self, bars_per_year: f64) -> Option<f64> {
        Some(self.moments?.deviation()? * bars_per_year.sqrt())
    }

    /// Skewness of returns: see [`Moments::skew`].
    pub(super) fn skew(&self) -> Option<f64> {
        self.moments?.skew()
    }

    /// Excess kurtosis of returns: see [`Moments::kurtosis`].
    pub(super) fn kurtosis(&self) -> Option<f64> {
        self.moments?.kurtosis()
    }

    fn mean_excess(&self) -> f64 {
        self.total / self.count - self.risk_free
    }
}

/// The risk-free return a bar: `(1 + rate)^(1 / P) - 1`.
pub(crate) fn risk_free_per_bar(rate: f64, bars_per_year: f64) -> f64 {
    if rate == 0.0 { 0.0 } else { libm::pow(1.0 + rate, 1.0 / bars_per_year) - 1.0 }
}

/// Compound annual growth rate: `(final / initial)^(P / N) - 1` [empyrical]; -1 when nothing is left.
pub(super) fn cagr(growth: f64, bars: usize, bars_per_year: f64) -> f64 {
    libm::pow(growth, bars_per_year / bars as f64) - 1.0
}
