//! The part of `jetsweep run --mlflow` that waits for MLflow.

use std::time::{Duration, Instant};

use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::Config;
use jetsweep_shared::events::{self, MlflowBridgeStatus, MlflowState, MlflowStatus};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{MLFLOW_BRIDGE_KEY, mlflow_key};

use crate::failure::Failure;
use crate::progress::Ui;
use crate::session;

/// How often the bridge's view is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// How often it is said how far it is.
const SAY: Duration = Duration::from_secs(10);
/// How long MLflow may be away, or the batch be refused, before the run ends without it.
const LONGEST_AWAY: Duration = Duration::from_secs(60);

/// Whether the MLflow server that is asked for answers, before anything is started.
pub(super) async fn check(config: &Config, doing: &str) -> Result<(), Failure> {
    if !session::logs_to_mlflow(config) {
        return Ok(());
    }
    let checked = jetsweep_mlflow_bridge::check(&config.mlflow).await;
    checked.map_err(|reason| Failure::bad_input(doing, reason).hint("nothing was started; without --mlflow it runs"))
}

/// Waits until everything that is wanted of an ended batch is in MLflow, or MLflow has been away for long.
pub(super) async fn wait(bus: &Bus, batch: &BatchId, ui: &mut Ui) {
    let mut said = Instant::now();
    let mut there = Instant::now();
    ui.wait_for("logging to MLflow");
    loop {
        let view = view(bus, batch).await;
        if let Some(status) = &view
            && status.state == MlflowState::Done
        {
            let url = status.url.as_deref().unwrap_or_default();
            return ui.say(&format!("{} runs in MLflow: {url}", status.logged));
        }
        let problem = view.as_ref().and_then(|status| status.problem.clone());
        match away(bus).await.or(problem) {
            None => there = Instant::now(),
            Some(problem) if there.elapsed() > LONGEST_AWAY => {
                return ui.say(&format!(
                    "not all of it is in MLflow ({problem}); `jetsweep mlflow backfill {batch}` logs what is missing"
                ));
            }
            Some(_) => {}
        }
        if said.elapsed() > SAY {
            said = Instant::now();
            let logged = view.map_or(0, |status| status.logged);
            ui.say(&format!("{logged} runs in MLflow so far"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn view(bus: &Bus, batch: &BatchId) -> Option<MlflowStatus> {
    let value = bus.batches().await.ok()?.get(mlflow_key(batch)).await.ok()??;
    events::decode(&value).ok()
}

/// What MLflow said last, if it is away.
async fn away(bus: &Bus) -> Option<String> {
    let value = bus.batches().await.ok()?.get(MLFLOW_BRIDGE_KEY).await.ok()??;
    let status: MlflowBridgeStatus = events::decode(&value).ok()?;
    status.away_since.map(|_| format!("it is away: {}", status.last_error.unwrap_or_default()))
}
