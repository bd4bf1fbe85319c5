//! What a worker shows of itself: its counters and histograms under Prometheus' names.

use std::sync::Arc;

use jetsweep_shared::config::Config;
use jetsweep_shared::monitor::{self, Histogram, Monitor, Numbers};

use crate::stats::WorkerStats;

/// How long runs and jobs take to compute.
#[derive(Debug)]
pub(crate) struct Durations {
    /// From 10 microseconds to 2.6 seconds.
    pub(crate) run: Histogram,
    /// From a millisecond to 131 seconds.
    pub(crate) job: Histogram,
}

impl Default for Durations {
    fn default() -> Self {
        Self { run: monitor::durations(1e-5, 19), job: monitor::durations(1e-3, 18) }
    }
}

/// Adds a worker's metrics to a monitor.
pub(crate) fn register(monitor: &Monitor, config: &Config, stats: &Arc<WorkerStats>) {
    let Durations { run, job } = &stats.durations;
    monitor.register("jetsweep_worker_run_duration_seconds", "Time to compute one run", run.clone());
    monitor.register("jetsweep_worker_job_duration_seconds", "Time to compute one job, without waiting", job.clone());
    let (stats, slots) = (Arc::clone(stats), config.worker.slots);
    monitor.tell(move || numbers(&stats, slots));
}

fn numbers(stats: &WorkerStats, slots: usize) -> Vec<Numbers> {
    let now = stats.summary();
    let seconds = |micros: u64| micros as f64 / 1e6;
    vec![
        Numbers::gauge("jetsweep_worker_slots", "Jobs that are computed at a time").is(slots),
        Numbers::gauge("jetsweep_worker_jobs_held", "Jobs in hand: waiting, computing or being stored")
            .is(now.jobs_held),
        Numbers::counter("jetsweep_worker_jobs", "Jobs by what became of them")
            .with([("outcome", "completed")], now.jobs_completed)
            .with([("outcome", "dead")], now.jobs_dead)
            .with([("outcome", "skipped")], now.jobs_skipped)
            .with([("outcome", "given_back")], now.jobs_given_back)
            .with([("outcome", "retried")], now.jobs_retried),
        Numbers::counter("jetsweep_worker_redelivered_jobs", "Jobs delivered before, which ran in a child process")
            .is(now.jobs_in_child),
        Numbers::counter("jetsweep_worker_runs", "Runs of completed jobs by what became of them")
            .with([("status", "succeeded")], now.runs.saturating_sub(now.runs_failed))
            .with([("status", "failed")], now.runs_failed),
        Numbers::counter("jetsweep_worker_stage_seconds", "Time of jobs by stage, added up; jobs overlap")
            .with([("stage", "wait")], seconds(now.wait_us))
            .with([("stage", "load")], seconds(now.load_us))
            .with([("stage", "compute")], seconds(now.compute_us))
            .with([("stage", "publish")], seconds(now.publish_us)),
        Numbers::counter("jetsweep_worker_cache_lookups", "Looks for a symbol's bars in memory")
            .with([("result", "hit")], now.cache_hits)
            .with([("result", "miss")], now.cache_misses),
        Numbers::gauge("jetsweep_worker_cache_bytes", "Memory that bars take in the cache").is(now.cache_bytes),
        Numbers::counter("jetsweep_worker_downloads", "Files of bars fetched from the data bucket or an address")
            .is(now.downloads),
        Numbers::counter("jetsweep_worker_downloaded_bytes", "Size of the files of bars that were fetched")
            .is(now.downloaded_bytes),
    ]
}
