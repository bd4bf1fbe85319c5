//! How a batch's runs are cut into shards.
//!
//! Runs are numbered symbol by symbol, within a symbol strategy by strategy, within a strategy in grid order after
//! `where`. A shard is a slice of consecutive runs of one symbol and one strategy. Every symbol has the same runs, so
//! a plan keeps one entry a strategy, whatever the size of the universe.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Consecutive runs of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RunRange {
    /// Number of the first run within its batch.
    pub start: u64,
    /// How many runs.
    pub count: u32,
}

impl RunRange {
    /// Number of the first run after the range.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.count)
    }

    /// The runs as a range of numbers.
    pub fn numbers(&self) -> Range<u64> {
        self.start..self.end()
    }
}

/// How one strategy's runs over one symbol are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrategyPlan {
    /// Runs of the strategy over one symbol: points of its grid that satisfy `where`.
    pub runs: u64,
    /// Runs of a shard; the last shard may have fewer.
    pub shard_runs: u32,
    /// Position in the raw grid at which each shard starts, so that a worker need not walk what comes before.
    pub cursors: Vec<u64>,
}

/// The cut of a whole batch. Made once, stored in the `begin` event, read by every later replan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// One entry a strategy, in the spec's order.
    pub strategies: Vec<StrategyPlan>,
    /// Symbols of the universe.
    pub symbols: u32,
}

/// One shard of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardPlan {
    /// Number of the shard within the plan.
    pub shard: u32,
    /// Index of its symbol in the spec.
    pub symbol: usize,
    /// Index of its strategy in the spec.
    pub strategy: usize,
    /// Its runs.
    pub runs: RunRange,
    /// Index of its first run among the strategy's runs over one symbol.
    pub first_point: u64,
    /// Position of that run in the raw grid.
    pub cursor: u64,
}

impl Plan {
    /// Runs of one symbol.
    pub fn runs_per_symbol(&self) -> u64 {
        self.strategies.iter().map(|strategy| strategy.runs).sum()
    }

    /// Runs of the batch.
    pub fn total_runs(&self) -> u64 {
        self.runs_per_symbol() * u64::from(self.symbols)
    }

    /// Shards of one symbol.
    pub fn shards_per_symbol(&self) -> u32 {
        self.strategies.iter().map(|strategy| strategy.cursors.len() as u32).sum()
    }

    /// Shards of the batch.
    pub fn total_shards(&self) -> u32 {
        self.shards_per_symbol() * self.symbols
    }

    /// The shard of a number below [`Plan::total_shards`].
    pub fn shard(&self, shard: u32) -> Option<ShardPlan> {
        if shard >= self.total_shards() {
            return None;
        }
        let symbol = shard / self.shards_per_symbol();
        let mut within = (shard % self.shards_per_symbol()) as usize;
        let mut first_run = u64::from(symbol) * self.runs_per_symbol();
        for (index, strategy) in self.strategies.iter().enumerate() {
            if within < strategy.cursors.len() {
                let first_point = within as u64 * u64::from(strategy.shard_runs);
                let count = (strategy.runs - first_point).min(u64::from(strategy.shard_runs)) as u32;
                return Some(ShardPlan {
                    shard,
                    symbol: symbol as usize,
                    strategy: index,
                    runs: RunRange { start: first_run + first_point, count },
                    first_point,
                    cursor: strategy.cursors[within],
                });
            }
            within -= strategy.cursors.len();
            first_run += strategy.runs;
        }
        None
    }

    /// The shard that holds a run.
    pub fn shard_of(&self, run: u64) -> Option<ShardPlan> {
        if run >= self.total_runs() {
            return None;
        }
        let symbol = (run / self.runs_per_symbol()) as u32;
        let mut within = run % self.runs_per_symbol();
        let mut shard = symbol * self.shards_per_symbol();
        for strategy in &self.strategies {
            if within < strategy.runs {
                return self.shard(shard + (within / u64::from(strategy.shard_runs)) as u32);
            }
            within -= strategy.runs;
            shard += strategy.cursors.len() as u32;
        }
        None
    }

    /// All shards in order.
    pub fn shards(&self) -> impl Iterator<Item = ShardPlan> + '_ {
        (0..self.total_shards()).filter_map(|shard| self.shard(shard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_run_once_and_in_order() {
        let plan = Plan {
            strategies: vec![
                StrategyPlan { runs: 10, shard_runs: 4, cursors: vec![0, 5, 9] },
                StrategyPlan { runs: 1, shard_runs: 100, cursors: vec![2] },
            ],
            symbols: 3,
        };
        assert_eq!((plan.total_runs(), plan.total_shards()), (33, 12));
        let mut next = 0;
        for shard in plan.shards() {
            assert_eq!(shard.runs.start, next);
            for run in shard.runs.numbers() {
                assert_eq!(plan.shard_of(run), Some(shard));
            }
            next = shard.runs.end();
        }
        assert_eq!(next, 33);
        assert_eq!(plan.shard(2).map(|s| (s.runs.count, s.cursor, s.first_point)), Some((2, 9, 8)));
        assert_eq!((plan.shard(12), plan.shard_of(33)), (None, None));
    }
}
