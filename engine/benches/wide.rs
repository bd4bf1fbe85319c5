//! A sweep of 10,000 parameter sets over 200,000 bars on two threads, and the most memory it takes.

mod common;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use common::Wide;

const SETS: usize = 10_000;
const BARS: usize = 200_000;
const THREADS: usize = 2;

fn wide(criterion: &mut Criterion) {
    let wide = Wide::new(SETS, BARS, THREADS);
    let mut group = criterion.benchmark_group("wide");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).throughput(Throughput::Elements(wide.runs() as u64));
    group.bench_function(format!("{SETS} sets x {BARS} bars, {THREADS} threads"), |bencher| {
        bencher.iter(|| wide.sweep())
    });
    group.finish();
    println!("most memory: {} MB", common::peak_megabytes());
}

criterion_group!(benches, wide);
criterion_main!(benches);
