//! Keeps the worker within a share of the machine's memory, for people who use the machine for something else too.
//!
//! What the worker keeps is cut to fit the share, and the system is asked to give the process no more: what asks for more
//! all the same dies of it, is delivered again, and then dies in a child process, which makes it a dead letter.

use jetsweep_shared::config::WorkerConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Where the system says how much memory a container may have, if the process is in one.
const CONTAINER_LIMIT: &str = "/sys/fs/cgroup/memory.max";

/// What the worker may keep in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Bars shared by all slots.
    pub(crate) cache: u64,
    /// Indicator columns of one slot.
    pub(crate) columns: u64,
    /// The child process of a redelivered job.
    pub(crate) child: u64,
}

impl Bounds {
    /// As configured; where memory is shared, at most half of the share for what the worker keeps (bars and columns alike),
    /// and half for children. The rest of the first half is room for a run's own columns and for messages.
    pub(crate) fn of(config: &WorkerConfig, share_bytes: Option<u64>) -> Self {
        let share = share_bytes.unwrap_or(u64::MAX);
        let slots = config.slots.max(1) as u64;
        Self {
            cache: config.cache_bytes.min(share / 8),
            columns: config.columns_bytes.min(share / 8 / slots),
            child: config.child_memory_bytes.min(share / 2 / slots),
        }
    }
}

/// The bytes of a share of the machine's memory, or of its container's; `None` for all of it.
pub(crate) fn share_bytes(max_memory: f64) -> Option<u64> {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as u64 * u64::from(info.mem_unit.max(1));
    let container = std::fs::read_to_string(CONTAINER_LIMIT).ok().and_then(|limit| limit.trim().parse().ok());
    let total = machine.min(container.unwrap_or(u64::MAX));
    (max_memory < 1.0).then_some((total as f64 * max_memory) as u64)
}

/// Lets this process have at most so many bytes of its own: memory, not files.
pub(crate) fn limit_process(bytes: u64) {
    let maximum = getrlimit(Resource::Data).maximum;
    let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
    if let Err(error) = setrlimit(Resource::Data, Rlimit { current, maximum }) {
        tracing::warn!(%error, bytes, "cannot limit the memory of this process");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_fits_into_the_share() {
        let config = WorkerConfig { slots: 4, ..WorkerConfig::default() };
        let whole = Bounds::of(&config, None);
        assert_eq!((whole.cache, whole.columns), (config.cache_bytes, config.columns_bytes));
        assert_eq!(whole.child, config.child_memory_bytes);
        let share = 1 << 30;
        let cut = Bounds::of(&config, Some(share));
        assert!(cut.cache + 4 * cut.columns + 4 * cut.child <= share, "{cut:?}");
        assert!(cut.cache < whole.cache && cut.columns < whole.columns && cut.child < whole.child, "{cut:?}");
    }

    #[test]
    fn a_share_is_of_this_machine() {
        assert_eq!(share_bytes(1.0), None);
        let (half, quarter) = (share_bytes(0.5).unwrap(), share_bytes(0.25).unwrap());
        assert!(quarter > 1 << 20 && half / 2 - quarter <= 1, "{half} {quarter}");
    }
}
