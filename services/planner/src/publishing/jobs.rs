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
    last: Option<(usize, Job)>,
}

impl<'a> JobWriter<'a> {
    pub(super) fn new(begin: &'a Begin) -> Self {
        Self { begin, last: None }
    }

    /// The job of a shard of the batch's plan.
    pub(super) fn write(&mut self, shard: ShardPlan, names: &Names) -> JobMessage {
        let job = self.job(shard);
        let subject = names.job(NATIVE, job.priority, &job.batch_id, job.generation, job.shard);
        JobMessage { subject, id: job.id(), payload: encode(job) }
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
