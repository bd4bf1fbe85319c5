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

/// Prefix of an object store's stream, fixed by NATS.
const OBJECT_STREAM_PREFIX: &str = "OBJ_";

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

    /// Object store of bars.
    pub fn data_bucket(&self) -> String {
        format!("{}-data", self.namespace)
    }

    /// The stream under [`Names::data_bucket`].
    pub fn data_stream(&self) -> String {
        format!("{OBJECT_STREAM_PREFIX}{}", self.data_bucket())
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

    /// Where runs of a batch are asked to be retried as `generation`.
    pub fn plan_retry(&self, batch: &BatchId, generation: u32) -> String {
        format!("{}.plans.{EVENTS_MAJOR}.{batch}.{generation}", self.namespace)
    }

    /// The batch of a subject made by [`Names::plan`] (then the generation is 0) or [`Names::plan_retry`].
    pub fn parse_plan(&self, subject: &str) -> Option<PlanSubject> {
        let rest = subject.strip_prefix(&format!("{}.plans.{EVENTS_MAJOR}.", self.namespace))?;
        let (batch, generation) = match rest.split_once('.') {
            None => (rest, 0),
            Some((batch, generation)) => (batch, generation.parse().ok().filter(|generation| *generation > 0)?),
        };
        Some(PlanSubject { batch: batch.parse().ok()?, generation })
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

    /// Where a batch event is logged: one of generation 0, or one about the whole batch.
    pub fn batch_event(&self, batch: &BatchId, event: BatchEvent) -> String {
        format!("{}.results.{EVENTS_MAJOR}.{batch}.{event}", self.namespace)
    }

    /// Where a batch event of a generation is logged.
    pub fn generation_event(&self, batch: &BatchId, generation: u32, event: BatchEvent) -> String {
        match generation {
            0 => self.batch_event(batch, event),
            _ => format!("{}.results.{EVENTS_MAJOR}.{batch}.{generation}.{event}", self.namespace),
        }
    }

    /// Where every batch has this event, if it is one about the whole batch.
    pub fn event_of_every_batch(&self, event: BatchEvent) -> String {
        format!("{}.results.{EVENTS_MAJOR}.*.{event}", self.namespace)
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
            None => ResultSubject::Event { batch, generation: 0, event: third.parse().ok()? },
            Some(fourth) => {
                let generation = third.parse().ok()?;
                match (fourth.parse(), fourth.parse::<BatchEvent>()) {
                    (Ok(shard), _) => ResultSubject::Shard { batch, generation, shard },
                    // Each event has one subject only.
                    (_, Ok(event)) if generation > 0 && event.is_of_generation() => {
                        ResultSubject::Event { batch, generation, event }
                    }
                    _ => return None,
                }
            }
        };
        tokens.next().is_none().then_some(parsed)
    }

    /// Where a job given up on is kept.
    pub fn dead_job(&self, batch: &BatchId, generation: u32, shard: u32) -> String {
        format!("{}.dead.{EVENTS_MAJOR}.{batch}.{generation}.{shard}", self.namespace)
    }

    /// Everything given up on of a batch.
    pub fn dead_of_batch(&self, batch: &BatchId) -> String {
        format!("{}.dead.{EVENTS_MAJOR}.{batch}.>", self.namespace)
    }

    /// The job of a subject made by [`Names::dead_job`].
    pub fn parse_dead_job(&self, subject: &str) -> Option<DeadJob> {
        let rest = subject.strip_prefix(&format!("{}.dead.{EVENTS_MAJOR}.", self.namespace))?;
        let mut tokens = rest.split('.');
        let parsed = DeadJob {
            batch: tokens.next()?.parse().ok()?,
            generation: tokens.next()?.parse().ok()?,
            shard: tokens.next()?.parse().ok()?,
        };
        tokens.next().is_none().then_some(parsed)
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

    /// The stream and place of a subject made by [`Names::dead_message`].
    pub fn parse_dead_message<'a>(&self, subject: &'a str) -> Option<(&'a str, u64)> {
        let rest = subject.strip_prefix(&format!("{}.dead.{EVENTS_MAJOR}.malformed.", self.namespace))?;
        let (origin, sequence) = rest.split_once('.')?;
        Some((origin, sequence.parse().ok()?))
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

/// Key of what is asked of all work (pause, resume). No batch can have this name.
pub const ALL_CONTROL_KEY: &str = "=all.control";

/// Key pattern that watches what is asked of every batch, and of all work.
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
    /// Its rows are to go, and everything else of it.
    Deleted,
    /// Its results have left the log.
    Purged,
}

impl BatchEvent {
    /// Whether each generation has an event of its own; else it is about the whole batch.
    pub fn is_of_generation(self) -> bool {
        matches!(self, BatchEvent::Begin | BatchEvent::Sealed | BatchEvent::Cancelled)
    }
}

impl fmt::Display for BatchEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BatchEvent::Begin => "begin",
            BatchEvent::Sealed => "sealed",
            BatchEvent::Cancelled => "cancelled",
            BatchEvent::Deleted => "deleted",
            BatchEvent::Purged => "purged",
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
            "deleted" => Ok(BatchEvent::Deleted),
            "purged" => Ok(BatchEvent::Purged),
            _ => Err(()),
        }
    }
}

/// What a subject of PLANS says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanSubject {
    /// The batch.
    pub batch: BatchId,
    /// Generation to make: 0 for a sweep spec, more for a retry.
    pub generation: u32,
}

/// The job that a subject of DEAD names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJob {
    /// Its batch.
    pub batch: BatchId,
    /// Its generation.
    pub generation: u32,
    /// Its shard.
    pub shard: u32,
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
        /// Its generation; 0 for an event about the whole batch.
        generation: u32,
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
        let plan = |generation| Some(PlanSubject { batch: batch.clone(), generation });
        assert_eq!(names.parse_plan(&names.plan(&batch)), plan(0));
        assert_eq!(names.parse_plan(&names.plan_retry(&batch, 3)), plan(3));
        assert_eq!(names.parse_plan("team-a.plans.v1.b1.0"), None, "a spec has one subject");
        assert_eq!(control_batch(ALL_CONTROL_KEY), None);
        let dead = DeadJob { batch: batch.clone(), generation: 2, shard: 7 };
        assert_eq!(names.parse_dead_job(&names.dead_job(&batch, 2, 7)), Some(dead));
        assert_eq!(names.parse_dead_job(&names.dead_plan(&batch)), None);
        assert_eq!(names.parse_dead_message(&names.dead_message("TEAM-A_JOBS", 7)), Some(("TEAM-A_JOBS", 7)));
        assert_eq!(names.parse_dead_message(&names.dead_plan(&batch)), None);
        let shard = ResultSubject::Shard { batch: batch.clone(), generation: 2, shard: 7 };
        assert_eq!(names.parse_result(&names.result(&batch, 2, 7)), Some(shard));
        let events = ["begin", "sealed", "cancelled", "deleted", "purged"].map(|event| event.parse().unwrap());
        for event in events {
            for generation in [0, 3] {
                let subject = names.generation_event(&batch, generation, event);
                let is_one = generation == 0 || event.is_of_generation();
                let expected = is_one.then(|| ResultSubject::Event { batch: batch.clone(), generation, event });
                assert_eq!(names.parse_result(&subject), expected, "{subject}");
            }
        }
        assert_eq!(names.parse_result("team-a.results.v2.b1.0.0"), Some(ResultSubject::UnknownMajor));
        for odd in [
            "team-a.results.v1.b1",
            "team-a.results.v1.b1.0.x",
            "team-a.results.v1.b1.0.begin",
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
