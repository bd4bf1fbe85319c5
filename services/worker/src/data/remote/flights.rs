//! What several ask for at the same time is done once for all of them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::data::DataError;

type Flight<T> = Shared<BoxFuture<'static, Result<T, DataError>>>;

/// Work under way, by what it is for. Outcomes are not remembered, failures are shared as well: who waits for a server that
/// does not answer waits once.
pub(super) struct Flights<T: Clone>(Mutex<HashMap<String, Flight<T>>>);

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The outcome of the work under way for `key`, which is started if there is none.
    pub(super) async fn join<F>(&self, key: String, start: impl FnOnce() -> F) -> Result<T, DataError>
    where
        F: Future<Output = Result<T, DataError>> + Send + 'static,
    {
        let flight = self.lock().entry(key.clone()).or_insert_with(|| start().boxed().shared()).clone();
        let outcome = flight.clone().await;
        let mut flights = self.lock();
        if flights.get(&key).is_some_and(|current| current.ptr_eq(&flight)) {
            flights.remove(&key);
        }
        outcome
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Flight<T>>> {
        // Nothing under the lock leaves the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Default for Flights<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_at_once_share_the_outcome() {
        let flights = Flights::default();
        // How often the work was started, and what lets it go on.
        let (count, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = |fails: bool| {
            let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
            flights.join("x".to_owned(), move || async move {
                gate.notified().await;
                let number = count.fetch_add(1, Ordering::Relaxed);
                let reason = "away".to_owned();
                if fails { Err(DataError::Unreadable { what: "x".to_owned(), reason }) } else { Ok(number) }
            })
        };
        let asked = futures::future::join_all((0..5).map(|_| ask(true)));
        // Polled in this order: nobody goes on before all have asked.
        let (all, ()) = tokio::join!(asked, async { gate.notify_one() });
        assert!(all.iter().all(Result::is_err));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        for number in [1, 2] {
            gate.notify_one();
            assert_eq!(ask(false).await.unwrap(), number, "outcomes are not remembered");
        }
        assert!(flights.lock().is_empty());
    }
}
