//! The batches a planner is working on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_shared::ids::BatchId;
use tokio_util::sync::CancellationToken;

type Tokens = HashMap<BatchId, CancellationToken>;

/// The batches a planner is working on, each with a token that is cancelled when the batch is.
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

    /// Cancels a batch that is being worked on; `false` when it is not.
    pub(crate) fn cancel(&self, batch: &BatchId) -> bool {
        match self.lock().get(batch) {
            Some(token) => {
                token.cancel();
                true
            }
            None => false,
        }
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
    /// Cancelled when the batch is.
    pub(crate) fn cancelled(&self) -> &CancellationToken {
        &self.token
    }

    /// Ends the work. `true` when the batch was cancelled meanwhile, maybe too late for the work to notice: from here
    /// on, [`ActiveBatches::cancel`] says that it must be seen to in another way.
    pub(crate) fn leave(self) -> bool {
        let token = self.token.clone();
        // Removes the batch, so that no later cancel reaches the token.
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
    fn a_cancel_is_either_taken_by_the_work_or_refused() {
        let batches = ActiveBatches::default();
        let batch: BatchId = "b1".parse().unwrap();
        assert!(!batches.cancel(&batch), "nobody works on it");
        let active = batches.enter(&batch).unwrap();
        assert!(batches.enter(&batch).is_none(), "one at a time");
        assert!(batches.cancel(&batch));
        assert!(active.cancelled().is_cancelled());
        assert!(active.leave());
        assert!(!batches.cancel(&batch), "nobody works on it any more");
        assert!(!batches.enter(&batch).unwrap().leave(), "a later delivery starts afresh");
    }
}
