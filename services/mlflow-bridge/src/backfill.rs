//! A batch of the past into MLflow, from wherever its rows are.

use std::sync::Arc;

use jetsweep_shared::config::MlflowConfig;
use jetsweep_shared::events::Begin;

use crate::batch::{BatchLog, Context, LogError};
use crate::client::Mlflow;
use crate::finish::finish;
use crate::service::{BridgeError, prove};
use crate::source::Source;

/// A batch cannot be logged.
#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    /// MLflow cannot be used.
    #[error(transparent)]
    Bridge(#[from] BridgeError),
    /// A run, or the batch run.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What is in MLflow of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backfilled {
    /// Its runs that are there in full.
    pub logged: u64,
    /// Of these, runs that failed.
    pub failed: u64,
    /// Runs that MLflow refused for good, with its words.
    pub refused: Vec<(u64, String)>,
    /// Page of the batch run.
    pub url: String,
}

/// Logs what MLflow lacks of a batch. Doing it again changes nothing.
///
/// # Errors
/// When MLflow or the source of rows fail in a way that waiting does not cure soon.
pub async fn backfill<S: Source>(
    config: &MlflowConfig,
    source: &S,
    begin: Begin,
    on_progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Backfilled, BackfillError> {
    let mlflow = Mlflow::new(config).map_err(BridgeError::from)?;
    if let Err((words, _)) = mlflow.answers().await {
        return Err(BackfillError::Log(LogError::NotNow(format!(
            "MLflow at {} does not answer: {words}",
            mlflow.url()
        ))));
    }
    let context = Context::new(mlflow.clone(), config);
    prove(&context).await?;
    let log = BatchLog::open(&context, Arc::new(begin)).await?;
    let (_, refused) = finish(&log, source, &|| on_progress(log.counts().logged)).await?;
    let counts = log.counts();
    let url = mlflow.url().run_page(&log.batch_run.experiment_id, &log.batch_run.run_id);
    Ok(Backfilled { logged: counts.logged, failed: counts.failed, refused, url })
}

/// Asks MLflow once whether it answers and lets us in. In words when not.
///
/// # Errors
/// Why not.
pub async fn check(config: &MlflowConfig) -> Result<(), String> {
    let mlflow = Mlflow::new(config).map_err(|error| error.to_string())?;
    mlflow.answers().await.map_err(|(words, _)| match words.contains(&mlflow.url().to_string()) {
        true => words,
        false => format!("MLflow at {} does not answer: {words}", mlflow.url()),
    })
}
