use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexMap;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid};
use jetsweep_engine::template::builtin;
use jetsweep_shared::spec::{DataRef, ResolvedSpec, StrategySpec};

use super::{PlanOptions, plan};

fn options() -> PlanOptions {
    PlanOptions {
        data_root: None,
        shard_runs: None,
        shard_work: Duration::from_millis(100),
        max_runs: 100_000_000,
        max_payload: 1024 * 1024,
    }
}

fn strategy(fast: Axis, slow: Axis, where_: Option<&str>) -> StrategySpec {
    let template = builtin("sma_cross").unwrap();
    let axes = IndexMap::from([("fast".to_owned(), fast), ("slow".to_owned(), slow)]);
    let grid = Grid::new(&template, axes).with_where(where_.map(str::to_owned));
    StrategySpec { name: "sma_cross".to_owned(), template, grid }
}

fn range(from: f64, to: f64) -> Axis {
    Axis::Range { from, to, step: 1.0 }
}

fn spec(symbols: &[&str], strategies: Vec<StrategySpec>) -> ResolvedSpec {
    ResolvedSpec {
        name: "test".to_owned(),
        data: DataRef { source: "{symbol}.csv".to_owned(), from: None, to: None },
        symbols: symbols.iter().map(|symbol| symbol.parse().unwrap()).collect(),
        asset_class: None,
        strategies,
        execution: Execution::default(),
        validation: None,
    }
}

#[test]
fn shards_start_where_a_walk_from_the_beginning_comes_by() {
    let strategy = strategy(range(2.0, 21.0), range(10.0, 29.0), Some("fast * 2 <= slow"));
    let spec = spec(&["A", "B", "C"], vec![strategy.clone(), strategy.clone()]);
    let plan = plan(&spec, &PlanOptions { shard_runs: Some(7), ..options() }).unwrap();

    let points = strategy.grid.points(&strategy.template).unwrap();
    let mut walk = points.walk(0, 0);
    let mut all = Vec::new();
    while let Some((cursor, values)) = walk.next_point() {
        all.push((cursor, values.to_vec()));
    }
    assert!(all.len() > 100, "the condition leaves some points");
    assert!((all.len() as u64) < points.raw_points(), "but not all");
    assert_eq!(plan.total_runs(), 3 * 2 * all.len() as u64);

    for shard in plan.shards() {
        let mut walk = points.walk(shard.cursor, shard.first_point);
        for expected in &all[shard.first_point as usize..][..shard.runs.count as usize] {
            let (cursor, values) = walk.next_point().unwrap();
            assert_eq!((cursor, values), (expected.0, expected.1.as_slice()), "{shard:?}");
        }
    }
}

#[test]
fn shards_are_bounded_by_work_and_by_result_size() {
    let spec = spec(&["A"], vec![strategy(range(2.0, 101.0), range(101.0, 300.0), None)]);
    let shard_runs = |options: &PlanOptions| plan(&spec, options).unwrap().strategies[0].shard_runs;
    // Runs over 5,000 bars are quick: the size of the result decides.
    let by_size = shard_runs(&options());
    assert!((300..500).contains(&by_size), "{by_size}");

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("A.csv"), vec![b'x'; 60 * 200_000]).unwrap();
    let by_work = shard_runs(&PlanOptions { data_root: Some(folder.path().to_owned()), ..options() });
    assert!((20..100).contains(&by_work), "{by_work} runs over 200,000 bars");

    let root_without_file = PlanOptions { data_root: Some(PathBuf::from("/nowhere")), ..options() };
    assert_eq!(shard_runs(&root_without_file), by_size, "a missing file changes nothing");
    assert_eq!(shard_runs(&PlanOptions { shard_runs: Some(3), ..options() }), 3);
}

#[test]
fn a_condition_that_nothing_satisfies_is_a_problem() {
    let empty = strategy(range(20.0, 30.0), range(2.0, 10.0), None);
    let fine = strategy(range(2.0, 5.0), range(20.0, 30.0), None);
    let problems = plan(&spec(&["A"], vec![fine, empty]), &options()).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].at, "strategy[1]");
    assert!(problems[0].message.contains("none of the 99 points"), "{}", problems[0]);
}

#[test]
fn too_many_runs_are_a_problem() {
    let symbols = ["A", "B"];
    let strategies = vec![strategy(range(2.0, 101.0), range(102.0, 301.0), None)];
    let spec = spec(&symbols, strategies);
    assert!(plan(&spec, &PlanOptions { max_runs: 40_000, ..options() }).is_ok());
    let problems = plan(&spec, &PlanOptions { max_runs: 39_999, ..options() }).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("more than 39999 runs"), "{}", problems[0]);
}

#[test]
fn a_plan_that_does_not_fit_its_event_is_a_problem() {
    let grid = || vec![strategy(range(2.0, 200.0), range(201.0, 300.0), None)];
    let tight = PlanOptions { max_payload: 64 * 1024, shard_runs: Some(1), ..options() };
    let problems = plan(&spec(&["A"], grid()), &tight).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("at most 65536 fit into one message"), "{}", problems[0]);

    // So many shards that they are not even collected.
    let tighter = PlanOptions { max_payload: 8 * 1024, ..tight };
    let problems = plan(&spec(&["A"], grid()), &tighter).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].message.contains("too many shards"), "{}", problems[0]);
}

#[test]
fn a_job_that_is_too_large_is_a_problem_of_its_strategy() {
    let template = builtin("bollinger_reversion").unwrap();
    let many = Axis::List((0..20_000).map(|i| 1.0 + f64::from(i) / 20_000.0).collect());
    let grid = Grid::new(&template, IndexMap::from([("k".to_owned(), many)]));
    let large = StrategySpec { name: "large".to_owned(), template, grid };
    let problems = plan(&spec(&["A"], vec![large]), &options()).unwrap_err();
    assert_eq!(problems[0].at, "strategy[0]");
    assert!(problems[0].message.contains("shorten the lists"), "{}", problems[0]);
}
