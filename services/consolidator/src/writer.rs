//! The thread that writes: takes events in order, groups them, commits.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::config::ConsolidatorConfig;
use jetsweep_shared::telemetry::Parent;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::sync::CancellationToken;

use crate::dead;
use crate::event::{LogEvent, Unreadable};
use crate::ingest;
use crate::metrics::Metrics;
use crate::progress::Views;
use crate::store::{Applied, DatabaseError, Rejection, Source, Store};
use crate::traced::Traced;

/// Pause before a commit that failed is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause before a commit that failed is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Pause between two looks at whether the program is to stop, while waiting to try again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Why the writer stopped before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A message is of a later version.
    #[error("failed to read message {sequence} of {stream}: {reason}; nothing after it was read")]
    Later {
        /// The stream.
        stream: String,
        /// The message's place in it.
        sequence: u64,
        /// What to do.
        reason: String,
    },
    /// A message that cannot be taken cannot be kept elsewhere either.
    #[error("failed to keep message {sequence}, which cannot be taken ({code}): {source}")]
    Dead {
        /// The message's place in its stream.
        sequence: u64,
        /// Why it cannot be taken.
        code: &'static str,
        /// Why it cannot be kept.
        source: BusError,
    },
    /// The thread is gone.
    #[error("the thread that writes the database ended without a word")]
    Gone,
}

/// A message on its way to the writer.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) source: Arc<Source>,
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) payload: Bytes,
    pub(crate) event: Result<LogEvent, Unreadable>,
    /// The step in which it was published.
    pub(crate) from: Parent,
    /// Room in memory, given back when the message is committed.
    pub(crate) room: OwnedSemaphorePermit,
}

/// When a group is committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) interval: Duration,
}

impl From<&ConsolidatorConfig> for Limits {
    fn from(config: &ConsolidatorConfig) -> Self {
        Self { rows: usize::try_from(config.commit_rows).unwrap_or(usize::MAX), interval: config.commit_interval() }
    }
}

/// The writer's side of everything.
pub(crate) struct Writer {
    pub(crate) store: Store,
    pub(crate) bus: Bus,
    pub(crate) runtime: Handle,
    pub(crate) views: Views,
    pub(crate) limits: Limits,
    /// Whether messages that cannot be taken go to the stream of those given up on. They did so before, if the log is
    /// only read again.
    pub(crate) keeps_rejected: bool,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
    /// What the next commit stores, for whoever traces.
    pub(crate) traced: Traced,
}

/// Whether to go on after an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    /// The program is stopping and the entry must not be passed.
    Stop,
}

/// How a writer ended, once it has.
pub(crate) type End = oneshot::Receiver<Result<(), WriterError>>;

impl Writer {
    /// Starts writing on a thread of its own. Returns where entries go, and where its end is told.
    pub(crate) fn start(self) -> io::Result<(Sender<Entry>, End)> {
        let (entries, to_write) = mpsc::channel();
        let (ended, end) = oneshot::channel();
        let write = move || {
            // Whoever waited for the end may be gone; then nobody is left to tell.
            let _ = ended.send(self.run(&to_write));
        };
        std::thread::Builder::new().name("writer".to_owned()).spawn(write)?;
        Ok((entries, end))
    }

    /// Takes entries until there are no more, then commits what is in hand.
    fn run(mut self, entries: &Receiver<Entry>) -> Result<(), WriterError> {
        let mut group_since: Option<Instant> = None;
        let mut rooms: Vec<OwnedSemaphorePermit> = Vec::new();
        let mut abandoned: Option<Arc<Source>> = None;
        loop {
            let received = match group_since {
                None => entries.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(since) => entries.recv_timeout(self.limits.interval.saturating_sub(since.elapsed())),
            };
            match received {
                Ok(entry) if abandoned.as_ref().is_some_and(|source| Arc::ptr_eq(source, &entry.source)) => continue,
                Ok(entry) => {
                    group_since.get_or_insert_with(Instant::now);
                    match self.take(&entry)? {
                        Taken::Passed => {}
                        Taken::OtherStream => abandoned = Some(entry.source.clone()),
                        Taken::Stopping => break,
                    }
                    rooms.push(entry.room);
                    let is_due = group_since.is_some_and(|since| since.elapsed() >= self.limits.interval);
                    if !is_due && self.store.pending_rows() < self.limits.rows && !self.store.completes_a_batch() {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.commit()? == Next::Stop {
                return Ok(());
            }
            group_since = None;
            rooms.clear();
        }
        self.commit()?;
        self.store.checkpoint();
        Ok(())
    }

    fn take(&mut self, entry: &Entry) -> Result<Taken, WriterError> {
        let rejection = match &entry.event {
            Ok(event) => match self.store.apply(event, entry.sequence)? {
                Applied::Changed => {
                    self.metrics.counts.changed.inc();
                    self.traced.note(&entry.source, event, &entry.from);
                    None
                }
                Applied::Duplicate => {
                    self.metrics.counts.duplicates.inc();
                    tracing::debug!(subject = entry.subject, sequence = entry.sequence, "was there before");
                    None
                }
                Applied::Superseded => {
                    self.metrics.counts.superseded.inc();
                    tracing::info!(subject = entry.subject, sequence = entry.sequence, "is of an older generation");
                    None
                }
                Applied::Rejected(rejection) => Some(rejection),
            },
            Err(Unreadable::Rejected(rejection)) => Some(rejection.clone()),
            Err(Unreadable::Later(reason)) => {
                self.commit()?;
                return Err(WriterError::Later {
                    stream: entry.source.stream.clone(),
                    sequence: entry.sequence,
                    reason: reason.clone(),
                });
            }
        };
        if let Some(rejection) = rejection.filter(|_| self.keeps_rejected) {
            match self.keep_elsewhere(entry, &rejection)? {
                Taken::Passed => {}
                other => return Ok(other),
            }
        }
        self.store.pass(&entry.source, entry.sequence);
        Ok(Taken::Passed)
    }

    /// Stores a message that cannot be taken in the stream of those given up on, before the position passes it.
    fn keep_elsewhere(&self, entry: &Entry, rejection: &Rejection) -> Result<Taken, WriterError> {
        let kept = self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => Ok(Taken::Stopping),
                kept = self.keep_if_current(entry, rejection) => kept,
            }
        });
        kept.map_err(|source| WriterError::Dead { sequence: entry.sequence, code: rejection.code, source })
    }

    async fn keep_if_current(&self, entry: &Entry, rejection: &Rejection) -> Result<Taken, BusError> {
        // In a stream that was created anew behind our back, a result may come before its batch's plan.
        if rejection.code == Rejection::UNKNOWN_BATCH && !ingest::is_current(&self.bus, &entry.source).await {
            return Ok(Taken::OtherStream);
        }
        tracing::warn!(
            subject = entry.subject,
            sequence = entry.sequence,
            code = rejection.code,
            reason = rejection.message,
            "a message cannot be taken and is kept in {}",
            self.bus.names.dead_stream()
        );
        let Entry { source, sequence, subject, payload, from, .. } = entry;
        dead::publish(&self.bus, source, *sequence, subject, payload, rejection, from).await?;
        self.metrics.counts.rejected.inc();
        Ok(Taken::Passed)
    }

    /// Commits, trying again for as long as it takes: a full disk or too little memory delays results, it loses none.
    fn commit(&mut self) -> Result<Next, WriterError> {
        let ends_a_batch = self.store.completes_a_batch();
        let steps = self.traced.begin();
        let mut pause = FIRST_PAUSE;
        loop {
            let start = Instant::now();
            match self.store.commit() {
                Ok(committed) => {
                    self.metrics.committed(&committed, start.elapsed());
                    steps.iter().for_each(|step| step.set("rows", committed.rows as u64));
                    drop(steps);
                    self.views.tell(committed.batches, committed.deleted);
                    if committed.rows > 0 {
                        tracing::debug!(rows = committed.rows, "committed");
                    }
                    break;
                }
                Err(error) if self.shutdown.is_cancelled() || !error.is_temporary() => return Err(error.into()),
                Err(error) => {
                    tracing::error!(%error, "cannot commit results now, trying again");
                    self.metrics.commit_failed(&error);
                    if self.wait(pause) == Next::Stop {
                        return Ok(Next::Stop);
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        if ends_a_batch {
            self.store.tidy();
        }
        Ok(Next::GoOn)
    }

    fn wait(&self, pause: Duration) -> Next {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if self.shutdown.is_cancelled() {
                return Next::Stop;
            }
            std::thread::sleep(LOOK_AGAIN.min(pause));
        }
        Next::GoOn
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// The position may pass it.
    Passed,
    /// It is of a stream that is there no more; all that follow of it too.
    OtherStream,
    /// The program is stopping; the entry will be read again.
    Stopping,
}
