//! How well a worker keeps to its share of the machine's cores, which it needs to itself for that, and of its memory:
//! `scripts/measure-sharing`.

use std::time::Instant;

use crate::cluster::Cluster;

/// Share that the worker is given.
const SHARE: f64 = 0.8;

/// How far what it uses may be from that.
const TOLERANCE: f64 = 0.05;

/// The system's unit of CPU time, in seconds.
const TICK: f64 = 0.01;

/// How long the worker is left to find its pace, and then measured, in seconds.
const SETTLING: f64 = 5.0;
const MEASURED: f64 = 15.0;

/// So much work that the worker is not done before it is measured.
const SPEC: &str = r#"
name = "busy"
[data]
source = "data/sample/{symbol}.csv"
[universe]
symbols = ["AAPL", "AIG", "BAC", "EEM", "GOOG", "GOOGL", "IBM", "IWM", "SPY"]
[execution]
stop_loss = 0.05
[[strategy]]
template = "triple_sma"
fast = { from = 2, to = 60 }
middle = { from = 10, to = 120 }
slow = { from = 20, to = 200 }
"#;

/// CPU time of a process and its children that have ended, in seconds.
fn cpu_seconds(id: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("the worker runs");
    let (_, fields) = stat.rsplit_once(')').expect("a process has a name");
    let times = fields.split_ascii_whitespace().skip(11).take(4);
    times.map(|ticks| ticks.parse::<f64>().expect("a number") * TICK).sum()
}

/// The share of all cores that a process uses, over so many seconds.
async fn used(id: u32, seconds: f64) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let (since, before) = (Instant::now(), cpu_seconds(id));
    tokio::time::sleep(std::time::Duration::from_secs_f64(seconds)).await;
    (cpu_seconds(id) - before) / since.elapsed().as_secs_f64() / cores
}

#[tokio::test]
#[ignore = "needs the cores to itself: scripts/measure-sharing"]
async fn a_worker_uses_its_share_within_five_points() {
    let mut cluster = Cluster::new(&[("JETSWEEP_WORKER__MAX_CPU", "0.8")]).await;
    cluster.serve("planner", "planner");
    cluster.serve("worker", "worker");
    cluster.answers("planner").await;
    let spec = cluster.state.file("busy.toml", SPEC);
    cluster.jetsweep(&["submit", crate::support::text(&spec), "--batch", "busy"]).done().await.with_code(0);
    let worker = cluster.service("worker").id().expect("the worker runs");
    let settling = used(worker, SETTLING).await;
    let share = used(worker, MEASURED).await;
    println!(
        "max_cpu = {SHARE}: used {share:.3} of all cores over {MEASURED} s, after {settling:.3} in the first {SETTLING} s"
    );
    assert!((share - SHARE).abs() <= TOLERANCE, "{share}");
}

/// The memory that a worker is given, in MiB, and the slots that would like to have more.
const MEMORY: f64 = 200.0;
const SLOTS: &str = "8";

/// So many indicators that each slot would keep as many columns of them as it may.
const COLUMNS: &str = r#"
name = "columns"
[data]
source = "data/sample/{symbol}.csv"
[universe]
symbols = ["AAPL", "AIG", "BAC", "EEM", "IBM", "IWM", "SPY"]
[[strategy]]
width = { from = 10, to = 409 }
[strategy.template]
name = "many_filters"
params = { width = { default = 20, min = 2, max = 500 } }
[strategy.template.long]
enter = """
rsi(close, width) > 50 and adx(width) > 10 and cci(width) > -100 and mfi(width) > 40 and atr(width) < 0.1 * close
and close < bbands_upper(close, width, 2) and zscore(volume, width) > -2"""
exit = "close < lag(lowest(low, width), 1) or roc(close, width) < -5"
"#;

/// The most memory that a worker had which ran [`COLUMNS`], in MiB.
async fn most_memory(settings: &[(&'static str, &'static str)]) -> f64 {
    let settings = [&[("JETSWEEP_WORKER__SLOTS", SLOTS), ("JETSWEEP_PLANNER__SHARD_RUNS", "50")], settings].concat();
    let cluster = Cluster::with(&settings).await;
    let spec = cluster.state.file("columns.toml", COLUMNS);
    let submit = ["submit", crate::support::text(&spec), "--batch", "columns", "--wait"];
    cluster.jetsweep(&submit).done().await.with_code(0);
    let worker = cluster.service("worker").id().expect("the worker runs");
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("the worker runs");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its most memory");
    most.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

#[tokio::test]
#[ignore = "a measurement: scripts/measure-sharing"]
async fn a_worker_keeps_within_its_share_of_memory() {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as f64 * f64::from(info.mem_unit.max(1)) / (1 << 20) as f64;
    // Lives as long as the program that measures.
    let share: &'static str = format!("{:.6}", MEMORY / machine).leak();
    let unbounded = most_memory(&[]).await;
    let bounded = most_memory(&[("JETSWEEP_WORKER__MAX_MEMORY", share)]).await;
    println!(
        "max_memory = {share}, {MEMORY} MiB: a worker with {SLOTS} slots had {bounded:.0} MiB, without it {unbounded:.0} MiB"
    );
    assert!(bounded <= MEMORY && MEMORY < unbounded, "{bounded} and {unbounded}");
}
