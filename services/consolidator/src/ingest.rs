//! Reads the log in order, from the position in the database on, and hands decoded messages to the writer.
//!
//! The consumer is one without acks that lives as long as this reader: where to read on is in the database, never in
//! the server. A gap in the consumer's own numbering means that messages were lost on the way; it is then opened anew
//! where the last good one was. (The client's own ordered consumer does the same, but asks for 200 messages at a time
//! whatever their size, and starts over at the stream's beginning if it is lost before its first message.)

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use jetsweep_shared::bus::{Bus, with_jitter};
use jetsweep_shared::telemetry::parent_from;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::event::LogEvent;
use crate::metrics::Metrics;
use crate::store::{Position, Source};
use crate::writer::Entry;

/// Bytes of messages that are read and not committed, at most.
const MOST_BYTES: usize = 32 << 20;
/// Messages decoded at the same time, at most.
const MOST_DECODING: usize = 4;
/// Messages asked for at a time. The client asks again when half of them came.
const PULLED: usize = 32;
/// How often the server says that it has nothing to say. Twice as long without a word, and the consumer is lost.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Time after which the server forgets a consumer that nobody reads.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// How often the stream is looked at: it may have been created anew, or lost its end with the server's disk.
const LOOK_AT_STREAM: Duration = Duration::from_secs(5);
/// Pause before something that failed is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before something that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why a consumer is opened anew.
#[derive(Debug)]
enum Reopen {
    /// The program stops, the writer is gone, or all is read that was to be read.
    Never,
    /// The consumer is lost, or messages on the way from it.
    Lost(String),
    /// The stream is not what was read from.
    OtherStream,
}

/// How far to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What there is and what comes.
    Everything,
    /// What there is.
    WhatIsThere,
}

/// Reads until the program stops, the writer is gone, or as far as it should. Messages that are read and not yet handed
/// over are dropped then; they will be read again.
pub(crate) async fn run(
    bus: Bus,
    start: Option<Position>,
    extent: Extent,
    entries: Sender<Entry>,
    metrics: Metrics,
    shutdown: CancellationToken,
) {
    let reader = Reader { bus, extent, entries, metrics, rooms: Arc::new(Semaphore::new(MOST_BYTES)) };
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = reader.run(start) => {}
    }
}

struct Reader {
    bus: Bus,
    extent: Extent,
    metrics: Metrics,
    entries: Sender<Entry>,
    rooms: Arc<Semaphore>,
}

impl Reader {
    async fn run(self, mut read: Option<Position>) {
        let mut pause = FIRST_PAUSE;
        loop {
            let mut position = match self.find_start(read.clone()).await {
                Ok(position) => position,
                Err(reason) => {
                    tracing::warn!(reason, "cannot read results now, trying again");
                    self.metrics.not_reading(reason);
                    tokio::time::sleep(with_jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            };
            let before = position.sequence;
            match self.read_from(&mut position).await {
                Reopen::Never => return,
                Reopen::OtherStream => read = Some(position),
                Reopen::Lost(reason) => {
                    tracing::debug!(reason, after = position.sequence, "reading results again");
                    self.metrics.not_reading(reason);
                    let made_progress = position.sequence > before;
                    read = Some(position);
                    pause = if made_progress { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    tokio::time::sleep(with_jitter(pause)).await;
                }
            }
        }
    }

    /// Where to read on: after `read`, if the stream is the same and still has it; else from its beginning.
    async fn find_start(&self, read: Option<Position>) -> Result<Position, String> {
        let name = self.bus.names.results_stream();
        let info = stream_info(&self.bus.jetstream, &name).await?;
        self.metrics.log_ends(info.state.last_sequence);
        let source = Source { stream: name, created: created(&info) };
        let Some(read) = read else {
            return Ok(Position { source: Arc::new(source), sequence: 0 });
        };
        if *read.source == source && info.state.last_sequence >= read.sequence {
            return Ok(read);
        }
        tracing::info!(
            stream = source.stream,
            created = source.created,
            last = info.state.last_sequence,
            was_created = read.source.created,
            was_read_to = read.sequence,
            "the stream of results is not the one read before: reading it from its beginning"
        );
        Ok(Position { source: Arc::new(source), sequence: 0 })
    }

    /// Hands over what comes after `position`, moving it, until the consumer is lost.
    async fn read_from(&self, position: &mut Position) -> Reopen {
        let (mut messages, pending) = match open(&self.bus.jetstream, position).await {
            Ok(opened) => opened,
            Err(reason) => return Reopen::Lost(reason),
        };
        self.metrics.reading();
        if self.extent == Extent::WhatIsThere && pending == 0 {
            return Reopen::Never;
        }
        let mut last_there = None;
        let mut consumer_sequence = 0;
        // The newest message read may be ahead of `position`, which is where everything was handed over.
        let mut newest = position.sequence;
        let mut waiting: Option<(u64, async_nats::Message)> = None;
        let mut decoding: FuturesOrdered<JoinHandle<Entry>> = FuturesOrdered::new();
        let mut look = tokio::time::interval(LOOK_AT_STREAM);
        look.reset();
        loop {
            let room = waiting.as_ref().map_or(1, |(_, message)| message.payload.len().clamp(1, MOST_BYTES) as u32);
            tokio::select! {
                biased;
                Some(decoded) = decoding.next(), if !decoding.is_empty() => {
                    let Ok(entry) = decoded else {
                        return Reopen::Lost("a message could not be decoded: its thread is gone".to_owned());
                    };
                    let sequence = entry.sequence;
                    if self.entries.send(entry).is_err() {
                        return Reopen::Never;
                    }
                    position.sequence = sequence;
                    if self.extent == Extent::WhatIsThere && last_there == Some(sequence) {
                        return Reopen::Never;
                    }
                }
                permit = self.rooms.clone().acquire_many_owned(room), if waiting.is_some() => {
                    let Ok(permit) = permit else { return Reopen::Never };
                    if let Some((sequence, message)) = waiting.take() {
                        decoding.push_back(self.decode(position.source.clone(), sequence, message, permit));
                    }
                }
                _ = look.tick() => {
                    let Ok(info) = stream_info(&self.bus.jetstream, &position.source.stream).await else { continue };
                    self.metrics.log_ends(info.state.last_sequence);
                    if !is_of(&info, &position.source, newest) {
                        return Reopen::OtherStream;
                    }
                }
                message = messages.next(), if waiting.is_none() && decoding.len() < MOST_DECODING => {
                    let message = match message {
                        Some(Ok(message)) => message,
                        Some(Err(error)) => return Reopen::Lost(error.to_string()),
                        None => return Reopen::Lost("the consumer's messages ended".to_owned()),
                    };
                    let (at_consumer, at_stream, pending) = match message.info() {
                        Ok(info) => (info.consumer_sequence, info.stream_sequence, info.pending),
                        Err(error) => return Reopen::Lost(error.to_string()),
                    };
                    if pending == 0 {
                        last_there.get_or_insert(at_stream);
                    }
                    if at_consumer != consumer_sequence + 1 {
                        return Reopen::Lost(format!("messages after {newest} were lost on the way"));
                    }
                    consumer_sequence = at_consumer;
                    newest = at_stream;
                    waiting = Some((at_stream, message.split().0));
                }
            }
        }
    }

    /// Decodes off the runtime's threads: a result is up to half a megabyte of JSON.
    fn decode(
        &self,
        source: Arc<Source>,
        sequence: u64,
        message: async_nats::Message,
        room: OwnedSemaphorePermit,
    ) -> JoinHandle<Entry> {
        let names = self.bus.names.clone();
        tokio::task::spawn_blocking(move || {
            let subject = message.subject.to_string();
            let from = parent_from(message.headers.as_ref());
            let payload: Bytes = message.payload;
            let event = LogEvent::decode(&names, &subject, message.headers.as_ref(), &payload);
            Entry { source, sequence, subject, payload, event, from, room }
        })
    }
}

/// A consumer's messages, and how many there are now.
async fn open(context: &jetstream::Context, position: &Position) -> Result<(pull::Stream, u64), String> {
    let config = pull::Config {
        description: Some("consolidator: reads results in order, its position is in its database".to_owned()),
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: position.sequence + 1 },
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGOTTEN_AFTER,
        memory_storage: true,
        num_replicas: 1,
        ..Default::default()
    };
    let consumer = context
        .create_consumer_on_stream(config, position.source.stream.as_str())
        .await
        .map_err(|error| error.to_string())?;
    let pending = consumer.cached_info().num_pending;
    let messages = consumer.stream().max_messages_per_batch(PULLED).heartbeat(HEARTBEAT).messages();
    Ok((messages.await.map_err(|error| error.to_string())?, pending))
}

async fn stream_info(context: &jetstream::Context, name: &str) -> Result<stream::Info, String> {
    let stream = context.get_stream(name).await.map_err(|error| error.to_string())?;
    Ok(stream.cached_info().clone())
}

/// When a stream was created, as text that two streams of one name never share.
fn created(info: &stream::Info) -> String {
    jiff::Timestamp::from_nanosecond(info.created.unix_timestamp_nanos())
        .map_or_else(|_| info.created.unix_timestamp_nanos().to_string(), |created| created.to_string())
}

/// Whether a stream is the one read from and still has what was read.
fn is_of(info: &stream::Info, source: &Source, read: u64) -> bool {
    created(info) == source.created && info.state.last_sequence >= read
}

/// Whether a source is the stream there is now. Asks until the server says.
pub(crate) async fn is_current(bus: &Bus, source: &Source) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Ok(info) = stream_info(&bus.jetstream, &source.stream).await {
            return is_of(&info, source, 0);
        }
        tokio::time::sleep(with_jitter(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
