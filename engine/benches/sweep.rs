//! What the runs of a sweep cost: walking the grid, and runs which share their columns.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indexmap::IndexMap;
use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid, Random};
use jetsweep_engine::template::{Template, builtin};

const SPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/sample/SPY.csv");

/// Memory for shared columns, as a worker gives a symbol.
const BUDGET: usize = 16 << 20;

fn range(from: f64, to: f64, step: f64) -> Axis {
    Axis::Range { from, to, step }
}

fn grid(template: &Template, axes: &[(&str, Axis)]) -> Grid {
    let axes: IndexMap<String, Axis> = axes.iter().map(|(name, axis)| ((*name).to_owned(), axis.clone())).collect();
    Grid::new(template, axes)
}

fn walking(criterion: &mut Criterion) {
    const POINTS: u64 = 100_000;
    let template = builtin("macd_cross").unwrap();
    let axes = [("fast", range(2.0, 200.0, 1.0)), ("slow", range(2.0, 500.0, 1.0)), ("signal", range(1.0, 100.0, 1.0))];
    let all = grid(&template, &axes);
    let filtered = all.clone().with_where(Some("fast * 2 <= slow and signal < slow".to_owned()));
    let random = all.clone().with_random(Some(Random { count: u64::MAX, seed: 1 }));
    let mut group = criterion.benchmark_group("walk");
    group.throughput(Throughput::Elements(POINTS));
    for (name, grid) in [("template's where", all), ("both wheres", filtered), ("random", random)] {
        let points = grid.points(&template).unwrap();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut walk = points.walk(0, 0);
                // Raw points, since those which `where` leaves out cost as much.
                while walk.cursor() < POINTS {
                    black_box(walk.next_point());
                }
            });
        });
    }
    group.finish();
}

fn runs(criterion: &mut Criterion) {
    let bars = Arc::new(Bars::read_csv(File::open(SPY).unwrap(), "SPY.csv").unwrap());
    let execution = Execution { commission: 0.001, ..Execution::default() };
    let mut group = criterion.benchmark_group("runs");
    for (name, axes) in [
        ("sma_cross", vec![("fast", range(5.0, 50.0, 1.0)), ("slow", range(20.0, 200.0, 5.0))]),
        ("ema_cross", vec![("fast", range(5.0, 50.0, 1.0)), ("slow", range(20.0, 200.0, 5.0))]),
        (
            "rsi_reversion",
            vec![
                ("period", range(2.0, 30.0, 1.0)),
                ("lower", range(10.0, 40.0, 5.0)),
                ("upper", range(60.0, 90.0, 5.0)),
            ],
        ),
        ("bollinger_reversion", vec![("period", range(5.0, 100.0, 1.0)), ("k", range(0.5, 3.0, 0.25))]),
        (
            "macd_cross",
            vec![("fast", range(5.0, 20.0, 1.0)), ("slow", range(21.0, 40.0, 1.0)), ("signal", range(3.0, 12.0, 3.0))],
        ),
    ] {
        let template = builtin(name).unwrap();
        let points = grid(&template, &axes).points(&template).unwrap();
        let strategy = Strategy::new(&template, &execution).unwrap();
        group.throughput(Throughput::Elements(points.count()));
        group.sample_size(10);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut columns = Columns::new(Arc::clone(&bars), BUDGET);
                let mut walk = points.walk(0, 0);
                while let Some((_, values)) = walk.next_point() {
                    black_box(strategy.run(&mut columns, values).unwrap());
                }
            });
        });
    }
    group.finish();
}

fn indicators(criterion: &mut Criterion) {
    let bars = Arc::new(Bars::read_csv(File::open(SPY).unwrap(), "SPY.csv").unwrap());
    let mut group = criterion.benchmark_group("first run");
    for rule in [
        "close > open",
        "sma(close, 50) > 0",
        "ema(close, 50) > 0",
        "rsi(close, 14) > 0",
        "stddev(close, 20) > 0",
        "highest(high, 50) > 0",
    ] {
        let text = format!("name = \"one\"\n[long]\nenter = \"{rule}\"\nexit = \"close < 0\"");
        let strategy = Strategy::new(&Template::from_toml(&text).unwrap(), &Execution::default()).unwrap();
        group.bench_function(rule, |bencher| {
            bencher.iter(|| strategy.run(&mut Columns::new(Arc::clone(&bars), BUDGET), &[]).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, walking, runs, indicators);
criterion_main!(benches);
