//! Threads for what would hold up the async runtime: reading documents, walking grids.

use tokio::sync::{Semaphore, oneshot};

use crate::error::BatchError;

/// Computations at the same time. They are brief but for grids of many millions of points, and with two a brief one
/// need not wait for one of those.
const AT_ONCE: usize = 2;

/// Computes on threads of their own. Unlike the runtime's blocking threads, nobody waits for them when the process
/// ends: a walk over a huge grid does not hold up a shutdown.
#[derive(Debug)]
pub(crate) struct Threads {
    free: Semaphore,
}

impl Threads {
    pub(crate) fn new() -> Self {
        Self { free: Semaphore::new(AT_ONCE) }
    }

    /// What `compute` returns. `doing` says what it does, for the thread's name and for errors: `plans`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        compute: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BatchError> {
        let _permit = self.free.acquire().await.map_err(|_| BatchError::Thread(doing))?;
        let (sender, receiver) = oneshot::channel();
        let compute_and_send = move || {
            // Whoever waited may be gone, and with it the need for the value.
            let _ = sender.send(compute());
        };
        let started = std::thread::Builder::new().name(format!("planner-{doing}")).spawn(compute_and_send);
        if started.is_err() {
            return Err(BatchError::Thread(doing));
        }
        receiver.await.map_err(|_| BatchError::Thread(doing))
    }
}
