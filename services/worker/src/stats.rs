//! What a worker did, counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::metrics::Durations;

/// Counters of one worker since its start. They are only added to, from all its threads; read them at any time with
/// [`WorkerStats::summary`].
#[derive(Debug, Default)]
pub struct WorkerStats {
    jobs_completed: AtomicU64,
    jobs_dead: AtomicU64,
    jobs_skipped: AtomicU64,
    jobs_given_back: AtomicU64,
    jobs_retried: AtomicU64,
    jobs_in_child: AtomicU64,
    runs: AtomicU64,
    runs_failed: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) cache_peak_bytes: AtomicU64,
    cache_bytes: AtomicU64,
    downloads: AtomicU64,
    downloaded_bytes: AtomicU64,
    jobs_held: AtomicU64,
    jobs_held_peak: AtomicU64,
    wait_us: AtomicU64,
    load_us: AtomicU64,
    compute_us: AtomicU64,
    publish_us: AtomicU64,
    pub(crate) durations: Durations,
}

/// What [`WorkerStats`] said at one moment. Times are totals over all jobs, in microseconds; jobs overlap, so they
/// add up to more than the wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Jobs whose result is stored.
    pub jobs_completed: u64,
    /// Jobs given up on.
    pub jobs_dead: u64,
    /// Jobs of cancelled batches, acknowledged without a result.
    pub jobs_skipped: u64,
    /// Jobs handed back unfinished by a shutdown.
    pub jobs_given_back: u64,
    /// Times a job was handed back because the infrastructure failed.
    pub jobs_retried: u64,
    /// Redelivered jobs, which ran in a child process.
    pub jobs_in_child: u64,
    /// Runs of completed jobs.
    pub runs: u64,
    /// Those among them that failed.
    pub runs_failed: u64,
    /// Times a symbol's bars were found in memory.
    pub cache_hits: u64,
    /// Times they were read from disk.
    pub cache_misses: u64,
    /// Memory that bars take in the cache, in bytes.
    pub cache_bytes: u64,
    /// The most it was.
    pub cache_peak_bytes: u64,
    /// Files fetched from the data bucket or an address, and found to be whole.
    pub downloads: u64,
    /// What they had, in bytes.
    pub downloaded_bytes: u64,
    /// Jobs held now.
    pub jobs_held: u64,
    /// Most jobs held at a time.
    pub jobs_held_peak: u64,
    /// Jobs waiting for bars and a slot.
    pub wait_us: u64,
    /// Reading bars from disk.
    pub load_us: u64,
    /// Computing runs, on all slots.
    pub compute_us: u64,
    /// Storing results and acknowledging jobs.
    pub publish_us: u64,
}

impl WorkerStats {
    /// The counters now.
    pub fn summary(&self) -> WorkerSummary {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WorkerSummary {
            jobs_completed: read(&self.jobs_completed),
            jobs_dead: read(&self.jobs_dead),
            jobs_skipped: read(&self.jobs_skipped),
            jobs_given_back: read(&self.jobs_given_back),
            jobs_retried: read(&self.jobs_retried),
            jobs_in_child: read(&self.jobs_in_child),
            runs: read(&self.runs),
            runs_failed: read(&self.runs_failed),
            cache_hits: read(&self.cache_hits),
            cache_misses: read(&self.cache_misses),
            cache_bytes: read(&self.cache_bytes),
            cache_peak_bytes: read(&self.cache_peak_bytes),
            downloads: read(&self.downloads),
            downloaded_bytes: read(&self.downloaded_bytes),
            jobs_held: read(&self.jobs_held),
            jobs_held_peak: read(&self.jobs_held_peak),
            wait_us: read(&self.wait_us),
            load_us: read(&self.load_us),
            compute_us: read(&self.compute_us),
            publish_us: read(&self.publish_us),
        }
    }

    pub(crate) fn cache_hit(&self) {
        self.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cache_miss(&self) {
        self.cache_misses.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cache_holds(&self, bytes: u64) {
        self.cache_bytes.store(bytes, Ordering::Relaxed);
        self.cache_peak_bytes.fetch_max(bytes, Ordering::Relaxed);
    }

    pub(crate) fn downloaded(&self, bytes: u64) {
        self.downloads.fetch_add(1, Ordering::Relaxed);
        self.downloaded_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a job as held until what this returns is dropped.
    pub(crate) fn job_received(self: &Arc<Self>) -> HeldJob {
        let held = self.jobs_held.fetch_add(1, Ordering::Relaxed) + 1;
        self.jobs_held_peak.fetch_max(held, Ordering::Relaxed);
        HeldJob { stats: Arc::clone(self) }
    }

    pub(crate) fn job_in_child(&self) {
        self.jobs_in_child.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn job_completed(&self, runs: u64, runs_failed: u64) {
        self.jobs_completed.fetch_add(1, Ordering::Relaxed);
        self.runs.fetch_add(runs, Ordering::Relaxed);
        self.runs_failed.fetch_add(runs_failed, Ordering::Relaxed);
    }

    pub(crate) fn job_dead(&self) {
        self.jobs_dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn job_skipped(&self) {
        self.jobs_skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn job_given_back(&self) {
        self.jobs_given_back.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn job_retried(&self) {
        self.jobs_retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn took(&self, timing: &jetsweep_shared::events::Timing) {
        self.wait_us.fetch_add(timing.wait_us, Ordering::Relaxed);
        self.load_us.fetch_add(timing.load_us, Ordering::Relaxed);
        self.compute_us.fetch_add(timing.compute_us, Ordering::Relaxed);
        self.durations.job.observe(timing.compute_us as f64 / 1e6);
    }

    /// Counts runs that took so long, in microseconds each.
    pub(crate) fn ran(&self, runtime_us: &[f64]) {
        for time in runtime_us {
            self.durations.run.observe(time / 1e6);
        }
    }

    pub(crate) fn published_in(&self, time: Duration) {
        self.publish_us.fetch_add(micros(time), Ordering::Relaxed);
    }
}

/// Counts a job as held for as long as it lives.
#[derive(Debug)]
pub(crate) struct HeldJob {
    stats: Arc<WorkerStats>,
}

impl Drop for HeldJob {
    fn drop(&mut self) {
        self.stats.jobs_held.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A duration in whole microseconds, as results have it.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
