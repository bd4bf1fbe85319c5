//! What of batches leaves the streams: all of those that were deleted, and the results of those that ended long ago.
//!
//! Nothing leaves RESULTS by age alone. A batch's results do when each of its runs is terminal and committed, every durable
//! consumer (the bridge) is past them, and the batch ended longer ago than `consolidator.results_retention_seconds`. A
//! `purged` event is stored before they go and stays in their place.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::kv;
use duckdb::Connection;
use futures::{StreamExt, TryStreamExt};
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::events::{self, Purged};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, ResultSubject, control_key};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::database::{Database, DatabaseError};

/// Longest time between two rounds.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);
/// Shortest time between two rounds.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(200);
/// Rounds within the time that results are kept.
const ROUNDS: u32 = 10;

/// Removes what may go, round by round.
pub(crate) struct Retention {
    bus: Bus,
    database: Arc<Mutex<Database>>,
    /// Time that results are kept after their batch has ended.
    keep: Duration,
    /// Rounds are made at this pace, and at once when a batch was deleted.
    deleted: Arc<Notify>,
}

/// Why a round was not finished. The next one goes on.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error("failed to {doing}: {reason}")]
    Stream { doing: String, reason: String },
}

fn failed<E: std::fmt::Display>(doing: impl Into<String>) -> impl FnOnce(E) -> RoundError {
    let doing = doing.into();
    move |error| RoundError::Stream { doing, reason: error.to_string() }
}

/// A batch whose results may go.
struct Ended {
    purged: Purged,
    /// Place in the stream of its last result.
    last_sequence: u64,
}

impl Retention {
    pub(crate) fn new(bus: Bus, database: Database, keep: Duration, deleted: Arc<Notify>) -> Self {
        Self { bus, database: Arc::new(Mutex::new(database)), keep, deleted }
    }

    /// Makes rounds until the program stops.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let interval = (self.keep / ROUNDS).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL);
        let rounds = async {
            let mut is_failing = false;
            loop {
                match self.round().await {
                    Ok(()) => is_failing = false,
                    Err(error) if !is_failing => {
                        tracing::warn!(%error, "cannot remove what may leave the streams now, trying again");
                        is_failing = true;
                    }
                    Err(_) => {}
                }
                tokio::select! {
                    () = tokio::time::sleep(interval) => {}
                    () = self.deleted.notified() => {}
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = rounds => {}
        }
    }

    async fn round(&self) -> Result<(), RoundError> {
        let name = self.bus.names.results_stream();
        let results = self.bus.jetstream.get_stream(&name).await.map_err(failed(format!("look at {name}")))?;
        for batch in batches_with(&self.bus, &results, BatchEvent::Deleted).await? {
            // Rows go first: until the event is committed, a consolidator that starts anew must find all of this.
            if self.is_deleted(&batch).await? {
                self.remove_deleted(&results, &batch).await?;
            }
        }
        let ended = self.ended().await?;
        if ended.is_empty() {
            return Ok(());
        }
        // The database may have batches of other servers too.
        let begun = batches_with(&self.bus, &results, BatchEvent::Begin).await?;
        let purged = batches_with(&self.bus, &results, BatchEvent::Purged).await?;
        let passed = passed_by_all(&results).await?;
        for ended in ended {
            // Places of a stream that was made anew say nothing, beyond that all of it must be passed.
            let last = ended.last_sequence.min(results.cached_info().state.last_sequence);
            let batch = &ended.purged.batch_id;
            let is_there = begun.contains(batch) && !purged.contains(batch);
            if is_there && passed.is_none_or(|passed| passed >= last) {
                self.purge(&results, ended.purged).await?;
            }
        }
        Ok(())
    }

    /// Removes everything of a deleted batch but the event that says so. Does nothing where nothing is left.
    async fn remove_deleted(&self, results: &jetstream::stream::Stream, batch: &BatchId) -> Result<(), RoundError> {
        let names = &self.bus.names;
        let keep = names.batch_event(batch, BatchEvent::Deleted);
        let removed = self.purge_all_but(results, &names.results_of_batch(batch), &keep).await?;
        if removed == 0 {
            return Ok(());
        }
        let dead = names.dead_stream();
        let letters = self.bus.jetstream.get_stream_no_info(&dead).await.map_err(failed(format!("look at {dead}")))?;
        letters.purge().filter(names.dead_of_batch(batch)).await.map_err(failed(format!("purge {dead}")))?;
        let bucket = self.bus.batches().await?;
        self.remove_keys(&bucket, batch).await?;
        tracing::info!(%batch, messages = removed, "removed what was stored of a deleted batch");
        Ok(())
    }

    /// Removes a batch's control entry and pinned digests.
    async fn remove_keys(&self, bucket: &kv::Store, batch: &BatchId) -> Result<(), RoundError> {
        let doing = || format!("remove the keys of {batch}");
        // Watchers are told of this one.
        bucket.delete(control_key(batch)).await.map_err(failed(doing()))?;
        let pins = format!("$KV.{}.{batch}.data.>", bucket.name);
        bucket.stream.purge().filter(pins).await.map_err(failed(doing()))?;
        Ok(())
    }

    /// Asks the database, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> duckdb::Result<T> + Send + 'static,
    ) -> Result<T, RoundError> {
        let database = self.database.clone();
        let read = move || read(&database.lock().unwrap_or_else(PoisonError::into_inner).connection);
        let read = tokio::task::spawn_blocking(read).await.map_err(failed(doing))?;
        Ok(read.map_err(DatabaseError::sql(doing))?)
    }

    async fn is_deleted(&self, batch: &BatchId) -> Result<bool, RoundError> {
        let batch = batch.to_string();
        let sql = "SELECT count(*) > 0 FROM deleted_batches WHERE batch_id = ?";
        self.read("look whether a batch was deleted", move |connection| {
            connection.query_row(sql, [batch], |row| row.get(0))
        })
        .await
    }

    /// Batches that ended before results are kept.
    async fn ended(&self) -> Result<Vec<Ended>, RoundError> {
        let keep = SignedDuration::try_from(self.keep).unwrap_or(SignedDuration::MAX);
        let Ok(before) = Timestamp::now().checked_sub(keep) else { return Ok(Vec::new()) };
        let sql = "SELECT batch_id, any_value(b.generation), any_value(total_runs), any_value(spec_digest),
                max(s.sequence)
            FROM batches b JOIN shards s USING (batch_id)
            WHERE completed_at < make_timestamp(?) GROUP BY batch_id";
        let ended = self.read("look for batches that ended long ago", move |connection| {
            let mut statement = connection.prepare(sql)?;
            let rows = statement.query_map([before.as_microsecond()], |row| {
                let id: String = row.get(0)?;
                let Ok(batch_id) = id.parse() else { return Ok(None) };
                let purged = Purged {
                    version: events::VERSION,
                    batch_id,
                    generation: row.get(1)?,
                    total_runs: row.get(2)?,
                    spec_digest: row.get(3)?,
                    purged_at: Timestamp::now(),
                };
                Ok(Some(Ended { purged, last_sequence: row.get(4)? }))
            })?;
            rows.collect::<duckdb::Result<Vec<_>>>()
        });
        Ok(ended.await?.into_iter().flatten().collect())
    }

    async fn purge(&self, results: &jetstream::stream::Stream, event: Purged) -> Result<(), RoundError> {
        let names = &self.bus.names;
        let subject = names.batch_event(&event.batch_id, BatchEvent::Purged);
        self.bus.create(&subject, &format!("{}.purged", event.batch_id), events::encode(&event)).await?;
        let messages = self.purge_all_but(results, &names.results_of_batch(&event.batch_id), &subject).await?;
        tracing::info!(batch = %event.batch_id, messages, "results left the log; their rows are in the database");
        Ok(())
    }

    /// Purges the messages that match up to the one on the subject `keep`, which stays. Returns how many.
    async fn purge_all_but(
        &self,
        results: &jetstream::stream::Stream,
        filter: &str,
        keep: &str,
    ) -> Result<u64, RoundError> {
        let Some(kept) = self.bus.last_stored(&self.bus.names.results_stream(), keep).await? else { return Ok(0) };
        let purging = results.purge().filter(filter).sequence(kept.sequence);
        Ok(purging.await.map_err(failed(format!("purge {filter}")))?.purged)
    }
}

/// Batches that were purged from the log.
pub(crate) async fn purged(bus: &Bus) -> Result<BTreeSet<BatchId>, BusError> {
    let name = bus.names.results_stream();
    let failed = |reason: String| BusError::Read { what: format!("the batches purged from {name}"), reason };
    let results = bus.jetstream.get_stream(&name).await.map_err(|error| failed(error.to_string()))?;
    batches_with(bus, &results, BatchEvent::Purged).await.map_err(|error| failed(error.to_string()))
}

/// Batches that have an event in the log.
async fn batches_with(
    bus: &Bus,
    results: &jetstream::stream::Stream,
    event: BatchEvent,
) -> Result<BTreeSet<BatchId>, RoundError> {
    let subjects = bus.names.event_of_every_batch(event);
    let doing = || format!("list {subjects}");
    let mut found = results.info_with_subjects(&subjects).await.map_err(failed(doing()))?;
    let mut batches = BTreeSet::new();
    while let Some((subject, _)) = found.try_next().await.map_err(failed(doing()))? {
        if let Some(ResultSubject::Event { batch, .. }) = bus.names.parse_result(&subject) {
            batches.insert(batch);
        }
    }
    Ok(batches)
}

/// The place in the stream up to which every durable consumer has acknowledged; `None` without any.
async fn passed_by_all(results: &jetstream::stream::Stream) -> Result<Option<u64>, RoundError> {
    let mut consumers = results.consumers();
    let mut passed: Option<u64> = None;
    while let Some(consumer) = consumers.next().await {
        let consumer = consumer.map_err(failed("list the consumers of results"))?;
        if consumer.config.durable_name.is_some() {
            let floor = consumer.ack_floor.stream_sequence;
            passed = Some(passed.map_or(floor, |passed| passed.min(floor)));
        }
    }
    Ok(passed)
}
