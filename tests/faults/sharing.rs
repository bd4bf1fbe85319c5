//! How well a worker keeps to its share of the machine's cores. Needs them to itself: `scripts/measure-sharing`.

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
