//! The planner as a service.

use std::sync::Arc;

use async_nats::jetstream::kv::Store;
use jetsweep_shared::bus::{Auth, Bus};
use jetsweep_shared::config::Config;
use jetsweep_shared::subjects::Names;
use jetsweep_shared::topology::{self, Tuning};
use tokio_util::sync::CancellationToken;

use crate::control::{self, ActiveBatches};
use crate::endpoints::Endpoints;
use crate::error::PlannerError;
use crate::intake::Intake;
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
}

/// Plans submitted sweeps and publishes their jobs until `shutdown` is cancelled; then hands back what is unfinished,
/// for another planner to go on with, and returns.
///
/// # Errors
/// When it cannot start for a reason that stays. It waits for a server that is away, then and later.
pub async fn run(config: &Config, shutdown: CancellationToken) -> Result<(), PlannerError> {
    let names = Names::new(&config.nats.namespace)?;
    let auth = Auth::from(&config.nats);
    let connecting = Bus::connect_when_there(&config.nats.url, &auth, "jetsweep-planner", names);
    let Some(bus) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let bus = bus?;
    let tuning = Tuning::from(config);
    topology::ensure(&bus.jetstream, &bus.names, &tuning).await?;

    let mut options = PlanOptions::from_config(config);
    options.max_payload = bus.client.max_payload();
    let planner = Arc::new(Planner {
        batches: bus.batches().await?,
        publisher: Publisher::open(&bus, config.planner.queue_depth).await?,
        bus,
        options,
        active: ActiveBatches::default(),
        threads: Threads::new(),
        shutdown,
    });
    let intake = Intake::open(&planner.bus).await?;
    let endpoints = Endpoints::open(&planner.bus).await?;
    tracing::info!(namespace = planner.bus.names.namespace(), "planner started");

    tokio::join!(
        intake.take_plans(planner.clone()),
        planner.publisher.keep_lanes_supplied(&planner.shutdown),
        control::watch(&planner),
        endpoints.serve(&planner),
    );
    // Answers on their way are written out before the connection is dropped.
    if let Err(error) = planner.bus.client.flush().await {
        tracing::debug!(%error, "the connection was not flushed");
    }
    tracing::info!("planner stopped");
    Ok(())
}
