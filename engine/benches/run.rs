//! What one run costs, by each way through it, and what reading its bars does.

mod common;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;

use common::{ANCHOR_BARS, BUDGET, SPY};

fn one_run(criterion: &mut Criterion) {
    // A few pairs in turn, so that the branch predictor does not learn one run by heart.
    const PAIRS: [[f64; 2]; 8] = [
        [5.0, 20.0],
        [10.0, 30.0],
        [20.0, 50.0],
        [25.0, 100.0],
        [40.0, 150.0],
        [50.0, 200.0],
        [8.0, 45.0],
        [15.0, 80.0],
    ];
    let all = common::read(SPY);
    let (plain, stopped) = (common::sma_cross(&common::plain()), common::sma_cross(&common::stopped()));
    for bars in [common::last(&all, ANCHOR_BARS), Arc::clone(&all)] {
        let mut columns = Columns::new(Arc::clone(&bars), BUDGET);
        let mut pairs = PAIRS.iter().cycle();
        let mut next = move || pairs.next().expect("a cycle goes on");
        let mut group = criterion.benchmark_group(format!("one run over {} bars", bars.len()));
        group.throughput(Throughput::Elements(bars.len() as u64));
        group.bench_function("all metrics", |bencher| {
            bencher.iter(|| plain.run(&mut columns, black_box(next())).unwrap());
        });
        group.bench_function("the anchor's four", |bencher| {
            bencher.iter(|| plain.score(&mut columns, black_box(next())).unwrap());
        });
        group.bench_function("bar by bar", |bencher| {
            bencher.iter(|| stopped.run(&mut columns, black_box(next())).unwrap());
        });
        group.bench_function("with trades and equity", |bencher| {
            bencher.iter(|| plain.replay(&mut columns, black_box(next())).unwrap());
        });
        group.finish();
    }
}

fn bars(criterion: &mut Criterion) {
    let text = std::fs::read(SPY).unwrap();
    let bars = common::read(SPY);
    let mut group = criterion.benchmark_group("bars");
    group.throughput(Throughput::Elements(bars.len() as u64));
    group.bench_function("read_csv", |bencher| bencher.iter(|| Bars::read_csv(text.as_slice(), "SPY.csv").unwrap()));
    group.bench_function("digest", |bencher| bencher.iter(|| bars.digest()));
    group.finish();
}

criterion_group!(benches, one_run, bars);
criterion_main!(benches);
