//! The planner as a service.

use std::sync::Arc;

use async_nats::jetstream::kv::Store;
use jetsweep_shared::bus::{Bus, patiently};
use jetsweep_shared::config::Config;
use jetsweep_shared::monitor::Monitor;
use jetsweep_shared::subjects::Names;
use jetsweep_shared::topology::{self, Tuning};
use tokio_util::sync::CancellationToken;

use crate::control::{self, ActiveBatches};
use crate::endpoints::Endpoints;
use crate::error::PlannerError;
use crate::intake::Intake;
use crate::metrics::Metrics;
use crate::planning::PlanOptions;
use crate::publishing::Publisher;
use crate::threads::Threads;

/// Version of the planner, as the service registry and `begin` events show it.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the tasks of one planner share.
#[derive(Debug)]
pub(crate) struct Planner {
    pub(crate) bus: Bus,
    /// The bucket of status and control.
    pub(crate) batches: Store,
    pub(crate) options: PlanOptions,
    pub(crate) publisher: Publisher,
    pub(crate) active: ActiveBatches,
    pub(crate) threads: Threads,
    pub(crate) shutdown: CancellationToken,
    pub(crate) monitor: Monitor,
    pub(crate) metrics: Metrics,
}

/// Plans submitted sweeps and publishes their jobs until `shutdown` is cancelled; then hands back what is unfinished,
/// for another planner to go on with, and returns.
///
/// # Errors
/// When it cannot start for a reason that stays. It waits for a server that is away, then and later.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), PlannerError> {
    run_monitored(config, &Monitor::default(), shutdown).await
}

/// Like [`run`], telling its health and metrics to `monitor`.
///
/// # Errors
/// See [`run`].
pub async fn run_monitored(
    config: &Config,
    monitor: &Monitor,
    shutdown: CancellationToken,
) -> Result<(), PlannerError> {
    let names = Names::new(&config.nats.namespace)?;
    let connecting = Bus::connect_when_there(&config.nats, "jetsweep-planner", names);
    let Some(bus) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let bus = bus?;
    monitor.watch_nats(&bus.client);
    let active = ActiveBatches::default();
    let metrics = Metrics::new(monitor, &active);
    let tuning = Tuning::from(config);
    let opening = async {
        topology::ensure(&bus.jetstream, &bus.names, &tuning).await?;
        let batches = bus.batches_in_place().await?;
        // Its consumers are there by now, so a server that does not show them is waited for.
        let passes = |error: &PlannerError| matches!(error, PlannerError::Consumer { .. });
        let (publisher, intake) = patiently("open its consumers", "planner", passes, || async {
            let publisher = Publisher::open(&bus, config.planner.queue_depth, metrics.jobs.clone()).await?;
            Ok((publisher, Intake::open(&bus).await?))
        })
        .await?;
        Ok::<_, PlannerError>((batches, publisher, intake))
    };
    let Some(opened) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let (batches, publisher, intake) = opened?;

    let mut options = PlanOptions::from_config(config);
    options.max_payload = bus.client.max_payload();
    let planner = Arc::new(Planner {
        monitor: monitor.clone(),
        batches,
        publisher,
        metrics,
        bus,
        options,
        active,
        threads: Threads::new(),
        shutdown,
    });
    let endpoints = Endpoints::open(&planner.bus).await?;
    tracing::info!(namespace = planner.bus.names.namespace(), "planner started");
    monitor.started();

    tokio::join!(
        intake.take_plans(planner.clone()),
        planner.publisher.keep_lanes_supplied(&planner.shutdown),
        control::watch(&planner),
        endpoints.serve(&planner),
        planner.metrics.keep_looking(&planner.bus, monitor, &planner.shutdown),
    );
    // Answers on their way are written out before the connection is dropped.
    if let Err(error) = planner.bus.client.flush().await {
        tracing::debug!(%error, "the connection was not flushed");
    }
    tracing::info!("planner stopped");
    Ok(())
}
