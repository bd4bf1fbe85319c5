//! Every key there is, with what it takes: one table, against which files, variables and flags are checked alike.

use jetsweep_engine::problem::{closest, did_you_mean};

use crate::spec::quote;
use crate::spec::tree::{Node, Value};

/// A key of the configuration.
pub(super) struct Key {
    /// With dots: `nats.url`.
    pub(super) path: &'static str,
    pub(super) kind: Kind,
}

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that is not empty.
    Text,
    /// Text that is not empty and never shown.
    Secret,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A fraction above 0, at most 1.
    Share,
    /// A fraction from 0 to 1.
    Fraction,
    /// A whole number of something, within bounds.
    Whole { unit: &'static str, min: i64, max: i64 },
}

const fn text(path: &'static str) -> Key {
    Key { path, kind: Kind::Text }
}

const fn whole(path: &'static str, unit: &'static str, min: i64, max: i64) -> Key {
    Key { path, kind: Kind::Whole { unit, min, max } }
}

const TIB: i64 = 1 << 40;
const MIB: i64 = 1 << 20;
const DAY_SECONDS: i64 = 24 * 3600;

/// All keys, in the order in which they are shown.
pub(super) const KEYS: [Key; 57] = [
    text("nats.url"),
    text("nats.credentials"),
    text("nats.user"),
    Key { path: "nats.password", kind: Kind::Secret },
    text("nats.password_file"),
    text("nats.tls_ca"),
    text("nats.tls_certificate"),
    text("nats.tls_key"),
    text("nats.api_prefix"),
    text("nats.namespace"),
    whole("nats.replicas", "copies", 1, 5),
    text("nats.server_binary"),
    text("state_dir"),
    text("data.root"),
    text("data.allowed_urls"),
    text("data.cache_dir"),
    whole("data.cache_bytes", "bytes", MIB, 1024 * TIB),
    whole("worker.slots", "slots", 1, 1024),
    text("worker.name"),
    whole("worker.cache_bytes", "bytes", MIB, TIB),
    whole("worker.columns_bytes", "bytes", MIB, TIB),
    Key { path: "worker.max_cpu", kind: Kind::Share },
    Key { path: "worker.max_memory", kind: Kind::Share },
    whole("worker.job_deadline_seconds", "seconds", 1, DAY_SECONDS),
    whole("worker.run_deadline_seconds", "seconds", 1, DAY_SECONDS),
    // Less than this and the child cannot even load a symbol's bars.
    whole("worker.child_memory_bytes", "bytes", 64 * MIB, TIB),
    whole("worker.ack_wait_seconds", "seconds", 1, DAY_SECONDS),
    whole("worker.drain_seconds", "seconds", 0, DAY_SECONDS),
    whole("planner.shard_runs", "runs", 1, 1_000_000),
    whole("planner.shard_ms", "milliseconds", 1, 60_000),
    whole("planner.queue_depth", "jobs", 1, 1_000_000),
    text("consolidator.database"),
    whole("consolidator.commit_interval_ms", "milliseconds", 1, 60_000),
    whole("consolidator.commit_rows", "rows", 1, 100_000_000),
    whole("consolidator.memory_limit_bytes", "bytes", 64 * MIB, TIB),
    whole("consolidator.threads", "threads", 1, 1024),
    whole("consolidator.results_retention_seconds", "seconds", 0, 3650 * DAY_SECONDS),
    text("mlflow.url"),
    text("mlflow.username"),
    Key { path: "mlflow.password", kind: Kind::Secret },
    Key { path: "mlflow.token", kind: Kind::Secret },
    text("mlflow.ca_file"),
    text("mlflow.experiment"),
    text("mlflow.batches_experiment"),
    text("mlflow.log"),
    Key { path: "mlflow.detail", kind: Kind::OneOf(&["full", "metrics"]) },
    text("mlflow.rank_by"),
    // More than this, and sqlite's pool of connections collapses.
    whole("mlflow.concurrency", "requests", 1, 8),
    whole("mlflow.timeout_seconds", "seconds", 1, 3600),
    whole("limits.batch_runs", "runs", 1, i64::MAX),
    text("http.listen"),
    Key { path: "http.token", kind: Kind::Secret },
    text("http.token_file"),
    Key { path: "log.format", kind: Kind::OneOf(&["auto", "human", "json"]) },
    text("log.filter"),
    text("traces.endpoint"),
    Key { path: "traces.sample", kind: Kind::Fraction },
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

impl Kind {
    /// Whether a value fits, and if not what is wrong with it.
    pub(super) fn check(self, node: &Node) -> Result<(), String> {
        match (self, &node.value) {
            (Kind::Text | Kind::Secret, Value::Text(text)) if text.trim().is_empty() => {
                Err("is empty; leave the key out for its default".to_owned())
            }
            (Kind::Text | Kind::Secret, Value::Text(_)) => Ok(()),
            (Kind::OneOf(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(()),
            (Kind::Whole { min, max, .. }, Value::Whole(number)) if (min..=max).contains(number) => Ok(()),
            (Kind::Whole { unit, min, max }, Value::Whole(number)) => {
                Err(format!("must be from {min} to {max} {unit}, is {number}"))
            }
            (Kind::Share, Value::Float(number)) if *number > 0.0 && *number <= 1.0 => Ok(()),
            (Kind::Share, Value::Whole(1)) => Ok(()),
            (Kind::Share, Value::Float(number)) => Err(format!("must be above 0 and at most 1, is {number}")),
            (Kind::Share, Value::Whole(number)) => Err(format!("must be above 0 and at most 1, is {number}")),
            (Kind::Fraction, Value::Float(number)) if (0.0..=1.0).contains(number) => Ok(()),
            (Kind::Fraction, Value::Whole(0 | 1)) => Ok(()),
            (Kind::Fraction, Value::Float(number)) => Err(format!("must be from 0 to 1, is {number}")),
            (Kind::Fraction, Value::Whole(number)) => Err(format!("must be from 0 to 1, is {number}")),
            // A value of the wrong type may be a secret written without quotes.
            (Kind::Secret, _) => Err("must be text in quotes".to_owned()),
            (wanted, found) => Err(format!("must be {}, is {}", wanted.describe(), found.describe())),
        }
    }

    /// Reads a variable's text as a value of this kind. What cannot be read stays text, for [`Kind::check`] to refuse.
    pub(super) fn parse(self, text: &str) -> Value {
        match (self, text.trim().parse(), text.trim().parse()) {
            (Kind::Whole { .. }, Ok(number), _) => Value::Whole(number),
            (Kind::Share | Kind::Fraction, _, Ok(number)) => Value::Float(number),
            _ => Value::Text(text.to_owned()),
        }
    }

    fn describe(self) -> String {
        match self {
            Kind::Text | Kind::Secret => "text in quotes".to_owned(),
            Kind::OneOf(words) => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" or "),
            Kind::Share | Kind::Fraction => "a fraction, as in 0.8".to_owned(),
            Kind::Whole { unit, .. } => format!("a whole number of {unit}"),
        }
    }
}
