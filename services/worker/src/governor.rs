//! Keeps the worker below a share of the machine's CPU, for people who use the machine for something else too.
//!
//! Slots rest between runs, each for a part of the time it has worked. How large a part is corrected once a second by
//! what the whole process used, so that threads which never rest (messages, and in `jetsweep run` the database) count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jetsweep_shared::monitor::cpu_seconds;

/// Work after which a slot rests: long against what a sleep costs, short against what anybody notices.
const WORK_BETWEEN_RESTS: Duration = Duration::from_millis(5);

/// Longest rest at a time, so that a slot notices soon that it is to stop.
const LONGEST_REST: Duration = Duration::from_millis(250);

/// Time between two corrections. The system counts CPU time in hundredths of a second.
const CORRECTION: Duration = Duration::from_secs(1);

/// Least part of the time that slots work.
const LEAST_DUTY: f64 = 0.02;

/// How much of the time slots may work.
#[derive(Debug)]
pub(crate) struct Governor {
    /// Share of all cores that is aimed at; 1 and above is no bound.
    max_cpu: f64,
    /// Part of the time that a slot works, as the bits of a double.
    duty: AtomicU64,
    /// Whether a slot rested since the last correction.
    rested: AtomicBool,
}

impl Governor {
    /// For so many slots, which may use `max_cpu` of the machine's cores.
    pub(crate) fn new(max_cpu: f64, slots: usize) -> Self {
        let duty = (max_cpu * cores() / slots as f64).clamp(LEAST_DUTY, 1.0);
        Self::working(max_cpu, if max_cpu < 1.0 { duty } else { 1.0 })
    }

    /// One that never corrects itself: work for this part of the time.
    pub(crate) fn fixed(duty: f64) -> Self {
        Self::working(1.0, duty.clamp(LEAST_DUTY, 1.0))
    }

    fn working(max_cpu: f64, duty: f64) -> Self {
        Self { max_cpu, duty: AtomicU64::new(duty.to_bits()), rested: AtomicBool::new(false) }
    }

    /// The part of the time that slots work now.
    pub(crate) fn duty(&self) -> f64 {
        f64::from_bits(self.duty.load(Ordering::Relaxed))
    }

    /// Rests, if a slot that worked for this long since its last rest is to. Returns whether it did.
    pub(crate) fn rest_after(&self, worked: Duration) -> bool {
        let duty = self.duty();
        if duty >= 1.0 || worked < WORK_BETWEEN_RESTS {
            return false;
        }
        self.rested.store(true, Ordering::Relaxed);
        std::thread::sleep(worked.mul_f64(1.0 / duty - 1.0).min(LONGEST_REST));
        true
    }

    /// Corrects the part for as long as the future is polled. Ends at once where nothing is bounded.
    pub(crate) async fn keep_correcting(&self) {
        if self.max_cpu >= 1.0 {
            return;
        }
        let (mut since, mut before) = (Instant::now(), cpu_seconds());
        loop {
            tokio::time::sleep(CORRECTION).await;
            let (now, used) = (Instant::now(), cpu_seconds());
            if let (Some(used), Some(before)) = (used, before) {
                self.correct((used - before) / (now - since).as_secs_f64() / cores());
            }
            (since, before) = (now, used);
        }
    }

    /// Moves towards the bound, given what share of all cores was used.
    fn correct(&self, used: f64) {
        // While nothing was held back, what was used says nothing about the right part.
        if !self.rested.swap(false, Ordering::Relaxed) && used <= self.max_cpu {
            return;
        }
        let wanted = self.duty() * (self.max_cpu / used.max(0.01)).clamp(0.5, 1.25);
        self.duty.store(wanted.clamp(LEAST_DUTY, 1.0).to_bits(), Ordering::Relaxed);
    }
}

fn cores() -> f64 {
    std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_lead_to_the_bound() {
        let governor = Governor::new(0.5, 1_000);
        // A machine on which this part of the time uses 0.9 of the cores for each 1 of it, and 0.05 is used anyhow.
        let used = |duty: f64| 0.9 * duty + 0.05;
        for _ in 0..30 {
            governor.rested.store(true, Ordering::Relaxed);
            governor.correct(used(governor.duty()));
        }
        assert!((used(governor.duty()) - 0.5).abs() < 0.01, "{}", used(governor.duty()));
        // Idle, it stays.
        let before = governor.duty();
        governor.correct(0.0);
        assert_eq!(governor.duty(), before);
    }

    #[test]
    fn without_a_bound_nobody_rests() {
        let governor = Governor::new(1.0, 4);
        assert!(!governor.rest_after(Duration::from_secs(1)));
        assert!(!Governor::fixed(0.5).rest_after(Duration::from_micros(10)));
        assert!(Governor::fixed(0.5).rest_after(WORK_BETWEEN_RESTS));
    }
}
