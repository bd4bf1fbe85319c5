//! The bridge as a service: one durable consumer on RESULTS, read at MLflow's pace, and an eye on batches that end.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind, kv};
use futures::{StreamExt, stream};
use jetsweep_shared::bus::{Bus, BusError, with_jitter};
use jetsweep_shared::config::{Config, LogRuns};
use jetsweep_shared::events::{self, BatchState, BatchStatus, Begin, MlflowState, ShardResult};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::{BatchEvent, InvalidNamespace, Names, ResultSubject};
use jetsweep_shared::topology::{self, TopologyError, Tuning};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::{BatchLog, Context, LogError};
use crate::client::{CallError, ClientError, Mlflow, Tag};
use crate::dead;
use crate::finish::finish;
use crate::metrics;
use crate::row::RunRow;
use crate::source::Services;
use crate::view::{self, Views};

/// Messages asked for at a time.
const PULLED: usize = 16;
/// Pause before something that failed is tried again; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Pauses before a message whose runs keep failing while others succeed is taken up again.
const REDELIVERY: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(120)];
/// How often the server is told that a message is being worked on: a third of the consumer's ack wait.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);
/// How often it is looked whether the consumer has come past the end of a batch.
const LOOK_AT_CONSUMER: Duration = Duration::from_millis(250);
/// How often it is looked how far behind the consumer is. Prometheus asks every 15 seconds by default.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// What the monitor calls reading the log.
const RESULTS: &str = "results";

/// Why a bridge could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The MLflow server cannot be talked to as configured.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// MLflow lets us do nothing.
    #[error("{0}")]
    Denied(String),
    /// MLflow refuses the experiment of batch runs.
    #[error("failed to make the experiment {name} in MLflow at {url}: {reason}")]
    Experiment {
        /// Its name.
        name: String,
        /// The server.
        url: String,
        /// Its words.
        reason: String,
    },
    /// The configured namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// No connection, or a failed request.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Streams and consumers are not as they must be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// RESULTS has something of a later version.
    #[error("{subject} is of a later version than this program reads: upgrade jetsweep")]
    Newer {
        /// The message's subject.
        subject: String,
    },
}

/// Logs runs to MLflow until `shutdown`. What is not logged then is logged by the next bridge.
///
/// # Errors
/// When it cannot start for a reason that stays: no server is named, or it lets us do nothing. It waits for servers that
/// are away, then and later.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), BridgeError> {
    run_monitored(config, &Monitor::default(), shutdown).await
}

/// Like [`run`], telling its health and metrics to `monitor`.
///
/// # Errors
/// See [`run`].
pub async fn run_monitored(config: &Config, monitor: &Monitor, shutdown: CancellationToken) -> Result<(), BridgeError> {
    let mlflow = Mlflow::new(&config.mlflow)?;
    metrics::register(monitor, &mlflow);
    let names = Names::new(&config.nats.namespace)?;
    let connecting = Bus::connect_when_there(&config.nats, "jetsweep-mlflow-bridge", names);
    let Some(bus) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let bus = bus?;
    monitor.watch_nats(&bus.client);
    let tuning = Tuning::from(config);
    let ensuring = async {
        topology::ensure_present(&bus.jetstream, &bus.names, &tuning).await?;
        topology::ensure_mlflow(&bus.jetstream, &bus.names).await
    };
    let Some(ensured) = shutdown.run_until_cancelled(ensuring).await else { return Ok(()) };
    ensured?;
    let health = tokio::spawn({
        let (bus, mlflow) = (bus.clone(), mlflow.clone());
        async move { view::tell_health(&bus, &mlflow).await }
    });
    let served = serve(config, monitor, mlflow, bus, &shutdown).await;
    health.abort();
    served
}

async fn serve(
    config: &Config,
    monitor: &Monitor,
    mlflow: Mlflow,
    bus: Bus,
    shutdown: &CancellationToken,
) -> Result<(), BridgeError> {
    let context = Context::new(mlflow.clone(), &config.mlflow);
    let Some(proven) = shutdown.run_until_cancelled(prove(&context)).await else { return Ok(()) };
    proven?;
    mlflow.metrics().answered();
    let views = Views::new(bus.batches_in_place().await?);
    tracing::info!(url = %mlflow.url(), log = config.mlflow.log, "MLflow bridge is up");
    let bridge = Arc::new(Bridge {
        source: Services(bus.clone()),
        bus,
        context,
        views,
        batches: Mutex::default(),
        active: Mutex::default(),
        unreadable: OnceCell::new(),
        stop: shutdown.child_token(),
    });
    let tasks = TaskTracker::new();
    tasks.spawn(until(bridge.stop.clone(), Arc::clone(&bridge).consume()));
    tasks.spawn(until(bridge.stop.clone(), Arc::clone(&bridge).finish_batches()));
    if monitor.is_watched() {
        tasks.spawn(until(bridge.stop.clone(), Arc::clone(&bridge).keep_looking(monitor.clone())));
    }
    tasks.close();
    monitor.started();
    tasks.wait().await;
    monitor.stopping();
    tracing::info!("MLflow bridge is down");
    match bridge.unreadable.get() {
        Some(subject) => Err(BridgeError::Newer { subject: subject.clone() }),
        None => Ok(()),
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    // What is dropped half done is done again by the next bridge.
    let _ = stop.run_until_cancelled(work).await;
}

/// Proves that experiments may be made and written to, waiting for a server that is away. `/health` would prove nothing.
pub(crate) async fn prove(context: &Context) -> Result<(), BridgeError> {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    while let Err((words, is_denied)) = context.mlflow.answers().await {
        if is_denied {
            return Err(BridgeError::Denied(words));
        }
        if !told {
            tracing::warn!(url = %context.mlflow.url(), reason = words, "MLflow is not there yet, waiting");
            told = true;
        }
        tokio::time::sleep(with_jitter(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    let name = &context.config.batches_experiment;
    let failed = |error: CallError| BridgeError::Experiment {
        name: name.clone(),
        url: context.mlflow.url().to_string(),
        reason: error.to_string(),
    };
    let id = context.experiments.ensure(name, &[Tag::new("jetsweep", "batches")]).await.map_err(failed)?;
    let version = Tag::new("jetsweep_version", env!("CARGO_PKG_VERSION"));
    context.mlflow.tag_experiment(&id, &version).await.map_err(failed)
}

/// A batch that is opened once, whoever needs it first. `None` within: its plan is not in RESULTS.
type Opened = Arc<OnceCell<Option<Arc<BatchLog>>>>;

struct Bridge {
    bus: Bus,
    source: Services,
    context: Context,
    views: Views,
    /// Batches that are being logged.
    batches: Mutex<HashMap<BatchId, Opened>>,
    /// Messages that are being worked on, by their place in RESULTS.
    active: Mutex<HashSet<u64>>,
    /// Subject of a message of a later version.
    unreadable: OnceCell<String>,
    stop: CancellationToken,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bridge {
    /// Takes messages as they come, a few at a time.
    async fn consume(self: Arc<Self>) {
        let tasks = TaskTracker::new();
        let places = Arc::new(Semaphore::new(self.context.config.concurrency));
        loop {
            let mut messages = match self.messages().await {
                Ok(messages) => messages,
                Err(reason) => {
                    tracing::warn!(reason, "cannot read results now, trying again");
                    tokio::time::sleep(with_jitter(FIRST_PAUSE)).await;
                    continue;
                }
            };
            loop {
                // The semaphore lives as long as this task.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                let message = match messages.next().await {
                    Some(Ok(message)) => message,
                    // Lost heartbeats and the like: the consumer is durable, so reading goes on where it was.
                    Some(Err(error)) => {
                        tracing::debug!(%error, "reading results again");
                        break;
                    }
                    None => break,
                };
                let bridge = Arc::clone(&self);
                tasks.spawn(until(self.stop.clone(), async move {
                    bridge.take(message).await;
                    drop(place);
                }));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn messages(&self) -> Result<jetstream::consumer::pull::Stream, String> {
        let consumer: PullConsumer = self.consumer().await?;
        let messages = consumer.stream().max_messages_per_batch(PULLED).heartbeat(Duration::from_secs(5)).messages();
        messages.await.map_err(|error| error.to_string())
    }

    async fn consumer(&self) -> Result<PullConsumer, String> {
        let (name, stream) = (self.bus.names.mlflow_consumer(), self.bus.names.results_stream());
        self.bus.jetstream.get_consumer_from_stream(name, stream).await.map_err(|error| error.to_string())
    }

    /// Looks at how far behind the consumer is, for whoever asks the monitor.
    async fn keep_looking(self: Arc<Self>, monitor: Monitor) {
        loop {
            match self.consumer().await {
                Ok(consumer) => {
                    let info = consumer.cached_info();
                    self.context.mlflow.metrics().lags(info.num_pending + info.num_ack_pending as u64);
                    monitor.ready(RESULTS);
                }
                Err(reason) => monitor.not_ready(RESULTS, reason),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Works on one message, and settles it.
    async fn take(&self, message: jetstream::Message) {
        let Ok((sequence, delivered)) = message.info().map(|info| (info.stream_sequence, info.delivered)) else {
            return;
        };
        // It was delivered again while it is still being worked on: the one who does will settle it.
        if !lock(&self.active).insert(sequence) {
            return;
        }
        let _active = Active { bridge: self, sequence };
        let reply = message.reply.clone().map(|reply| reply.to_string()).unwrap_or_default();
        let signs = async {
            loop {
                tokio::time::sleep(SIGN_OF_LIFE).await;
                let sign = self.bus.client.publish(reply.clone(), AckKind::Progress.into()).await;
                if let Err(error) = sign {
                    tracing::debug!(%error, "a sign of life was not sent");
                }
            }
        };
        let logged = tokio::select! {
            logged = self.log(&message, sequence) => logged,
            () = signs => return,
        };
        match logged {
            Ok(()) => {
                if let Err(error) = self.bus.ack(&reply).await {
                    tracing::debug!(%error, "a result may be delivered again; its runs are known by then");
                }
            }
            Err(reason) => {
                let nth = usize::try_from(delivered - 1).unwrap_or(0).min(REDELIVERY.len() - 1);
                tracing::debug!(sequence, reason, "a result is put off");
                let put_off = AckKind::Nak(Some(REDELIVERY[nth]));
                if let Err(error) = self.bus.client.publish(reply.clone(), put_off.into()).await {
                    tracing::debug!(%error, "a result was not put off; it is delivered again all the same");
                }
            }
        }
    }

    /// Logs what a message of RESULTS says. `Err` when that has to be tried again.
    async fn log(&self, message: &Message, sequence: u64) -> Result<(), String> {
        let subject = message.subject.as_str();
        match self.bus.names.parse_result(subject) {
            Some(ResultSubject::Shard { .. }) => {}
            // The batch run is there early, so that whoever looks finds it.
            Some(ResultSubject::Event { batch, event: BatchEvent::Begin, .. }) => {
                return self.open(&batch).await.map(drop).map_err(|error| error.to_string());
            }
            Some(ResultSubject::Event { .. }) => return Ok(()),
            Some(ResultSubject::UnknownMajor) => {
                let _ = self.unreadable.set(subject.to_owned());
                self.stop.cancel();
                return Err("of a later version".to_owned());
            }
            None => return self.bury(message, sequence, &[]).await,
        }
        let result: ShardResult = match events::decode(&message.payload) {
            Ok(result) => result,
            Err(error) => {
                tracing::error!(subject, %error, "a result cannot be read");
                return self.bury(message, sequence, &[]).await;
            }
        };
        let Some(log) = self.open(&result.batch_id).await.map_err(|error| error.to_string())? else {
            tracing::warn!(batch = %result.batch_id, "no plan of the batch is in RESULTS; its runs are not logged");
            return Ok(());
        };
        if self.context.config.log_runs().of_batch(log.begin.total_runs) != LogRuns::All {
            // Chosen when the batch is complete.
            return Ok(());
        }
        let log_one = |row: RunRow| {
            let log = &log;
            async move { (row.run, log.log_run(&self.source, &row).await) }
        };
        let logging = stream::iter(RunRow::of_result(&result).into_iter().map(log_one));
        let logging = logging.buffer_unordered(self.context.config.concurrency).collect::<Vec<_>>();
        let outcomes = self.views.keep_telling(&log, MlflowState::Logging, logging).await;
        let mut refusals = Vec::new();
        for (run, outcome) in outcomes {
            match outcome {
                Ok(()) => {}
                Err(LogError::Refused(words)) => refusals.push((run, words)),
                Err(LogError::NotNow(words)) => return Err(words),
            }
        }
        if refusals.is_empty() { Ok(()) } else { self.bury(message, sequence, &refusals).await }
    }

    async fn bury(&self, message: &Message, sequence: u64, refusals: &[(u64, String)]) -> Result<(), String> {
        let kept = dead::keep(&self.bus, &message.subject, sequence, message.payload.clone(), refusals).await;
        kept.map_err(|error| error.to_string())
    }

    /// The batch in MLflow; `None` if its plan is not in RESULTS.
    async fn open(&self, batch: &BatchId) -> Result<Option<Arc<BatchLog>>, LogError> {
        let cell = Arc::clone(lock(&self.batches).entry(batch.clone()).or_default());
        let open = || async {
            let names = &self.bus.names;
            let begin = self.bus.last(&names.results_stream(), &names.batch_event(batch, BatchEvent::Begin)).await;
            let Some(begin) = begin.map_err(|error| LogError::NotNow(error.to_string()))? else { return Ok(None) };
            let begin: Begin = events::decode(&begin).map_err(|error| LogError::Refused(error.to_string()))?;
            let log = BatchLog::open(&self.context, Arc::new(begin)).await?;
            self.views.put(&log, MlflowState::Logging, None).await;
            Ok(Some(Arc::new(log)))
        };
        cell.get_or_try_init(open).await.cloned()
    }

    /// Completes batches as they end, one after the other.
    async fn finish_batches(self: Arc<Self>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.follow().await {
                Ok(()) => pause = FIRST_PAUSE,
                Err(reason) => {
                    tracing::debug!(reason, "cannot follow batches now, trying again");
                    tokio::time::sleep(with_jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Watches the status of all batches, those of the past first.
    async fn follow(&self) -> Result<(), String> {
        let bucket = self.bus.batches().await.map_err(|error| error.to_string())?;
        let mut entries = bucket.watch_with_history("*.status").await.map_err(|error| error.to_string())?;
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| error.to_string())?;
            if entry.operation != kv::Operation::Put {
                continue;
            }
            let Ok(status) = events::decode::<BatchStatus>(&entry.value) else { continue };
            if matches!(status.state, BatchState::Completed | BatchState::Cancelled) {
                self.finish_one(&status).await;
            }
        }
        Ok(())
    }

    /// Completes a batch, however long MLflow or the database take.
    async fn finish_one(&self, status: &BatchStatus) {
        let batch = &status.batch_id;
        let done = self.views.of(batch).await;
        if done.is_some_and(|done| done.state == MlflowState::Done && done.completed_at == status.completed_at) {
            return;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_finish(status).await {
                Ok(()) => break,
                Err(error) => {
                    tracing::info!(%batch, %error, "a batch cannot be completed in MLflow yet, trying again");
                    tokio::time::sleep(with_jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
        lock(&self.batches).remove(batch);
    }

    async fn try_finish(&self, status: &BatchStatus) -> Result<(), LogError> {
        let not_now = |words: String| LogError::NotNow(words);
        // Every result of the batch was stored before its status said that it ended.
        self.come_past_the_end().await.map_err(not_now)?;
        let Some(log) = self.open(&status.batch_id).await? else { return Ok(()) };
        self.views.put(&log, MlflowState::Finishing, None).await;
        let finished = self.views.keep_telling(&log, MlflowState::Finishing, finish(&log, &self.source, &|| {})).await;
        let (completed_at, refusals) = match finished {
            // Nothing of a whole batch is to be given up for a refused batch run: it may be cured by hand.
            Err(LogError::Refused(words)) => return Err(LogError::NotNow(words)),
            finished => finished?,
        };
        dead::keep_rows(&self.bus, &status.batch_id, &refusals).await.map_err(|error| not_now(error.to_string()))?;
        self.views.put(&log, MlflowState::Done, completed_at.or(status.completed_at)).await;
        let counts = log.counts();
        tracing::info!(batch = %status.batch_id, logged = counts.logged, refused = counts.refused, "batch is in MLflow");
        Ok(())
    }

    /// Waits until everything that is in RESULTS now has been worked on.
    async fn come_past_the_end(&self) -> Result<(), String> {
        let stream = self.bus.jetstream.get_stream(self.bus.names.results_stream()).await;
        let end = stream.map_err(|error| error.to_string())?.cached_info().state.last_sequence;
        let mut consumer = self.consumer().await?;
        loop {
            let info = consumer.info().await.map_err(|error| error.to_string())?;
            let is_idle = info.num_pending == 0 && info.num_ack_pending == 0;
            if is_idle || info.ack_floor.stream_sequence >= end {
                return Ok(());
            }
            tokio::time::sleep(LOOK_AT_CONSUMER).await;
        }
    }
}

/// A message that is being worked on, until this is dropped.
struct Active<'a> {
    bridge: &'a Bridge,
    sequence: u64,
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        lock(&self.bridge.active).remove(&self.sequence);
    }
}
