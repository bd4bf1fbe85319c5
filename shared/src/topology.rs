//! Streams, consumers and buckets: read from the JSON files under `nats/`, created or updated at start.
//!
//! The files are the one source of truth: `nats stream add --config` and `nats consumer add --config` take them as
//! they are. Here they are only moved into the namespace and given the few settings a deployment may change.

use std::time::Duration;

use async_nats::jetstream::consumer::{IntoConsumerConfig, PullConsumer};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind};
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{Context, ErrorCode, consumer, stream};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::bus::patiently;
use crate::config::Config;
use crate::ids::Priority;
use crate::subjects::{DEFAULT_NAMESPACE, NATIVE, Names};

/// What a server answers for as long as its cluster is not whole.
const PASSING: [ErrorCode; 6] = [
    ErrorCode::CLUSTER_NOT_AVAILABLE,
    ErrorCode::CLUSTER_NOT_LEADER,
    ErrorCode::CLUSTER_INCOMPLETE,
    ErrorCode::CLUSTER_NO_PEERS,
    ErrorCode::STREAM_OFFLINE,
    ErrorCode::CONSUMER_OFFLINE,
];

/// Longest wait until what is missing is created: less than a request that is not permitted takes to time out.
const CREATION_TIME: Duration = Duration::from_secs(4);

/// A stream's file under `nats/streams/`.
const STREAM_FILES: [(&str, &str); 5] = [
    ("plans", include_str!("../../nats/streams/plans.json")),
    ("jobs", include_str!("../../nats/streams/jobs.json")),
    ("results", include_str!("../../nats/streams/results.json")),
    ("dead", include_str!("../../nats/streams/dead.json")),
    ("batches", include_str!("../../nats/streams/batches.json")),
];

/// The data bucket. Services neither wait for it nor make it, but for the planner, which owns it as all streams: a
/// deployment whose bars are in a folder needs none, and an older planner knows of none.
const DATA_FILE: (&str, &str) = ("data", include_str!("../../nats/streams/data.json"));

/// The MLflow bridge's consumer. Only a bridge makes it: on its account RESULTS would otherwise keep what nobody reads.
const MLFLOW_FILE: (&str, &str) = ("mlflow-bridge", include_str!("../../nats/consumers/mlflow-bridge.json"));

/// A consumer's file under `nats/consumers/`.
const CONSUMER_FILES: [(&str, &str); 4] = [
    ("planner", include_str!("../../nats/consumers/planner.json")),
    ("native-high", include_str!("../../nats/consumers/native-high.json")),
    ("native-normal", include_str!("../../nats/consumers/native-normal.json")),
    ("native-low", include_str!("../../nats/consumers/native-low.json")),
];

/// What a deployment may change about the files under `nats/`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuning {
    /// How long a job may go without a sign of life before it is given to another worker.
    pub ack_wait: Option<Duration>,
    /// Copies of each stream in a cluster.
    pub replicas: Option<usize>,
}

impl From<&Config> for Tuning {
    fn from(config: &Config) -> Self {
        Self { ack_wait: Some(config.worker.ack_wait()), replicas: Some(config.nats.replicas) }
    }
}

/// The topology could not be read or put in place.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// A file under `nats/` is not what the server's API takes.
    #[error("failed to read nats/{file}.json: {source}")]
    File {
        /// Its path below `nats/`, without the ending.
        file: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The server refused a stream.
    #[error("failed to create or update stream {name}: {reason}")]
    Stream {
        /// Its name.
        name: String,
        /// The server's words.
        reason: String,
    },
    /// The server refused a consumer.
    #[error("failed to create or update consumer {name} of stream {stream}: {reason}")]
    Consumer {
        /// Its name.
        name: String,
        /// Its stream.
        stream: String,
        /// The server's words.
        reason: String,
    },
}

/// The streams of a namespace, as the files give them.
pub fn streams(names: &Names, tuning: &Tuning) -> Result<Vec<stream::Config>, TopologyError> {
    STREAM_FILES
        .iter()
        .map(|(file, json)| {
            let name = match *file {
                "plans" => names.plans_stream(),
                "jobs" => names.jobs_stream(),
                "results" => names.results_stream(),
                "dead" => names.dead_stream(),
                _ => names.batches_stream(),
            };
            stream_of_file(file, json, name, names, tuning)
        })
        .collect()
}

/// The stream of the data bucket, as its file gives it.
pub fn data_stream(names: &Names, tuning: &Tuning) -> Result<stream::Config, TopologyError> {
    let (file, json) = DATA_FILE;
    stream_of_file(file, json, names.data_stream(), names, tuning)
}

fn stream_of_file(
    file: &str,
    json: &str,
    name: String,
    names: &Names,
    tuning: &Tuning,
) -> Result<stream::Config, TopologyError> {
    let mut config: stream::Config =
        serde_json::from_str(json).map_err(|source| TopologyError::File { file: format!("streams/{file}"), source })?;
    config.name = name;
    for subject in &mut config.subjects {
        *subject = move_to_namespace(subject, names);
    }
    if let Some(replicas) = tuning.replicas {
        config.num_replicas = replicas;
    }
    Ok(config)
}

/// The consumers of a namespace, as the files give them, each with its stream's name.
pub fn consumers(names: &Names, tuning: &Tuning) -> Result<Vec<(String, consumer::pull::Config)>, TopologyError> {
    CONSUMER_FILES
        .iter()
        .map(|(file, json)| {
            let mut config: consumer::pull::Config = serde_json::from_str(json)
                .map_err(|source| TopologyError::File { file: format!("consumers/{file}"), source })?;
            config.filter_subject = move_to_namespace(&config.filter_subject, names);
            let stream = if *file == "planner" { names.plans_stream() } else { names.jobs_stream() };
            if let Some(ack_wait) = tuning.ack_wait {
                config.ack_wait = ack_wait;
            }
            Ok((stream, config))
        })
        .collect()
}

/// Creates every stream, consumer and bucket of the namespace, the data bucket among them, or brings it up to what the files say. What is so
/// already is only looked at: an update that changes nothing costs the server a write to its disk all the same.
///
/// Waits for a server that goes away meanwhile, and for a cluster that is not whole yet.
pub async fn ensure(context: &Context, names: &Names, tuning: &Tuning) -> Result<(), TopologyError> {
    for config in streams(names, tuning)? {
        put_named_stream(context, config).await?;
    }
    ensure_data(context, names, tuning).await?;
    for (stream, config) in consumers(names, tuning)? {
        let name = config.durable_name.clone().unwrap_or_default();
        put_consumer(context, &stream, config).await.map_err(|error| TopologyError::Consumer {
            name,
            stream: stream.clone(),
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

/// Creates the data bucket, or brings it up to what its file says.
pub async fn ensure_data(context: &Context, names: &Names, tuning: &Tuning) -> Result<(), TopologyError> {
    put_named_stream(context, data_stream(names, tuning)?).await
}

async fn put_named_stream(context: &Context, config: stream::Config) -> Result<(), TopologyError> {
    let name = config.name.clone();
    put_stream(context, config).await.map_err(|error| TopologyError::Stream { name, reason: error.to_string() })
}

/// Creates the MLflow bridge's consumer on RESULTS, or brings it up to what its file says.
pub async fn ensure_mlflow(context: &Context, names: &Names) -> Result<(), TopologyError> {
    let (file, json) = MLFLOW_FILE;
    let mut config: consumer::pull::Config = serde_json::from_str(json)
        .map_err(|source| TopologyError::File { file: format!("consumers/{file}"), source })?;
    config.filter_subject = move_to_namespace(&config.filter_subject, names);
    let (name, stream) = (names.mlflow_consumer(), names.results_stream());
    put_consumer(context, &stream, config).await.map_err(|error| TopologyError::Consumer {
        name,
        stream,
        reason: error.to_string(),
    })
}

/// Waits until every stream and consumer is there, whatever their settings, and creates what is missing if this user
/// may. For whoever is not the one that keeps them up to date: a service of an older version must not take back what a
/// newer one has changed, and one with few permissions waits for the planner.
///
/// # Errors
/// When the server refuses to create what is missing.
pub async fn ensure_present(context: &Context, names: &Names, tuning: &Tuning) -> Result<(), TopologyError> {
    let mut told = false;
    loop {
        let Some(missing) = missing(context, names, tuning).await? else { return Ok(()) };
        // The answer to a request that is not permitted never comes.
        match tokio::time::timeout(CREATION_TIME, ensure(context, names, tuning)).await {
            Ok(done) => return done,
            Err(_) if !told => {
                tracing::warn!(missing, "waiting for a planner to create it, which this user may not");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// The first stream or consumer that is not there.
async fn missing(context: &Context, names: &Names, tuning: &Tuning) -> Result<Option<String>, TopologyError> {
    for config in streams(names, tuning)? {
        if context.get_stream(&config.name).await.is_err() {
            return Ok(Some(config.name));
        }
    }
    for (stream, config) in consumers(names, tuning)? {
        let name = config.durable_name.unwrap_or_default();
        if context.get_consumer_from_stream::<consumer::pull::Config, _, _>(&name, &stream).await.is_err() {
            return Ok(Some(format!("{name} of {stream}")));
        }
    }
    Ok(None)
}

async fn put_stream(context: &Context, config: stream::Config) -> Result<(), CreateStreamError> {
    let passes = |error: &CreateStreamError| match error.kind() {
        // Also the answer of a server that dies and is started again meanwhile, which never comes.
        CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::Response => true,
        CreateStreamErrorKind::JetStream(refusal) => PASSING.contains(&refusal.error_code()),
        _ => false,
    };
    patiently("put a stream in place", &config.name, passes, || async {
        if context.get_stream(&config.name).await.is_ok_and(|found| agrees(&found.cached_info().config, &config)) {
            return Ok(());
        }
        context.create_or_update_stream(config.clone()).await.map(drop)
    })
    .await
}

async fn put_consumer(context: &Context, stream: &str, config: consumer::pull::Config) -> Result<(), ConsumerError> {
    let passes = |error: &ConsumerError| match error.kind() {
        ConsumerErrorKind::TimedOut | ConsumerErrorKind::Request => true,
        ConsumerErrorKind::JetStream(refusal) => PASSING.contains(&refusal.error_code()),
        _ => false,
    };
    let name = config.durable_name.as_deref().unwrap_or_default();
    patiently("put a consumer in place", name, passes, || async {
        let found: Result<PullConsumer, _> = context.get_consumer_from_stream(name, stream).await;
        if found.is_ok_and(|found| agrees(&found.cached_info().config, &config.clone().into_consumer_config())) {
            return Ok(());
        }
        context.create_consumer_on_stream(config.clone(), stream).await.map(drop)
    })
    .await
}

/// Whether a configuration that the server has says everything that is wanted. The server may say more.
fn agrees<C: Serialize>(found: &C, wanted: &C) -> bool {
    differences(found, wanted).is_empty()
}

/// A setting of a stream or consumer that is not as wanted, by its name in the server's API.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// `max_bytes`.
    pub setting: String,
    /// What the server has.
    pub found: Value,
    /// What is wanted.
    pub wanted: Value,
}

/// What a configuration that the server has says other than wanted.
pub fn differences<C: Serialize>(found: &C, wanted: &C) -> Vec<Difference> {
    let as_map = |config: &C| match serde_json::to_value(config) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let mut found = as_map(found);
    let pairs = as_map(wanted).into_iter().map(|(setting, wanted)| {
        let found = found.remove(&setting).unwrap_or_default();
        Difference { setting, found, wanted }
    });
    pairs.filter(|difference| difference.found != difference.wanted).collect()
}

/// The ack wait of a priority's consumer, from which workers derive how often to show a sign of life.
pub fn jobs_ack_wait(tuning: &Tuning) -> Result<Duration, TopologyError> {
    let names = Names::default();
    let wanted = names.jobs_consumer(NATIVE, Priority::Normal);
    let all = consumers(&names, tuning)?;
    let found = all.into_iter().find(|(_, config)| config.durable_name.as_deref() == Some(wanted.as_str()));
    Ok(found.map(|(_, config)| config.ack_wait).unwrap_or_default())
}

fn move_to_namespace(subject: &str, names: &Names) -> String {
    for prefix in ["", "$KV.", "$O."] {
        if let Some(rest) = subject.strip_prefix(prefix).and_then(|s| s.strip_prefix(DEFAULT_NAMESPACE)) {
            return format!("{prefix}{}{rest}", names.namespace());
        }
    }
    subject.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_move_into_a_namespace() {
        let names = Names::new("team-a").unwrap();
        let all = streams(&names, &Tuning::default()).unwrap();
        let subjects: Vec<_> = all.iter().flat_map(|config| config.subjects.clone()).collect();
        let data = data_stream(&names, &Tuning::default()).unwrap();
        assert_eq!(
            (data.name, data.subjects),
            ("OBJ_team-a-data".into(), vec!["$O.team-a-data.C.>".into(), "$O.team-a-data.M.>".into()])
        );
        assert_eq!(
            subjects,
            [
                "team-a.plans.v1.*",
                "team-a.plans.v1.*.*",
                "team-a.jobs.v1.*.*.*.*.*",
                "team-a.results.v1.>",
                "team-a.dead.v1.>",
                "$KV.team-a-batches.>"
            ]
        );
        assert!(
            all.iter().all(|config| config.discard == stream::DiscardPolicy::New),
            "full streams refuse, never drop"
        );
    }

    #[test]
    fn file_names_are_the_default_names() {
        let tuning = Tuning { ack_wait: Some(Duration::from_secs(5)), replicas: Some(3) };
        for ((_, json), config) in STREAM_FILES.iter().zip(streams(&Names::default(), &tuning).unwrap()) {
            let file: stream::Config = serde_json::from_str(json).unwrap();
            assert_eq!((file.name, file.subjects), (config.name, config.subjects));
            assert_eq!(config.num_replicas, 3);
        }
        let data: stream::Config = serde_json::from_str(DATA_FILE.1).unwrap();
        let config = data_stream(&Names::default(), &tuning).unwrap();
        assert_eq!((data.name, data.subjects, 3), (config.name, config.subjects, config.num_replicas));
        for (_, config) in consumers(&Names::default(), &tuning).unwrap() {
            assert_eq!(config.ack_wait, Duration::from_secs(5));
            assert_eq!(config.ack_policy, consumer::AckPolicy::Explicit);
        }
        assert_eq!(jobs_ack_wait(&Tuning::default()).unwrap(), Duration::from_secs(30));
    }
}
