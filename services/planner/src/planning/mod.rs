//! From a resolved spec to a plan: each strategy's grid is walked once, and only where its shards start is kept.

mod estimate;
mod limits;
mod options;
#[cfg(test)]
mod tests;

use jetsweep_engine::problem::Problem;
use jetsweep_shared::plan::{Plan, StrategyPlan};
use jetsweep_shared::spec::{ResolvedSpec, StrategySpec};

pub use options::PlanOptions;

/// Cuts the runs of a sweep into shards.
///
/// Takes time over the raw grids of the strategies (some tens of nanoseconds a point where there is a `where`) and
/// memory over the shards only, so callers on an async runtime give it a thread of its own. Of the bars it reads no
/// more than one file's size, see [`PlanOptions::data_root`]: the same spec may be cut differently elsewhere, which is
/// why a plan is made once and stored.
///
/// # Errors
/// Everything about the spec that cannot be planned: grids without a point, more runs than allowed, more shards than
/// one `begin` event holds, jobs larger than a job may be.
pub fn plan(spec: &ResolvedSpec, options: &PlanOptions) -> Result<Plan, Vec<Problem>> {
    let mut problems = limits::job_problems(spec);
    let bars = estimate::bars_per_symbol(&spec.data, spec.symbols.first(), options.data_root.as_deref());
    let segments = estimate::segments(spec);
    let mut strategies = Vec::with_capacity(spec.strategies.len());
    let mut budget = limits::Budget::new(spec, options);
    for (index, strategy) in spec.strategies.iter().enumerate() {
        match cut(strategy, bars, segments, options, &mut budget) {
            Ok(planned) => strategies.push(planned),
            Err(found) => {
                problems.extend(found.into_iter().map(|problem| problem.within(&format!("strategy[{index}]"))));
            }
        }
        if budget.is_spent() {
            break;
        }
    }
    problems.extend(budget.problems());
    if !problems.is_empty() {
        return Err(problems);
    }
    // Symbols are names of at least a byte in a document of at most a few MiB: their number fits.
    let plan = Plan { strategies, symbols: spec.symbols.len() as u32 };
    match limits::begin_problem(spec, &plan, options) {
        None => Ok(plan),
        Some(problem) => Err(vec![problem]),
    }
}

/// Walks one strategy's grid and notes where each shard starts. Stops early when the budget is spent, which is then
/// the problem to tell.
fn cut(
    strategy: &StrategySpec,
    bars: u64,
    segments: usize,
    options: &PlanOptions,
    budget: &mut limits::Budget,
) -> Result<StrategyPlan, Vec<Problem>> {
    let points = strategy.grid.points(&strategy.template)?;
    let shard_runs = options.shard_runs.unwrap_or_else(|| {
        let work = estimate::runs_of_work(bars, segments, options.shard_work);
        work.min(estimate::runs_of_result(strategy.template.params().len(), segments))
    });
    let mut planned = StrategyPlan { runs: 0, shard_runs, cursors: Vec::new() };
    let mut walk = points.walk(0, 0);
    while let Some((cursor, _)) = walk.next_point() {
        let starts_shard = planned.runs.is_multiple_of(u64::from(shard_runs));
        if starts_shard {
            planned.cursors.push(cursor);
        }
        planned.runs += 1;
        if !budget.spend_run(starts_shard) {
            return Ok(planned);
        }
    }
    if planned.runs == 0 {
        let message = format!(
            "no run is left: none of the {} points of the grid satisfies `where`; widen the axes or relax the condition",
            points.raw_points()
        );
        return Err(vec![Problem::new("", message)]);
    }
    Ok(planned)
}
