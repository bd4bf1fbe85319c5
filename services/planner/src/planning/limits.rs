//! What a plan may not exceed, and what to do about it.

use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::{Job, encode};
use jetsweep_shared::ids::{BatchId, Symbol};
use jetsweep_shared::plan::{Plan, RunRange};
use jetsweep_shared::spec::{ResolvedSpec, StrategySpec};

use super::PlanOptions;

/// Bytes of a `begin` event beside spec and plan, and of its message's headers.
const BEGIN_ENVELOPE_BYTES: usize = 4 * 1024;

/// Least bytes that one shard's cursor takes in a `begin` event: a digit and a comma.
const LEAST_CURSOR_BYTES: usize = 2;

/// Longest batch id, in characters.
const LONGEST_BATCH_ID: usize = 64;

/// Characters of a spec digest: SHA-256 in hexadecimal, with room for a prefix.
const DIGEST_CHARS: usize = 80;

/// What is left of the limits while grids are walked, so that a hopeless spec is given up on early and without
/// collecting more cursors than could ever be stored.
#[derive(Debug)]
pub(super) struct Budget {
    max_runs: u64,
    max_shards: u64,
    symbols: u64,
    runs_per_symbol: u64,
    max_cursors: usize,
    cursors: usize,
}

impl Budget {
    pub(super) fn new(spec: &ResolvedSpec, options: &PlanOptions) -> Self {
        Self {
            max_runs: options.max_runs,
            max_shards: u64::from(u32::MAX),
            symbols: spec.symbols.len() as u64,
            runs_per_symbol: 0,
            max_cursors: options.max_payload / LEAST_CURSOR_BYTES,
            cursors: 0,
        }
    }

    /// Counts a run, and the shard it starts, if it starts one. `false` when a limit is passed.
    pub(super) fn spend_run(&mut self, starts_shard: bool) -> bool {
        self.runs_per_symbol += 1;
        self.cursors += usize::from(starts_shard);
        !self.is_spent()
    }

    /// Whether a limit is passed.
    pub(super) fn is_spent(&self) -> bool {
        self.too_many_runs() || self.too_many_shards()
    }

    fn too_many_runs(&self) -> bool {
        self.runs_per_symbol.saturating_mul(self.symbols) > self.max_runs
    }

    fn too_many_shards(&self) -> bool {
        let shards = (self.cursors as u64).saturating_mul(self.symbols);
        self.cursors > self.max_cursors || shards > self.max_shards
    }

    /// What is wrong when a limit is passed.
    pub(super) fn problems(&self) -> Option<Problem> {
        if self.too_many_runs() {
            let message = format!(
                "the sweep has more than {} runs, the most that limits.batch_runs allows: use fewer symbols or coarser \
                 axes, or split it into several sweeps",
                self.max_runs
            );
            return Some(Problem::new("", message));
        }
        self.too_many_shards().then(|| Problem::new("", too_many_shards_message(self.max_cursors)))
    }
}

fn too_many_shards_message(at_most: usize) -> String {
    format!(
        "the plan has too many shards to be stored in one message (never more than {at_most} a symbol fit): raise \
         planner.shard_runs or leave it unset, use coarser axes, or split the sweep into several"
    )
}

/// A problem when the `begin` event of this plan would be larger than the server takes.
pub(super) fn begin_problem(spec: &ResolvedSpec, plan: &Plan, options: &PlanOptions) -> Option<Problem> {
    let spec_bytes = json_bytes(spec);
    let plan_bytes = json_bytes(plan);
    let bytes = spec_bytes + plan_bytes + BEGIN_ENVELOPE_BYTES;
    if bytes <= options.max_payload {
        return None;
    }
    let shards = plan.shards_per_symbol();
    let message = format!(
        "the plan takes {bytes} bytes, at most {} fit into one message: the spec is {spec_bytes} bytes, and {shards} \
         shards a symbol add {plan_bytes}; use fewer symbols, shorter lists, coarser axes or a larger \
         planner.shard_runs, or split the sweep into several",
        options.max_payload
    );
    Some(Problem::new("", message))
}

/// A problem for each strategy whose jobs could be larger than a job may be.
pub(super) fn job_problems(spec: &ResolvedSpec) -> Vec<Problem> {
    let longest_symbol = spec.symbols.iter().max_by_key(|symbol| symbol.as_str().len());
    let Some(symbol) = longest_symbol else {
        return vec![Problem::new("universe", "there are no symbols, so there is nothing to run")];
    };
    let too_large = |(index, strategy): (usize, &StrategySpec)| {
        let bytes = encode(&largest_job(spec, strategy, symbol)).len();
        let message = format!(
            "each of its jobs would take up to {bytes} bytes, at most {} are allowed: shorten the lists of its axes \
             (a range needs no list) or the text of its template",
            Job::MAX_BYTES
        );
        (bytes > Job::MAX_BYTES).then(|| Problem::new(format!("strategy[{index}]"), message))
    };
    spec.strategies.iter().enumerate().filter_map(too_large).collect()
}

/// A job of the strategy as long as any can be.
fn largest_job(spec: &ResolvedSpec, strategy: &StrategySpec, symbol: &Symbol) -> Job {
    let batch_id: BatchId = "b".repeat(LONGEST_BATCH_ID).parse().expect("the longest batch id is a batch id");
    Job {
        version: u32::MAX,
        batch_id,
        generation: u32::MAX,
        shard: u32::MAX,
        priority: Default::default(),
        symbol: symbol.clone(),
        strategy: strategy.clone(),
        cursor: u64::MAX,
        first_point: u64::MAX,
        runs: RunRange { start: u64::MAX, count: u32::MAX },
        execution: spec.execution.clone(),
        validation: spec.validation.clone(),
        data: spec.data.clone(),
        spec_digest: "0".repeat(DIGEST_CHARS),
    }
}

fn json_bytes(value: &impl serde::Serialize) -> usize {
    // Specs and plans hold strings, finite numbers and lists of them only: serde_json has nothing to refuse.
    serde_json::to_vec(value).map_or(usize::MAX / 4, |json| json.len())
}
