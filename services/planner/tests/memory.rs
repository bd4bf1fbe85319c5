//! Planning stores nothing a run. Alone in its process, so that nothing else moves the numbers.

use indexmap::IndexMap;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid};
use jetsweep_engine::template::builtin;
use jetsweep_planner::{PlanOptions, plan};
use jetsweep_shared::config::Config;
use jetsweep_shared::spec::{DataRef, ResolvedSpec, StrategySpec};

/// A value of `/proc/self/status`, in bytes.
fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[test]
fn a_million_runs_are_planned_in_little_memory() {
    const MOST_EXTRA_BYTES: u64 = 100 * 1000 * 1000;
    let template = builtin("sma_cross").unwrap();
    let range = |from, to| Axis::Range { from, to, step: 1.0 };
    let axes = IndexMap::from([("fast".to_owned(), range(2.0, 401.0)), ("slow".to_owned(), range(402.0, 500.0))]);
    let grid = Grid::new(&template, axes).with_where(Some("fast + slow > 0".to_owned()));
    let spec = ResolvedSpec {
        name: "million".to_owned(),
        data: DataRef { source: "{symbol}.csv".to_owned(), from: None, to: None },
        symbols: (0..26).map(|i| format!("S{i}").parse().unwrap()).collect(),
        asset_class: None,
        strategies: vec![StrategySpec { name: "sma_cross".to_owned(), template, grid }],
        execution: Execution::default(),
        validation: None,
    };
    let before = memory("VmRSS");
    let plan = plan(&spec, &PlanOptions::from_config(&Config::default())).unwrap();
    let extra = memory("VmHWM").saturating_sub(before);
    assert!(plan.total_runs() > 1_000_000, "{}", plan.total_runs());
    assert!(extra < MOST_EXTRA_BYTES, "{extra} bytes");
    println!("planned {} runs in {} shards with {extra} extra bytes", plan.total_runs(), plan.total_shards());
}
