//! One batch in MLflow: its batch run, and which of its runs are there.
//!
//! A run is in MLflow once: it carries the tag `job_id`. Whoever opens a batch looks once for what is there already, and
//! from then on remembers what it logs. Only a create whose answer was lost is looked for by itself; should it come
//! true later still, the next look finds two of a kind and deletes one. Ending a run is the last request about it, so
//! what has ended is complete, and what has not is gone on with.

mod runs;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_shared::config::{Detail, MlflowConfig};
use jetsweep_shared::events::{self, Begin, ReplayInput, ReplayRequest};

use crate::client::{Artifacts, CallError, Content, FoundRun, Mlflow, Tag};
use crate::details;
use crate::experiments::Experiments;
use crate::names::{self, tag};
use crate::notes;
use crate::record;
use crate::row::RunRow;
use crate::source::{Source, SourceError};

pub(crate) use runs::batches_tags;
use runs::{create, create_batch_run, find_batch_runs, find_runs, one_of_each};

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
            CallError::Ambiguous { words, .. } | CallError::NotNow(words) => LogError::NotNow(words),
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
    parent: Option<String>,
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
            parent: run.tag(tag::PARENT).map(str::to_owned),
            generation: run.tag(tag::GENERATION).and_then(|generation| generation.parse().ok()).unwrap_or(0),
            is_complete: run.status != RUNNING,
            has_failed: run.status == "FAILED",
        }
    }
}

impl Logged {
    /// One of its artifacts, as an image on its page; `None` if the server does not have them.
    pub(crate) fn image(&self, path: &str) -> Option<String> {
        self.artifacts.are_served().then(|| notes::image(&self.run_id, path))
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
    /// How many experiments had been restored when it was last looked for runs.
    restored: tokio::sync::Mutex<u64>,
}

/// Where a run goes.
#[derive(Debug)]
struct Home {
    /// Name of the experiment.
    name: String,
    /// Tags of the experiment if it is new.
    tags: Vec<Tag>,
}

#[derive(Debug, Default)]
struct State {
    /// By number of the run.
    logged: HashMap<u64, Logged>,
    refused: HashMap<u64, String>,
    /// Runs that are being logged: a result may come twice.
    busy: HashSet<u64>,
}

impl BatchLog {
    /// Finds or creates the batch run, and finds the runs that are there.
    pub(crate) async fn open(context: &Context, begin: Arc<Begin>) -> Result<Self, LogError> {
        let restored = context.experiments.restored();
        let runs = find_runs(context, &begin).await?;
        let batch_runs = find_batch_runs(context, &begin).await?;
        // Should there be two, the one that runs know already.
        let parent = runs.iter().find_map(|run| run.tag(tag::PARENT));
        let known = batch_runs.iter().find(|run| Some(run.run_id.as_str()) == parent).or(batch_runs.first());
        let batch_run = match known {
            Some(known) => Logged::from(known),
            None => Logged::from(&create_batch_run(context, &begin).await?),
        };
        let log = Self {
            context: context.clone(),
            begin,
            batch_run,
            state: Mutex::default(),
            restored: tokio::sync::Mutex::new(restored),
        };
        log.take_in(runs, batch_runs).await?;
        Ok(log)
    }

    /// Looks again for the runs that are there, and leaves one of each.
    pub(crate) async fn look_again(&self) -> Result<(), LogError> {
        let runs = find_runs(&self.context, &self.begin).await?;
        let batch_runs = find_batch_runs(&self.context, &self.begin).await?;
        self.take_in(runs, batch_runs).await
    }

    async fn take_in(&self, runs: Vec<FoundRun>, batch_runs: Vec<FoundRun>) -> Result<(), LogError> {
        let mlflow = &self.context.mlflow;
        let (logged, mut doubles) = one_of_each(runs);
        doubles.extend(batch_runs.into_iter().map(|run| run.run_id).filter(|id| *id != self.batch_run.run_id));
        for double in doubles {
            tracing::info!(batch = %self.begin.batch_id, run = double, "deleted a run that MLflow had twice");
            mlflow.delete_run(&double).await?;
        }
        // Theirs was deleted by hand, or as a double.
        for orphan in logged.values().filter(|run| run.parent.as_ref() != Some(&self.batch_run.run_id)) {
            mlflow.tag_run(&orphan.run_id, &Tag::new(tag::PARENT, &self.batch_run.run_id)).await?;
        }
        self.lock().logged = logged;
        Ok(())
    }

    /// Logs a run, unless it is there in full.
    pub(crate) async fn log_run<S: Source>(&self, source: &S, row: &RunRow) -> Result<(), LogError> {
        if !self.lock().busy.insert(row.run) {
            return Err(LogError::NotNow(format!("run {} is being logged", row.run)));
        }
        let logging = self.log_all_of(source, row).await;
        let metrics = self.context.mlflow.metrics();
        let mut state = self.lock();
        state.busy.remove(&row.run);
        match &logging {
            Ok(()) => {
                metrics.runs_logged.inc();
                state.refused.remove(&row.run);
            }
            Err(LogError::Refused(words)) => {
                metrics.runs_refused.inc();
                state.refused.insert(row.run, words.clone());
            }
            Err(LogError::NotNow(_)) => {}
        }
        logging
    }

    async fn log_all_of<S: Source>(&self, source: &S, row: &RunRow) -> Result<(), LogError> {
        if self.has(row.run, row.generation) {
            return Ok(());
        }
        let experiment = self.experiment_of(row).await?;
        // Its experiment may have come back, and the run with it.
        if self.has(row.run, row.generation) {
            return Ok(());
        }
        let mlflow = &self.context.mlflow;
        let is_full = self.context.config.detail == Detail::Full;
        // First of all: what cannot be had now should leave nothing half done.
        let (files, lacking) = if is_full { self.files(source, row).await? } else { (Vec::new(), None) };
        let mut run = match self.logged(row.run) {
            // It was begun before.
            Some(run) if run.generation == row.generation => run,
            // A retry was faster.
            Some(run) if run.generation > row.generation => return Ok(()),
            earlier => {
                if let Some(earlier) = earlier {
                    // The retry's run takes its place: nothing of it is left, neither metrics nor why it failed.
                    mlflow.delete_run(&earlier.run_id).await?;
                    self.lock().logged.remove(&row.run);
                }
                Logged::from(&self.create_run(row, &experiment).await?)
            }
        };
        self.lock().logged.insert(row.run, run.clone());

        let chart = files.iter().find(|(path, _)| *path == details::EQUITY_CHART).and_then(|(path, _)| run.image(path));
        let mut tags = vec![Tag::new(tag::NOTE, notes::run(row, chart))];
        tags.extend(lacking.map(|words| Tag::new("artifacts", words)));
        mlflow.log_batch(&run.run_id, &record::metrics(row), &record::params(row), &tags).await?;
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

    /// The experiment of a run, which is there afterwards. If that restores it, its runs are known afterwards.
    async fn experiment_of(&self, row: &RunRow) -> Result<Home, LogError> {
        let asset_class = names::asset_class(&self.begin.spec);
        let home = Home {
            name: names::experiment(&self.context.config.experiment, asset_class, &row.symbol, &row.strategy),
            tags: vec![
                Tag::new("asset_class", asset_class),
                Tag::new("symbol", &row.symbol),
                Tag::new("strategy", &row.strategy),
                Tag::new(tag::NOTE, format!("Backtests of `{}` over {}, by jetsweep.", row.strategy, row.symbol)),
            ],
        };
        let experiments = &self.context.experiments;
        experiments.ensure(&home.name, &home.tags).await?;
        let mut restored = self.restored.lock().await;
        if *restored != experiments.restored() {
            let now = experiments.restored();
            self.look_again().await?;
            *restored = now;
        }
        Ok(home)
    }

    async fn create_run(&self, row: &RunRow, experiment: &Home) -> Result<FoundRun, LogError> {
        let job_id = names::job_id(&row.batch_id, row.run);
        let new_run = |experiment: String| record::new_run(row, &experiment, &self.batch_run.run_id);
        create(&self.context, experiment, new_run, &job_id).await
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

    /// Whether MLflow refused a run for good, as far as this program knows.
    pub(crate) fn is_refused(&self, run: u64) -> bool {
        self.lock().refused.contains_key(&run)
    }

    /// Whether all of a run of this generation is in MLflow.
    pub(crate) fn has(&self, run: u64, generation: u32) -> bool {
        let state = self.lock();
        state.logged.get(&run).is_some_and(|logged| logged.is_complete && logged.generation >= generation)
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
