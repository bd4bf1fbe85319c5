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

/// Which runs a retry runs again: ranges of runs, each with what the shard of its first run needs. Columns of one
/// length, so that many thousand ranges fit into one event.
///
/// A range is cut where the plan cuts, so each shard is of one symbol and strategy here too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPlan {
    /// First run of each range, ascending.
    pub starts: Vec<u64>,
    /// Runs of each range.
    pub counts: Vec<u64>,
    /// Position of each range's first run in its strategy's raw grid.
    pub cursors: Vec<u64>,
    /// Number of each range's first shard.
    pub shards: Vec<u32>,
}

impl RetryPlan {
    /// Adds a range after those there are; `cursor` is where its first run lies in the raw grid.
    ///
    /// # Errors
    /// When a run of it is not of the plan, or not after the others.
    pub fn push(&mut self, plan: &Plan, start: u64, count: u64, cursor: u64) -> Result<(), String> {
        let first_shard = self.next_shard(plan)?;
        self.starts.push(start);
        self.counts.push(count);
        self.cursors.push(cursor);
        self.shards.push(first_shard);
        self.next_shard(plan).map(drop)
    }

    /// Runs of all ranges.
    pub fn runs(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The number of a shard after the last one: all shards up to the last range's.
    fn next_shard(&self, plan: &Plan) -> Result<u32, String> {
        let Some(last) = self.starts.len().checked_sub(1) else { return Ok(0) };
        let after_others = last == 0 || self.starts[last] >= self.starts[last - 1] + self.counts[last - 1];
        let (start, count) = (self.starts[last], self.counts[last]);
        let ends =
            start.checked_add(count.wrapping_sub(1)).and_then(|end| plan.shard_of(start).zip(plan.shard_of(end)));
        match ends {
            Some((first, end)) if after_others && count > 0 => Ok(self.shards[last] + end.shard - first.shard + 1),
            _ => Err(format!("{count} runs from {start} are not of the plan, or not in order")),
        }
    }

    /// Checks the ranges against the plan, and returns how many shards they are.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, plan: &Plan) -> Result<u32, String> {
        let lengths = [self.counts.len(), self.cursors.len(), self.shards.len()];
        if lengths.iter().any(|length| *length != self.starts.len()) {
            return Err("the columns of the runs to retry differ in length".to_owned());
        }
        let mut again = Self::default();
        for (((start, count), cursor), shard) in
            self.starts.iter().zip(&self.counts).zip(&self.cursors).zip(&self.shards)
        {
            again.push(plan, *start, *count, *cursor)?;
            if again.shards.last() != Some(shard) {
                return Err(format!("the runs to retry from {start} are of another shard than {shard}"));
            }
        }
        again.next_shard(plan)
    }

    /// The shard of a number, if there is one.
    pub fn shard(&self, plan: &Plan, shard: u32) -> Option<ShardPlan> {
        let range = self.shards.partition_point(|first| *first <= shard).checked_sub(1)?;
        let (start, end) = (self.starts[range], self.starts[range] + self.counts[range]);
        let within = shard - self.shards[range];
        let whole = plan.shard(plan.shard_of(start)?.shard + within)?;
        if whole.runs.start >= end {
            return None;
        }
        let first = whole.runs.start.max(start);
        let count = (whole.runs.end().min(end) - first) as u32;
        Some(ShardPlan {
            shard,
            runs: RunRange { start: first, count },
            first_point: whole.first_point + (first - whole.runs.start),
            cursor: if within == 0 { self.cursors[range] } else { whole.cursor },
            ..whole
        })
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

    #[test]
    fn a_retry_is_cut_where_the_plan_is() {
        let plan = Plan {
            strategies: vec![
                StrategyPlan { runs: 10, shard_runs: 4, cursors: vec![0, 5, 9] },
                StrategyPlan { runs: 1, shard_runs: 100, cursors: vec![2] },
            ],
            symbols: 3,
        };
        let mut retry = RetryPlan::default();
        // One run; from the middle of a shard into the next symbol; the last run.
        for (start, count, cursor) in [(1, 1, 1), (6, 7, 7), (32, 1, 2)] {
            retry.push(&plan, start, count, cursor).unwrap();
        }
        assert_eq!(retry.check(&plan), Ok(6));
        assert_eq!(retry.runs(), 9);
        let shards: Vec<ShardPlan> = (0..6).map(|shard| retry.shard(&plan, shard).unwrap()).collect();
        let cut: Vec<_> = shards.iter().map(|shard| (shard.runs.start, shard.runs.count, shard.cursor)).collect();
        assert_eq!(cut, [(1, 1, 1), (6, 2, 7), (8, 2, 9), (10, 1, 2), (11, 2, 0), (32, 1, 2)]);
        assert_eq!(retry.shard(&plan, 6), None);
        for shard in shards {
            let whole = plan.shard_of(shard.runs.start).unwrap();
            assert_eq!((shard.symbol, shard.strategy), (whole.symbol, whole.strategy));
            assert_eq!(shard.first_point - whole.first_point, shard.runs.start - whole.runs.start);
        }
        for (start, count) in [(0, 1), (32, 1), (33, 1), (40, 0)] {
            assert!(retry.clone().push(&plan, start, count, 0).is_err(), "{start}");
        }
        retry.shards[1] = 2;
        assert!(retry.check(&plan).is_err());
    }
}
