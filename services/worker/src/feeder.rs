//! Feeders: one a priority, each keeping a few jobs at hand.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use jetsweep_shared::bus::{Bus, with_jitter};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::NATIVE;
use jetsweep_shared::topology::{self, Tuning};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::pull::{Heard, Pull, PullError};

/// Most jobs at hand of one priority. Enough to hide the way to the server and the loading of bars; more would only
/// keep them from other workers.
const MOST_AT_HAND: usize = 8;

/// First pause after trouble; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause after trouble.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Room for one job at hand; dropping it makes room for the next.
pub(crate) type Place = OwnedSemaphorePermit;

/// Jobs kept at hand of one priority by a worker with `slots` slots.
fn at_hand(slots: usize) -> usize {
    slots.clamp(1, MOST_AT_HAND)
}

/// Pulls the jobs of one priority.
#[derive(Debug)]
pub(crate) struct Feeder {
    bus: Bus,
    tuning: Tuning,
    priority: Priority,
    places: Arc<Semaphore>,
    most: usize,
    monitor: Monitor,
}

impl Feeder {
    /// For a worker with `slots` slots; `tuning` is what the topology is put in place with, should it go missing.
    pub(crate) fn new(bus: Bus, tuning: Tuning, priority: Priority, slots: usize, monitor: Monitor) -> Self {
        let most = at_hand(slots);
        Self { bus, tuning, priority, places: Arc::new(Semaphore::new(most)), most, monitor }
    }

    /// Gives each job to `start` together with its place, until `shutdown`; jobs that come too late go to `refuse`.
    pub(crate) async fn feed(
        self,
        shutdown: CancellationToken,
        start: impl Fn(Message, Place),
        refuse: impl Fn(Message),
    ) {
        let mut health = Health { troubles: 0, priority: self.priority, monitor: self.monitor.clone() };
        loop {
            let opened = tokio::select! {
                () = shutdown.cancelled() => return,
                opened = self.open() => opened,
            };
            let error = match opened {
                Ok(mut pull) => {
                    let ended = self.pull(&mut pull, &shutdown, &mut health, &start).await;
                    for late in pull.close().await {
                        refuse(late);
                    }
                    match ended {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let pause = health.trouble(&error);
            if let PullError::Gone(_) = error {
                self.put_back(&shutdown).await;
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    async fn open(&self) -> Result<Pull, PullError> {
        let stream = self.bus.names.jobs_stream();
        let consumer = self.bus.names.jobs_consumer(NATIVE, self.priority);
        Pull::open(&self.bus, &stream, &consumer).await
    }

    /// Pulls until a shutdown, which is no error.
    async fn pull(
        &self,
        pull: &mut Pull,
        shutdown: &CancellationToken,
        health: &mut Health,
        start: &impl Fn(Message, Place),
    ) -> Result<(), PullError> {
        let mut places = Vec::with_capacity(self.most);
        loop {
            if pull.is_idle() {
                places.clear();
                let Some(place) = shutdown.run_until_cancelled(self.place()).await else { return Ok(()) };
                places.extend(place);
                while let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                    places.push(place);
                }
                pull.ask(places.len()).await?;
            }
            let Some(heard) = shutdown.run_until_cancelled(pull.next()).await else { return Ok(()) };
            match heard? {
                Heard::Job(job) => {
                    health.fine();
                    // A request that counted as lost may still bring a job: it waits for a place of its own.
                    let place = match places.pop() {
                        Some(place) => Some(place),
                        None => self.place().await,
                    };
                    if let Some(place) = place {
                        start(job, place);
                    }
                }
                Heard::NoJobsYet | Heard::Ended => health.fine(),
            }
        }
    }

    async fn place(&self) -> Option<Place> {
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Creates what is missing of streams and consumers: somebody deleted it, or the server lost its store.
    async fn put_back(&self, shutdown: &CancellationToken) {
        let ensure = topology::ensure_present(&self.bus.jetstream, &self.bus.names, &self.tuning);
        if let Some(Err(error)) = shutdown.run_until_cancelled(ensure).await {
            tracing::debug!(%error, "cannot put streams and consumers back yet");
        }
    }
}

/// Whether jobs can be pulled, told to the monitor, with one log line a change.
#[derive(Debug)]
struct Health {
    troubles: u32,
    priority: Priority,
    monitor: Monitor,
}

impl Health {
    fn fine(&mut self) {
        if std::mem::take(&mut self.troubles) > 0 {
            self.monitor.ready(self.part());
            tracing::info!(priority = %self.priority, "pulling jobs again");
        }
    }

    /// Returns the pause to make.
    fn trouble(&mut self, error: &PullError) -> Duration {
        let priority = self.priority;
        self.monitor.not_ready(self.part(), error.to_string());
        if self.troubles == 0 {
            tracing::warn!(%priority, %error, "cannot pull jobs, trying again");
        } else {
            tracing::debug!(%priority, %error, "still cannot pull jobs");
        }
        let doublings = self.troubles.min(16);
        self.troubles = self.troubles.saturating_add(1);
        with_jitter(FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE))
    }

    /// What the monitor calls it.
    fn part(&self) -> &'static str {
        match self.priority {
            Priority::High => "jobs.high",
            Priority::Normal => "jobs.normal",
            Priority::Low => "jobs.low",
        }
    }
}
