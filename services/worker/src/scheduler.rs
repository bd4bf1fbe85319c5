//! Who computes next: jobs wait here for a slot, by priority.
//!
//! Whenever a slot is free and jobs wait, the next one is chosen by smooth weighted round robin among the priorities
//! that have one: out of 21 turns under full load 16 go to `high`, 4 to `normal` and 1 to `low`, evenly spread. A job
//! of a higher priority therefore waits for one running job at most, and `low` moves however much the others have.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_shared::ids::Priority;
use tokio::sync::oneshot;

/// Turns of `high`, `normal` and `low` out of each 21.
const WEIGHTS: [i64; PRIORITIES] = [16, 4, 1];

const PRIORITIES: usize = Priority::ALL.len();

/// Smooth weighted round robin: every choice adds each candidate's weight to its credit, takes the one with the most
/// credit and charges it for all the weights.
#[derive(Debug, Default)]
struct Rotation {
    credits: [i64; PRIORITIES],
}

impl Rotation {
    fn choose(&mut self, is_candidate: [bool; PRIORITIES]) -> Option<usize> {
        let mut total = 0;
        let mut chosen: Option<usize> = None;
        for priority in (0..PRIORITIES).filter(|&priority| is_candidate[priority]) {
            total += WEIGHTS[priority];
            self.credits[priority] += WEIGHTS[priority];
            if chosen.is_none_or(|best| self.credits[priority] > self.credits[best]) {
                chosen = Some(priority);
            }
        }
        self.credits[chosen?] -= total;
        chosen
    }
}

#[derive(Debug)]
struct State {
    free: Vec<usize>,
    /// Turns that are taken.
    taken: HashSet<u64>,
    /// Most turns taken at a time.
    allowed: usize,
    next_turn: u64,
    waiting: [VecDeque<oneshot::Sender<Turn>>; PRIORITIES],
    rotation: Rotation,
}

/// Hands slots to jobs. Clones are the same scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Scheduler {
    state: Arc<Mutex<State>>,
}

/// The right to use a slot; dropping it gives the slot to the next job.
#[derive(Debug)]
pub(crate) struct Turn {
    slot: usize,
    number: u64,
    /// Absent when the slot is no longer this turn's to give.
    scheduler: Option<Scheduler>,
}

impl Turn {
    /// Number of the slot.
    pub(crate) fn slot(&self) -> usize {
        self.slot
    }

    /// Number of the turn.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(scheduler) = self.scheduler.take() {
            let mut state = scheduler.lock();
            // A turn that was written off has no slot to give.
            if state.taken.remove(&self.number) {
                state.free.push(self.slot);
                scheduler.dispatch(&mut state);
            }
        }
    }
}

impl Scheduler {
    /// With `slots` slots, numbered from 0, all of them free.
    pub(crate) fn new(slots: usize) -> Self {
        let state = State {
            free: (0..slots).rev().collect(),
            taken: HashSet::new(),
            allowed: slots,
            next_turn: 0,
            waiting: Default::default(),
            rotation: Rotation::default(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Waits for a slot behind the jobs of the same priority. Dropping the future leaves the queue.
    pub(crate) async fn turn(&self, priority: Priority) -> Turn {
        let receiver = {
            let (sender, receiver) = oneshot::channel();
            let mut state = self.lock();
            state.waiting[index(priority)].push_back(sender);
            self.dispatch(&mut state);
            receiver
        };
        receiver.await.expect("a waiting job's sender leaves the queue only with a turn")
    }

    /// Uses at most so many slots from now on. Turns that are taken stay taken until they are dropped.
    pub(crate) fn allow(&self, slots: usize) {
        let mut state = self.lock();
        state.allowed = slots;
        self.dispatch(&mut state);
    }

    /// Writes a turn off whose slot does not come back, and has `replacement` make a new slot in its place. Does nothing
    /// when the turn has ended by now.
    pub(crate) fn write_off(&self, turn: u64, replacement: impl FnOnce() -> Option<usize>) {
        let mut state = self.lock();
        if state.taken.remove(&turn) {
            state.free.extend(replacement());
            self.dispatch(&mut state);
        }
    }

    fn dispatch(&self, state: &mut State) {
        while let Some(&slot) = state.free.last()
            && state.taken.len() < state.allowed
        {
            for waiting in &mut state.waiting {
                while waiting.front().is_some_and(oneshot::Sender::is_closed) {
                    waiting.pop_front();
                }
            }
            let is_candidate = [0, 1, 2].map(|priority: usize| !state.waiting[priority].is_empty());
            let Some(chosen) = state.rotation.choose(is_candidate) else { return };
            let Some(sender) = state.waiting[chosen].pop_front() else { return };
            let number = state.next_turn;
            state.next_turn += 1;
            match sender.send(Turn { slot, number, scheduler: Some(self.clone()) }) {
                Ok(()) => {
                    state.free.pop();
                    state.taken.insert(number);
                }
                // The job left just now. Its turn must not come back here: the lock is held.
                Err(mut turn) => turn.scheduler = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half-changed, so a panic elsewhere is no reason to stop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(priority: Priority) -> usize {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn weights_are_kept_and_spread() {
        let mut rotation = Rotation::default();
        let turns: Vec<_> = (0..42).filter_map(|_| rotation.choose([true; 3])).collect();
        for half in turns.chunks(21) {
            let count = |priority| half.iter().filter(|&&turn| turn == priority).count();
            assert_eq!([count(0), count(1), count(2)], [16, 4, 1]);
        }
        let longest_wait_of_normal = turns.split(|&turn| turn == 1).map(<[usize]>::len).max();
        assert!(longest_wait_of_normal <= Some(6), "{turns:?}");
        assert_eq!(rotation.choose([false; 3]), None);
    }

    #[test]
    fn alone_every_priority_gets_every_turn() {
        let mut rotation = Rotation::default();
        assert!((0..100).all(|_| rotation.choose([false, false, true]) == Some(2)));
        assert_eq!(rotation.choose([true, false, true]), Some(0), "a newcomer overtakes at once");
    }

    #[tokio::test]
    async fn high_overtakes_and_low_still_moves() {
        let scheduler = Scheduler::new(1);
        let mut running = Some(scheduler.turn(Priority::Low).await);
        let mut waiting = Vec::new();
        for priority in [Priority::Low, Priority::Normal, Priority::High] {
            for _ in 0..40 {
                waiting.push((priority, Box::pin(scheduler.turn(priority))));
            }
        }
        for (_, turn) in &mut waiting {
            assert!(turn.now_or_never().is_none(), "the slot is taken");
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(running.take());
            let position = waiting.iter_mut().position(|(_, turn)| match turn.now_or_never() {
                Some(turn) => running.insert(turn).slot() == 0,
                None => false,
            });
            order.push(waiting.remove(position.expect("a free slot goes to somebody")).0);
        }
        assert_eq!(order[0], Priority::High);
        let first_turns = &order[..42];
        assert_eq!(first_turns.iter().filter(|&&priority| priority == Priority::Low).count(), 2, "{order:?}");
    }

    #[tokio::test]
    async fn who_leaves_the_queue_keeps_no_slot() {
        let scheduler = Scheduler::new(1);
        let running = scheduler.turn(Priority::Normal).await;
        let mut leaver = Box::pin(scheduler.turn(Priority::High));
        assert!(leaver.as_mut().now_or_never().is_none());
        let mut waiter = Box::pin(scheduler.turn(Priority::Low));
        assert!(waiter.as_mut().now_or_never().is_none());
        drop(leaver);
        drop(running);
        let turn = waiter.now_or_never().expect("the slot is free");

        // A turn that was given and never picked up comes back too.
        let mut unpolled = Box::pin(scheduler.turn(Priority::High));
        assert!(unpolled.as_mut().now_or_never().is_none());
        drop(turn);
        drop(unpolled);
        assert_eq!(scheduler.turn(Priority::Low).await.slot(), 0);
    }

    #[tokio::test]
    async fn fewer_slots_are_used_when_fewer_are_allowed() {
        let scheduler = Scheduler::new(2);
        let (first, second) = (scheduler.turn(Priority::Low).await, scheduler.turn(Priority::Low).await);
        scheduler.allow(1);
        let mut waiting = Box::pin(scheduler.turn(Priority::High));
        drop(first);
        assert!(waiting.as_mut().now_or_never().is_none(), "one is still taken");
        drop(second);
        let third = waiting.as_mut().now_or_never().expect("none is taken");
        let mut waiting = Box::pin(scheduler.turn(Priority::High));
        assert!(waiting.as_mut().now_or_never().is_none());
        scheduler.allow(2);
        assert_ne!(waiting.now_or_never().expect("two may be taken again").slot(), third.slot());
    }

    #[tokio::test]
    async fn a_turn_that_is_written_off_is_replaced_once() {
        let scheduler = Scheduler::new(1);
        let hung = scheduler.turn(Priority::Low).await;
        let mut waiting = Box::pin(scheduler.turn(Priority::Low));
        assert!(waiting.as_mut().now_or_never().is_none());
        scheduler.write_off(hung.number(), || Some(1));
        scheduler.write_off(hung.number(), || unreachable!("it is written off"));
        let next = waiting.now_or_never().expect("there is another slot");
        assert_eq!(next.slot(), 1);
        drop(hung);
        let mut waiting = Box::pin(scheduler.turn(Priority::Low));
        assert!(waiting.as_mut().now_or_never().is_none(), "a slot that was written off does not come back");
        scheduler.write_off(u64::MAX, || unreachable!("no such turn is taken"));
        drop(next);
        assert_eq!(waiting.now_or_never().expect("the slot is free").slot(), 1);
    }
}
