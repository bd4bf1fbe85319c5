//! The bridge as a service: one durable consumer on RESULTS, read at MLflow's pace, and an eye on batches that end.

mod completion;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind};
use futures::{StreamExt, stream};
use jetsweep_shared::bus::{Bus, BusError, with_jitter};
use jetsweep_shared::config::{Config, LogRuns};
use jetsweep_shared::disguise;
use jetsweep_shared::events::{self, Begin, MlflowState, ShardResult};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::{BatchEvent, InvalidNamespace, Names, ResultSubject};
use jetsweep_shared::telemetry::{parent_from, steps};
use jetsweep_shared::topology::{self, TopologyError, Tuning};
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::batch::{BatchLog, Context, LogError, batches_tags};
use crate::client::{CallError, ClientError, Mlflow, Tag};
use crate::dead::{self, Reason};
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
    loop {
        let words = match context.mlflow.answers().await {
            Ok(()) => match make_experiment(context).await {
                Ok(()) => return Ok(()),
                Err(error @ CallError::Refused { .. }) => {
                    return Err(BridgeError::Experiment {
                        name: context.config.batches_experiment.clone(),
                        url: context.mlflow.url().to_string(),
                        reason: error.to_string(),
                    });
                }
                Err(error) => error.to_string(),
            },
            Err((words, true)) => return Err(BridgeError::Denied(words)),
            Err((words, false)) => words,
        };
        if !told {
            tracing::warn!(url = %context.mlflow.url(), reason = words, "MLflow is not there yet, waiting");
            told = true;
        }
        tokio::time::sleep(with_jitter(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Makes the experiment of batch runs, and writes to it.
async fn make_experiment(context: &Context) -> Result<(), CallError> {
    let id = context.experiments.ensure(&context.config.batches_experiment, &batches_tags()).await?;
    let version = Tag::new("jetsweep_version", env!("CARGO_PKG_VERSION"));
    context.mlflow.tag_experiment(&id, &version).await
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
        let malformed = |words: String| self.bury(message, sequence, Reason::Malformed(words));
        if disguise::is_answer(message.headers.as_ref()) {
            return malformed(disguise::REFUSED.to_owned()).await;
        }
        match self.bus.names.parse_result(subject) {
            Some(ResultSubject::Shard { .. }) => {}
            // The batch run is there early, so that whoever looks finds it.
            Some(ResultSubject::Event { batch, event: BatchEvent::Begin, .. }) => {
                return self.opened(&batch).await.map(drop);
            }
            Some(ResultSubject::Event { .. }) => return Ok(()),
            Some(ResultSubject::UnknownMajor) => {
                let _ = self.unreadable.set(subject.to_owned());
                self.stop.cancel();
                return Err("of a later version".to_owned());
            }
            None => {
                return malformed(format!("{subject} is no subject of a result or of an event of a batch")).await;
            }
        }
        let result: ShardResult = match events::decode(&message.payload) {
            Ok(result) => result,
            // One of a later version on a subject of this one, too: see docs/threat-model.md.
            Err(error) => return malformed(error.to_string()).await,
        };
        let Some(log) = self.opened(&result.batch_id).await? else { return Ok(()) };
        if self.context.config.log_runs().of_batch(log.begin.total_runs) != LogRuns::All {
            // Chosen when the batch is complete.
            return Ok(());
        }
        let from = parent_from(message.headers.as_ref());
        let step = steps::log_runs(from, subject, &result.batch_id, result.generation, result.shard);
        step.set("runs", u64::from(result.runs.count));
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
                Err(LogError::NotNow(words)) => {
                    step.failed(&words);
                    return Err(words);
                }
            }
        }
        if let Some((_, words)) = refusals.first() {
            step.failed(words);
        }
        if refusals.is_empty() { Ok(()) } else { self.bury(message, sequence, Reason::Refused(refusals)).await }
    }

    async fn bury(&self, message: &Message, sequence: u64, reason: Reason) -> Result<(), String> {
        let kept = dead::keep(&self.bus, message, sequence, &reason).await;
        kept.map_err(|error| error.to_string())
    }

    /// The batch in MLflow; `None` if its results are to be passed over now.
    async fn opened(&self, batch: &BatchId) -> Result<Option<Arc<BatchLog>>, String> {
        match self.open(batch).await {
            Ok(Some(log)) => Ok(Some(log)),
            Ok(None) => {
                tracing::warn!(%batch, "no plan of the batch is in RESULTS; its runs are not logged");
                Ok(None)
            }
            // Its runs are logged when it is completed, which is tried until the cause is gone. Meanwhile others go on.
            Err(LogError::Refused(words)) => {
                tracing::warn!(%batch, words, "MLflow refuses the batch run; its runs are logged when it is cured");
                Ok(None)
            }
            Err(error @ LogError::NotNow(_)) => Err(error.to_string()),
        }
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
            self.views.put(&log, MlflowState::Logging, None, None).await;
            Ok(Some(Arc::new(log)))
        };
        cell.get_or_try_init(open).await.cloned()
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
