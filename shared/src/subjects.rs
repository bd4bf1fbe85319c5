//! Every stream, consumer, bucket and subject name, built in one place.

use std::fmt;
use std::str::FromStr;

use crate::ids::{BatchId, Priority, Symbol};

/// Major version of the events, as a subject token: an old worker never receives a newer job.
pub const EVENTS_MAJOR: &str = "v1";

/// Runner of the native engine; others come later.
pub const NATIVE: &str = "native";

/// Prefix of the key-value bucket's stream, fixed by NATS.
const KV_STREAM_PREFIX: &str = "KV_";

/// The namespace that the files under `nats/` are written for.
pub const DEFAULT_NAMESPACE: &str = "jetsweep";

/// A namespace that cannot prefix subjects and streams.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nats.namespace: {0:?} cannot prefix subjects and streams (1 to 32 lower-case letters, digits, '-', '_')")]
pub struct InvalidNamespace(String);

/// Names within one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    namespace: String,
}

impl Default for Names {
    fn default() -> Self {
        Self { namespace: DEFAULT_NAMESPACE.to_owned() }
    }
}

impl Names {
    /// Names that begin with `namespace`, so that deployments can share an account.
    pub fn new(namespace: &str) -> Result<Self, InvalidNamespace> {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if namespace.is_empty() || namespace.len() > 32 || !namespace.chars().all(fits) {
            return Err(InvalidNamespace(namespace.chars().take(80).collect()));
        }
        Ok(Self { namespace: namespace.to_owned() })
    }

    /// The namespace itself.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    fn stream(&self, suffix: &str) -> String {
        format!("{}_{suffix}", self.namespace.to_ascii_uppercase())
    }

    /// Work queue of submitted sweep specs.
    pub fn plans_stream(&self) -> String {
        self.stream("PLANS")
    }

    /// Work queue of jobs.
    pub fn jobs_stream(&self) -> String {
        self.stream("JOBS")
    }

    /// Log of results and batch events.
    pub fn results_stream(&self) -> String {
        self.stream("RESULTS")
    }

    /// Log of messages given up on.
    pub fn dead_stream(&self) -> String {
        self.stream("DEAD")
    }

    /// Key-value bucket of batch status, control and data digests.
    pub fn batches_bucket(&self) -> String {
        format!("{}-batches", self.namespace)
    }

    /// The stream under [`Names::batches_bucket`].
    pub fn batches_stream(&self) -> String {
        format!("{KV_STREAM_PREFIX}{}", self.batches_bucket())
    }

    /// Durable consumer of the planner on PLANS.
    pub fn planner_consumer(&self) -> String {
        "planner".to_owned()
    }

    /// Durable consumer of the MLflow bridge on RESULTS.
    pub fn mlflow_consumer(&self) -> String {
        "mlflow-bridge".to_owned()
    }

    /// Durable consumer on JOBS for a runner and priority.
    pub fn jobs_consumer(&self, runner: &str, priority: Priority) -> String {
        format!("{runner}-{priority}")
    }

    /// Where a batch's spec is submitted.
    pub fn plan(&self, batch: &BatchId) -> String {
        format!("{}.plans.{EVENTS_MAJOR}.{batch}", self.namespace)
    }

    /// The batch of a subject made by [`Names::plan`].
    pub fn plan_batch(&self, subject: &str) -> Option<BatchId> {
        subject.strip_prefix(&format!("{}.plans.{EVENTS_MAJOR}.", self.namespace))?.parse().ok()
    }

    /// Where a shard's job is queued.
    pub fn job(&self, runner: &str, priority: Priority, batch: &BatchId, generation: u32, shard: u32) -> String {
        format!("{}.jobs.{EVENTS_MAJOR}.{runner}.{priority}.{batch}.{generation}.{shard}", self.namespace)
    }

    /// The job that a subject made by [`Names::job`] names.
    pub fn parse_job(&self, subject: &str) -> Option<JobSubject> {
        let rest = subject.strip_prefix(&format!("{}.jobs.{EVENTS_MAJOR}.", self.namespace))?;
        let mut tokens = rest.split('.');
        let parsed = JobSubject {
            runner: tokens.next()?.to_owned(),
            priority: tokens.next()?.parse().ok()?,
            batch: tokens.next()?.parse().ok()?,
            generation: tokens.next()?.parse().ok()?,
            shard: tokens.next()?.parse().ok()?,
        };
        tokens.next().is_none().then_some(parsed)
    }

    /// All of a batch's jobs, whatever their runner, priority and generation: for purging.
    pub fn jobs_of_batch(&self, batch: &BatchId) -> String {
        format!("{}.jobs.{EVENTS_MAJOR}.*.*.{batch}.>", self.namespace)
    }

    /// Where a shard's result is logged.
    pub fn result(&self, batch: &BatchId, generation: u32, shard: u32) -> String {
        format!("{}.results.{EVENTS_MAJOR}.{batch}.{generation}.{shard}", self.namespace)
    }

    /// Where a batch event is logged.
    pub fn batch_event(&self, batch: &BatchId, event: BatchEvent) -> String {
        format!("{}.results.{EVENTS_MAJOR}.{batch}.{event}", self.namespace)
    }

    /// Everything logged of a batch: for purging.
    pub fn results_of_batch(&self, batch: &BatchId) -> String {
        format!("{}.results.{EVENTS_MAJOR}.{batch}.>", self.namespace)
    }

    /// What a subject of RESULTS carries.
    pub fn parse_result(&self, subject: &str) -> Option<ResultSubject> {
        let rest = subject.strip_prefix(&format!("{}.results.", self.namespace))?;
        let mut tokens = rest.split('.');
        if tokens.next()? != EVENTS_MAJOR {
            return Some(ResultSubject::UnknownMajor);
        }
        let batch = tokens.next()?.parse().ok()?;
        let third = tokens.next()?;
        let parsed = match tokens.next() {
            None => ResultSubject::Event { batch, event: third.parse().ok()? },
            Some(shard) => ResultSubject::Shard { batch, generation: third.parse().ok()?, shard: shard.parse().ok()? },
        };
        tokens.next().is_none().then_some(parsed)
    }

    /// Where a job given up on is kept.
    pub fn dead_job(&self, batch: &BatchId, generation: u32, shard: u32) -> String {
        format!("{}.dead.{EVENTS_MAJOR}.{batch}.{generation}.{shard}", self.namespace)
    }

    /// Where a batch's spec given up on is kept.
    pub fn dead_plan(&self, batch: &BatchId) -> String {
        format!("{}.dead.{EVENTS_MAJOR}.{batch}.plan", self.namespace)
    }

    /// Where a message is kept that says nothing readable about its batch; `origin` and `sequence` name the stream
    /// and place it came from.
    pub fn dead_message(&self, origin: &str, sequence: u64) -> String {
        format!("{}.dead.{EVENTS_MAJOR}.malformed.{origin}.{sequence}", self.namespace)
    }

    /// Service endpoint of a role: `jetsweep.planner.submit`.
    pub fn endpoint(&self, role: &str, endpoint: &str) -> String {
        format!("{}.{role}.{endpoint}", self.namespace)
    }
}

/// Key of a batch's status in the bucket.
pub fn status_key(batch: &BatchId) -> String {
    format!("{batch}.status")
}

/// Key pattern that watches what is asked of every batch.
pub const EVERY_CONTROL_KEY: &str = "*.control";

/// The batch of a key made by [`control_key`].
pub fn control_batch(key: &str) -> Option<BatchId> {
    key.strip_suffix(".control")?.parse().ok()
}

/// Key of what is asked of a batch (cancel, pause) in the bucket.
pub fn control_key(batch: &BatchId) -> String {
    format!("{batch}.control")
}

/// Key of the data digest that a batch pins for a symbol.
pub fn data_key(batch: &BatchId, symbol: &Symbol) -> String {
    format!("{batch}.data.{symbol}")
}

/// Key of what the MLflow bridge did of a batch.
pub fn mlflow_key(batch: &BatchId) -> String {
    format!("{batch}.mlflow")
}

/// Key of how the MLflow bridge itself is. No batch has it: theirs have a dot.
pub const MLFLOW_BRIDGE_KEY: &str = "mlflow-bridge";

/// Facts about a batch as a whole, logged beside its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchEvent {
    /// The plan is made.
    Begin,
    /// Every job is published.
    Sealed,
    /// What has no result yet will not get one.
    Cancelled,
}

impl fmt::Display for BatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BatchEvent::Begin => "begin",
            BatchEvent::Sealed => "sealed",
            BatchEvent::Cancelled => "cancelled",
        })
    }
}

impl FromStr for BatchEvent {
    type Err = ();

    fn from_str(token: &str) -> Result<Self, ()> {
        match token {
            "begin" => Ok(BatchEvent::Begin),
            "sealed" => Ok(BatchEvent::Sealed),
            "cancelled" => Ok(BatchEvent::Cancelled),
            _ => Err(()),
        }
    }
}

/// What a subject of JOBS says about its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobSubject {
    /// Who can run it.
    pub runner: String,
    /// Its batch's priority.
    pub priority: Priority,
    /// Its batch.
    pub batch: BatchId,
    /// Its generation.
    pub generation: u32,
    /// Its shard.
    pub shard: u32,
}

/// What a subject of RESULTS carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResultSubject {
    /// A batch event.
    Event {
        /// Its batch.
        batch: BatchId,
        /// Which event.
        event: BatchEvent,
    },
    /// A shard's result.
    Shard {
        /// Its batch.
        batch: BatchId,
        /// Its generation.
        generation: u32,
        /// Its shard.
        shard: u32,
    },
    /// Something of a later major version than this program knows.
    UnknownMajor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_parse_back() {
        let names = Names::new("team-a").unwrap();
        let batch: BatchId = "b1".parse().unwrap();
        assert_eq!(names.jobs_stream(), "TEAM-A_JOBS");
        assert_eq!(names.job(NATIVE, Priority::Low, &batch, 0, 7), "team-a.jobs.v1.native.low.b1.0.7");
        let job = JobSubject {
            runner: NATIVE.to_owned(),
            priority: Priority::Low,
            batch: batch.clone(),
            generation: 0,
            shard: 7,
        };
        assert_eq!(names.parse_job("team-a.jobs.v1.native.low.b1.0.7"), Some(job));
        for odd in ["team-a.jobs.v1.native.low.b1.0", "team-a.jobs.v1.native.no.b1.0.7", "jobs.v1.native.low.b1.0.7"] {
            assert_eq!(names.parse_job(odd), None, "{odd}");
        }
        assert_eq!(control_batch(&control_key(&batch)), Some(batch.clone()));
        assert_eq!(names.plan_batch(&names.plan(&batch)), Some(batch.clone()));
        let shard = ResultSubject::Shard { batch: batch.clone(), generation: 2, shard: 7 };
        assert_eq!(names.parse_result(&names.result(&batch, 2, 7)), Some(shard));
        for event in [BatchEvent::Begin, BatchEvent::Sealed, BatchEvent::Cancelled] {
            let parsed = names.parse_result(&names.batch_event(&batch, event));
            assert_eq!(parsed, Some(ResultSubject::Event { batch: batch.clone(), event }));
        }
        assert_eq!(names.parse_result("team-a.results.v2.b1.0.0"), Some(ResultSubject::UnknownMajor));
        for odd in [
            "team-a.results.v1.b1",
            "team-a.results.v1.b1.0.x",
            "team-a.results.v1.b1.0.0.0",
            "other.results.v1.b1.0.0",
        ] {
            assert_eq!(names.parse_result(odd), None, "{odd}");
        }
    }

    #[test]
    fn namespaces_are_one_lower_case_token() {
        for bad in ["", "A", "a.b", "a b", &"a".repeat(33)] {
            assert!(Names::new(bad).is_err(), "{bad}");
        }
    }
}
