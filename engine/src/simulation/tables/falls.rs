//! How deep and how long closes fall below their running maximum, over spans of bars.
//!
//! Bars are cut into blocks. A span is the end of a block, whole blocks, and the beginning of a block; the extremes of
//! each part are looked up: of every end and beginning of a block, and of runs of whole blocks in a *disjoint sparse
//! table*, whose level `k` cuts the blocks into groups of `2^(k+1)` and holds for each block what lies between it and
//! the middle of its group. Parts never overlap, as the order of a high and a low matters.

use crate::metrics::drawdown::Drawdown;

/// Bars of a block.
const BLOCK: usize = 16;

/// What is known of a part of a span.
#[derive(Debug, Clone, Copy)]
struct Part {
    highest: f64,
    lowest: f64,
    /// Least ratio of a close to the highest one before it, at most 1.
    ratio: f64,
    /// The last bar at the highest close.
    last_high: u32,
    /// At least the bars of the longest stretch between two running maxima, wherever in the part the first is.
    longest: u32,
}

impl Part {
    fn of(close: f64, bar: usize) -> Self {
        Self { highest: close, lowest: close, ratio: 1.0, last_high: bar as u32, longest: 0 }
    }

    /// This part and the one that follows it.
    ///
    /// Written without branches: which of two parts is the higher nobody can guess.
    #[inline(always)]
    fn then(&self, next: &Self) -> Self {
        let lesser = |a: f64, b: f64| if b < a { b } else { a };
        let ratio = lesser(lesser(self.ratio, next.ratio), next.lowest / self.highest);
        let lowest = lesser(self.lowest, next.lowest);
        let rises = next.highest >= self.highest;
        // The stretch across ends in the next part, at its last high at the latest.
        let across = next.last_high.wrapping_sub(self.last_high).wrapping_sub(1);
        let longest = if rises { self.longest.max(next.longest).max(across) } else { self.longest };
        let highest = if rises { next.highest } else { self.highest };
        let last_high = if rises { next.last_high } else { self.last_high };
        Self { highest, lowest, ratio, last_high, longest }
    }
}

/// Tables over the closes of one symbol.
#[derive(Debug)]
pub(crate) struct Falls {
    /// From each bar to the end of its block.
    ends: Vec<Part>,
    /// From the beginning of its block to each bar.
    beginnings: Vec<Part>,
    /// Levels of the disjoint sparse table, one part for each block.
    levels: Vec<Vec<Part>>,
    /// The next bar whose close is as high or higher; `u32::MAX` where there is none.
    next_high: Vec<u32>,
    /// Whether a close lies so little below one it has to reach that times some number of shares both may be equal.
    near_ties: bool,
}

impl Falls {
    pub(super) fn new(closes: &[f64]) -> Self {
        let len = closes.len();
        assert!(u32::try_from(len).is_ok(), "bars are numbered with 32 bits");
        let mut beginnings: Vec<Part> = Vec::with_capacity(len);
        for (t, &close) in closes.iter().enumerate() {
            let bar = Part::of(close, t);
            beginnings.push(if t % BLOCK == 0 { bar } else { beginnings[t - 1].then(&bar) });
        }
        let mut ends: Vec<Part> = closes.iter().enumerate().map(|(t, &close)| Part::of(close, t)).collect();
        for t in (0..len.saturating_sub(1)).rev().filter(|t| t % BLOCK != BLOCK - 1) {
            ends[t] = ends[t].then(&ends[t + 1]);
        }
        let blocks: Vec<Part> = ends.iter().step_by(BLOCK).copied().collect();
        let (next_high, near_ties) = next_highs(closes);
        Self { ends, beginnings, levels: levels(&blocks), next_high, near_ties }
    }

    pub(super) fn bytes(&self) -> usize {
        let parts = self.ends.len() + self.beginnings.len() + self.levels.iter().map(Vec::len).sum::<usize>();
        parts * size_of::<Part>() + size_of_val(&self.next_high[..])
    }

    /// Lets `drawdown` know the bars from `start` to `last`, both included, in which `shares` are held: how deep they
    /// fall, and if it is for `ALL` metrics how long.
    #[inline(always)]
    pub(crate) fn hold<const ALL: bool>(
        &self,
        drawdown: &mut Drawdown,
        closes: &[f64],
        shares: f64,
        start: usize,
        last: usize,
    ) {
        let (first_block, last_block) = (start / BLOCK, last / BLOCK);
        if first_block == last_block {
            return closes[start..=last].iter().for_each(|close| drawdown.step(shares * close));
        }
        let span = self.span(start, last);
        let highest = shares * span.highest;
        if self.near_ties && highest >= drawdown.peak() {
            return closes[start..=last].iter().for_each(|close| drawdown.step(shares * close));
        }
        drawdown.deepen(shares * span.lowest, span.ratio);
        if highest < drawdown.peak() {
            return drawdown.stay_below(last + 1 - start);
        }
        let last_high = span.last_high as usize;
        if ALL && (drawdown.could_be_longest(last_high - start) || drawdown.is_longest(span.longest as usize)) {
            self.follow(drawdown, closes, shares, start, last_high);
        }
        drawdown.rise(highest, if ALL { last - last_high } else { 0 });
    }

    /// What is known of the bars from `start` to `last`, which lies in a later block.
    #[inline(always)]
    fn span(&self, start: usize, last: usize) -> Part {
        let (from, to) = (start / BLOCK + 1, last / BLOCK - 1);
        let mut span = self.ends[start];
        if from == to {
            span = span.then(&self.ends[from * BLOCK]);
        } else if from < to {
            let level = &self.levels[(from ^ to).ilog2() as usize];
            span = span.then(&level[from]).then(&level[to]);
        }
        span.then(&self.beginnings[last])
    }

    /// Follows the running maximum from `start` on: the first bar at which the one before is reached, and from there
    /// from one new maximum to the next, up to `last_high`.
    fn follow(&self, drawdown: &mut Drawdown, closes: &[f64], shares: f64, start: usize, last_high: usize) {
        let peak = drawdown.peak();
        let mut high = start;
        // Block by block: of a bar, `ends` knows what its block holds from there on.
        while shares * self.ends[high].highest < peak {
            high = (high / BLOCK + 1) * BLOCK;
        }
        high += closes[high..].iter().take_while(|&close| shares * close < peak).count();
        drawdown.stay_below(high - start);
        while high < last_high {
            let next = self.next_high[high] as usize;
            drawdown.stretch(next - high - 1);
            high = next;
        }
    }
}

/// The levels of the disjoint sparse table over blocks.
fn levels(blocks: &[Part]) -> Vec<Vec<Part>> {
    let count = blocks.len();
    let levels = count.next_power_of_two().ilog2();
    let level = |level: u32| {
        let half = 1_usize << level;
        let mut parts = blocks.to_vec();
        for middle in (half..count).step_by(2 * half) {
            for index in (middle - half..middle - 1).rev() {
                parts[index] = blocks[index].then(&parts[index + 1]);
            }
            for index in middle + 1..count.min(middle + half) {
                parts[index] = parts[index - 1].then(&blocks[index]);
            }
        }
        parts
    };
    (0..levels).map(level).collect()
}

/// For each bar the next one whose close is as high or higher, and whether any close stays below such a one by so
/// little that multiplying both may make them equal.
fn next_highs(closes: &[f64]) -> (Vec<u32>, bool) {
    /// A product is rounded by at most half a unit in the last place, which is `2^-53` of it; so may be another.
    const NEAR: f64 = 1.0 - 8.0 * f64::EPSILON;
    let mut next = vec![u32::MAX; closes.len()];
    let mut near_ties = false;
    // Bars whose next one is not known yet; their closes fall.
    let mut open: Vec<usize> = Vec::new();
    for (t, &close) in closes.iter().enumerate() {
        while let Some(&bar) = open.last()
            && closes[bar] <= close
        {
            next[bar] = t as u32;
            open.pop();
        }
        near_ties |= open.last().is_some_and(|&bar| close >= closes[bar] * NEAR);
        open.push(t);
    }
    (next, near_ties)
}
