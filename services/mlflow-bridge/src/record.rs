//! A run as MLflow has it: name, tags, parameters, metrics, note.

use jetsweep_engine::metrics::Metric as RunMetric;
use jetsweep_shared::spec::ResolvedSpec;

use crate::client::{Dataset, Metric, NewRun, Param, Tag};
use crate::names::{self, tag};
use crate::row::{End, RunRow};

/// Longest digest of a dataset that MLflow keeps, in characters: the first ones of ours, which tags have in full.
const DATASET_DIGEST: usize = 36;

/// A run to create.
pub(crate) fn new_run(row: &RunRow, experiment_id: &str, parent: &str) -> NewRun {
    NewRun {
        experiment_id: experiment_id.to_owned(),
        run_name: names::run_name(&row.symbol, &row.strategy, &row.params),
        start_time: row.start_ms(),
        tags: tags(row, parent),
    }
}

fn tags(row: &RunRow, parent: &str) -> Vec<Tag> {
    let mut tags = vec![
        Tag::new(tag::JOB_ID, names::job_id(&row.batch_id, row.run)),
        Tag::new(tag::BATCH_ID, row.batch_id.as_str()),
        Tag::new(tag::RUN, row.run.to_string()),
        Tag::new(tag::GENERATION, row.generation.to_string()),
        Tag::new(tag::PARENT, parent),
        Tag::new("status", row.end.status()),
        Tag::new("symbol", &row.symbol),
        Tag::new("strategy", &row.strategy),
        Tag::new("worker", &row.worker),
        Tag::new("engine_version", &row.engine_version),
        Tag::new("spec_digest", &row.spec_digest),
        Tag::new("mlflow.source.name", "jetsweep"),
        Tag::new("mlflow.source.type", "JOB"),
    ];
    tags.extend(row.data_digest.as_ref().map(|digest| Tag::new("data_digest", digest)));
    match &row.end {
        End::Succeeded | End::Ruined => {
            let undefined = row.undefined();
            if !undefined.is_empty() {
                tags.push(Tag::new("undefined_metrics", undefined.join(", ")));
            }
        }
        End::Failed { code, message, .. } => {
            tags.push(Tag::new("error_code", code));
            tags.push(Tag::new("error_message", message));
        }
    }
    tags
}

/// Its parameters.
pub(crate) fn params(row: &RunRow) -> Vec<Param> {
    row.params.iter().map(|(name, value)| Param::new(name, names::number(*value))).collect()
}

/// Its metrics, those that are defined, at the time its shard was done.
pub(crate) fn metrics(row: &RunRow) -> Vec<Metric> {
    let at = row.end_ms();
    let mut metrics: Vec<Metric> =
        row.metrics.iter().filter_map(|(metric, value)| Metric::new(names::metric(*metric), *value, at)).collect();
    metrics.extend(row.runtime_us.and_then(|time| Metric::new("runtime/runtime_us", time, at)));
    metrics
}

/// How it ended, in MLflow's words.
pub(crate) fn status(row: &RunRow) -> &'static str {
    if row.has_metrics() { "FINISHED" } else { "FAILED" }
}

/// What it was computed from, if its bars could be read.
pub(crate) fn dataset(row: &RunRow, spec: &ResolvedSpec) -> Option<Dataset> {
    let digest = row.data_digest.as_ref()?;
    let bars = row.get(RunMetric::Bars);
    Some(Dataset {
        name: row.symbol.clone(),
        digest: digest.chars().take(DATASET_DIGEST).collect(),
        source: spec.data.source.replace("{symbol}", &row.symbol),
        profile: serde_json::json!({
            "digest": digest,
            "bars": bars,
            "from": spec.data.from.map(|date| date.to_string()),
            "to": spec.data.to.map(|date| date.to_string()),
        }),
    })
}
