//! Experiments: found, created or restored on demand, once each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::client::{CallError, Mlflow, Tag};

/// The experiments seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Experiments {
    mlflow: Mlflow,
    /// By name. Whoever needs one that is being made waits for it.
    known: Arc<Mutex<HashMap<String, Arc<OnceCell<String>>>>>,
}

impl Experiments {
    pub(crate) fn new(mlflow: Mlflow) -> Self {
        Self { mlflow, known: Arc::default() }
    }

    /// The id of an experiment, which is there afterwards.
    pub(crate) async fn ensure(&self, name: &str, tags: &[Tag]) -> Result<String, CallError> {
        let cell = Arc::clone(self.lock().entry(name.to_owned()).or_default());
        cell.get_or_try_init(|| self.find_or_create(name, tags)).await.cloned()
    }

    /// The id of an experiment if it is there.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<String>, CallError> {
        let known = self.lock().get(name).and_then(|cell| cell.get().cloned());
        if known.is_some() {
            return Ok(known);
        }
        let found = self.mlflow.experiment_by_name(name).await?;
        Ok(found.filter(|experiment| !experiment.is_deleted()).map(|experiment| experiment.id))
    }

    /// Forgets an experiment: somebody deleted it.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    async fn find_or_create(&self, name: &str, tags: &[Tag]) -> Result<String, CallError> {
        if let Some(found) = self.mlflow.experiment_by_name(name).await? {
            if found.is_deleted() {
                self.mlflow.restore_experiment(&found.id).await?;
            }
            return Ok(found.id);
        }
        match self.mlflow.create_experiment(name, tags).await {
            // Somebody was faster, or an attempt of ours whose answer was lost.
            Err(error) if error.is_taken() => {
                let found = self.mlflow.experiment_by_name(name).await?;
                found.map(|experiment| experiment.id).ok_or(error)
            }
            created => created,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<OnceCell<String>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
