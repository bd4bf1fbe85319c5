//! Cancelling a batch that nobody works on.

use jetsweep_shared::events::BatchState;

use crate::cluster::Cluster;
use crate::support::{LARGE_RUNS, example, ledger, status, text};

#[tokio::test]
async fn a_batch_without_workers_is_cancelled_whole() {
    let mut cluster = Cluster::new(&[]).await;
    cluster.serve("planner", "planner");
    cluster.serve("consolidator", "consolidator");
    cluster.answers("planner").await;
    let client = cluster.server.connect().await;

    let spec = example("large.toml");
    let args = ["submit", text(&spec), "--batch", "unwanted", "--output", "json"];
    assert_eq!(cluster.jetsweep(&args).done().await.json()["total"], LARGE_RUNS);
    status(&client, "unwanted", |status| status.state == BatchState::Running).await;

    let cancelled = cluster.jetsweep(&["cancel", "unwanted", "--output", "json"]).done().await.json();
    assert_eq!((&cancelled["state"], ledger(&cancelled)), (&"cancelled".into(), (LARGE_RUNS, [0, 0, 0, LARGE_RUNS])));
    let seen = status(&client, "unwanted", |status| status.state.is_terminal()).await;
    assert_eq!((seen.state, seen.cancelled, seen.done()), (BatchState::Cancelled, LARGE_RUNS, LARGE_RUNS));

    // A worker that comes now finds nothing left of it, and the next batch is as if it had never been.
    cluster.serve("worker", "worker");
    let spec = example("quickstart.toml");
    let args = ["submit", text(&spec), "--batch", "wanted", "--wait", "--output", "json"];
    let wanted = cluster.jetsweep(&args).done().await.json();
    assert_eq!(ledger(&wanted), (459, [459, 0, 0, 0]), "{}", cluster.logs());
    let summary = cluster.jetsweep(&["summary", "unwanted", "--output", "json"]).done().await.json();
    assert_eq!((&summary["state"], &summary["cancelled"]), (&"cancelled".into(), &LARGE_RUNS.into()));
}
