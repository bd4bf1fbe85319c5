//! Room in the queue: at most so many jobs wait for one runner and priority.
//!
//! Each priority is a *lane*. A batch that publishes has a *place* in its lane, and takes *seats* there, a turn's worth
//! at a time, for one job each.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use jetsweep_shared::bus::Bus;
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::NATIVE;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use super::rotation::{Member, Rotation};
use crate::error::PlannerError;

/// Time between two looks at a queue while somebody waits for room. A queue of the default depth holds seconds of work.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Time between two looks at a queue that could not be looked at.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// The lanes of the native runner.
#[derive(Debug)]
pub(super) struct Lanes {
    high: Arc<Lane>,
    normal: Arc<Lane>,
    low: Arc<Lane>,
}

impl Lanes {
    /// Each lane is to hold at most `depth` jobs.
    pub(super) async fn open(bus: &Bus, depth: u64) -> Result<Self, PlannerError> {
        Ok(Self {
            high: Lane::open(bus, Priority::High, depth).await?,
            normal: Lane::open(bus, Priority::Normal, depth).await?,
            low: Lane::open(bus, Priority::Low, depth).await?,
        })
    }

    /// A place in the lane of a priority, for one batch.
    pub(super) fn enter(&self, priority: Priority) -> Place {
        let lane = match priority {
            Priority::High => &self.high,
            Priority::Normal => &self.normal,
            Priority::Low => &self.low,
        };
        Place { lane: lane.clone(), member: lane.batches.join() }
    }

    /// Gives out room as it appears, until `shutdown`.
    pub(super) async fn keep_supplied(&self, shutdown: &CancellationToken) {
        let supplying = async { tokio::join!(self.high.supply(), self.normal.supply(), self.low.supply()) };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = supplying => {}
        }
    }
}

/// A batch's place in a lane.
#[derive(Debug)]
pub(super) struct Place {
    lane: Arc<Lane>,
    member: Member,
}

impl Place {
    /// Seats for a turn of `count` jobs, once it is this batch's turn and the lane has room for all of them.
    pub(super) async fn seats(&self, count: usize) -> Vec<Seat> {
        self.member.turn().await;
        let seats = self.lane.take_seats(count).await;
        self.member.taken();
        seats
    }
}

/// The queue of one priority.
#[derive(Debug)]
struct Lane {
    consumer: PullConsumer,
    stream: jetstream::stream::Stream<()>,
    depth: u64,
    /// The batches that publish.
    batches: Arc<Rotation>,
    /// Free seats.
    free: Semaphore,
    /// Free and taken seats that were ever put in, less those that were removed.
    supplied: AtomicU64,
    /// Seats that were given up, as their job is stored or will not be.
    left: AtomicU64,
    waiting: AtomicUsize,
    somebody_waits: Notify,
}

/// What a look at the queue finds.
struct Room {
    /// Jobs queued or with workers.
    queued: u64,
    /// Jobs for which the stream has space, by the mean size of those it holds.
    space: u64,
}

impl Lane {
    async fn open(bus: &Bus, priority: Priority, depth: u64) -> Result<Arc<Self>, PlannerError> {
        let name = bus.names.jobs_consumer(NATIVE, priority);
        let stream_name = bus.names.jobs_stream();
        let failed = |reason: String| PlannerError::Consumer { name: name.clone(), reason };
        let consumer: PullConsumer = bus
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(&name, &stream_name)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let stream = bus.jetstream.get_stream_no_info(&stream_name).await.map_err(|error| failed(error.to_string()))?;
        Ok(Arc::new(Self {
            consumer,
            stream,
            depth,
            batches: Arc::default(),
            free: Semaphore::new(0),
            supplied: AtomicU64::new(0),
            left: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            somebody_waits: Notify::new(),
        }))
    }

    async fn take_seats(self: &Arc<Self>, count: usize) -> Vec<Seat> {
        let _waiting = Waiting::new(self);
        // A turn is at most a fraction of the depth, far below what a permit count holds.
        let permits = self.free.acquire_many(count as u32).await;
        permits.expect("the semaphore is never closed").forget();
        (0..count).map(|_| Seat { lane: self.clone() }).collect()
    }

    /// Puts in seats as the queue drains, while somebody waits for them.
    async fn supply(&self) {
        let (mut failing, mut full) = (false, false);
        loop {
            if self.waiting.load(Ordering::SeqCst) == 0 {
                // Seats say how the queue is now; they do not keep.
                self.remove_seats(Semaphore::MAX_PERMITS);
                self.somebody_waits.notified().await;
            }
            // Seats left before the look: their jobs are part of what it finds.
            let left = self.left.load(Ordering::SeqCst);
            let pause = match self.look().await {
                Ok(room) => {
                    failing = false;
                    self.tell_whether_full(&room, &mut full);
                    self.adjust(&room, left);
                    LOOK_AGAIN
                }
                Err(reason) => {
                    if !failing {
                        let lane = self.consumer.cached_info().name.as_str();
                        tracing::warn!(lane, reason, "cannot look at the queue now, trying again");
                        failing = true;
                    }
                    RETRY_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn look(&self) -> Result<Room, String> {
        let (consumer, stream) = tokio::join!(self.consumer.get_info(), self.stream.get_info());
        let consumer = consumer.map_err(|error| error.to_string())?;
        let stream = stream.map_err(|error| error.to_string())?;
        let queued = consumer.num_pending + consumer.num_ack_pending as u64;
        let (limit, used) = (stream.config.max_bytes, stream.state.bytes);
        let space = match u64::try_from(limit) {
            Ok(limit) if stream.state.messages > 0 => {
                let bytes_per_job = used.div_ceil(stream.state.messages).max(1);
                limit.saturating_sub(used) / bytes_per_job
            }
            // Empty, or without a limit.
            _ => u64::MAX,
        };
        Ok(Room { queued, space })
    }

    /// Says it when the stream, not the depth, is what makes batches wait, and when it no longer is. Jobs would wait for
    /// space in [`Bus::publish`] as well, but each would say so.
    fn tell_whether_full(&self, room: &Room, full: &mut bool) {
        let was_full = std::mem::replace(full, room.space == 0 && room.queued < self.depth);
        let lane = self.consumer.cached_info().name.as_str();
        match (was_full, *full) {
            (false, true) => tracing::warn!(lane, "the stream of jobs is full, waiting for workers to make room"),
            (true, false) => tracing::info!(lane, "the stream of jobs has room again"),
            _ => {}
        }
    }

    /// Brings the free seats to what a look found, less those taken whose job the look may have missed.
    fn adjust(&self, room: &Room, left_before: u64) {
        let free = self.free.available_permits();
        let taken_ever = self.supplied.load(Ordering::SeqCst) - free as u64;
        let under_way = taken_ever - left_before;
        let wanted = self.depth.saturating_sub(room.queued).min(room.space).saturating_sub(under_way);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        if wanted > free {
            let added = wanted - free;
            self.supplied.fetch_add(added as u64, Ordering::SeqCst);
            self.free.add_permits(added);
        } else {
            self.remove_seats(free - wanted);
        }
    }

    fn remove_seats(&self, at_most: usize) {
        let removed = self.free.forget_permits(at_most);
        self.supplied.fetch_sub(removed as u64, Ordering::SeqCst);
    }
}

/// Counts a waiting batch for as long as it waits.
struct Waiting<'a>(&'a Lane);

impl<'a> Waiting<'a> {
    fn new(lane: &'a Lane) -> Self {
        lane.waiting.fetch_add(1, Ordering::SeqCst);
        lane.somebody_waits.notify_one();
        Self(lane)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Room for one job. Dropped when the job is stored, so that from then on it counts as part of the queue.
#[derive(Debug)]
pub(super) struct Seat {
    lane: Arc<Lane>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.lane.left.fetch_add(1, Ordering::SeqCst);
    }
}
