//! The engine alone: the same runs in a plain loop, on as many threads as there are slots.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_planner::PlanOptions;
use jetsweep_shared::config::Config;
use jetsweep_shared::plan::{Plan, ShardPlan};
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_worker::data;

use super::DOING;
use crate::failure::{Failure, OrFail};

/// Seconds that all runs take: reading the bars, and computing every run's metrics.
pub(super) fn run(spec: &ResolvedSpec, root: &Path, threads: usize) -> Result<f64, Failure> {
    let mut config = Config::default();
    config.data.root = root.to_owned();
    let plan = jetsweep_planner::plan(spec, &PlanOptions::from_config(&config))
        .map_err(|problems| Failure::problems(DOING, problems))?;

    let start = Instant::now();
    let columns_bytes = usize::try_from(config.worker.columns_bytes).unwrap_or(usize::MAX);
    let work = Work { spec, plan: &plan, bars: load(spec, root, threads)?, columns_bytes, next: AtomicU32::new(0) };
    let done: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.take_shards())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).sum()
    });
    let seconds = start.elapsed().as_secs_f64();
    if done == plan.total_runs() {
        return Ok(seconds);
    }
    let cause = anyhow::anyhow!("the engine computed {done} of {} runs", plan.total_runs());
    Err(Failure::broken(DOING, cause))
}

struct Work<'a> {
    spec: &'a ResolvedSpec,
    plan: &'a Plan,
    /// By symbol, as in the spec.
    bars: Vec<Arc<Bars>>,
    columns_bytes: usize,
    next: AtomicU32,
}

impl Work<'_> {
    /// Computes shards until none is left. Returns the runs that have metrics.
    fn take_shards(&self) -> u64 {
        let mut done = 0;
        let mut columns: Option<(usize, Columns)> = None;
        while let Some(shard) = self.plan.shard(self.next.fetch_add(1, Ordering::Relaxed)) {
            if columns.as_ref().is_none_or(|(symbol, _)| *symbol != shard.symbol) {
                let bars = Arc::clone(&self.bars[shard.symbol]);
                columns = Some((shard.symbol, Columns::new(bars, self.columns_bytes)));
            }
            if let Some((_, columns)) = &mut columns {
                done += self.compute(&shard, columns);
            }
        }
        done
    }

    fn compute(&self, shard: &ShardPlan, columns: &mut Columns) -> u64 {
        let spec = &self.spec.strategies[shard.strategy];
        // A resolved spec has neither bad rules nor bad grids; should it, the count of runs tells.
        let Ok(strategy) = Strategy::new(&spec.template, &self.spec.execution) else { return 0 };
        let Ok(points) = spec.grid.points(&spec.template) else { return 0 };
        let mut walk = points.walk(shard.cursor, shard.first_point);
        let mut done = 0;
        for _ in 0..shard.runs.count {
            let Some((_, values)) = walk.next_point() else { break };
            let metrics = strategy.run(columns, values);
            done += u64::from(std::hint::black_box(metrics).is_ok());
        }
        done
    }
}

/// The bars of every symbol, read on `threads` threads.
fn load(spec: &ResolvedSpec, root: &Path, threads: usize) -> Result<Vec<Arc<Bars>>, Failure> {
    let chunk = spec.symbols.len().div_ceil(threads.max(1));
    std::thread::scope(|scope| {
        let load = |symbols: &'_ [jetsweep_shared::ids::Symbol]| -> Result<Vec<_>, data::DataError> {
            symbols.iter().map(|symbol| data::load(root, &spec.data, symbol).map(Arc::new)).collect()
        };
        let loading: Vec<_> = spec.symbols.chunks(chunk).map(|symbols| scope.spawn(move || load(symbols))).collect();
        let mut all = Vec::with_capacity(spec.symbols.len());
        for thread in loading {
            let Ok(bars) = thread.join() else {
                return Err(Failure::broken(DOING, anyhow::anyhow!("a thread that reads bars panicked")));
            };
            all.extend(bars.or_bad_input(|| DOING)?);
        }
        Ok(all)
    })
}
