//! What several ask for at the same time is done once for all of them.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};

use super::DataError;

type Work<T> = BoxFuture<'static, Result<T, DataError>>;

/// Work under way, by what it is for. Outcomes are not remembered, failures are shared as well: who waits for a server that
/// does not answer waits once.
///
/// Those who wait own the work, which may own who has this map: when nobody waits any more, it is dropped where it is.
pub(super) struct Flights<K, T>(Mutex<HashMap<K, WeakShared<Work<T>>>>);

impl<K: Clone + Eq + Hash, T: Clone + Send + Sync + 'static> Flights<K, T> {
    /// The outcome of the work under way for `key`, which is started if there is none.
    pub(super) async fn join<F>(&self, key: K, start: impl FnOnce() -> F) -> Result<T, DataError>
    where
        F: Future<Output = Result<T, DataError>> + Send + 'static,
    {
        // Dropped after the flight: whoever was the last to wait finds it gone.
        let _leaving = Leaving { flights: self, key: &key };
        let flight = self.flight(&key, start);
        flight.await
    }

    fn flight<F>(&self, key: &K, start: impl FnOnce() -> F) -> Shared<Work<T>>
    where
        F: Future<Output = Result<T, DataError>> + Send + 'static,
    {
        let mut flights = self.lock();
        // One that has landed is not joined, even if not all who waited have heard.
        let under_way = flights.get(key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none());
        under_way.unwrap_or_else(|| {
            // A panic in shared work would be heard by one of those who wait, and the others would wait for good.
            let work =
                AssertUnwindSafe(start()).catch_unwind().map(|outcome| outcome.unwrap_or_else(|_| Err(panicked())));
            let flight = work.boxed().shared();
            flights.extend(flight.downgrade().map(|weak| (key.clone(), weak)));
            flight
        })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}

impl<K, T> Flights<K, T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, WeakShared<Work<T>>>> {
        // Nothing under the lock leaves the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who waits no longer, for an outcome or because of one.
struct Leaving<'a, K: Eq + Hash, T> {
    flights: &'a Flights<K, T>,
    key: &'a K,
}

impl<K: Eq + Hash, T> Drop for Leaving<'_, K, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if flights.get(self.key).is_some_and(|flight| flight.upgrade().is_none()) {
            flights.remove(self.key);
        }
    }
}

fn panicked() -> DataError {
    DataError::Unreadable { what: "bars".to_owned(), reason: "a task panicked, see the log".to_owned() }
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
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
            flights.join("x", move || async move {
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
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn work_that_nobody_waits_for_is_dropped_even_if_it_owns_the_flights() {
        let flights: Arc<Flights<&str, ()>> = Arc::default();
        let owner = Arc::clone(&flights);
        let endless = || async move {
            let _owner = owner;
            std::future::pending().await
        };
        let waiting = flights.join("x", endless);
        tokio::select! {
            biased;
            _ = waiting => unreachable!("it has no end"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(Arc::strong_count(&flights), 1, "what the work owns is dropped with it");
        assert!(flights.is_empty());
        flights.join("x", || async { Ok(()) }).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_a_failure_for_all_who_wait_and_for_nobody_after() {
        let flights: Flights<&str, u32> = Flights::default();
        let ask = || flights.join("x", || async { panic!("of this test") });
        for outcome in futures::future::join_all((0..3).map(|_| ask())).await {
            assert!(outcome.unwrap_err().is_retryable());
        }
        assert_eq!(flights.join("x", || async { Ok(1) }).await.unwrap(), 1);
    }
}
