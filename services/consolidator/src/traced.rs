//! What a commit stores, for whoever traces: a span for each batch in it.

use std::sync::Arc;

use jetsweep_shared::ids::BatchId;
use jetsweep_shared::telemetry::traces::MOST_LINKS;
use jetsweep_shared::telemetry::{Parent, Step, steps, traces};

use crate::event::LogEvent;
use crate::store::Source;

/// Batches of a commit that have spans, at most. A commit of more is one of a consolidator that catches up.
const MOST_BATCHES: usize = 16;

/// The results of a group that are traced, by batch. Empty without traces.
#[derive(Debug, Default)]
pub(crate) struct Traced(Vec<OfBatch>);

#[derive(Debug)]
struct OfBatch {
    source: Arc<Source>,
    batch: BatchId,
    generation: u32,
    /// The steps in which the results were published; no more than there can be links.
    from: Vec<Parent>,
    results: u64,
}

impl Traced {
    /// Notes a result that the group has, and the step in which it was published.
    pub(crate) fn note(&mut self, source: &Arc<Source>, event: &LogEvent, from: &Parent) {
        let (true, LogEvent::Result(result), Some(trace)) = (traces::are_on(), event, from.trace()) else { return };
        let is_its = |of: &&mut OfBatch| {
            of.batch == result.batch_id
                && of.generation == result.generation
                && of.from.first().and_then(Parent::trace) == Some(trace)
        };
        if let Some(of) = self.0.iter_mut().find(is_its) {
            of.results += 1;
            // The first one is the parent.
            if of.from.len() <= MOST_LINKS {
                of.from.push(from.clone());
            }
        } else if self.0.len() < MOST_BATCHES {
            self.0.push(OfBatch {
                source: Arc::clone(source),
                batch: result.batch_id.clone(),
                generation: result.generation,
                from: vec![from.clone()],
                results: 1,
            });
        }
    }

    /// The commit begins: its steps, to be dropped when it is done. Nothing is noted any more then.
    pub(crate) fn begin(&mut self) -> Vec<Step> {
        let begin = |of: OfBatch| {
            let mut from = of.from.into_iter();
            let first = from.next().unwrap_or_default();
            let step = steps::commit(first, &of.source.stream, &of.batch, of.generation);
            step.set("results", of.results);
            from.for_each(|other| step.link(&other));
            step
        };
        self.0.drain(..).map(begin).collect()
    }
}
