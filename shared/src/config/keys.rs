//! Every key there is, with what it takes and means: one table, against which files, variables and flags are checked alike, and
//! from which the reference in `docs/configuration.md` is made.

use jetsweep_engine::problem::{closest, did_you_mean};

use super::kind::Kind;

/// A key of the configuration.
pub(super) struct Key {
    /// With dots: `nats.url`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
    /// What it is for, in Markdown, as the reference says it.
    pub(super) meaning: &'static str,
    /// The default in words, where it is none that is the same everywhere.
    pub(super) default: Option<&'static str>,
}

const fn key(path: &'static str, kind: Kind, meaning: &'static str) -> Key {
    Key { path, kind, meaning, default: None }
}

const fn text(path: &'static str, meaning: &'static str) -> Key {
    key(path, Kind::Text, meaning)
}

const fn whole(path: &'static str, unit: &'static str, min: i64, max: i64, meaning: &'static str) -> Key {
    key(path, Kind::Whole { unit, min, max }, meaning)
}

impl Key {
    /// Its value in a configuration that became JSON, if it has one.
    pub(super) fn value<'a>(&self, config: &'a serde_json::Value) -> Option<&'a serde_json::Value> {
        config.pointer(&format!("/{}", self.path.replace('.', "/"))).filter(|value| !value.is_null())
    }

    const fn by_default(mut self, words: &'static str) -> Self {
        self.default = Some(words);
        self
    }
}

const TIB: i64 = 1 << 40;
const MIB: i64 = 1 << 20;
pub(super) const DAY_SECONDS: i64 = 24 * 3600;

/// All keys, in the order in which they are shown.
pub(super) const KEYS: [Key; 57] = [
    text("nats.url", "server, or several separated by commas (`--nats`)"),
    text("nats.credentials", "a `.creds` file to sign in with"),
    text("nats.user", "user to sign in with"),
    key("nats.password", Kind::Secret, "password of `nats.user`"),
    text("nats.password_file", "file that holds `nats.password`"),
    text("nats.tls_ca", "PEM file of the certificates that the server's must be signed by; with it, only TLS will do"),
    text("nats.tls_certificate", "PEM file of the certificate to show the server, together with `nats.tls_key`"),
    text("nats.tls_key", "PEM file of the key of `nats.tls_certificate`"),
    text(
        "nats.api_prefix",
        "where JetStream's API is: `jetsweep.api` for the roles of [nats/roles.conf](../nats/roles.conf), whose accounts import \
         it",
    ),
    text("nats.namespace", "prefix of subjects and, in upper case, of streams: deployments can share an account"),
    whole(
        "nats.replicas",
        "copies",
        1,
        5,
        "copies of each stream, in a [cluster](durability.md) of at least as many servers",
    ),
    text("nats.server_binary", "the `nats-server` that `jetsweep run` starts (`--nats-server`)")
        .by_default("found on `PATH` or in `.tools/`"),
    text("state_dir", "the database, and the store of `run`'s own server (`--state`)"),
    text("data.root", "folder under which every `source` of a sweep spec lies that is a path"),
    text(
        "data.allowed_urls",
        "what a `source` that is a URL must begin with, several separated by commas: \
         `https://bars.example/daily/, s3://bucket/` ([operations](operations.md#bars))",
    )
    .by_default("none"),
    text("data.cache_dir", "folder that fetched bars are kept in; several workers may share it")
        .by_default("`<state_dir>/data-cache`"),
    whole(
        "data.cache_bytes",
        "bytes",
        MIB,
        1024 * TIB,
        "most disk that fetched bars take; the least recently used files go first, and a larger file is refused with \
         `data_too_large`",
    ),
    whole("worker.slots", "slots", 1, 1024, "jobs computed at the same time, each on a thread of its own (`--slots`)")
        .by_default("cores"),
    text("worker.name", "name in results and logs").by_default("host and process id"),
    whole(
        "worker.cache_bytes",
        "bytes",
        MIB,
        TIB,
        "most memory for bars, shared by all slots; runs over bars that take more fail with `data_too_large`",
    ),
    whole("worker.columns_bytes", "bytes", MIB, TIB, "most memory for indicator columns of one slot"),
    key(
        "worker.max_cpu",
        Kind::Share,
        "share of the machine's cores to use at most, as in 0.8: slots rest between runs so that the process stays below \
         it",
    ),
    key(
        "worker.max_memory",
        Kind::Share,
        "share of the machine's (or container's) memory to use at most, as in 0.5: what the worker keeps is cut to fit, \
         and the system gives its process no more. A job that asks for more kills the worker once and is then a dead \
         letter",
    ),
    whole(
        "worker.job_deadline_seconds",
        "seconds",
        1,
        DAY_SECONDS,
        "runs of a job that are not done after this time fail with `timeout`; a child process that does not end then is \
         killed and its job given up on",
    ),
    whole(
        "worker.run_deadline_seconds",
        "seconds",
        1,
        DAY_SECONDS,
        "a run that takes longer fails with `timeout`; the other runs of its job go on",
    ),
    // Less than this and the child cannot even load a symbol's bars.
    whole(
        "worker.child_memory_bytes",
        "bytes",
        64 * MIB,
        TIB,
        "memory limit of the child process that runs a redelivered job",
    ),
    whole(
        "worker.ack_wait_seconds",
        "seconds",
        1,
        DAY_SECONDS,
        "a job without a sign of life for this long is delivered again",
    ),
    whole(
        "worker.drain_seconds",
        "seconds",
        0,
        DAY_SECONDS,
        "how long computing jobs may go on after a shutdown is asked for",
    ),
    whole("planner.shard_runs", "runs", 1, 1_000_000, "runs of a shard").by_default("from `planner.shard_ms`"),
    whole("planner.shard_ms", "milliseconds", 1, 60_000, "work the planner aims to put into a shard"),
    whole("planner.queue_depth", "jobs", 1, 1_000_000, "most jobs queued at a time for one runner and priority"),
    text("consolidator.database", "the DuckDB file").by_default("`<state_dir>/results.duckdb`"),
    whole(
        "consolidator.commit_interval_ms",
        "milliseconds",
        1,
        60_000,
        "longest time between a result's arrival and its commit while others follow",
    ),
    whole("consolidator.commit_rows", "rows", 1, 100_000_000, "rows after which a transaction is committed at once"),
    whole("consolidator.memory_limit_bytes", "bytes", 64 * MIB, TIB, "DuckDB's memory limit"),
    whole("consolidator.threads", "threads", 1, 1024, "DuckDB's threads").by_default("cores"),
    whole(
        "consolidator.results_retention_seconds",
        "seconds",
        0,
        3650 * DAY_SECONDS,
        "how long a batch's results stay in the RESULTS stream after the batch has ended; rows stay for good",
    ),
    text("mlflow.url", "the MLflow tracking server that runs are logged to (`--mlflow`)"),
    text("mlflow.username", "user to sign in with"),
    key("mlflow.password", Kind::Secret, "password of `mlflow.username`"),
    key("mlflow.token", Kind::Secret, "bearer token to sign in with, in place of a user"),
    text("mlflow.ca_file", "PEM file with certificates to trust beside the system's"),
    text("mlflow.experiment", "names of the experiments that runs go to"),
    text("mlflow.batches_experiment", "name of the experiment that batch runs go to"),
    text("mlflow.log", "which runs are logged: `auto`, `all`, `top:N` or `none` ([MLflow](mlflow.md#which-runs))"),
    key(
        "mlflow.detail",
        Kind::OneOf(&["full", "metrics"]),
        "how much of a run: `full`, or `metrics` without its dataset, trades, equity and charts",
    ),
    text("mlflow.rank_by", "metric by which runs are the best, the highest first"),
    // More than this, and sqlite's pool of connections collapses.
    whole("mlflow.concurrency", "requests", 1, 8, "requests to MLflow on their way at the same time"),
    whole("mlflow.timeout_seconds", "seconds", 1, 3600, "longest a request to MLflow may take"),
    whole("limits.batch_runs", "runs", 1, i64::MAX, "most runs in one batch"),
    text(
        "http.listen",
        "where a service shows `/livez`, `/readyz` and `/metrics`: a port (`9464`), which is one of this machine only, or \
         address and port (`0.0.0.0:9464`) (`--http`)",
    ),
    key("http.token", Kind::Secret, "bearer token that `/metrics` asks for"),
    text("http.token_file", "file that holds `http.token`"),
    key(
        "log.format",
        Kind::OneOf(&["auto", "human", "json"]),
        "how log lines look, on standard error (`--log-format`)",
    ),
    text("log.filter", "what is logged, in the notation of `RUST_LOG`"),
    text(
        "traces.endpoint",
        "receiver of OTLP over HTTP that spans are sent to, as in `http://collector:4318`; without one nothing is \
         [traced](operations.md#traces). An address without a path gets `/v1/traces`",
    ),
    key(
        "traces.sample",
        Kind::Fraction,
        "share of the batches that are traced. Whoever begins a trace decides, and the batch is traced whole or not at \
         all",
    ),
];

/// The key of a path, or what is wrong with the path.
pub(super) fn find(path: &str) -> Result<&'static Key, String> {
    let key = KEYS.iter().find(|key| key.path == path);
    key.ok_or_else(|| format!("is not a key of the configuration{}", suggestion(path)))
}

/// Whether a path names a table of keys.
pub(super) fn is_section(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// The likeliest key: of the same section, else of the same last name in another, else by the whole path.
fn suggestion(path: &str) -> String {
    // A variable with `_` where `__` stands for the dot.
    let flat = |path: &str| path.replace('.', "_");
    if let Some(key) = KEYS.iter().find(|key| flat(key.path) == flat(path)) {
        return format!(" (did you mean \"{}\"?)", key.path);
    }
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    if section.is_empty() {
        let sections = KEYS.iter().filter_map(|key| key.path.split_once('.')).map(|(section, _)| section);
        let first_level = sections.chain(KEYS.iter().map(|key| key.path).filter(|path| !path.contains('.')));
        if let Some(likely) = closest(name, first_level) {
            return format!(" (did you mean \"{likely}\"?)");
        }
    }
    let split = |key: &'static Key| key.path.rsplit_once('.').unwrap_or(("", key.path));
    let siblings = KEYS.iter().map(split).filter(|(of, _)| *of == section).map(|(_, name)| name);
    if let Some(sibling) = closest(name, siblings) {
        let dot = if section.is_empty() { "" } else { "." };
        return format!(" (did you mean \"{section}{dot}{sibling}\"?)");
    }
    match KEYS.iter().find(|key| split(key).1 == name) {
        Some(namesake) => format!(" (did you mean \"{}\"?)", namesake.path),
        None => did_you_mean(path, KEYS.iter().map(|key| key.path)),
    }
}
