//! The planner's guess at the size of results, against real ones.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use indexmap::IndexMap;
use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid};
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::template::builtin;
use jetsweep_planner::{PlanOptions, plan};
use jetsweep_shared::config::Config;
use jetsweep_shared::events::{Outcome, ShardResult, Timing, encode};
use jetsweep_shared::plan::{RunRange, ShardPlan};
use jetsweep_shared::spec::{DataRef, ResolvedSpec, StrategySpec};
use jiff::Timestamp;

fn spec(template: &str, axes: [(&str, Axis); 2]) -> ResolvedSpec {
    let template = builtin(template).unwrap();
    let grid = Grid::new(&template, axes.map(|(name, axis)| (name.to_owned(), axis)).into_iter().collect());
    ResolvedSpec {
        name: "estimate".to_owned(),
        data: DataRef { source: "{symbol}.csv".to_owned(), from: None, to: None },
        symbols: vec!["SPY".parse().unwrap()],
        asset_class: None,
        strategies: vec![StrategySpec { name: template.name().to_owned(), template, grid }],
        execution: Execution { commission: 0.001, ..Execution::default() },
        validation: None,
    }
}

/// The result of a shard, as a worker makes it.
fn compute(spec: &ResolvedSpec, shard: ShardPlan) -> ShardResult {
    let file = jetsweep_tests::sample_data().join("SPY.csv");
    let bars = Bars::read_csv(File::open(file).unwrap(), "SPY.csv").unwrap();
    let mut columns = Columns::new(Arc::new(bars), 64 << 20);
    let planned = &spec.strategies[shard.strategy];
    let strategy = Strategy::new(&planned.template, &spec.execution).unwrap();
    let points = planned.grid.points(&planned.template).unwrap();
    let mut walk = points.walk(shard.cursor, shard.first_point);
    let mut params: IndexMap<String, Vec<f64>> = IndexMap::new();
    let mut metrics: IndexMap<String, Vec<Option<f64>>> = IndexMap::new();
    let (mut block_returns, mut block_squares, mut runtime_us) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..shard.runs.count {
        let (_, values) = walk.next_point().unwrap();
        let run = Instant::now();
        let found = strategy.run(&mut columns, values).unwrap();
        for (name, value) in strategy.params(values) {
            params.entry(name).or_default().push(value);
        }
        for metric in Metric::ALL {
            metrics.entry(metric.name().to_owned()).or_default().push(found.get(*metric));
        }
        block_returns.push(found.block_returns);
        block_squares.push(found.block_squares);
        runtime_us.push(run.elapsed().as_nanos() as f64 / 1e3);
    }
    ShardResult {
        version: 1,
        batch_id: "a-batch-0123abcd".parse().unwrap(),
        generation: 0,
        shard: shard.shard,
        symbol: spec.symbols[0].clone(),
        strategy: planned.name.clone(),
        runs: RunRange { start: shard.runs.start, count: shard.runs.count },
        outcome: Outcome::Computed,
        params,
        metrics,
        block_returns,
        block_squares,
        runtime_us,
        failed: Vec::new(),
        windows: None,
        benchmark: None,
        data_digest: Some("0".repeat(64)),
        spec_digest: "0".repeat(64),
        engine_version: jetsweep_engine::VERSION.to_owned(),
        worker: "a-worker".to_owned(),
        finished_at: Timestamp::now(),
        timing: Timing::default(),
    }
}

#[test]
fn a_full_shards_result_is_about_as_large_as_it_is_meant_to_be() {
    let range = |from, to, step| Axis::Range { from, to, step };
    let specs = [
        spec("sma_cross", [("fast", range(2.0, 60.0, 1.0)), ("slow", range(61.0, 120.0, 1.0))]),
        spec("bollinger_reversion", [("period", range(5.0, 100.0, 1.0)), ("k", range(1.0, 3.0, 0.1))]),
        spec("donchian_breakout", [("entry", range(40.0, 100.0, 1.0)), ("exit", range(5.0, 39.0, 1.0))]),
    ];
    for spec in specs {
        let options = PlanOptions { data_root: Some(jetsweep_tests::sample_data()), ..default_options() };
        let plan = plan(&spec, &options).unwrap();
        let shard = plan.shard(0).unwrap();
        assert!(shard.runs.count < plan.strategies[0].runs as u32, "the shard is full");
        let bytes = encode(&compute(&spec, shard)).len();
        let name = spec.strategies[0].template.name();
        assert!(bytes <= ShardResult::TARGET_BYTES, "{name}: {bytes} bytes");
        assert!(bytes >= ShardResult::TARGET_BYTES * 2 / 3, "{name}: {bytes} bytes");
    }
}

fn default_options() -> PlanOptions {
    PlanOptions::from_config(&Config::default())
}
