//! Typed calls of the REST API, version 2.0.

use std::path::PathBuf;

use bytes::Bytes;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::http::{Body, Call, Trouble};
use super::retry::{CallError, Mlflow, probe};
use super::wire::{Metric, Param, Tag};

/// Below this all calls are.
const API: &str = "/api/2.0/mlflow";
/// Most metrics of one log-batch.
const MOST_METRICS: usize = 1000;
/// Most parameters and tags of one.
const MOST_PARAMS: usize = 100;
/// Runs, or experiments, of one page of a search.
const PAGE: usize = 1000;
/// Experiments named in one search.
const EXPERIMENTS_AT_ONCE: usize = 500;
/// Scheme of artifacts that the tracking server takes itself.
const ARTIFACTS_SCHEME: &str = "mlflow-artifacts:";

/// An experiment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Experiment {
    #[serde(rename = "experiment_id")]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    #[serde(default)]
    lifecycle_stage: String,
}

impl Experiment {
    pub(crate) fn is_deleted(&self) -> bool {
        self.lifecycle_stage == "deleted"
    }
}

/// What a run is created with.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NewRun {
    pub(crate) experiment_id: String,
    pub(crate) run_name: String,
    /// In milliseconds since 1970. Without it the server takes 1970.
    pub(crate) start_time: i64,
    pub(crate) tags: Vec<Tag>,
}

/// A run that the server has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct RunInfo {
    run_id: String,
    experiment_id: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    artifact_uri: String,
}

#[derive(Debug, Deserialize)]
struct RunData {
    #[serde(default)]
    tags: Vec<Tag>,
}

#[derive(Debug, Deserialize)]
struct Run {
    info: RunInfo,
    #[serde(default = "no_data")]
    data: RunData,
}

fn no_data() -> RunData {
    RunData { tags: Vec::new() }
}

/// A run as a search finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundRun {
    pub(crate) run_id: String,
    pub(crate) experiment_id: String,
    /// `RUNNING`, `FINISHED`, `FAILED` or `KILLED`.
    pub(crate) status: String,
    pub(crate) artifact_uri: String,
    pub(crate) tags: Vec<Tag>,
}

impl From<Run> for FoundRun {
    fn from(Run { info, data }: Run) -> Self {
        let RunInfo { run_id, experiment_id, status, artifact_uri } = info;
        Self { run_id, experiment_id, status, artifact_uri, tags: data.tags }
    }
}

impl FoundRun {
    pub(crate) fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }
}

/// The data of a run.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    pub(crate) name: String,
    pub(crate) digest: String,
    /// Where it lies.
    pub(crate) source: String,
    pub(crate) profile: serde_json::Value,
}

fn get(path: String) -> Call {
    Call { method: Method::GET, path: format!("{API}{path}"), body: Body::None }
}

fn post(path: &str, body: &impl Serialize) -> Call {
    // Strings and finite numbers: serde_json has nothing to refuse.
    let json = serde_json::to_vec(body).expect("requests always serialize");
    Call { method: Method::POST, path: format!("{API}{path}"), body: Body::Json(json.into()) }
}

impl Mlflow {
    /// Asks once whether MLflow answers us. In words when it does not; `true` with them when that will not pass by
    /// itself.
    pub(crate) async fn answers(&self) -> Result<(), (String, bool)> {
        match self.once(&probe()).await {
            Ok(_) => Ok(()),
            Err(refused @ Trouble::Refused { .. }) => {
                Err((format!("there is no MLflow tracking server at {}: {refused}", self.url()), true))
            }
            Err(Trouble::Passing { words, .. }) => Err((words, false)),
            Err(Trouble::Denied { words }) => Err((words, true)),
        }
    }

    pub(crate) async fn experiment_by_name(&self, name: &str) -> Result<Option<Experiment>, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            experiment: Experiment,
        }
        let call = get(format!("/experiments/get-by-name?experiment_name={}", percent_encoded(name)));
        match self.repeat::<Answer>(call).await {
            Ok(answer) => Ok(Some(answer.experiment)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The experiments whose names begin like this, that are not deleted.
    pub(crate) async fn experiments_like(&self, prefix: &str) -> Result<Vec<Experiment>, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            experiments: Vec<Experiment>,
            #[serde(default)]
            next_page_token: Option<String>,
        }
        let mut found = Vec::new();
        let mut token = None::<String>;
        loop {
            let body = json!({
                "filter": format!("name LIKE '{prefix}%'"),
                "view_type": "ACTIVE_ONLY",
                "max_results": PAGE,
                "page_token": token,
            });
            let answer: Answer = self.repeat(post("/experiments/search", &body)).await?;
            found.extend(answer.experiments);
            token = answer.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(found);
            }
        }
    }

    /// Creates an experiment. Repeating it is harmless: names are unique.
    pub(crate) async fn create_experiment(&self, name: &str, tags: &[Tag]) -> Result<String, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            experiment_id: String,
        }
        let call = post("/experiments/create", &json!({ "name": name, "tags": tags }));
        Ok(self.repeat::<Answer>(call).await?.experiment_id)
    }

    pub(crate) async fn restore_experiment(&self, id: &str) -> Result<(), CallError> {
        self.repeat_blindly(post("/experiments/restore", &json!({ "experiment_id": id }))).await
    }

    pub(crate) async fn tag_experiment(&self, id: &str, tag: &Tag) -> Result<(), CallError> {
        let body = json!({ "experiment_id": id, "key": tag.key, "value": tag.value });
        self.repeat_blindly(post("/experiments/set-experiment-tag", &body)).await
    }

    /// Creates a run. [`CallError::Ambiguous`] when it may have been created or not.
    pub(crate) async fn create_run(&self, run: &NewRun) -> Result<FoundRun, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            run: Run,
        }
        Ok(self.once_only::<Answer>(post("/runs/create", run)).await?.run.into())
    }

    /// Logs all of these. With the same timestamps a repetition changes nothing.
    pub(crate) async fn log_batch(
        &self,
        run_id: &str,
        metrics: &[Metric],
        params: &[Param],
        tags: &[Tag],
    ) -> Result<(), CallError> {
        let (mut metrics, mut params, mut tags) =
            (metrics.chunks(MOST_METRICS), params.chunks(MOST_PARAMS), tags.chunks(MOST_PARAMS));
        loop {
            let next = (metrics.next(), params.next(), tags.next());
            if matches!(next, (None, None, None)) {
                return Ok(());
            }
            let body = json!({
                "run_id": run_id,
                "metrics": next.0.unwrap_or_default(),
                "params": next.1.unwrap_or_default(),
                "tags": next.2.unwrap_or_default(),
            });
            self.repeat_blindly(post("/runs/log-batch", &body)).await?;
        }
    }

    /// Says what a run was computed from.
    pub(crate) async fn log_dataset(&self, run_id: &str, dataset: &Dataset) -> Result<(), CallError> {
        let Dataset { name, digest, source, profile } = dataset;
        let columns = ["open", "high", "low", "close", "volume"].map(|name| json!({ "type": "double", "name": name }));
        let mut schema = vec![json!({ "type": "datetime", "name": "date" })];
        schema.extend(columns);
        let body = json!({
            "run_id": run_id,
            "datasets": [{
                "dataset": {
                    "name": name,
                    "digest": digest,
                    "source_type": "local",
                    "source": json!({ "uri": source }).to_string(),
                    "schema": json!({ "mlflow_colspec": schema }).to_string(),
                    "profile": profile.to_string(),
                },
                "tags": [{ "key": "mlflow.data.context", "value": "backtest" }],
            }],
        });
        self.repeat_blindly(post("/runs/log-inputs", &body)).await
    }

    /// Ends a run: what says that all of it is there.
    pub(crate) async fn end_run(&self, run_id: &str, status: &str, end_time: i64) -> Result<(), CallError> {
        let body = json!({ "run_id": run_id, "status": status, "end_time": end_time });
        self.repeat_blindly(post("/runs/update", &body)).await
    }

    pub(crate) async fn tag_run(&self, run_id: &str, tag: &Tag) -> Result<(), CallError> {
        let body = json!({ "run_id": run_id, "key": tag.key, "value": tag.value });
        self.repeat_blindly(post("/runs/set-tag", &body)).await
    }

    pub(crate) async fn delete_run(&self, run_id: &str) -> Result<(), CallError> {
        self.repeat_blindly(post("/runs/delete", &json!({ "run_id": run_id }))).await
    }

    /// The runs of these experiments whose tag has this value, that are not deleted.
    pub(crate) async fn runs_with_tag(
        &self,
        experiments: &[String],
        tag: &str,
        value: &str,
    ) -> Result<Vec<FoundRun>, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(default)]
            runs: Vec<Run>,
            #[serde(default)]
            next_page_token: Option<String>,
        }
        let mut found = Vec::new();
        for experiments in experiments.chunks(EXPERIMENTS_AT_ONCE) {
            let mut token = None::<String>;
            loop {
                let body = json!({
                    "experiment_ids": experiments,
                    "filter": format!("tags.{tag} = '{value}'"),
                    "run_view_type": "ACTIVE_ONLY",
                    "max_results": PAGE,
                    "page_token": token,
                });
                let answer: Answer = self.repeat(post("/runs/search", &body)).await?;
                found.extend(answer.runs.into_iter().map(FoundRun::from));
                token = answer.next_page_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Stores an artifact of a run. `Ok(false)` when its artifacts lie where only MLflow's own client can put them.
    pub(crate) async fn put_artifact(&self, run: &Artifacts, path: &str, content: Content) -> Result<bool, CallError> {
        let Some(folder) = run.0.strip_prefix(ARTIFACTS_SCHEME) else { return Ok(false) };
        // `mlflow-artifacts:/1/ab/artifacts`, or with a host: `mlflow-artifacts://host:5000/1/ab/artifacts`.
        let folder = match folder.strip_prefix("//") {
            Some(rest) => rest.split_once('/').map_or("", |(_, folder)| folder),
            None => folder.trim_start_matches('/'),
        };
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{folder}/{}", percent_encoded_path(path));
        let body = match content {
            Content::Bytes(bytes) => Body::Bytes(bytes),
            Content::File { path, bytes } => Body::File { path, bytes },
        };
        self.repeat_blindly(Call { method: Method::PUT, path, body }).await?;
        Ok(true)
    }
}

/// Where artifacts of a run go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifacts(pub(crate) String);

impl Artifacts {
    /// Whether the tracking server takes and gives them.
    pub(crate) fn are_served(&self) -> bool {
        self.0.starts_with(ARTIFACTS_SCHEME)
    }
}

/// What an artifact holds.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// In memory.
    Bytes(Bytes),
    /// A file.
    File {
        /// Where.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

fn percent_encoded_path(path: &str) -> String {
    path.split('/').map(percent_encoded).collect::<Vec<_>>().join("/")
}

fn percent_encoded(text: &str) -> String {
    let encoded = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_url() {
        assert_eq!(percent_encoded("a b/ü.x"), "a%20b%2F%C3%BC.x");
        assert_eq!(percent_encoded_path("heatmaps/sma cross.svg"), "heatmaps/sma%20cross.svg");
    }
}
