//! The database and the log it is made from: older copies, a stream that is made anew, a second consolidator, rebuild.

use jetsweep_tests::Done;

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};
use crate::support::{Row, text};

impl Cluster {
    fn rebuild(&self) -> impl Future<Output = Done> {
        let (url, state) = (self.server.url(), self.state.path());
        let args = ["consolidator", "rebuild", "--nats", &url, "--state", text(&state), "--output", "json"];
        jetsweep_tests::jetsweep(args).done()
    }

    /// All tables but the position, which names the stream.
    async fn tables(&self) -> Vec<Row> {
        let mut all = Vec::new();
        for table in ["backtest_results", "shards", "batches"] {
            let sql =
                format!("SELECT '{table}' AS t, count(*) AS n, sum(hash(x)::HUGEINT)::VARCHAR AS h FROM {table} x");
            all.extend(self.rows(&sql).await);
        }
        all
    }
}

#[tokio::test]
async fn an_older_database_catches_up_and_a_rebuilt_one_is_the_same() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let database = cluster.state.path().join("results.duckdb");
    cluster.submit(Sweep::Small, "yesterday", &[]).await;
    cluster.is_whole(Sweep::Small, "yesterday").await;
    cluster.stop("consolidator").await.with_code(0);
    let copy = cluster.state.folder().join("copy.duckdb");
    std::fs::copy(&database, &copy).unwrap();
    cluster.serve("consolidator", "consolidator");
    cluster.submit(Sweep::Large, "today", &[]).await;
    // A second one on the same file says who has it.
    cluster.answers("consolidator").await;
    cluster.serve("second", "consolidator");
    let second = cluster.ended("second").await.with_code(1);
    assert!(second.stderr.contains("it is held by"), "{}", second.stderr);
    let held = cluster.rebuild().await.with_code(1);
    assert!(held.stderr.contains("it is held by"), "{}", held.stderr);
    cluster.is_whole(Sweep::Large, "today").await;
    let before = cluster.tables().await;

    cluster.kill("consolidator").await;
    let _ = std::fs::remove_file(database.with_extension("duckdb.wal"));
    std::fs::copy(&copy, &database).unwrap();
    cluster.serve("consolidator", "consolidator");
    cluster.answers("consolidator").await;
    cluster.catches_up(&before).await;

    cluster.stop("consolidator").await.with_code(0);
    let rebuilt = cluster.rebuild().await.json();
    assert_eq!((&rebuilt["batches"], &rebuilt["kept"]), (&2.into(), &serde_json::json!([])));
    std::fs::remove_file(rebuilt["old"].as_str().unwrap()).unwrap();
    cluster.serve("consolidator", "consolidator");
    cluster.answers("consolidator").await;
    assert_eq!(cluster.tables().await, before);
}

#[tokio::test]
async fn a_stream_that_is_deleted_and_made_anew_loses_no_row() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    cluster.submit(Sweep::Small, "old", &[]).await;
    cluster.is_whole(Sweep::Small, "old").await;
    let before = cluster.tables().await;
    let jetstream = async_nats::jetstream::new(cluster.server.connect().await);
    jetstream.delete_stream("JETSWEEP_RESULTS").await.unwrap();
    // The next service to start makes it again.
    cluster.kill("worker").await;
    cluster.serve("worker", "worker");
    jetsweep_tests::eventually("the stream to be made again", async || {
        jetstream.get_stream("JETSWEEP_RESULTS").await.ok().map(drop)
    })
    .await;
    cluster.submit(Sweep::Small, "new", &[]).await;
    cluster.is_whole(Sweep::Small, "new").await;
    cluster.is_whole(Sweep::Small, "old").await;
    cluster.stop("consolidator").await.with_code(0);
    let rebuilt = cluster.rebuild().await.json();
    assert_eq!((&rebuilt["batches"], &rebuilt["kept"]), (&1.into(), &serde_json::json!(["old"])));
    cluster.serve("consolidator", "consolidator");
    cluster.answers("consolidator").await;
    cluster.is_whole(Sweep::Small, "old").await;
    assert_eq!(before.len(), 3);
}

impl Cluster {
    async fn catches_up(&self, tables: &[Row]) {
        jetsweep_tests::eventually("the database to catch up", async || (self.tables().await == tables).then_some(()))
            .await;
        self.is_balanced().await;
    }
}
