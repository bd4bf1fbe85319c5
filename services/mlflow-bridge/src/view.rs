//! Views of what the bridge did, in the bucket that everything else about batches is watched in.

use std::time::Duration;

use async_nats::jetstream::kv;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{self, MlflowBridgeStatus, MlflowState, MlflowStatus};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{MLFLOW_BRIDGE_KEY, mlflow_key};
use jiff::Timestamp;

use crate::batch::BatchLog;
use crate::client::Mlflow;

/// Time between two views of a batch that goes on.
const INTERVAL: Duration = Duration::from_millis(500);

/// Writes views. What cannot be written is written with the next one.
#[derive(Debug)]
pub(crate) struct Views {
    bucket: kv::Store,
}

impl Views {
    pub(crate) fn new(bucket: kv::Store) -> Self {
        Self { bucket }
    }

    /// What an earlier bridge, or this one, said of a batch.
    pub(crate) async fn of(&self, batch: &BatchId) -> Option<MlflowStatus> {
        let value = self.bucket.get(mlflow_key(batch)).await.ok()??;
        events::decode(&value).ok()
    }

    /// Says every now and then how far a batch is while something is done for it, and once afterwards.
    pub(crate) async fn keep_telling<T>(&self, log: &BatchLog, state: MlflowState, work: impl Future<Output = T>) -> T {
        let telling = async {
            loop {
                tokio::time::sleep(INTERVAL).await;
                self.put(log, state, None, None).await;
            }
        };
        let done = tokio::select! {
            done = work => done,
            () = telling => unreachable!("telling does not end"),
        };
        self.put(log, state, None, None).await;
        done
    }

    /// Says how far a batch is, and what is in the way.
    pub(crate) async fn put(
        &self,
        log: &BatchLog,
        state: MlflowState,
        completed_at: Option<Timestamp>,
        problem: Option<String>,
    ) {
        let counts = log.counts();
        let batch = &log.begin.batch_id;
        let run = &log.batch_run;
        let status = MlflowStatus {
            version: events::VERSION,
            batch_id: batch.clone(),
            state,
            logged: counts.logged,
            failed: counts.failed,
            refused: counts.refused,
            batch_run: Some(run.run_id.clone()),
            url: Some(log.context().mlflow.url().run_page(&run.experiment_id, &run.run_id)),
            completed_at,
            problem,
            updated_at: Timestamp::now(),
        };
        if let Err(error) = self.bucket.put(mlflow_key(batch), events::encode(&status)).await {
            tracing::warn!(%batch, %error, "cannot write the view of a batch in MLflow now");
        }
    }
}

/// Tells how the bridge itself is, whenever that changes, until it is dropped.
pub(crate) async fn tell_health(bus: &Bus, mlflow: &Mlflow) {
    const LOOK: Duration = Duration::from_secs(1);
    let mut told = None;
    loop {
        let health = mlflow.health();
        if told.as_ref() != Some(&health)
            && let Ok(bucket) = bus.batches().await
        {
            let status = MlflowBridgeStatus {
                version: events::VERSION,
                server: mlflow.url().to_string(),
                away_since: health.away_since,
                last_error: health.last_error.as_ref().map(|(words, _)| words.clone()),
                last_error_at: health.last_error.as_ref().map(|(_, at)| *at),
                updated_at: Timestamp::now(),
            };
            if bucket.put(MLFLOW_BRIDGE_KEY, events::encode(&status)).await.is_ok() {
                told = Some(health);
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}
