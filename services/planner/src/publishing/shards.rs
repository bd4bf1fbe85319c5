//! Which shards of a batch still need a job, and in which portions they get it.

use futures::TryStreamExt;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::events::Begin;
use jetsweep_shared::plan::ShardPlan;
use jetsweep_shared::subjects::ResultSubject;

/// A set of shards of one plan, a bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shards {
    words: Vec<u64>,
}

impl Shards {
    /// The empty set of a plan with `total` shards.
    pub(crate) fn none(total: u32) -> Self {
        Self { words: vec![0; (total as usize).div_ceil(u64::BITS as usize)] }
    }

    /// The shards of a batch whose job is queued or whose result is stored. It saves work only: a job published again
    /// is refused by its id, or its result is by the consolidator.
    pub(crate) async fn present(bus: &Bus, begin: &Begin) -> Result<Self, BusError> {
        let mut present = Self::none(begin.total_shards);
        let (names, batch, generation) = (&bus.names, &begin.batch_id, begin.generation);
        // Jobs first: a job leaves the queue after its result is stored, so none is missed in between.
        for_each_subject(bus, &names.jobs_stream(), &names.jobs_of_batch(batch), |subject| {
            if let Some(job) = names.parse_job(subject)
                && job.generation == generation
            {
                present.insert(job.shard);
            }
        })
        .await?;
        for_each_subject(bus, &names.results_stream(), &names.results_of_batch(batch), |subject| {
            if let Some(ResultSubject::Shard { generation: of, shard, .. }) = names.parse_result(subject)
                && of == generation
            {
                present.insert(shard);
            }
        })
        .await?;
        Ok(present)
    }

    fn insert(&mut self, shard: u32) {
        // A number beyond the plan is of no shard of it.
        if let Some(word) = self.words.get_mut((shard / u64::BITS) as usize) {
            *word |= 1 << (shard % u64::BITS);
        }
    }

    fn contains(&self, shard: u32) -> bool {
        self.words.get((shard / u64::BITS) as usize).is_some_and(|word| word >> (shard % u64::BITS) & 1 == 1)
    }
}

/// Visits the subjects of a stream that match `filter`. The server lists up to 100,000 at a time, the client asks page by
/// page, and no more than a page is held.
async fn for_each_subject(bus: &Bus, stream: &str, filter: &str, mut visit: impl FnMut(&str)) -> Result<(), BusError> {
    let failed = |reason: String| BusError::Read { what: format!("the subjects {filter} of {stream}"), reason };
    let handle = bus.jetstream.get_stream_no_info(stream).await.map_err(|error| failed(error.to_string()))?;
    let mut subjects = handle.info_with_subjects(filter).await.map_err(|error| failed(error.to_string()))?;
    while let Some((subject, _)) = subjects.try_next().await.map_err(|error| failed(error.to_string()))? {
        visit(&subject);
    }
    Ok(())
}

/// The shards that are not `present`, in portions of up to `longest` shards of one symbol.
pub(super) fn turns<'a>(
    shards: impl Iterator<Item = ShardPlan> + 'a,
    present: &'a Shards,
    longest: usize,
) -> impl Iterator<Item = Vec<ShardPlan>> + 'a {
    let mut missing = shards.filter(|shard| !present.contains(shard.shard)).peekable();
    std::iter::from_fn(move || {
        let first = missing.next()?;
        let mut turn = vec![first];
        while turn.len() < longest {
            let Some(next) = missing.next_if(|next| next.symbol == first.symbol) else { break };
            turn.push(next);
        }
        Some(turn)
    })
}

#[cfg(test)]
mod tests {
    use jetsweep_shared::plan::{Plan, StrategyPlan};

    use super::*;

    #[test]
    fn turns_hold_missing_shards_of_one_symbol() {
        let strategies = vec![StrategyPlan { runs: 50, shard_runs: 10, cursors: vec![0, 10, 20, 30, 40] }];
        let plan = Plan { strategies, symbols: 2 };
        let mut present = Shards::none(plan.total_shards());
        for shard in [0, 3, 1_000_000] {
            present.insert(shard);
        }
        let turns: Vec<Vec<u32>> =
            turns(plan.shards(), &present, 2).map(|turn| turn.iter().map(|shard| shard.shard).collect()).collect();
        assert_eq!(turns, [vec![1, 2], vec![4], vec![5, 6], vec![7, 8], vec![9]]);
    }

    #[test]
    fn sets_cross_words() {
        let mut shards = Shards::none(130);
        for shard in [0, 63, 64, 129] {
            shards.insert(shard);
        }
        let members: Vec<u32> = (0..200).filter(|&shard| shards.contains(shard)).collect();
        assert_eq!(members, [0, 63, 64, 129]);
    }
}
