//! One run of a moving-average cross on SPY, all metrics: the simulation alone, its masks being shared work.

use std::fs::File;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::execution::Execution;
use jetsweep_engine::mask::Mask;
use jetsweep_engine::simulation::{Signals, replay, simulate};

const SPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/sample/SPY.csv");

/// `sma(close, n)` by prefix sums; NaN before its first valid bar.
fn sma(close: &[f64], n: usize) -> Vec<f64> {
    let mut sums = vec![0.0];
    for value in close {
        sums.push(sums.last().unwrap() + value);
    }
    (0..close.len()).map(|t| if t + 1 < n { f64::NAN } else { (sums[t + 1] - sums[t + 1 - n]) / n as f64 }).collect()
}

/// The last `count` of `bars`.
fn last(bars: &Bars, count: usize) -> Bars {
    let from = bars.len() - count;
    let columns = BarsColumns {
        timestamps: bars.timestamps()[from..].to_vec(),
        open: bars.open()[from..].to_vec(),
        high: bars.high()[from..].to_vec(),
        low: bars.low()[from..].to_vec(),
        close: bars.close()[from..].to_vec(),
        volume: bars.volume()[from..].to_vec(),
    };
    Bars::from_columns(columns, "SPY").unwrap()
}

fn run(criterion: &mut Criterion) {
    let file = Path::new(SPY);
    let all = Bars::read_csv(File::open(file).unwrap(), "SPY.csv").unwrap();
    let execution = Execution { commission: 0.001, ..Execution::default() };
    let mut group = criterion.benchmark_group("sma_cross");
    for bars in [last(&all, 2520), all.clone()] {
        // A few pairs in turn, so that the branch predictor does not learn one run by heart.
        let masks: Vec<(Mask, Mask)> =
            [(5, 20), (10, 30), (20, 50), (25, 100), (40, 150), (50, 200), (8, 45), (15, 80)]
                .map(|(fast, slow)| (sma(bars.close(), fast), sma(bars.close(), slow)))
                .iter()
                .map(|(fast, slow)| {
                    let enter = Mask::from_fn(bars.len(), |t| fast[t] > slow[t]);
                    let exit = Mask::from_fn(bars.len(), |t| fast[t] < slow[t]);
                    (enter, exit)
                })
                .collect();
        group.throughput(Throughput::Elements((bars.len() * masks.len()) as u64));
        group.bench_function(format!("metrics/{} bars x {}", bars.len(), masks.len()), |bencher| {
            bencher.iter(|| {
                for (enter, exit) in &masks {
                    black_box(simulate(&bars, Signals::long(enter, exit), &execution));
                }
            });
        });
        group.throughput(Throughput::Elements(bars.len() as u64));
        let (enter, exit) = &masks[1];
        group.bench_function(format!("replay/{} bars", bars.len()), |bencher| {
            bencher.iter(|| black_box(replay(&bars, Signals::long(enter, exit), &execution)));
        });
    }
    group.finish();

    let text = std::fs::read(file).unwrap();
    let mut group = criterion.benchmark_group("bars");
    group.throughput(Throughput::Elements(all.len() as u64));
    group.bench_function("read_csv", |bencher| bencher.iter(|| Bars::read_csv(text.as_slice(), "SPY.csv").unwrap()));
    group.bench_function("digest", |bencher| bencher.iter(|| all.digest()));
    group.finish();
}

criterion_group!(benches, run);
criterion_main!(benches);
