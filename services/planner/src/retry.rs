//! Retrying runs of a batch that has ended: a further generation, of exactly those runs.

use jetsweep_shared::events::{self, Begin, Retry, decode, encode};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::plan::{Plan, RetryPlan, RunRange, ShardPlan};
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_shared::telemetry::Step;
use jiff::Timestamp;

use crate::batch::{self, Planned};
use crate::error::BatchError;
use crate::facts;
use crate::planner::{Planner, VERSION};
use crate::refusal::Refusal;

/// Room in a message for its headers, in bytes.
const HEADER_BYTES: usize = 1024;

/// The plan of a retry: the stored one, or one made and stored now.
pub(crate) async fn asked(
    planner: &Planner,
    payload: &[u8],
    batch: &BatchId,
    generation: u32,
    step: &Step,
) -> Result<Planned, BatchError> {
    let refused = |reason: String| Ok(Planned::refused(Refusal::InvalidRetry(reason)));
    let retry = match decode::<Retry>(payload) {
        Ok(retry) if (&retry.batch_id, retry.generation) == (batch, generation) => retry,
        Ok(retry) => return refused(format!("it says it is of {}.{}", retry.batch_id, retry.generation)),
        Err(error) => return refused(error.to_string()),
    };
    if let Some(begin) = facts::begin(&planner.bus, batch, generation).await? {
        return match retries(&begin, &retry.runs) {
            true => Ok(Planned::Begun { begin: Box::new(begin), is_new: false }),
            false => refused(other_runs(batch, generation)),
        };
    }
    let Some(before) = facts::begin(&planner.bus, batch, generation - 1).await? else {
        return refused(match facts::gone(&planner.bus, batch).await? {
            Some(_) => format!("batch {batch} is no longer in the log"),
            None => format!("there is no generation {} of batch {batch} to retry runs of", generation - 1),
        });
    };
    if !is_over(planner, batch, generation - 1).await? {
        return Err(BatchError::NotOver { batch: batch.clone(), generation: generation - 1 });
    }
    let made = planner.threads.run("plans", move || {
        let begin = begin(before, &retry.runs)?;
        Ok::<_, String>((begin, retry.runs))
    });
    let (begin, runs) = match made.await? {
        Ok(made) => made,
        Err(reason) => return refused(reason),
    };
    if let Some(reason) = too_large(&begin, planner.options.max_payload) {
        return refused(reason);
    }
    match batch::store(planner, begin, step).await? {
        Planned::Begun { begin, .. } if !retries(&begin, &runs) => refused(other_runs(batch, generation)),
        planned => Ok(planned),
    }
}

/// Whether the consolidator has said that every run of a generation is terminal.
pub(crate) async fn is_over(planner: &Planner, batch: &BatchId, generation: u32) -> Result<bool, BatchError> {
    let status = facts::status(&planner.batches, batch).await?;
    Ok(status.is_some_and(|(status, _)| status.state.is_terminal() && status.generation == generation))
}

/// Whether a plan is of these runs.
pub(crate) fn retries(begin: &Begin, runs: &[RunRange]) -> bool {
    let Some(retry) = &begin.retry else { return false };
    let planned = retry.starts.iter().copied().zip(retry.counts.iter().copied());
    planned.eq(merged(runs))
}

pub(crate) fn other_runs(batch: &BatchId, generation: u32) -> String {
    format!("generation {generation} of batch {batch} retries other runs: ask again once it has ended")
}

/// Adjacent ranges as one.
fn merged(runs: &[RunRange]) -> Vec<(u64, u64)> {
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for range in runs {
        match merged.last_mut() {
            Some((start, count)) if *start + *count == range.start => *count += u64::from(range.count),
            _ => merged.push((range.start, u64::from(range.count))),
        }
    }
    merged
}

/// The plan that retries runs of the generation `before`. Takes time over the shards in which they lie.
pub(crate) fn begin(before: Begin, runs: &[RunRange]) -> Result<Begin, String> {
    let mut retry = RetryPlan::default();
    for (start, count) in merged(runs) {
        let cursor = cursor(&before.spec, &before.plan, start)?;
        retry.push(&before.plan, start, count, cursor)?;
    }
    Ok(Begin {
        generation: before.generation + 1,
        total_shards: retry.check(&before.plan)?,
        retry: Some(retry),
        planner_version: VERSION.to_owned(),
        created_at: Timestamp::now(),
        version: events::VERSION,
        ..before
    })
}

/// Where a run lies in its strategy's raw grid.
fn cursor(spec: &ResolvedSpec, plan: &Plan, run: u64) -> Result<u64, String> {
    let ShardPlan { strategy, runs, first_point, cursor, .. } =
        plan.shard_of(run).ok_or_else(|| format!("run {run} is not of the plan"))?;
    if run == runs.start {
        return Ok(cursor);
    }
    let strategy = &spec.strategies[strategy];
    let points = strategy.grid.points(&strategy.template).map_err(|problems| crate::refusal::one_line(&problems))?;
    let mut walk = points.walk(cursor, first_point);
    for _ in runs.start..run {
        walk.next_point();
    }
    walk.next_point().map(|(cursor, _)| cursor).ok_or_else(|| format!("run {run} is not in its grid"))
}

/// Why a plan does not fit into one message, if so.
pub(crate) fn too_large(begin: &Begin, max_payload: usize) -> Option<String> {
    let bytes = encode(begin).len() + HEADER_BYTES;
    let ranges = begin.retry.as_ref().map_or(0, |retry| retry.starts.len());
    (bytes > max_payload).then(|| {
        format!(
            "the {ranges} separate stretches of runs take {bytes} bytes with the batch's plan, at most {max_payload} \
             fit into one message: retry fewer at a time (--first)"
        )
    })
}
