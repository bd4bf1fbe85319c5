//! Experiments: found, created or restored on demand, once each.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OnceCell;

use crate::client::{CallError, Experiment, Mlflow, Tag};

/// Every experiment carries it: pages show its runs as those of models, not of language models.
const KIND: (&str, &str) = ("mlflow.experimentKind", "custom_model_development");

/// The experiments seen so far.
#[derive(Debug, Clone)]
pub(crate) struct Experiments {
    mlflow: Mlflow,
    /// By name. Whoever needs one that is being made waits for it.
    known: Arc<Mutex<HashMap<String, Arc<OnceCell<String>>>>>,
    restored: Arc<AtomicU64>,
}

impl Experiments {
    pub(crate) fn new(mlflow: Mlflow) -> Self {
        Self { mlflow, known: Arc::default(), restored: Arc::default() }
    }

    /// The id of an experiment, which is there afterwards. `tags` are for a new one.
    pub(crate) async fn ensure(&self, name: &str, tags: &[Tag]) -> Result<String, CallError> {
        let cell = Arc::clone(self.lock().entry(name.to_owned()).or_default());
        cell.get_or_try_init(|| self.find_or_create(name, tags)).await.cloned()
    }

    /// The ids of those of these experiments that are there.
    pub(crate) async fn find(&self, names: &BTreeSet<String>) -> Result<Vec<String>, CallError> {
        let found = self.mlflow.experiments_like(common_start(names)).await?;
        Ok(found.into_iter().filter(|found| names.contains(&found.name)).map(|found| found.id).collect())
    }

    /// How many were restored so far. With an experiment all of its runs come back, those deleted before it too.
    pub(crate) fn restored(&self) -> u64 {
        self.restored.load(Ordering::Relaxed)
    }

    /// Forgets an experiment: somebody deleted it.
    pub(crate) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    async fn find_or_create(&self, name: &str, tags: &[Tag]) -> Result<String, CallError> {
        if let Some(found) = self.mlflow.experiment_by_name(name).await? {
            return self.active(found).await;
        }
        let (key, value) = KIND;
        let tags = [&[Tag::new(key, value)], tags].concat();
        match self.mlflow.create_experiment(name, &tags).await {
            // Somebody was faster, or an attempt of ours whose answer was lost.
            Err(error) if error.is_taken() => match self.mlflow.experiment_by_name(name).await? {
                Some(found) => self.active(found).await,
                None => Err(error),
            },
            created => created,
        }
    }

    /// The id of an experiment that is there, restored if somebody deleted it.
    async fn active(&self, found: Experiment) -> Result<String, CallError> {
        if found.is_deleted() {
            match self.mlflow.restore_experiment(&found.id).await {
                // Somebody was faster, or an attempt of ours whose answer was lost.
                Err(error) if error.is_missing() => {}
                restored => restored?,
            }
            self.restored.fetch_add(1, Ordering::Relaxed);
        }
        Ok(found.id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<String>>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What all of these names begin with, as far as a filter of the server can say it: it knows no escape.
fn common_start(names: &BTreeSet<String>) -> &str {
    let (Some(first), Some(last)) = (names.first(), names.last()) else { return "" };
    // What the first and last in order share, all between them share too.
    let shared = first.char_indices().zip(last.chars()).find(|((_, a), b)| a != b || "'\"%\\".contains(*a));
    let end = shared.map_or(first.len(), |((at, _), _)| at);
    &first[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_their_start_up_to_what_a_filter_cannot_say() {
        let start = |names: &[&str]| common_start(&names.iter().map(|name| (*name).to_owned()).collect()).to_owned();
        assert_eq!(start(&["pb.equities.AAPL.x", "pb.equities.AIG.x", "pb.equities.B.y"]), "pb.equities.");
        assert_eq!(start(&["pb.AAPL"]), "pb.AAPL");
        assert_eq!(start(&["pb.A", "pb.AAPL"]), "pb.A");
        assert_eq!(start(&["it's mine.A", "it's mine.B"]), "it");
        assert_eq!(start(&["é.A", "é.B"]), "é.");
        assert_eq!((start(&["a", "b"]), start(&[])), (String::new(), String::new()));
    }
}
