//! The consolidator as a service.

use std::sync::Arc;

use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::config::Config;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::{InvalidNamespace, Names};
use jetsweep_shared::topology::{self, TopologyError, Tuning};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::exports;
use crate::ingest::{self, Extent};
use crate::metrics::Metrics;
use crate::progress::Views;
use crate::query::{self, Queries};
use crate::retention::Retention;
use crate::store::{DatabaseError, Resources, Store};
use crate::traced::Traced;
use crate::writer::{Limits, Writer, WriterError};

/// Why a consolidator could not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ConsolidatorError {
    /// The configured namespace cannot be used.
    #[error(transparent)]
    Namespace(#[from] InvalidNamespace),
    /// No connection, or a failed request.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// Streams and the bucket are not as they must be.
    #[error(transparent)]
    Topology(#[from] TopologyError),
    /// The database cannot be opened or used.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Writing stopped.
    #[error(transparent)]
    Writer(#[from] WriterError),
    /// The query endpoint could not be opened.
    #[error("failed to open the query endpoint: {0}")]
    Endpoint(String),
    /// The system gives no thread.
    #[error("failed to start the thread that writes the database: {0}")]
    Thread(std::io::Error),
    /// A file could not be moved or removed.
    #[error("failed to put the rebuilt database in place: {source}")]
    Exchange {
        /// The system's words.
        source: std::io::Error,
    },
    /// It was told to stop before it was done.
    #[error("interrupted; the database is as it was")]
    Interrupted,
}

/// Writes results into the database and answers queries until `shutdown` is cancelled. Then commits what is in hand,
/// closes the database and returns.
///
/// # Errors
///
/// When it cannot start for a reason that stays: somebody else has the database, or the server refuses it. It waits
/// for a server that is away. Later on when the database cannot be used any more, or the log has a message of a later
/// version.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), ConsolidatorError> {
    run_monitored(config, &Monitor::default(), shutdown).await
}

/// Like [`run`], telling its health and metrics to `monitor`.
///
/// # Errors
///
/// See [`run`].
pub async fn run_monitored(
    config: &Config,
    monitor: &Monitor,
    shutdown: CancellationToken,
) -> Result<(), ConsolidatorError> {
    let names = Names::new(&config.nats.namespace)?;
    let path = config.database();
    let resources =
        Resources { memory_bytes: config.consolidator.memory_limit_bytes, threads: config.consolidator.threads };
    // First of all: of two consolidators on one file the second should say so before it touches anything.
    let store = tokio::task::spawn_blocking(move || Store::open(&path, resources))
        .await
        .map_err(|_| ConsolidatorError::Writer(WriterError::Gone))??;
    let connecting = Bus::connect_when_there(&config.nats, "jetsweep-consolidator", names);
    let Some(bus) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let bus = bus?;
    monitor.watch_nats(&bus.client);
    let tuning = Tuning::from(config);
    let ensuring = topology::ensure_present(&bus.jetstream, &bus.names, &tuning);
    let Some(ensured) = shutdown.run_until_cancelled(ensuring).await else { return Ok(()) };
    ensured?;
    serve(config, monitor, bus, store, shutdown).await
}

async fn serve(
    config: &Config,
    monitor: &Monitor,
    bus: Bus,
    store: Store,
    shutdown: CancellationToken,
) -> Result<(), ConsolidatorError> {
    let metrics = Metrics::new(monitor, store.path().to_owned());
    let start = store.position(&bus.names.results_stream())?;
    let stored = store.statuses()?;
    metrics.is_at(start.as_ref().map_or(0, |position| position.sequence));
    let queries = Queries::new(store.connect()?);
    let deleted = Arc::new(Notify::new());
    let keep = config.consolidator.results_retention();
    let retention = Retention::new(bus.clone(), store.connect()?, keep, deleted.clone());
    let endpoint = query::Endpoint::open(&bus).await.map_err(ConsolidatorError::Endpoint)?;
    let exports = exports::Endpoint::open(&bus, endpoint.service(), query::ROLE, store.path()).await;
    let exports = exports.map_err(ConsolidatorError::Endpoint)?;
    tracing::info!(
        database = %store.path().display(),
        read_to = start.as_ref().map_or(0, |position| position.sequence),
        batches = stored.len(),
        "consolidator is up"
    );

    // Stops everything: told from outside, or because the writer stopped.
    let stop = shutdown.child_token();
    let views = Views::new(deleted);
    let writer = Writer {
        store,
        bus: bus.clone(),
        runtime: Handle::current(),
        views: views.clone(),
        limits: Limits::from(&config.consolidator),
        keeps_rejected: true,
        shutdown: stop.clone(),
        metrics: metrics.clone(),
        traced: Traced::default(),
    };
    let (entries, writer_ended) = writer.start().map_err(ConsolidatorError::Thread)?;

    let ingest = ingest::run(bus.clone(), start, Extent::Everything, entries, metrics.clone(), stop.clone());
    let ingest = tokio::spawn(ingest);
    let progress = tokio::spawn(views.clone().run(bus.clone(), stored, stop.clone()));
    let exporting = tokio::spawn(exports.serve(queries.clone(), stop.clone()));
    let retaining = tokio::spawn(retention.run(stop.clone()));
    let answering = tokio::spawn(endpoint.serve(queries, metrics, stop.clone()));
    monitor.started();

    // The writer ends when ingest ends, which it does when told to stop, or by itself when it cannot go on.
    let written = writer_ended.await.unwrap_or(Err(WriterError::Gone));
    stop.cancel();
    monitor.stopping();
    let tasks = [
        ("ingest", ingest),
        ("progress", progress),
        ("retention", retaining),
        ("queries", answering),
        ("exports", exporting),
    ];
    for (what, task) in tasks {
        if let Err(error) = task.await {
            tracing::error!(%error, "the task of {what} ended badly");
        }
    }
    views.finish(&bus).await;
    if let Err(error) = bus.client.flush().await {
        tracing::debug!(%error, "the connection was gone before its last words");
    }
    tracing::info!("consolidator is down");
    Ok(written?)
}
