//! The batches a planner is working on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_shared::ids::BatchId;
use tokio_util::sync::CancellationToken;

type Tokens = HashMap<BatchId, CancellationToken>;

/// The batches a planner is working on, each with a token that is cancelled when something else is asked of the batch.
#[derive(Debug, Default, Clone)]
pub(crate) struct ActiveBatches {
    tokens: Arc<Mutex<Tokens>>,
}

impl ActiveBatches {
    /// Starts work on a batch; `None` when it is being worked on already.
    pub(crate) fn enter(&self, batch: &BatchId) -> Option<ActiveBatch> {
        let mut tokens = self.lock();
        if tokens.contains_key(batch) {
            return None;
        }
        let token = CancellationToken::new();
        tokens.insert(batch.clone(), token.clone());
        Some(ActiveBatch { batches: self.clone(), batch: batch.clone(), token })
    }

    /// Stops work on a batch; `false` when there is none.
    pub(crate) fn stop(&self, batch: &BatchId) -> bool {
        match self.lock().get(batch) {
            Some(token) => {
                token.cancel();
                true
            }
            None => false,
        }
    }

    /// Batches being worked on.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        // A map is whole whatever panicked while it was locked.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Work on one batch; ends when dropped.
#[derive(Debug)]
pub(crate) struct ActiveBatch {
    batches: ActiveBatches,
    batch: BatchId,
    token: CancellationToken,
}

impl ActiveBatch {
    /// Cancelled when the work is to stop.
    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.token
    }

    /// Ends the work. `true` when it was stopped meanwhile, maybe too late for it to notice: from here on,
    /// [`ActiveBatches::stop`] says that it must be seen to in another way.
    pub(crate) fn leave(self) -> bool {
        let token = self.token.clone();
        // Removes the batch, so that no later request reaches the token.
        drop(self);
        token.is_cancelled()
    }
}

impl Drop for ActiveBatch {
    fn drop(&mut self) {
        self.batches.lock().remove(&self.batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_either_taken_by_the_work_or_refused() {
        let batches = ActiveBatches::default();
        let batch: BatchId = "b1".parse().unwrap();
        assert!(!batches.stop(&batch), "nobody works on it");
        let active = batches.enter(&batch).unwrap();
        assert!(batches.enter(&batch).is_none(), "one at a time");
        assert!(batches.stop(&batch));
        assert!(active.stopped().is_cancelled());
        assert!(active.leave());
        assert!(!batches.stop(&batch), "nobody works on it any more");
        assert!(!batches.enter(&batch).unwrap().leave(), "a later delivery starts afresh");
    }
}
