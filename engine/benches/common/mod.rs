//! What the benches share: bars, the sweeps they run, and how much memory that takes.
// Each bench is a program of its own and uses a part of it.
#![allow(dead_code)]

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::template::builtin;

/// The sample that benches run over: daily bars of SPY.
pub(crate) const SPY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../data/sample/SPY.csv");

/// Bars of the anchor.
pub(crate) const ANCHOR_BARS: usize = 2520;

/// Memory for shared columns, as a worker gives a symbol.
pub(crate) const BUDGET: usize = 64 << 20;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// All bars of a file.
pub(crate) fn read(file: &str) -> Arc<Bars> {
    Arc::new(Bars::read_csv(File::open(file).unwrap(), file).unwrap())
}

/// The last `count` of `bars`.
pub(crate) fn last(bars: &Bars, count: usize) -> Arc<Bars> {
    let from = bars.len() - count;
    let columns = BarsColumns {
        timestamps: bars.timestamps()[from..].to_vec(),
        open: bars.open()[from..].to_vec(),
        high: bars.high()[from..].to_vec(),
        low: bars.low()[from..].to_vec(),
        close: bars.close()[from..].to_vec(),
        volume: bars.volume()[from..].to_vec(),
    };
    Arc::new(Bars::from_columns(columns, "the last bars").unwrap())
}

/// `count` bars of a random walk, the same every time.
pub(crate) fn made_up(count: usize) -> Arc<Bars> {
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
    Arc::new(Bars::from_columns(columns, "made up").unwrap())
}

/// The parameter sets of `anchor.c`, in its order.
pub(crate) fn pairs() -> Vec<[f64; 2]> {
    let slow = (20..=200).step_by(5);
    let pairs = slow.flat_map(|slow| (5..=50).filter(move |fast| *fast < slow).map(move |fast| [fast, slow]));
    pairs.map(|pair| pair.map(f64::from)).collect()
}

/// The execution rules of the anchor: long, all in, at the next open, 0.1% a side.
pub(crate) fn plain() -> Execution {
    Execution { commission: 0.001, ..Execution::default() }
}

/// The same with a stop which no price of the sample reaches: it only makes runs depend on their path.
pub(crate) fn stopped() -> Execution {
    Execution { stop_loss: Some(0.999), ..plain() }
}

/// Crosses of two averages under some execution rules.
pub(crate) fn sma_cross(execution: &Execution) -> Strategy {
    Strategy::new(&builtin("sma_cross").unwrap(), execution).unwrap()
}

/// 100 fast averages with each of many slow ones, all metrics of each run.
#[derive(Debug)]
pub(crate) struct Wide {
    bars: Arc<Bars>,
    slow_count: usize,
    threads: usize,
}

impl Wide {
    /// At least `sets` parameter sets over `bars` made-up bars.
    pub(crate) fn new(sets: usize, bars: usize, threads: usize) -> Self {
        Self { bars: made_up(bars), slow_count: sets.div_ceil(Self::FAST), threads }
    }

    const FAST: usize = 100;

    pub(crate) fn runs(&self) -> usize {
        Self::FAST * self.slow_count
    }

    /// Runs all of them from scratch and gives the number of trades.
    pub(crate) fn sweep(&self) -> f64 {
        /// Fast averages that are met by all slow ones before the next group is: they stay in the machine's cache.
        const GROUP: usize = 8;
        let strategy = sma_cross(&plain());
        let next_group = AtomicUsize::new(0);
        let work = || {
            let mut columns = Columns::new(Arc::clone(&self.bars), BUDGET);
            let mut trades = 0.0;
            loop {
                let first = next_group.fetch_add(GROUP, Ordering::Relaxed);
                if first >= Self::FAST {
                    return trades;
                }
                for slow in 0..self.slow_count {
                    for fast in first..Self::FAST.min(first + GROUP) {
                        let values = [(5 + fast) as f64, (120 + 5 * slow) as f64];
                        let metrics = black_box(strategy.run(&mut columns, &values).unwrap());
                        trades += metrics.get(Metric::TradeCount).unwrap();
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).sum()
        })
    }
}

/// The most memory the process has had, in MB; 0 where the system does not tell.
pub(crate) fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()).unwrap_or(0) / 1024
}
