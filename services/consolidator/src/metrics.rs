//! What a consolidator shows of itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jetsweep_shared::monitor::{self, Counter, Histogram, Monitor, Numbers};

use crate::store::{Committed, DatabaseError};

/// What the monitor calls reading the log.
const RESULTS: &str = "results";

/// What the monitor calls the writer's work.
const COMMITS: &str = "commits";

/// Health and counts of one consolidator. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    monitor: Monitor,
    pub(crate) counts: Counts,
}

/// Counts of one consolidator since its start, and where it is in the log. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    /// Messages that changed the database.
    pub(crate) changed: Counter,
    /// Messages that were there before.
    pub(crate) duplicates: Counter,
    /// Messages of an older generation.
    pub(crate) superseded: Counter,
    /// Messages kept in DEAD.
    pub(crate) rejected: Counter,
    rows: Counter,
    /// Time of a commit that succeeded.
    commit_seconds: Histogram,
    failed_commits: Counter,
    pub(crate) query_seconds: Histogram,
    pub(crate) failed_queries: Counter,
    places: Arc<Places>,
}

/// Places in the log, as sequences of its stream.
#[derive(Debug, Default)]
struct Places {
    committed: AtomicU64,
    last: AtomicU64,
}

impl Metrics {
    /// All zero, and shown by `monitor` together with the size of the database.
    pub(crate) fn new(monitor: &Monitor, database: PathBuf) -> Self {
        let counts = Counts {
            changed: Counter::default(),
            duplicates: Counter::default(),
            superseded: Counter::default(),
            rejected: Counter::default(),
            rows: Counter::default(),
            // From a millisecond to 16 seconds.
            commit_seconds: monitor::durations(1e-3, 15),
            failed_commits: Counter::default(),
            // From a millisecond to 65 seconds, which is as long as a query may take.
            query_seconds: monitor::durations(1e-3, 17),
            failed_queries: Counter::default(),
            places: Arc::default(),
        };
        let help = "Time of commits that succeeded";
        monitor.register("jetsweep_consolidator_commit_duration_seconds", help, counts.commit_seconds.clone());
        let help = "Time of queries, answered or not";
        monitor.register("jetsweep_consolidator_query_duration_seconds", help, counts.query_seconds.clone());
        // Without the monitor, which would then hold itself.
        let told = counts.clone();
        monitor.tell(move || told.numbers(&database));
        Self { monitor: monitor.clone(), counts }
    }

    /// Everything up to this message is committed.
    pub(crate) fn is_at(&self, sequence: u64) {
        self.counts.places.committed.store(sequence, Ordering::Relaxed);
    }

    /// A commit succeeded, which took so long.
    pub(crate) fn committed(&self, committed: &Committed, took: Duration) {
        self.counts.commit_seconds.observe(took.as_secs_f64());
        self.counts.rows.inc_by(committed.rows as u64);
        if let Some(sequence) = committed.sequence {
            self.is_at(sequence);
        }
        self.monitor.ready(COMMITS);
    }

    /// A commit failed and will be tried again.
    pub(crate) fn commit_failed(&self, error: &DatabaseError) {
        self.counts.failed_commits.inc();
        self.monitor.not_ready(COMMITS, format!("results cannot be committed: {error}"));
    }

    /// The log is being read.
    pub(crate) fn reading(&self) {
        self.monitor.ready(RESULTS);
    }

    /// The log cannot be read now.
    pub(crate) fn not_reading(&self, reason: String) {
        self.monitor.not_ready(RESULTS, reason);
    }

    /// The log's last message.
    pub(crate) fn log_ends(&self, sequence: u64) {
        self.counts.places.last.store(sequence, Ordering::Relaxed);
    }
}

impl Counts {
    fn numbers(&self, database: &Path) -> Vec<Numbers> {
        let committed = self.places.committed.load(Ordering::Relaxed);
        let last = self.places.last.load(Ordering::Relaxed);
        // A folder that cannot be read has no size worth telling; the commits tell of the trouble.
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let mut log = database.as_os_str().to_owned();
        log.push(".wal");
        vec![
            Numbers::counter("jetsweep_consolidator_messages", "Messages of the log by what became of them")
                .with([("outcome", "changed")], self.changed.get())
                .with([("outcome", "duplicate")], self.duplicates.get())
                .with([("outcome", "superseded")], self.superseded.get())
                .with([("outcome", "rejected")], self.rejected.get()),
            Numbers::counter("jetsweep_consolidator_rows", "Rows committed: runs, their windows and benchmarks")
                .is(self.rows.get()),
            Numbers::counter("jetsweep_consolidator_failed_commits", "Commits that failed and were tried again")
                .is(self.failed_commits.get()),
            Numbers::counter("jetsweep_consolidator_failed_queries", "Queries without an answer")
                .is(self.failed_queries.get()),
            Numbers::gauge("jetsweep_consolidator_position", "Sequence of the last message that is committed")
                .is(committed),
            Numbers::gauge("jetsweep_consolidator_lag_messages", "Messages of the log that are not committed yet")
                .is(last.saturating_sub(committed)),
            Numbers::gauge("jetsweep_consolidator_database_bytes", "Size of the database and its write-ahead log")
                .is(size(database) + size(log.as_ref())),
        ]
    }
}
