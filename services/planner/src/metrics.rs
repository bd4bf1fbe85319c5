//! What a planner shows of itself and, as nobody else looks at all of them, of the streams and queues.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use jetsweep_shared::bus::{Bus, is_no_stream};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::monitor::{Counter, Monitor, Numbers};
use jetsweep_shared::subjects::NATIVE;
use tokio_util::sync::CancellationToken;

use crate::control::ActiveBatches;

/// Time between two looks at streams and queues. Prometheus asks every 15 seconds by default.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What the monitor calls looking at streams and queues.
const STREAMS: &str = "streams";

/// Counts of one planner since its start, and streams as they were at the last look. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    pub(crate) sealed: Counter,
    pub(crate) cancelled: Counter,
    pub(crate) refused: Counter,
    /// Times a batch could not go on and was put off.
    pub(crate) put_off: Counter,
    pub(crate) jobs: Counter,
    pub(crate) submits: Counter,
    pub(crate) validates: Counter,
    pub(crate) retries: Counter,
    pub(crate) deletes: Counter,
    /// Requests that were not answered as wished.
    pub(crate) rejected_requests: Counter,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    queues: BTreeMap<Priority, Queue>,
    streams: BTreeMap<String, Stream>,
}

#[derive(Debug, Clone, Copy)]
struct Queue {
    waiting: u64,
    held: usize,
    redelivered: usize,
}

#[derive(Debug, Clone, Copy)]
struct Stream {
    messages: u64,
    bytes: u64,
    /// None for a stream without a limit.
    most_bytes: Option<u64>,
}

impl Metrics {
    /// All zero, and shown by `monitor`.
    pub(crate) fn new(monitor: &Monitor, active: &ActiveBatches) -> Self {
        let metrics = Self::default();
        let (told, active) = (metrics.clone(), active.clone());
        monitor.tell(move || told.numbers(active.count()));
        metrics
    }

    /// Looks at streams and queues until `shutdown`, if anybody wants to know.
    pub(crate) async fn keep_looking(&self, bus: &Bus, monitor: &Monitor, shutdown: &CancellationToken) {
        if !monitor.is_watched() {
            return;
        }
        loop {
            match look(bus).await {
                Ok(seen) => {
                    *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
                    monitor.ready(STREAMS);
                }
                Err(reason) => monitor.not_ready(STREAMS, reason),
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_AGAIN)).await.is_none() {
                return;
            }
        }
    }

    fn numbers(&self, active: usize) -> Vec<Numbers> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut queue = Numbers::gauge("jetsweep_queue_jobs", "Jobs queued, by whether a worker holds them");
        let mut redelivered =
            Numbers::gauge("jetsweep_queue_redelivered_jobs", "Jobs held that were delivered more than once");
        for (priority, found) in &seen.queues {
            let priority = priority.to_string();
            queue = queue
                .with([("priority", &priority), ("state", "waiting")], found.waiting)
                .with([("priority", &priority), ("state", "held")], found.held);
            redelivered = redelivered.with([("priority", &priority)], found.redelivered);
        }
        let mut messages = Numbers::gauge("jetsweep_stream_messages", "Messages in a stream");
        let mut bytes = Numbers::gauge("jetsweep_stream_bytes", "Size of a stream");
        let mut limit = Numbers::gauge("jetsweep_stream_limit_bytes", "Size at which a stream takes no more");
        for (name, found) in &seen.streams {
            messages = messages.with([("stream", name)], found.messages);
            bytes = bytes.with([("stream", name)], found.bytes);
            if let Some(most) = found.most_bytes {
                limit = limit.with([("stream", name)], most);
            }
        }
        vec![
            Numbers::gauge("jetsweep_planner_active_batches", "Batches being planned or published").is(active),
            Numbers::counter("jetsweep_planner_batches", "Plans by what became of them")
                .with([("outcome", "sealed")], self.sealed.get())
                .with([("outcome", "cancelled")], self.cancelled.get())
                .with([("outcome", "refused")], self.refused.get())
                .with([("outcome", "put_off")], self.put_off.get()),
            Numbers::counter("jetsweep_planner_jobs_published", "Jobs published").is(self.jobs.get()),
            Numbers::counter("jetsweep_planner_requests", "Requests by endpoint")
                .with([("endpoint", "submit")], self.submits.get())
                .with([("endpoint", "validate")], self.validates.get())
                .with([("endpoint", "retry")], self.retries.get())
                .with([("endpoint", "delete")], self.deletes.get()),
            Numbers::counter("jetsweep_planner_rejected_requests", "Requests that were not answered as wished")
                .is(self.rejected_requests.get()),
            queue,
            redelivered,
            messages,
            bytes,
            limit,
        ]
    }
}

async fn look(bus: &Bus) -> Result<Seen, String> {
    let (names, mut seen) = (&bus.names, Seen::default());
    for priority in Priority::ALL {
        let (consumer, stream) = (names.jobs_consumer(NATIVE, priority), names.jobs_stream());
        let found: Result<PullConsumer, _> = bus.jetstream.get_consumer_from_stream(&consumer, stream).await;
        let found = found.map_err(|error| format!("consumer {consumer} cannot be looked at: {error}"))?;
        let info = found.cached_info();
        let queue = Queue { waiting: info.num_pending, held: info.num_ack_pending, redelivered: info.num_redelivered };
        seen.queues.insert(priority, queue);
    }
    let streams = [
        names.plans_stream(),
        names.jobs_stream(),
        names.results_stream(),
        names.dead_stream(),
        names.batches_stream(),
        names.data_stream(),
    ];
    for name in streams {
        let found = match bus.jetstream.get_stream(&name).await {
            Ok(found) => found,
            // An operator may do without the data bucket.
            Err(error) if name == names.data_stream() && is_no_stream(&error) => continue,
            Err(error) => return Err(format!("stream {name} cannot be looked at: {error}")),
        };
        let info = found.cached_info();
        let (messages, bytes) = (info.state.messages, info.state.bytes);
        let most_bytes = u64::try_from(info.config.max_bytes).ok().filter(|most| *most > 0);
        let stream = Stream { messages, bytes, most_bytes };
        seen.streams.insert(name, stream);
    }
    Ok(seen)
}
