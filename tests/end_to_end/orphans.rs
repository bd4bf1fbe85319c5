//! A worker that is killed takes the child with it that ran a redelivered job.

use std::fmt::Write;
use std::time::{Duration, Instant};

use jetsweep_tests::{eventually, processes_naming};

use crate::cluster::Cluster;
use crate::support::text;

/// Bars of the symbol: enough that its job takes far longer than [`SOON`].
const BARS: u32 = 200_000;

/// How long the child of a killed worker may live on.
const SOON: Duration = Duration::from_secs(5);

/// One job of 999 runs, each with indicators of its own.
const SPEC: &str = r#"name = "heavy"
[data]
source = "{symbol}.csv"
[universe]
symbols = ["MINUTES"]
[[strategy]]
length = { from = 2, to = 1000 }
[strategy.template]
name = "heavy"
[strategy.template.params]
length = { default = 2, min = 2, max = 1000 }
[strategy.template.long]
enter = "stddev(close, length) > 1 and wma(close, length) > ema(close, length) and rsi(close, length) > atr(length)"
exit = "zscore(close, length) < cci(length) and willr(length) < highest(high, length) and lowest(low, length) > 0"
"#;

/// Bars of one minute each that go up and down.
fn bars() -> String {
    let mut text = String::from("date,open,high,low,close,volume\n");
    for minute in 0..BARS {
        let (day, hour, minute_of_hour) = (minute / 1440, minute / 60 % 24, minute % 60);
        let (year, month, day) = (2000 + day / 336, 1 + day / 28 % 12, 1 + day % 28);
        let close = 100 + minute % 7 + minute % 11;
        let (high, low) = (close + 2, close - 2);
        let time = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute_of_hour:02}:00");
        writeln!(text, "{time},{close},{high},{low},{close},{minute}").unwrap();
    }
    text
}

#[tokio::test]
async fn the_child_of_a_killed_worker_ends_with_it() {
    let settings = [
        ("JETSWEEP_PLANNER__SHARD_RUNS", "1000"),
        ("JETSWEEP_WORKER__SLOTS", "1"),
        ("JETSWEEP_WORKER__ACK_WAIT_SECONDS", "1"),
    ];
    let mut cluster = Cluster::new(&settings).await;
    let spec = cluster.state.file("heavy.toml", SPEC);
    cluster.state.file("MINUTES.csv", bars());
    let root = cluster.state.folder().to_owned();
    let children = || processes_naming(&root).into_iter().filter(|line| line.contains(" run-job ")).collect::<Vec<_>>();
    cluster.serve("planner", "planner");
    cluster.answers("planner").await;
    cluster.jetsweep(&["submit", text(&spec), "--batch", "heavy"]).done().await.with_code(0);

    // The first worker has the job and dies; the second one gets it and gives it to a child.
    cluster.serve_with("first", &["worker", "--data", text(&root)]);
    cluster.takes_jobs(1).await;
    cluster.kill("first").await;
    cluster.serve_with("second", &["worker", "--data", text(&root)]);
    eventually("a child with the job", async || (!children().is_empty()).then_some(())).await;

    cluster.kill("second").await;
    let since = Instant::now();
    eventually("the child to end", async || children().is_empty().then_some(())).await;
    assert!(since.elapsed() < SOON, "it ended after {:?}", since.elapsed());
}
