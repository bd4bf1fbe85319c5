//! The configuration as plain structs, with their defaults.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::Origin;
use super::mlflow::MlflowConfig;
use super::secret::{Secret, redact_url};
use super::traces::TracesConfig;
use crate::spec::Source;

const MIB: u64 = 1 << 20;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server every service talks through.
    pub nats: NatsConfig,
    /// Folder for what must survive a restart on this machine: the database, and the store of `run`'s own server.
    pub state_dir: PathBuf,
    /// Where bars are read.
    pub data: DataConfig,
    /// The worker.
    pub worker: WorkerConfig,
    /// The planner.
    pub planner: PlannerConfig,
    /// The consolidator.
    pub consolidator: ConsolidatorConfig,
    /// The MLflow bridge.
    pub mlflow: MlflowConfig,
    /// What is refused for being too large.
    pub limits: LimitsConfig,
    /// Health and metrics of a service.
    pub http: HttpConfig,
    /// Logs.
    pub log: LogConfig,
    /// Traces.
    pub traces: TracesConfig,
    /// Where each value that is no default came from, by key.
    #[serde(skip)]
    pub(super) origins: BTreeMap<String, Origin>,
}

/// How to reach the NATS server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// Server, or several separated by commas.
    pub url: String,
    /// A `.creds` file to sign in with.
    pub credentials: Option<PathBuf>,
    /// User to sign in with, together with `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<Secret>,
    /// File that holds `password`.
    pub password_file: Option<PathBuf>,
    /// File of the certificates that the server's must be signed by (PEM). With it, only TLS will do.
    pub tls_ca: Option<PathBuf>,
    /// File of the certificate to show the server (PEM), together with `tls_key`.
    pub tls_certificate: Option<PathBuf>,
    /// File of the key of `tls_certificate` (PEM).
    pub tls_key: Option<PathBuf>,
    /// Where JetStream's API is: elsewhere for an account that imports it from another.
    pub api_prefix: String,
    /// Prefix of every subject and, in upper case, of every stream: two deployments can share an account.
    pub namespace: String,
    /// Copies of each stream, in a cluster of at least as many servers.
    pub replicas: usize,
    /// `nats-server` program that `jetsweep run` starts; found on `PATH` or in `.tools/` when absent.
    pub server_binary: Option<PathBuf>,
}

/// Where bars are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Folder under which every `source` of a sweep spec lies that is a path.
    pub root: PathBuf,
    /// What a `source` that is a URL must begin with, several separated by commas. None is allowed when absent.
    pub allowed_urls: Option<String>,
    /// Folder that fetched bars are kept in; `data-cache` in `state_dir` when absent: see [`Config::data_cache`].
    pub cache_dir: Option<PathBuf>,
    /// Most disk that fetched bars take, in bytes.
    pub cache_bytes: u64,
}

/// The worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerConfig {
    /// Jobs computed at the same time, each on a thread of its own.
    pub slots: usize,
    /// Name of this worker in results and logs.
    pub name: String,
    /// Most memory for bars shared by all slots, in bytes.
    pub cache_bytes: u64,
    /// Most memory for indicator columns of one slot, in bytes.
    pub columns_bytes: u64,
    /// Share of the machine's cores to use at most.
    pub max_cpu: f64,
    /// Share of the machine's memory to use at most.
    pub max_memory: f64,
    /// Runs of a job that are not done after this time fail with `timeout`, in seconds.
    pub job_deadline_seconds: u64,
    /// A run that takes longer fails with `timeout`, in seconds.
    pub run_deadline_seconds: u64,
    /// Memory limit of the child process that runs a redelivered job, in bytes.
    pub child_memory_bytes: u64,
    /// A job that is neither acknowledged nor reported in progress for this long is delivered again, in seconds.
    pub ack_wait_seconds: u64,
    /// After a shutdown is asked for, jobs being computed may go on for this long before they are handed back, in
    /// seconds.
    pub drain_seconds: u64,
}

/// The planner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannerConfig {
    /// Runs of a shard. When absent the planner aims at `shard_ms` of work.
    pub shard_runs: Option<u64>,
    /// Work the planner aims to put into a shard, in milliseconds.
    pub shard_ms: u64,
    /// Most jobs queued at a time for one runner and priority. Fewer let an urgent batch overtake sooner.
    pub queue_depth: u64,
}

/// The consolidator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsolidatorConfig {
    /// DuckDB file; `results.duckdb` in `state_dir` when absent: see [`Config::database`].
    pub database: Option<PathBuf>,
    /// Longest time between a result's arrival and its commit while others follow, in milliseconds.
    pub commit_interval_ms: u64,
    /// Rows after which a transaction is committed at once.
    pub commit_rows: u64,
    /// DuckDB's memory limit, in bytes.
    pub memory_limit_bytes: u64,
    /// DuckDB's threads.
    pub threads: usize,
    /// How long a batch's results stay in the log after the batch has ended, in seconds. Its rows stay for good.
    pub results_retention_seconds: u64,
}

/// What is refused for being too large.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// Most runs in one batch.
    pub batch_runs: u64,
}

/// Health and metrics of a service over HTTP.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where a service shows them: a port, which is one of this machine only, or address and port. Nowhere when absent.
    pub listen: Option<String>,
    /// Who asks for metrics must know this.
    pub token: Option<Secret>,
    /// File that holds `token`.
    pub token_file: Option<PathBuf>,
}

/// Logs, which go to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, in the notation of `RUST_LOG`: `info`, `warn,jetsweep_worker=debug`.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people: coloured when standard error is a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// For people, without colours.
    Human,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            nats: NatsConfig::default(),
            state_dir: PathBuf::from(".jetsweep"),
            data: DataConfig::default(),
            worker: WorkerConfig::default(),
            planner: PlannerConfig::default(),
            consolidator: ConsolidatorConfig::default(),
            mlflow: MlflowConfig::default(),
            limits: LimitsConfig::default(),
            http: HttpConfig::default(),
            log: LogConfig::default(),
            traces: TracesConfig::default(),
            origins: BTreeMap::new(),
        }
    }
}

impl Default for NatsConfig {
    fn default() -> Self {
        Self {
            url: "nats://127.0.0.1:4222".to_owned(),
            credentials: None,
            user: None,
            password: None,
            password_file: None,
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            api_prefix: "$JS.API".to_owned(),
            namespace: "jetsweep".to_owned(),
            replicas: 1,
            server_binary: None,
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { root: PathBuf::from("."), allowed_urls: None, cache_dir: None, cache_bytes: 10 * 1024 * MIB }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            slots: cores(),
            name: worker_name(),
            cache_bytes: 512 * MIB,
            columns_bytes: 64 * MIB,
            max_cpu: 1.0,
            max_memory: 1.0,
            job_deadline_seconds: 600,
            run_deadline_seconds: 60,
            child_memory_bytes: 2048 * MIB,
            ack_wait_seconds: 30,
            drain_seconds: 20,
        }
    }
}

impl Default for PlannerConfig {
    fn default() -> Self {
        Self { shard_runs: None, shard_ms: 100, queue_depth: 2_000 }
    }
}

impl Default for ConsolidatorConfig {
    fn default() -> Self {
        Self {
            database: None,
            commit_interval_ms: 100,
            commit_rows: 50_000,
            memory_limit_bytes: 256 * MIB,
            threads: cores(),
            results_retention_seconds: 7 * 24 * 3600,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self { batch_runs: 1_000_000_000 }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

impl Config {
    /// The database of results: as configured, or `results.duckdb` in the state folder.
    pub fn database(&self) -> PathBuf {
        self.consolidator.database.clone().unwrap_or_else(|| self.state_dir.join("results.duckdb"))
    }

    /// The folder that fetched bars are kept in: as configured, or `data-cache` in the state folder.
    pub fn data_cache(&self) -> PathBuf {
        self.data.cache_dir.clone().unwrap_or_else(|| self.state_dir.join("data-cache"))
    }
}

impl DataConfig {
    /// What a `source` that is a URL must begin with, as written.
    pub fn url_prefixes(&self) -> impl Iterator<Item = &str> {
        let listed = self.allowed_urls.as_deref().unwrap_or_default().split(',');
        listed.map(str::trim).filter(|prefix| !prefix.is_empty())
    }

    /// What no key's kind can tell: each with the key.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let problem = |prefix: &str| {
            let place = prefix.split(['?', '#']).next().unwrap_or_default();
            let shown = redact_url(place);
            if !matches!(Source::of(prefix), Ok(Source::Url(_))) {
                let wanted = "write https://, http:// or s3://, and a host";
                return Some(format!("{shown:?} begins no address that is read: {wanted}"));
            }
            // It is shown to whoever asks for the configuration.
            (place.contains('@') || place != prefix).then(|| {
                format!("{shown:?} has a user, a query or a fragment: leave it out, since it stands for a folder")
            })
        };
        self.url_prefixes().filter_map(problem).map(|message| ("data.allowed_urls", message)).collect()
    }
}

impl NatsConfig {
    /// The server at `url`, which asks nobody to sign in.
    pub fn at(url: String) -> Self {
        Self { url, ..Self::default() }
    }
}

impl HttpConfig {
    /// Where health and metrics are shown. A port alone is one of the loopback address.
    pub fn address(&self) -> Option<SocketAddr> {
        listen_address(self.listen.as_deref()?)
    }
}

/// A port, or an address with its port.
fn listen_address(text: &str) -> Option<SocketAddr> {
    match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse().ok(),
    }
}

impl WorkerConfig {
    /// Runs of a job that are not done after this time fail.
    pub fn job_deadline(&self) -> Duration {
        Duration::from_secs(self.job_deadline_seconds)
    }

    /// A run that takes longer than this fails.
    pub fn run_deadline(&self) -> Duration {
        Duration::from_secs(self.run_deadline_seconds)
    }

    /// A job that is neither acknowledged nor reported in progress for this long is delivered again.
    pub fn ack_wait(&self) -> Duration {
        Duration::from_secs(self.ack_wait_seconds)
    }

    /// How long jobs being computed may go on after a shutdown is asked for.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

impl ConsolidatorConfig {
    /// Longest time between a result's arrival and its commit while others follow.
    pub fn commit_interval(&self) -> Duration {
        Duration::from_millis(self.commit_interval_ms)
    }

    /// How long a batch's results stay in the log after the batch has ended.
    pub fn results_retention(&self) -> Duration {
        Duration::from_secs(self.results_retention_seconds)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `host-pid`: told apart from every other worker that runs at the same time.
fn worker_name() -> String {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    format!("{host}-{}", std::process::id())
}
