//! What a service tells about itself: whether it lives, whether it is ready and if not why, and its metrics.
//!
//! A [`Monitor`] is one process's notebook. Services write into it all the time; [`serve`] shows it over HTTP to whoever
//! asks, if the configuration says so.
//!
//! Metrics are named by Prometheus' conventions (<https://prometheus.io/docs/practices/naming/>): `jetsweep_`, then the
//! service, then what is counted with its base unit: `jetsweep_consolidator_commit_duration_seconds`.

mod exposition;
mod http;
mod nats;
mod numbers;
mod process;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::histogram::exponential_buckets;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

pub use http::{HttpError, ask, serve};
pub use numbers::{Number, Numbers};
pub use process::cpu_seconds;
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// The part that is not ready until the service says that it has started.
const SERVICE: &str = "service";

/// One process's health and metrics. Clones share them.
#[derive(Clone)]
pub struct Monitor {
    shared: Arc<Shared>,
    is_watched: bool,
}

struct Shared {
    parts: Mutex<BTreeMap<&'static str, Part>>,
    registry: Mutex<Registry>,
}

/// Something that must work for the service to do its work.
enum Part {
    Ready,
    NotReady(String),
    Watched(Box<dyn Fn() -> Result<(), String> + Send + Sync>),
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor").field("not_ready", &self.troubles()).finish_non_exhaustive()
    }
}

impl Default for Monitor {
    /// Of a service that nobody watches.
    fn default() -> Self {
        let parts = Mutex::new(BTreeMap::from([(SERVICE, Part::NotReady("it is starting".to_owned()))]));
        Self { shared: Arc::new(Shared { parts, registry: Mutex::default() }), is_watched: false }
    }
}

impl Monitor {
    /// Of a process that serves as `role` (`worker`), whose version is `version`.
    pub fn new(role: &'static str, version: &'static str) -> Self {
        let monitor = Self { is_watched: true, ..Self::default() };
        let info = Info::new(vec![("role", role), ("version", version)]);
        monitor.register("jetsweep_build", "Role and version of this process", info);
        monitor.tell(process::numbers);
        monitor
    }

    /// Whether anybody may ask: if not, what only a monitor needs to know is not worth finding out.
    pub fn is_watched(&self) -> bool {
        self.is_watched
    }

    /// Adds a metric. The name of a counter is without `_total`, which is added.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        lock(&self.shared.registry).register(name, help, metric);
    }

    /// Adds metrics whose numbers are kept elsewhere: `read` is asked whenever somebody asks for metrics.
    pub fn tell(&self, read: impl Fn() -> Vec<Numbers> + Send + Sync + 'static) {
        lock(&self.shared.registry).register_collector(Box::new(numbers::Told(read)));
    }

    /// Adds the metrics and the health of a connection to NATS, as the part `nats`.
    pub fn watch_nats(&self, client: &async_nats::Client) {
        let (told, watched) = (client.clone(), client.clone());
        self.tell(move || nats::numbers(&told));
        self.watch("nats", move || nats::check(&watched));
    }

    /// The service has started and does its work, as far as its parts do.
    pub fn started(&self) {
        self.ready(SERVICE);
    }

    /// The service stops: no more work should be sent to it.
    pub fn stopping(&self) {
        self.not_ready(SERVICE, "it is stopping");
    }

    /// A part works.
    pub fn ready(&self, part: &'static str) {
        lock(&self.shared.parts).insert(part, Part::Ready);
    }

    /// A part does not work, for a reason that completes "not ready: ". No secrets in it: anybody may read it.
    pub fn not_ready(&self, part: &'static str, reason: impl Into<String>) {
        lock(&self.shared.parts).insert(part, Part::NotReady(reason.into()));
    }

    /// A part that is looked at when somebody asks. `check` must answer at once: no file, no request. All others wait.
    pub fn watch(&self, part: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        lock(&self.shared.parts).insert(part, Part::Watched(Box::new(check)));
    }

    /// Each part that is not ready, and why. Empty when the service is ready.
    pub fn troubles(&self) -> BTreeMap<&'static str, String> {
        let parts = lock(&self.shared.parts);
        let trouble = |(name, part): (&&'static str, &Part)| match part {
            Part::Ready => None,
            Part::NotReady(reason) => Some((*name, reason.clone())),
            Part::Watched(check) => check().err().map(|reason| (*name, reason)),
        };
        parts.iter().filter_map(trouble).collect()
    }

    /// All metrics now, in Prometheus' text format 0.0.4.
    pub fn metrics(&self) -> String {
        exposition::text(&lock(&self.shared.registry))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks leaves a half-made change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A histogram of durations, in seconds, in buckets from `shortest` on, each twice as long as the one before.
pub fn durations(shortest: f64, buckets: u16) -> Histogram {
    Histogram::new(exponential_buckets(shortest, 2.0, buckets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_all_its_parts_are() {
        let monitor = Monitor::new("worker", "1.2.3");
        assert_eq!(monitor.troubles()["service"], "it is starting");
        monitor.not_ready("bars", "no folder");
        monitor.watch("nats", || Err("it is gone".to_owned()));
        monitor.started();
        let troubles = monitor.troubles();
        assert_eq!(
            troubles.into_iter().collect::<Vec<_>>(),
            [("bars", "no folder".into()), ("nats", "it is gone".into())]
        );
        monitor.ready("bars");
        monitor.watch("nats", || Ok(()));
        assert!(monitor.troubles().is_empty());
    }

    #[test]
    fn metrics_have_names_and_units_by_the_conventions() {
        let monitor = Monitor::new("worker", "1.2.3");
        let jobs = Counter::<u64>::default();
        jobs.inc_by(3);
        let took = durations(0.001, 2);
        took.observe(0.0015);
        monitor.register("jetsweep_jobs", "Jobs done", jobs);
        monitor.register("jetsweep_job_duration_seconds", "Time a job took", took);
        let text = monitor.metrics();
        let (ours, process) = text.split_once("# HELP process_").unwrap();
        insta::assert_snapshot!(ours, @r#"
        # HELP jetsweep_build_info Role and version of this process.
        # TYPE jetsweep_build_info gauge
        jetsweep_build_info{role="worker",version="1.2.3"} 1
        # HELP jetsweep_jobs_total Jobs done.
        # TYPE jetsweep_jobs_total counter
        jetsweep_jobs_total 3
        # HELP jetsweep_job_duration_seconds Time a job took.
        # TYPE jetsweep_job_duration_seconds histogram
        jetsweep_job_duration_seconds_sum 0.0015
        jetsweep_job_duration_seconds_count 1
        jetsweep_job_duration_seconds_bucket{le="0.001"} 0
        jetsweep_job_duration_seconds_bucket{le="0.002"} 1
        jetsweep_job_duration_seconds_bucket{le="+Inf"} 1
        "#);
        for name in ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "threads", "start_time_seconds"] {
            assert!(process.contains(&format!("process_{name} ")), "{name} in {process}");
        }
    }
}
