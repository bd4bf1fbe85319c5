//! The 1,590 moving-average crosses of `anchor.c` by the engine, on one thread, as one JSON line a way through a run.
//!
//! ```text
//! anchor BARS REPEATS FILE.csv      the last BARS bars of the file; the best of REPEATS passes over all runs
//! anchor wide SETS BARS THREADS     SETS parameter sets over BARS made-up bars, once
//! ```
//!
//! As in `anchor.c` the averages are there before a pass begins. Where the rules are true is computed within it, for
//! every run: no two of them have the same parameters.
//!
//! `engine/benches/anchor/run` builds and runs both in turns.

#[path = "../common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::simd::Simd;

use common::{ANCHOR_BARS, BUDGET, SPY, Wide};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize| -> usize { arguments[index].parse().unwrap() };
    match arguments.first().map(String::as_str) {
        None => compare(ANCHOR_BARS, 20, SPY),
        Some("wide") => wide(number(1), number(2), number(3)),
        Some(_) => compare(number(0), number(1), &arguments[2]),
    }
}

fn compare(count: usize, repeats: usize, file: &str) {
    let bars = common::last(&common::read(file), count);
    let pairs = common::pairs();
    let (plain, stopped) = (common::sma_cross(&common::plain()), common::sma_cross(&common::stopped()));
    let mut columns = Columns::new(Arc::clone(&bars), BUDGET);
    let trades = |columns: &mut Columns, strategy: &Strategy| -> f64 {
        let count = |pair: &[f64; 2]| strategy.run(columns, pair).unwrap().get(Metric::TradeCount).unwrap();
        pairs.iter().map(count).sum()
    };
    let totals = [trades(&mut columns, &plain), trades(&mut columns, &stopped)];
    assert_eq!(totals[0], totals[1], "the bar loop trades as the tables do");

    let mut best = [f64::INFINITY; 3];
    for _ in 0..repeats {
        let passes = [
            seconds(|| {
                for pair in &pairs {
                    black_box(plain.score(&mut columns, pair).unwrap());
                }
            }),
            seconds(|| {
                for pair in &pairs {
                    black_box(plain.run(&mut columns, pair).unwrap());
                }
            }),
            seconds(|| {
                for pair in &pairs {
                    black_box(stopped.run(&mut columns, pair).unwrap());
                }
            }),
        ];
        for (best, pass) in best.iter_mut().zip(passes) {
            *best = best.min(pass);
        }
    }
    let names = ["score o_trades", "all_metrics o_trades", "all_metrics bar_loop"];
    for (name, best) in names.iter().zip(best) {
        println!(
            "{{\"lib\":\"jetsweep {name}\",\"simd\":\"{}\",\"n_bars\":{},\"n_runs\":{},\"us_per_run\":{:.4},\"trades\":{}}}",
            Simd::in_use().name(),
            bars.len(),
            pairs.len(),
            best / pairs.len() as f64 * 1e6,
            totals[0],
        );
    }
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn wide(sets: usize, bars: usize, threads: usize) {
    let wide = Wide::new(sets, bars, threads);
    let started = Instant::now();
    let trades = wide.sweep();
    let elapsed = started.elapsed().as_secs_f64();
    println!(
        "{{\"lib\":\"jetsweep wide\",\"simd\":\"{}\",\"n_bars\":{bars},\"n_runs\":{},\"threads\":{threads},\"seconds\":{elapsed:.3},\"trades\":{trades},\"peak_mb\":{}}}",
        Simd::in_use().name(),
        wide.runs(),
        common::peak_megabytes(),
    );
}
