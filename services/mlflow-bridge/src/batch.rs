//! One batch in MLflow: its batch run, and which of its runs are there.
//!
//! A run is in MLflow once: it carries the tag `job_id`. Whoever opens a batch looks once for what is there already, and
//! from then on remembers what it logs. Only a create whose answer was lost is looked for by itself; should it come
//! true later still, the next look finds two of a kind and deletes one. Ending a run is the last request about it, so
//! what has ended is complete, and what has not is gone on with.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_shared::config::{Detail, MlflowConfig};
use jetsweep_shared::events::{self, Begin, ReplayInput, ReplayRequest};
use serde_json::json;

use crate::client::{Artifacts, CallError, Content, FoundRun, Mlflow, NewRun, Tag};
use crate::details;
use crate::experiments::Experiments;
use crate::names::{self, tag};
use crate::record;
use crate::row::RunRow;
use crate::source::{Source, SourceError};

/// Status of a run that has not ended.
const RUNNING: &str = "RUNNING";

/// What all batches share.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) mlflow: Mlflow,
    pub(crate) experiments: Experiments,
    pub(crate) config: MlflowConfig,
}

impl Context {
    pub(crate) fn new(mlflow: Mlflow, config: &MlflowConfig) -> Self {
        Self { experiments: Experiments::new(mlflow.clone()), mlflow, config: config.clone() }
    }
}

/// A run that is not logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// MLflow refused it for good.
    #[error("MLflow refuses it: {0}")]
    Refused(String),
    /// Not now.
    #[error("not now: {0}")]
    NotNow(String),
}

impl From<CallError> for LogError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { .. } => LogError::Refused(error.to_string()),
            CallError::Ambiguous(words) | CallError::NotNow(words) => LogError::NotNow(words),
        }
    }
}

impl From<SourceError> for LogError {
    fn from(error: SourceError) -> Self {
        LogError::NotNow(error.to_string())
    }
}

/// A run of a batch that MLflow has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logged {
    pub(crate) run_id: String,
    pub(crate) experiment_id: String,
    artifacts: Artifacts,
    generation: u32,
    /// Whether all of it is there.
    pub(crate) is_complete: bool,
    pub(crate) has_failed: bool,
}

impl From<&FoundRun> for Logged {
    fn from(run: &FoundRun) -> Self {
        Self {
            run_id: run.run_id.clone(),
            experiment_id: run.experiment_id.clone(),
            artifacts: Artifacts(run.artifact_uri.clone()),
            generation: run.tag(tag::GENERATION).and_then(|generation| generation.parse().ok()).unwrap_or(0),
            is_complete: run.status != RUNNING,
            has_failed: run.status == "FAILED",
        }
    }
}

/// How many runs of a batch are in MLflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) logged: u64,
    pub(crate) failed: u64,
    pub(crate) refused: u64,
}

/// One batch.
#[derive(Debug)]
pub(crate) struct BatchLog {
    context: Context,
    pub(crate) begin: Arc<Begin>,
    /// The batch run.
    pub(crate) batch_run: Logged,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By number of the run.
    logged: HashMap<u64, Logged>,
    refused: HashMap<u64, String>,
}

impl BatchLog {
    /// Finds or creates the batch run, and finds the runs that are there.
    pub(crate) async fn open(context: &Context, begin: Arc<Begin>) -> Result<Self, LogError> {
        let name = &context.config.batches_experiment;
        let experiment = context.experiments.ensure(name, &[Tag::new("jetsweep", "batches")]).await?;
        let job_id = names::batch_job_id(&begin.batch_id);
        let of_batch = context.mlflow.runs_with_tag(std::slice::from_ref(&experiment), tag::JOB_ID, &job_id).await?;
        if of_batch.is_empty() {
            let created = create(context, &new_batch_run(&begin, &experiment), &job_id).await?;
            // Runs are logged after their batch run, so there are none.
            return Ok(Self {
                context: context.clone(),
                begin,
                batch_run: Logged::from(&created),
                state: Mutex::default(),
            });
        }
        let runs = find_runs(context, &begin).await?;
        let parent = runs.iter().find_map(|run| run.tag(tag::PARENT));
        let batch_run = of_batch.iter().find(|run| Some(run.run_id.as_str()) == parent).unwrap_or(&of_batch[0]);
        for double in of_batch.iter().filter(|run| run.run_id != batch_run.run_id) {
            context.mlflow.delete_run(&double.run_id).await?;
        }
        let log = Self { context: context.clone(), begin, batch_run: Logged::from(batch_run), state: Mutex::default() };
        log.take_in(runs).await?;
        Ok(log)
    }

    /// Looks again for the runs that are there, and leaves one of each.
    pub(crate) async fn look_again(&self) -> Result<(), LogError> {
        let runs = find_runs(&self.context, &self.begin).await?;
        self.take_in(runs).await
    }

    async fn take_in(&self, runs: Vec<FoundRun>) -> Result<(), LogError> {
        let (logged, doubles) = one_of_each(runs);
        for double in doubles {
            tracing::info!(batch = %self.begin.batch_id, run = double, "deleted a run that MLflow had twice");
            self.context.mlflow.delete_run(&double).await?;
        }
        self.lock().logged = logged;
        Ok(())
    }

    /// Logs a run, unless it is there in full.
    pub(crate) async fn log_run<S: Source>(&self, source: &S, row: &RunRow) -> Result<(), LogError> {
        let known = self.logged(row.run);
        if known.as_ref().is_some_and(|known| known.is_complete && known.generation >= row.generation) {
            return Ok(());
        }
        let logging = self.log_all_of(source, row, known).await;
        let metrics = self.context.mlflow.metrics();
        match &logging {
            Ok(()) => {
                metrics.runs_logged.inc();
                self.lock().refused.remove(&row.run);
            }
            Err(LogError::Refused(words)) => {
                metrics.runs_refused.inc();
                self.lock().refused.insert(row.run, words.clone());
            }
            Err(LogError::NotNow(_)) => {}
        }
        logging
    }

    async fn log_all_of<S: Source>(&self, source: &S, row: &RunRow, known: Option<Logged>) -> Result<(), LogError> {
        let mlflow = &self.context.mlflow;
        let is_full = self.context.config.detail == Detail::Full;
        // First of all: what cannot be had now should leave nothing half done.
        let (files, lacking) = if is_full { self.files(source, row).await? } else { (Vec::new(), None) };
        let mut run = match known {
            Some(run) => {
                // It was begun before, maybe by an earlier generation.
                mlflow.log_batch(&run.run_id, &[], &[], &record::tags(row, &self.batch_run.run_id)).await?;
                run
            }
            None => Logged::from(&self.create_run(row).await?),
        };
        run.generation = row.generation;
        run.is_complete = false;
        self.lock().logged.insert(row.run, run.clone());

        let lacking: Vec<Tag> = lacking.map(|words| Tag::new("artifacts", words)).into_iter().collect();
        mlflow.log_batch(&run.run_id, &record::metrics(row), &record::params(row), &lacking).await?;
        if let (true, Some(dataset)) = (is_full, record::dataset(row, &self.begin.spec)) {
            mlflow.log_dataset(&run.run_id, &dataset).await?;
        }
        for (path, bytes) in files {
            mlflow.put_artifact(&run.artifacts, path, Content::Bytes(bytes)).await?;
        }
        mlflow.end_run(&run.run_id, record::status(row), row.end_ms()).await?;
        run.is_complete = true;
        run.has_failed = !row.has_metrics();
        self.lock().logged.insert(row.run, run);
        Ok(())
    }

    async fn create_run(&self, row: &RunRow) -> Result<FoundRun, LogError> {
        let asset_class = names::asset_class(&self.begin.spec);
        let name = names::experiment(&self.context.config.experiment, asset_class, &row.symbol, &row.strategy);
        let tags = [
            Tag::new("asset_class", asset_class),
            Tag::new("symbol", &row.symbol),
            Tag::new("strategy", &row.strategy),
            Tag::new(tag::NOTE, format!("Backtests of `{}` over {}, by jetsweep.", row.strategy, row.symbol)),
        ];
        let job_id = names::job_id(&row.batch_id, row.run);
        let experiments = &self.context.experiments;
        let experiment = experiments.ensure(&name, &tags).await?;
        let new_run = record::new_run(row, &experiment, &self.batch_run.run_id);
        match create(&self.context, &new_run, &job_id).await {
            Err(LogError::Refused(_)) => {
                // Somebody may have deleted the experiment since it was seen.
                experiments.forget(&name);
                let experiment = experiments.ensure(&name, &tags).await?;
                create(&self.context, &NewRun { experiment_id: experiment, ..new_run }, &job_id).await
            }
            created => created,
        }
    }

    /// The run's files, and why some are lacking.
    async fn files<S: Source>(
        &self,
        source: &S,
        row: &RunRow,
    ) -> Result<(Vec<details::File>, Option<String>), LogError> {
        let mut files = vec![details::row_file(row)];
        if !row.has_metrics() {
            return Ok((files, None));
        }
        let lacking = match self.replay_request(row) {
            None => Some("the batch's plan has no such run".to_owned()),
            Some(request) => match source.replay(&request).await {
                Ok(replay) => {
                    let (row, cash) = (row.clone(), self.begin.spec.execution.cash);
                    let drawn = tokio::task::spawn_blocking(move || details::replay_files(&row, &replay, cash)).await;
                    files.extend(drawn.map_err(|error| LogError::NotNow(error.to_string()))?);
                    None
                }
                Err(error) if error.is_passing => return Err(error.into()),
                Err(error) => Some(format!("no trades and equity: {error}")),
            },
        };
        Ok((files, lacking))
    }

    /// What a worker is asked for a run in full.
    pub(crate) fn replay_request(&self, row: &RunRow) -> Option<ReplayRequest> {
        let shard = self.begin.plan.shard_of(row.run)?;
        let params = self.begin.spec.strategies.get(shard.strategy)?.template.params();
        let values: Option<Vec<f64>> = params.keys().map(|name| row.params.get(name).copied()).collect();
        let input = match values {
            Some(values) => ReplayInput::at(&self.begin.spec, shard, values),
            None => ReplayInput::of(&self.begin.spec, shard, row.run)?,
        };
        Some(ReplayRequest {
            version: events::VERSION,
            batch_id: row.batch_id.clone(),
            run: row.run,
            input: Some(input),
            data_digest: row.data_digest.clone(),
        })
    }

    /// A run that is in MLflow.
    pub(crate) fn logged(&self, run: u64) -> Option<Logged> {
        self.lock().logged.get(&run).cloned()
    }

    /// Whether all of a run of this generation is in MLflow.
    pub(crate) fn has(&self, run: u64, generation: u32) -> bool {
        let state = self.lock();
        state.logged.get(&run).is_some_and(|logged| logged.is_complete && logged.generation >= generation)
    }

    /// The runs that have metrics and are in MLflow in full.
    pub(crate) fn succeeded(&self) -> Vec<u64> {
        let state = self.lock();
        let complete = state.logged.iter().filter(|(_, logged)| logged.is_complete && !logged.has_failed);
        complete.map(|(run, _)| *run).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        let state = self.lock();
        let complete = || state.logged.values().filter(|logged| logged.is_complete);
        Counts {
            logged: complete().count() as u64,
            failed: complete().filter(|logged| logged.has_failed).count() as u64,
            refused: state.refused.len() as u64,
        }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Stores an artifact of the batch run.
    pub(crate) async fn put(&self, path: &str, content: Content) -> Result<(), LogError> {
        self.context.mlflow.put_artifact(&self.batch_run.artifacts, path, content).await?;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a run, exactly one: when the answer is lost it is looked for before it is created again.
async fn create(context: &Context, run: &NewRun, job_id: &str) -> Result<FoundRun, LogError> {
    loop {
        match context.mlflow.create_run(run).await {
            Ok(created) => return Ok(created),
            Err(CallError::Ambiguous(words)) => {
                tracing::debug!(job_id, words, "it is unknown whether a run was created, looking for it");
                let experiment = std::slice::from_ref(&run.experiment_id);
                let found = context.mlflow.runs_with_tag(experiment, tag::JOB_ID, job_id).await?;
                if let Some(found) = found.into_iter().next() {
                    return Ok(found);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// All runs of a batch but its batch run.
async fn find_runs(context: &Context, begin: &Begin) -> Result<Vec<FoundRun>, LogError> {
    let asset_class = names::asset_class(&begin.spec);
    let mut experiments = Vec::new();
    for symbol in &begin.spec.symbols {
        for strategy in &begin.spec.strategies {
            let name = names::experiment(&context.config.experiment, asset_class, symbol.as_str(), &strategy.name);
            if let Some(id) = context.experiments.find(&name).await?
                && !experiments.contains(&id)
            {
                experiments.push(id);
            }
        }
    }
    if experiments.is_empty() {
        return Ok(Vec::new());
    }
    let found = context.mlflow.runs_with_tag(&experiments, tag::BATCH_ID, begin.batch_id.as_str()).await?;
    Ok(found.into_iter().filter(|run| run.tag(tag::RUN).is_some()).collect())
}

/// One run of each number, a complete one if there is one; and the ids of the others.
fn one_of_each(runs: Vec<FoundRun>) -> (HashMap<u64, Logged>, Vec<String>) {
    let mut kept: HashMap<u64, Logged> = HashMap::new();
    let mut doubles = Vec::new();
    for run in &runs {
        let Some(number) = run.tag(tag::RUN).and_then(|number| number.parse().ok()) else { continue };
        let logged = Logged::from(run);
        match kept.get(&number) {
            None => drop(kept.insert(number, logged)),
            Some(other) if logged.is_complete && !other.is_complete => {
                doubles.extend(kept.insert(number, logged).map(|other| other.run_id));
            }
            Some(_) => doubles.push(logged.run_id),
        }
    }
    (kept, doubles)
}

fn new_batch_run(begin: &Begin, experiment: &str) -> NewRun {
    let spec = &begin.spec;
    let note = format!(
        "Batch `{}` of the sweep **{}**: {} runs. It is running; its tables and charts come when it is complete.",
        begin.batch_id, spec.name, begin.total_runs
    );
    NewRun {
        experiment_id: experiment.to_owned(),
        run_name: begin.batch_id.to_string(),
        start_time: begin.created_at.as_millisecond(),
        tags: vec![
            Tag::new(tag::JOB_ID, names::batch_job_id(&begin.batch_id)),
            Tag::new(tag::BATCH_ID, begin.batch_id.as_str()),
            Tag::new("sweep", &spec.name),
            Tag::new("spec_digest", &begin.spec_digest),
            Tag::new("planner_version", &begin.planner_version),
            Tag::new("priority", begin.priority.as_str()),
            Tag::new("mlflow.source.name", "jetsweep"),
            Tag::new("mlflow.source.type", "JOB"),
            Tag::new(
                "runs_filter",
                json!(format!("tags.batch_id = '{}'", begin.batch_id)).as_str().unwrap_or_default(),
            ),
            Tag::new(tag::NOTE, note),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(id: &str, run: u64, status: &str) -> FoundRun {
        FoundRun {
            run_id: id.to_owned(),
            experiment_id: "1".to_owned(),
            status: status.to_owned(),
            artifact_uri: String::new(),
            tags: vec![Tag::new(tag::RUN, run.to_string())],
        }
    }

    #[test]
    fn of_two_runs_of_a_number_the_complete_one_stays() {
        let runs = vec![
            found("a", 1, "RUNNING"),
            found("b", 1, "FINISHED"),
            found("c", 1, "FAILED"),
            found("d", 2, "RUNNING"),
            found("e", 2, "RUNNING"),
            found("f", 3, "FAILED"),
        ];
        let (kept, doubles) = one_of_each(runs);
        let kept_of = |run| kept.get(&run).map(|run: &Logged| (run.run_id.as_str(), run.is_complete, run.has_failed));
        assert_eq!(kept_of(1), Some(("b", true, false)));
        assert_eq!(kept_of(2), Some(("d", false, false)));
        assert_eq!(kept_of(3), Some(("f", true, true)));
        assert_eq!(doubles, ["a", "c", "e"]);
    }
}
