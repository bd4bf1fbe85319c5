//! A batch's jobs as messages.

use bytes::Bytes;
use jetsweep_shared::events::{self, Begin, Job, encode};
use jetsweep_shared::plan::ShardPlan;
use jetsweep_shared::subjects::{NATIVE, Names};

/// A job to publish.
#[derive(Debug)]
pub(super) struct JobMessage {
    pub(super) subject: String,
    pub(super) id: String,
    pub(super) payload: Bytes,
}

/// Writes the jobs of a batch. Keeps the last job, as the next one differs from it in a few fields only: strategies
/// are large to copy.
#[derive(Debug)]
pub(super) struct JobWriter<'a> {
    begin: &'a Begin,
    again: Option<u64>,
    last: Option<(usize, Job)>,
}

impl<'a> JobWriter<'a> {
    /// With `again`, jobs have ids that the stream has not seen, though it may have seen the jobs.
    pub(super) fn new(begin: &'a Begin, again: Option<u64>) -> Self {
        Self { begin, again, last: None }
    }

    /// The job of a shard of the batch's plan.
    pub(super) fn write(&mut self, shard: ShardPlan, names: &Names) -> JobMessage {
        let again = self.again;
        let job = self.job(shard);
        let subject = names.job(NATIVE, job.priority, &job.batch_id, job.generation, job.shard);
        let id = match again {
            None => job.id(),
            Some(again) => format!("{}.again.{again}", job.id()),
        };
        JobMessage { subject, id, payload: encode(job) }
    }

    fn job(&mut self, shard: ShardPlan) -> &Job {
        let begin = self.begin;
        let symbol = &begin.spec.symbols[shard.symbol];
        let job = match self.last.take() {
            Some((strategy, mut job)) if strategy == shard.strategy => {
                if job.symbol != *symbol {
                    job.symbol = symbol.clone();
                }
                Job {
                    shard: shard.shard,
                    cursor: shard.cursor,
                    first_point: shard.first_point,
                    runs: shard.runs,
                    ..job
                }
            }
            _ => Job {
                version: events::VERSION,
                batch_id: begin.batch_id.clone(),
                generation: begin.generation,
                shard: shard.shard,
                priority: begin.priority,
                symbol: symbol.clone(),
                strategy: begin.spec.strategies[shard.strategy].clone(),
                cursor: shard.cursor,
                first_point: shard.first_point,
                runs: shard.runs,
                execution: begin.spec.execution.clone(),
                validation: begin.spec.validation.clone(),
                data: begin.spec.data.clone(),
                spec_digest: begin.spec_digest.clone(),
            },
        };
        &self.last.insert((shard.strategy, job)).1
    }
}
