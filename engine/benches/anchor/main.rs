//! The 1,590 moving-average crosses of `anchor.c` by the engine, on one thread, as one JSON line a way through a run.
//!
//! ```text
//! anchor BARS REPEATS FILE.csv      the last BARS bars of the file; the best of REPEATS passes over all runs
//! anchor wide SETS BARS THREADS     SETS parameter sets over BARS made-up bars, once
//! ```
//!
//! `engine/benches/anchor/run` builds and runs both in turns.

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::simd::Simd;
use jetsweep_engine::template::builtin;

/// Memory for shared columns, enough for all averages of the sweep.
const BUDGET: usize = 64 << 20;

/// Memory for shared columns in a wide sweep, a thread.
const WIDE_BUDGET: usize = 64 << 20;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize| -> usize { arguments[index].parse().unwrap() };
    match arguments.first().map(String::as_str) {
        None => compare(2520, 20, concat!(env!("CARGO_MANIFEST_DIR"), "/../data/sample/SPY.csv")),
        Some("wide") => wide(number(1), number(2), number(3)),
        Some(_) => compare(number(0), number(1), &arguments[2]),
    }
}

/// The parameter sets of `anchor.c`, in its order.
fn pairs() -> Vec<[f64; 2]> {
    let slow = (20..=200).step_by(5);
    let pairs = slow.flat_map(|slow| (5..=50).filter(move |fast| *fast < slow).map(move |fast| [fast, slow]));
    pairs.map(|pair| pair.map(f64::from)).collect()
}

fn strategy(execution: Execution) -> Strategy {
    Strategy::new(&builtin("sma_cross").unwrap(), &execution).unwrap()
}

fn compare(count: usize, repeats: usize, file: &str) {
    let all = Bars::read_csv(File::open(file).unwrap(), file).unwrap();
    let bars = Arc::new(last(&all, count));
    let pairs = pairs();
    let plain = Execution { commission: 0.001, ..Execution::default() };
    // A stop which no price of the sample reaches: it only makes runs depend on their path.
    let stopped = Execution { stop_loss: Some(0.999), ..plain.clone() };
    let (plain, stopped) = (strategy(plain), strategy(stopped));
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

/// `count` bars of a random walk, the same every time.
fn made_up(count: usize) -> Bars {
    let mut state = 1_u64;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut columns = BarsColumns::default();
    let mut price = 100.0;
    for t in 0..count {
        let open = price;
        price *= 1.0 + 0.01 * (uniform() + uniform() + uniform() - 1.5);
        columns.timestamps.push(t as i64 * DAY_MS / 24);
        columns.open.push(open);
        columns.high.push(open.max(price) * 1.001);
        columns.low.push(open.min(price) * 0.999);
        columns.close.push(price);
        columns.volume.push(1000.0);
    }
    Bars::from_columns(columns, "made up").unwrap()
}

/// 100 fast averages with each of many slow ones, all metrics of each run.
fn wide(sets: usize, count: usize, threads: usize) {
    /// Fast averages that are met by all slow ones before the next group is: they stay in the machine's cache.
    const GROUP: usize = 8;
    const FAST: usize = 100;
    let bars = Arc::new(made_up(count));
    let strategy = strategy(Execution { commission: 0.001, ..Execution::default() });
    let slow_count = sets.div_ceil(FAST);
    let started = Instant::now();
    let next_group = AtomicUsize::new(0);
    let work = || {
        let mut columns = Columns::new(Arc::clone(&bars), WIDE_BUDGET);
        let mut trades = 0.0;
        loop {
            let first = next_group.fetch_add(GROUP, Ordering::Relaxed);
            if first >= FAST {
                return trades;
            }
            for slow in 0..slow_count {
                for fast in first..FAST.min(first + GROUP) {
                    let values = [(5 + fast) as f64, (120 + 5 * slow) as f64];
                    let metrics = strategy.run(&mut columns, &values).unwrap();
                    trades += metrics.get(Metric::TradeCount).unwrap();
                }
            }
        }
    };
    let trades: f64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    let elapsed = started.elapsed().as_secs_f64();
    println!(
        "{{\"lib\":\"jetsweep wide\",\"simd\":\"{}\",\"n_bars\":{count},\"n_runs\":{},\"threads\":{threads},\"seconds\":{elapsed:.3},\"trades\":{trades},\"peak_mb\":{}}}",
        Simd::in_use().name(),
        slow_count * FAST,
        peak_megabytes(),
    );
}

/// The most memory the process has had, in MB; 0 where the system does not tell.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}
