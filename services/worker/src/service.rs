//! The worker as a service: started, fed, and stopped without losing a job.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::config::Config;
use jetsweep_shared::ids::Priority;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::{InvalidNamespace, Names};
use jetsweep_shared::topology::{self, TopologyError, Tuning};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::child::{ChildCommand, Order};
use crate::controls::Controls;
use crate::data::{BarsCache, Remote};
use crate::feeder::Feeder;
use crate::folder;
use crate::governor::Governor;
use crate::handler::{Handler, UNSETTLED_PER_SLOT};
use crate::memory::{self, Bounds};
use crate::metrics;
use crate::pins::Pins;
use crate::replay::Replays;
use crate::scheduler::Scheduler;
use crate::sharing;
use crate::slots::{Fault, Slots};
use crate::stats::WorkerStats;

/// Longest wait for slots to notice that they are to end.
const LONGEST_JOIN: Duration = Duration::from_secs(5);

/// A worker that cannot start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// NATS cannot be reached, or the bucket not read.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Streams and consumers cannot be put in place.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// No threads for the slots.
    #[error("failed to start {slots} slots: {reason}")]
    Slots {
        /// As configured in `worker.slots`.
        slots: usize,
        /// The system's words.
        reason: io::Error,
    },
    /// This program's own path is unknown, so that redelivered jobs could not run.
    #[error("failed to find this program's own path, to run redelivered jobs in child processes: {0}")]
    OwnPath(io::Error),
    /// The endpoint that replays runs could not be opened.
    #[error("failed to open the replay endpoint: {0}")]
    Endpoint(String),
}

/// What the program around a worker may decide for it.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How redelivered jobs are run; this binary itself with the hidden subcommand when absent.
    pub child_command: Option<ChildCommand>,
    /// Where it tells its health and metrics.
    pub monitor: Monitor,
    /// What happens to each job before it is computed, for tests in which jobs misbehave. The program sets none.
    pub fault: Option<Fault>,
}

/// Serves jobs until `shutdown`. See [`run_with`].
///
/// # Errors
/// When the worker cannot start for a reason that stays. It waits for a server that is away, then and later.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), WorkerError> {
    run_with_stats(config, shutdown, Arc::new(WorkerStats::default())).await
}

/// Like [`run`], counting into `stats`.
///
/// # Errors
/// See [`run`].
pub async fn run_with_stats(
    config: &Config,
    shutdown: CancellationToken,
    stats: Arc<WorkerStats>,
) -> Result<(), WorkerError> {
    run_with(config, Options::default(), shutdown, stats).await
}

/// Serves jobs until `shutdown`, then in this order: no more are pulled; those that do not compute yet are handed
/// back at once; those that do may finish within `worker.drain_seconds`, and are handed back then; every hand-back is
/// confirmed by the server or waited for in vain. Then it returns.
///
/// # Errors
/// See [`run`].
pub async fn run_with(
    config: &Config,
    options: Options,
    shutdown: CancellationToken,
    stats: Arc<WorkerStats>,
) -> Result<(), WorkerError> {
    let worker = &config.worker;
    let names = Names::new(&config.nats.namespace)?;
    let tuning = Tuning::from(config);
    let name = format!("jetsweep worker {}", worker.name);
    let monitor = &options.monitor;
    metrics::register(monitor, config, &stats);
    folder::expect(monitor, &config.data.root);
    let looking = folder::keep_looking(monitor.clone(), config.data.root.clone());
    let _looking = AbortOnDropHandle::new(tokio::spawn(looking));
    let connecting = Bus::connect_when_there(&config.nats, &name, names);
    let Some(bus) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let bus = bus?;
    monitor.watch_nats(&bus.client);
    let opening = async {
        topology::ensure_present(&bus.jetstream, &bus.names, &tuning).await?;
        Ok::<_, WorkerError>(bus.batches_in_place().await?)
    };
    let Some(bucket) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let bucket = bucket?;

    let controls = Arc::new(Controls::new(bucket.clone()));
    let watch = tokio::spawn({
        let controls = Arc::clone(&controls);
        async move { controls.follow().await }
    });
    let handler =
        Arc::new(handler(config, &options, bus.clone(), Pins::new(bucket, worker.name.clone()), controls, stats)?);

    let replays = Replays::open(&bus, Arc::clone(&handler.bars), worker.name.clone()).await;
    let replays = replays.map_err(|error| WorkerError::Endpoint(error.to_string()))?;
    let replays = tokio::spawn(replays.serve(shutdown.clone()));

    let governing = tokio::spawn({
        let (governor, scheduler, slots) =
            (Arc::clone(&handler.governor), handler.scheduler.clone(), worker.slots.max(1));
        async move {
            let sharing = async {
                if let Err(error) = sharing::follow(&scheduler, slots).await {
                    tracing::warn!(%error, "cannot be told to use fewer slots");
                }
            };
            tokio::join!(governor.keep_correcting(), sharing);
        }
    });
    tracing::info!(worker = worker.name, slots = worker.slots, "worker ready");
    let feeders = TaskTracker::new();
    for priority in Priority::ALL {
        let feeder = Feeder::new(bus.clone(), tuning.clone(), priority, worker.slots, monitor.clone());
        let (to_start, to_refuse) = (Arc::clone(&handler), Arc::clone(&handler));
        let start = move |message, place| to_start.start(message, place);
        let refuse = move |message| to_refuse.refuse(message);
        feeders.spawn(feeder.feed(shutdown.clone(), start, refuse));
    }
    feeders.close();
    monitor.started();
    feeders.wait().await;
    monitor.stopping();
    stop(handler, worker.drain()).await;
    watch.abort();
    governing.abort();
    // What is being answered is answered; whoever asked for more asks another worker.
    if let Err(error) = replays.await {
        tracing::error!(%error, "the task of replays ended badly");
    }
    tracing::info!("worker stopped");
    Ok(())
}

fn handler(
    config: &Config,
    options: &Options,
    bus: Bus,
    pins: Pins,
    controls: Arc<Controls>,
    stats: Arc<WorkerStats>,
) -> Result<Handler, WorkerError> {
    let worker = &config.worker;
    let slots = worker.slots.max(1);
    let share = memory::share_bytes(worker.max_memory);
    let bounds = Bounds::of(worker, share);
    if let Some(share) = share {
        memory::limit_process(share);
        tracing::info!(share, ?bounds, "memory is shared");
    }
    let columns_bytes = usize::try_from(bounds.columns).unwrap_or(usize::MAX);
    let child_command = match &options.child_command {
        Some(command) => command.clone(),
        None => ChildCommand::this_binary().map_err(WorkerError::OwnPath)?,
    };
    let child_order = Order {
        data_root: config.data.root.clone(),
        worker: worker.name.clone(),
        memory_bytes: bounds.child,
        bars_bytes: bounds.cache,
        columns_bytes: bounds.columns,
        duty: 1.0,
        deadline_seconds: worker.job_deadline_seconds,
        run_deadline_seconds: worker.run_deadline_seconds,
        pinned_digest: None,
        kept: None,
    };
    let remote = Remote::new(config, Some(bus.clone()), Arc::clone(&stats));
    Ok(Handler {
        bus,
        worker: worker.name.clone(),
        ack_wait: worker.ack_wait(),
        deadline: worker.job_deadline(),
        run_deadline: worker.run_deadline(),
        fault: options.fault,
        child_command,
        child_order,
        scheduler: Scheduler::new(slots),
        governor: Arc::new(Governor::new(worker.max_cpu, slots)),
        slots: Slots::start(slots, columns_bytes, &worker.name)
            .map_err(|reason| WorkerError::Slots { slots, reason })?,
        unsettled: Semaphore::new(slots * (1 + UNSETTLED_PER_SLOT)),
        bars: Arc::new(BarsCache::new(config.data.root.clone(), remote, bounds.cache, Arc::clone(&stats))),
        pins,
        controls,
        stats,
        stopping: CancellationToken::new(),
        aborting: CancellationToken::new(),
        is_aborted: Arc::new(AtomicBool::new(false)),
        tasks: TaskTracker::new(),
        hand_backs: TaskTracker::new(),
    })
}

/// Ends all jobs: see [`run_with`] for the order.
async fn stop(handler: Arc<Handler>, drain: Duration) {
    handler.stopping.cancel();
    handler.tasks.close();
    if tokio::time::timeout(drain, handler.tasks.wait()).await.is_err() {
        tracing::warn!(jobs = handler.tasks.len(), "handing back jobs that did not finish within {drain:?}");
        handler.is_aborted.store(true, Ordering::Relaxed);
        handler.aborting.cancel();
        handler.tasks.wait().await;
    }
    handler.hand_backs.close();
    handler.hand_backs.wait().await;
    // Feeders and jobs have ended, so nobody else holds the handler.
    let Some(handler) = Arc::into_inner(handler) else { return };
    let joined = tokio::task::spawn_blocking(move || handler.slots.join());
    if tokio::time::timeout(LONGEST_JOIN, joined).await.is_err() {
        tracing::warn!("a slot is still busy with a run that does not end");
    }
}
