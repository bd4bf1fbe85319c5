//! Taking plan messages off PLANS, several at a time.

mod held;

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use futures::StreamExt;
use jetsweep_shared::bus::with_jitter;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

pub(crate) use held::HeldPlan;

use crate::batch;
use crate::error::PlannerError;
use crate::planner::Planner;

/// Most batches published at the same time; they take turns. Each holds its spec in memory, at most a few MiB. The
/// consumer's `max_ack_pending` is the same.
const MOST_BATCHES: usize = 64;

/// How long one request for a plan message stays with the server. A request that was lost with the server is made
/// again after this time.
const PULL_EXPIRES: Duration = Duration::from_secs(5);

/// What the monitor calls taking plans.
const PLANS: &str = "plans";

/// Pause after a failed request.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Signs of life that a held message gives within the consumer's ack wait.
const SIGNS_PER_ACK_WAIT: u32 = 3;

/// The planner's end of PLANS.
#[derive(Debug)]
pub(crate) struct Intake {
    consumer: PullConsumer,
    /// Time between two signs of life.
    sign_interval: Duration,
}

impl Intake {
    /// Opens the durable consumer.
    pub(crate) async fn open(bus: &jetsweep_shared::bus::Bus) -> Result<Self, PlannerError> {
        let name = bus.names.planner_consumer();
        let consumer: PullConsumer = bus
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(&name, bus.names.plans_stream())
            .await
            .map_err(|error| PlannerError::Consumer { name, reason: error.to_string() })?;
        let sign_interval = consumer.cached_info().config.ack_wait / SIGNS_PER_ACK_WAIT;
        Ok(Self { consumer, sign_interval })
    }

    /// Takes plan messages until the planner shuts down, then waits until each that is held is handed back.
    pub(crate) async fn take_plans(self, planner: Arc<Planner>) {
        let free = Arc::new(Semaphore::new(MOST_BATCHES));
        let held = TaskTracker::new();
        let mut failing = false;
        loop {
            let slot = free.clone().acquire_owned();
            let taken = async { (slot.await, self.next_plan().await) };
            let (slot, next) = tokio::select! {
                biased;
                () = planner.shutdown.cancelled() => break,
                taken = taken => taken,
            };
            match next {
                Ok(None) => {
                    failing = false;
                    planner.monitor.ready(PLANS);
                }
                Ok(Some(message)) => {
                    failing = false;
                    planner.monitor.ready(PLANS);
                    let Some(plan) = HeldPlan::new(planner.bus.clone(), message, self.sign_interval) else {
                        continue;
                    };
                    let planner = planner.clone();
                    held.spawn(async move {
                        let _slot = slot;
                        batch::handle(planner, plan).await;
                    });
                }
                Err(reason) => {
                    if !failing {
                        tracing::warn!(reason, "cannot take plans now, trying again");
                        planner.monitor.not_ready(PLANS, reason);
                        failing = true;
                    }
                    tokio::time::sleep(with_jitter(RETRY_PAUSE)).await;
                }
            }
        }
        held.close();
        held.wait().await;
    }

    /// The next plan message, or `None` when there was none for a while.
    async fn next_plan(&self) -> Result<Option<jetstream::Message>, String> {
        let request = self.consumer.batch().max_messages(1).expires(PULL_EXPIRES).messages();
        let mut messages = request.await.map_err(|error| error.to_string())?;
        messages.next().await.transpose().map_err(|error| error.to_string())
    }
}
