//! Whose turn it is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A round of members who take turns: nobody takes one while another member has taken fewer.
///
/// First come, first served is not enough for that: whoever is quick to come again finds no one else waiting.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    members: Mutex<Members>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Members {
    next_id: u64,
    /// Turns that each member has taken.
    turns: HashMap<u64, u64>,
}

impl Members {
    fn fewest(&self) -> u64 {
        self.turns.values().min().copied().unwrap_or(0)
    }
}

impl Rotation {
    /// Joins the round, as one of those with the fewest turns.
    pub(super) fn join(self: &Arc<Self>) -> Member {
        let mut members = self.lock();
        let id = members.next_id;
        members.next_id += 1;
        let fewest = members.fewest();
        members.turns.insert(id, fewest);
        Member { rotation: self.clone(), id }
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        // Counts are whole whatever panicked while they were locked.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A member of a round; leaves it when dropped.
#[derive(Debug)]
pub(super) struct Member {
    rotation: Arc<Rotation>,
    id: u64,
}

impl Member {
    /// Waits until it is this member's turn.
    pub(super) async fn turn(&self) {
        loop {
            // Made before looking, so that no change in between is missed.
            let changed = self.rotation.changed.notified();
            {
                let members = self.rotation.lock();
                if members.turns.get(&self.id).is_none_or(|&turns| turns <= members.fewest()) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Says that the turn is taken.
    pub(super) fn taken(&self) {
        if let Some(turns) = self.rotation.lock().turns.get_mut(&self.id) {
            *turns += 1;
        }
        self.rotation.changed.notify_waiters();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.rotation.lock().turns.remove(&self.id);
        self.rotation.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn is_turn(member: &Member) -> bool {
        member.turn().now_or_never().is_some()
    }

    #[test]
    fn nobody_is_more_than_one_turn_ahead() {
        let rotation = Arc::new(Rotation::default());
        let first = rotation.join();
        first.taken();
        first.taken();
        assert!(is_turn(&first), "alone, it is always its turn");
        let second = rotation.join();
        assert!(is_turn(&first) && is_turn(&second), "a newcomer has nothing to catch up");
        second.taken();
        assert!(is_turn(&first) && !is_turn(&second));
        first.taken();
        assert!(is_turn(&first) && is_turn(&second));
    }

    #[tokio::test]
    async fn waiting_ends_when_the_others_have_taken_theirs_or_leave() {
        let rotation = Arc::new(Rotation::default());
        let (first, second) = (rotation.join(), rotation.join());
        first.taken();
        tokio::join!(biased; first.turn(), async { second.taken() });
        first.taken();
        tokio::join!(biased; first.turn(), async { drop(second) });
    }
}
