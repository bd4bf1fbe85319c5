//! The one check of every test here.

use jetsweep_shared::events::BatchState;

use crate::cluster::Cluster;
use crate::support::{LARGE_RUNS, Row, SMALL_RUNS, example, fingerprint, rows, text, undisturbed, undisturbed_small};

/// Many small shards, few of them queued: everybody has something to do all the time. What nobody shows a sign of life
/// for is given to another one soon.
pub(crate) const SETTINGS: [(&str, &str); 5] = [
    ("JETSWEEP_PLANNER__SHARD_RUNS", "20"),
    ("JETSWEEP_PLANNER__QUEUE_DEPTH", "50"),
    ("JETSWEEP_WORKER__SLOTS", "1"),
    ("JETSWEEP_WORKER__ACK_WAIT_SECONDS", "2"),
    ("JETSWEEP_WORKER__DRAIN_SECONDS", "5"),
];

/// A sweep with known rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sweep {
    Small,
    Large,
}

impl Sweep {
    fn file(self) -> &'static str {
        match self {
            Self::Small => "quickstart.toml",
            Self::Large => "large.toml",
        }
    }

    pub(crate) fn runs(self) -> u64 {
        match self {
            Self::Small => SMALL_RUNS,
            Self::Large => LARGE_RUNS,
        }
    }

    async fn undisturbed(self) -> &'static Row {
        match self {
            Self::Small => undisturbed_small().await,
            Self::Large => undisturbed().await,
        }
    }
}

impl Cluster {
    /// Submits a sweep to whoever is there.
    pub(crate) async fn submit(&self, sweep: Sweep, batch: &str, args: &[&str]) {
        let spec = example(sweep.file());
        let submit = [&["submit", text(&spec), "--batch", batch], args].concat();
        self.jetsweep(&submit).done().await.with_code(0);
    }

    /// Waits for the end of a batch, and checks that each run has succeeded once, with the row of an undisturbed run.
    pub(crate) async fn is_whole(&self, sweep: Sweep, batch: &str) {
        let ended = self.ends(batch).await;
        let counts = [ended.succeeded, ended.failed, ended.dead, ended.cancelled];
        let expected = (BatchState::Completed, sweep.runs(), [sweep.runs(), 0, 0, 0]);
        assert_eq!((ended.state, ended.total_runs, counts), expected, "{batch}: {}", self.logs());
        self.answers("consolidator").await;
        assert_eq!(&self.rows(&fingerprint(batch)).await[0], sweep.undisturbed().await, "{batch}");
        self.is_balanced().await;
    }

    /// Rows of a query.
    pub(crate) async fn rows(&self, sql: &str) -> Vec<Row> {
        rows(self.jetsweep(&["query", sql, "--output", "json"]).done().await)
    }

    /// The ledger of every batch: what it says is what its rows and markers are, and nothing is there twice.
    pub(crate) async fn is_balanced(&self) {
        let off = self
            .rows(
                "SELECT b.batch_id, b.total_runs, b.succeeded, b.failed, b.dead, b.cancelled, r.* EXCLUDE (batch_id)
                 FROM batches b LEFT JOIN (
                     SELECT batch_id, count(*) AS rows, count(DISTINCT run) AS runs, max(run) AS last,
                         count(*) FILTER (WHERE status = 'succeeded') AS rows_succeeded,
                         count(*) FILTER (WHERE status = 'failed') AS rows_failed,
                         count(*) FILTER (WHERE status = 'dead') AS rows_dead
                     FROM backtest_results GROUP BY batch_id) r USING (batch_id)
                 WHERE b.succeeded <> coalesce(rows_succeeded, 0) OR b.failed <> coalesce(rows_failed, 0)
                     OR b.dead <> coalesce(rows_dead, 0) OR rows <> runs OR last >= total_runs
                     OR (b.state <> 'running'
                         AND total_runs <> b.succeeded + b.failed + b.dead + b.cancelled)",
            )
            .await;
        assert_eq!(off, Vec::<Row>::new(), "the ledger is off");
    }

    /// Planner, a worker and consolidator with these settings, ready to answer.
    pub(crate) async fn with(settings: &[(&'static str, &'static str)]) -> Self {
        let mut cluster = Self::new(settings).await;
        for role in ["planner", "worker", "consolidator"] {
            cluster.serve(role, role);
        }
        cluster.answers("planner").await;
        cluster.answers("consolidator").await;
        cluster
    }
}
