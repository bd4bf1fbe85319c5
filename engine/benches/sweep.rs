//! What the runs of a sweep cost: walking the grid, and runs which share their columns.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use indexmap::IndexMap;
use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid, Random};
use jetsweep_engine::template::{Parameter, Template, builtin, builtins};

use common::{ANCHOR_BARS, BUDGET, SPY};

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

/// The sweep of the anchor from scratch, indicators included.
fn anchor(criterion: &mut Criterion) {
    let bars = common::last(&common::read(SPY), ANCHOR_BARS);
    let pairs = common::pairs();
    let (plain, stopped) = (common::sma_cross(&common::plain()), common::sma_cross(&common::stopped()));
    let sweep = |run: &dyn Fn(&mut Columns, &[f64; 2])| {
        let mut columns = Columns::new(Arc::clone(&bars), BUDGET);
        pairs.iter().for_each(|pair| run(&mut columns, pair));
    };
    let all = |columns: &mut Columns, pair: &[f64; 2]| _ = black_box(plain.run(columns, pair).unwrap());
    let four = |columns: &mut Columns, pair: &[f64; 2]| _ = black_box(plain.score(columns, pair).unwrap());
    let bar_by_bar = |columns: &mut Columns, pair: &[f64; 2]| _ = black_box(stopped.run(columns, pair).unwrap());
    let mut group = criterion.benchmark_group(format!("{} pairs over {ANCHOR_BARS} bars", pairs.len()));
    group.sample_size(50).throughput(Throughput::Elements(pairs.len() as u64));
    group.bench_function("all metrics", |bencher| bencher.iter(|| sweep(&all)));
    group.bench_function("the anchor's four", |bencher| bencher.iter(|| sweep(&four)));
    group.bench_function("bar by bar", |bencher| bencher.iter(|| sweep(&bar_by_bar)));
    group.finish();
}

/// Around the default: three quarters of it, itself and five quarters, as far as the bounds allow.
fn axis(parameter: &Parameter) -> Axis {
    let around = [0.75, 1.0, 1.25].map(|factor| {
        let value = (parameter.default * factor).clamp(parameter.min, parameter.max);
        if parameter.whole { value.round() } else { value }
    });
    let mut values = around.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    Axis::List(values)
}

/// Each template over all bars of the sample, indicators included: a few dozen parameter sets around its defaults.
fn templates(criterion: &mut Criterion) {
    let bars = common::read(SPY);
    let mut group = criterion.benchmark_group("templates");
    for template in builtins() {
        let axes = template.params().iter().map(|(name, parameter)| (name.clone(), axis(parameter))).collect();
        let points = Grid::new(&template, axes).points(&template).unwrap();
        let strategy = Strategy::new(&template, &common::plain()).unwrap();
        group.throughput(Throughput::Elements(points.count()));
        group.sample_size(20);
        group.bench_function(template.name(), |bencher| {
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
    let bars = common::read(SPY);
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

criterion_group!(benches, walking, anchor, templates, indicators);
criterion_main!(benches);
