//! Whether MLflow is there, told once when it goes and once when it is back.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

/// Failures in a row after which MLflow counts as away.
const FAILURES: u32 = 3;

/// How MLflow is, as far as the bridge knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Since when it is away.
    pub away_since: Option<Timestamp>,
    /// The last answer that was no success, and when.
    pub last_error: Option<(String, Timestamp)>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    health: Health,
}

/// Opens after failures in a row: nobody asks any more but one who tries whether MLflow is back.
#[derive(Debug)]
pub(super) struct Circuit {
    state: Mutex<State>,
    open: watch::Sender<bool>,
}

impl Circuit {
    pub(super) fn new() -> Self {
        Self { state: Mutex::default(), open: watch::Sender::new(false) }
    }

    pub(super) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    pub(super) fn health(&self) -> Health {
        self.lock().health.clone()
    }

    /// Returns at once when MLflow is there, else when it is back.
    pub(super) async fn closed(&self) {
        let mut open = self.open.subscribe();
        // The sender lives as long as `self`.
        let _ = open.wait_for(|open| !open).await;
    }

    /// A request succeeded, whatever its answer.
    pub(super) fn succeeded(&self, url: &impl std::fmt::Display) {
        let mut state = self.lock();
        state.failures = 0;
        let Some(since) = state.health.away_since.take() else { return };
        drop(state);
        let seconds = Timestamp::now().duration_since(since).as_secs();
        tracing::info!(%url, away_seconds = seconds, "MLflow is back");
        self.open.send_replace(false);
    }

    /// A request failed. `true` when that opened the circuit; `for_sure` opens it at the first failure.
    pub(super) fn failed(&self, url: &impl std::fmt::Display, words: &str, for_sure: bool) -> bool {
        let mut state = self.lock();
        let now = Timestamp::now();
        state.failures += 1;
        state.health.last_error = Some((words.to_owned(), now));
        if state.health.away_since.is_some() || (state.failures < FAILURES && !for_sure) {
            return false;
        }
        state.health.away_since = Some(now);
        drop(state);
        tracing::warn!(%url, reason = words, "MLflow is away, waiting; nothing is lost meanwhile");
        self.open.send_replace(true);
        true
    }

    /// Remembers an error that says nothing about whether MLflow is there.
    pub(super) fn note(&self, words: &str) {
        self.lock().health.last_error = Some((words.to_owned(), Timestamp::now()));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_opens_after_failures_in_a_row_and_lets_go_when_one_succeeds() {
        let circuit = Circuit::new();
        assert!(!circuit.failed(&"u", "a", false) && !circuit.failed(&"u", "b", false));
        circuit.succeeded(&"u");
        assert!(!circuit.failed(&"u", "a", false) && !circuit.failed(&"u", "b", false));
        assert!(circuit.failed(&"u", "c", false), "the third in a row");
        assert!(!circuit.failed(&"u", "d", false), "open already");
        assert!(circuit.is_open() && circuit.health().away_since.is_some());
        let (waited, ()) = tokio::join!(circuit.closed(), async { circuit.succeeded(&"u") });
        assert_eq!(waited, ());
        assert_eq!((circuit.is_open(), circuit.health().last_error.unwrap().0), (false, "d".to_owned()));
        assert!(circuit.failed(&"u", "no", true), "denied once is denied");
    }
}
