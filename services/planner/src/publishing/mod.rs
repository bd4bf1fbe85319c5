//! Publishing a batch's jobs: by turns with other batches, no more than the queue is meant to hold.

mod jobs;
mod lanes;
mod rotation;
mod shards;

use std::sync::Arc;
use std::time::Duration;

use jetsweep_shared::bus::{Bus, BusError, Stored, headers_with_id};
use jetsweep_shared::events::Begin;
use jetsweep_shared::monitor::Counter;
use jetsweep_shared::telemetry::{Parent, Step};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::error::{BatchError, PlannerError};
use jobs::JobWriter;
use lanes::Lanes;
pub(crate) use shards::Shards;

/// Jobs of all batches that are published and not yet acknowledged by the stream. Each is at most 64 KiB.
const MOST_IN_FLIGHT: usize = 256;

/// Most jobs that a batch publishes before it is another batch's turn. They are of one symbol, so that the workers'
/// caches of bars work.
const LONGEST_TURN: u64 = 32;

/// Turns that the queue has room for at least, so that several batches share a short queue as well.
const TURNS_IN_QUEUE: u64 = 4;

/// How long a stopped batch waits for the jobs it has under way. They take milliseconds, unless the stream is full.
const LANDING_TIME: Duration = Duration::from_secs(2);

/// How publishing ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Published {
    /// Every missing job is stored: so many.
    All(u64),
    /// It was stopped before.
    Stopped,
}

/// Publishes jobs, of several batches at a time.
#[derive(Debug)]
pub(crate) struct Publisher {
    lanes: Lanes,
    in_flight: Arc<Semaphore>,
    turn: u64,
    /// Counts the jobs that are stored.
    published: Counter,
}

impl Publisher {
    /// `queue_depth` is the most jobs queued for one runner and priority.
    pub(crate) async fn open(bus: &Bus, queue_depth: u64, published: Counter) -> Result<Self, PlannerError> {
        let queue_depth = queue_depth.max(1);
        Ok(Self {
            lanes: Lanes::open(bus, queue_depth).await?,
            in_flight: Arc::new(Semaphore::new(MOST_IN_FLIGHT)),
            turn: (queue_depth / TURNS_IN_QUEUE).clamp(1, LONGEST_TURN),
            published,
        })
    }

    /// Gives out room in the queue as it appears, until `shutdown`. Nothing is published unless this runs.
    pub(crate) async fn keep_lanes_supplied(&self, shutdown: &CancellationToken) {
        self.lanes.keep_supplied(shutdown).await;
    }

    /// Publishes the jobs of all shards that are not `present`, and returns when each is stored. Stops early, with no
    /// job under way, when `stop` is cancelled. Dropping the future stops at once; jobs under way may be stored or not.
    ///
    /// Each job is sent in `step`. The stream forgets a job that it is asked to take twice. So jobs that were taken out of it are published with
    /// `again`, a number of the occasion.
    pub(crate) async fn publish(
        &self,
        bus: &Bus,
        begin: &Begin,
        present: &Shards,
        again: Option<u64>,
        step: &Step,
        stop: &CancellationToken,
    ) -> Result<Published, BatchError> {
        let mut under_way = JoinSet::new();
        let publishing = async {
            let jobs = self.send(bus, begin, present, again, &step.as_parent(), &mut under_way).await?;
            land(&mut under_way).await?;
            Ok(Published::All(jobs))
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            published = publishing => return published,
        }
        // Past this time what is still under way is given up on.
        if let Ok(landed) = tokio::time::timeout(LANDING_TIME, land(&mut under_way)).await {
            landed?;
        }
        under_way.shutdown().await;
        Ok(Published::Stopped)
    }

    /// Sends the missing jobs on their way, turn by turn, and returns how many they are.
    async fn send(
        &self,
        bus: &Bus,
        begin: &Begin,
        present: &Shards,
        again: Option<u64>,
        sent_in: &Parent,
        under_way: &mut UnderWay,
    ) -> Result<u64, BatchError> {
        let mut writer = JobWriter::new(begin, again);
        let mut jobs = 0;
        // Left with the last job sent: whoever waits for acks only must not hold up the others' turns.
        let place = self.lanes.enter(begin.priority);
        for turn in shards::turns(begin.shards(), present, self.turn as usize) {
            let seats = place.seats(turn.len()).await;
            for (shard, seat) in turn.into_iter().zip(seats) {
                let permit = self.in_flight.clone().acquire_owned().await;
                while let Some(done) = under_way.try_join_next() {
                    stored(done)?;
                }
                let message = writer.write(shard, &bus.names);
                let mut headers = headers_with_id(&message.id);
                sent_in.inject(&mut headers);
                let (bus, published) = (bus.clone(), self.published.clone());
                under_way.spawn(async move {
                    let _held_until_stored = (seat, permit);
                    let stored = bus.publish_with_headers(&message.subject, headers, message.payload).await?;
                    published.inc_by(u64::from(!stored.duplicate));
                    Ok(stored)
                });
                jobs += 1;
            }
        }
        Ok(jobs)
    }
}

/// Jobs on their way to the stream.
type UnderWay = JoinSet<Result<Stored, BusError>>;

/// Waits until each job under way is stored.
async fn land(under_way: &mut UnderWay) -> Result<(), BatchError> {
    while let Some(done) = under_way.join_next().await {
        stored(done)?;
    }
    Ok(())
}

fn stored(done: Result<Result<Stored, BusError>, JoinError>) -> Result<Stored, BatchError> {
    match done {
        Ok(published) => Ok(published?),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(BatchError::Thread("publishes a job")),
        },
    }
}
