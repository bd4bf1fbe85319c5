//! What a bridge shows of itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use jetsweep_shared::monitor::{self, Counter, Histogram, Monitor, Numbers};

use crate::client::Mlflow;

/// Counts of one bridge since its start. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Requests by their answers.
    pub(crate) succeeded: Counter,
    pub(crate) refused: Counter,
    pub(crate) denied: Counter,
    pub(crate) failed: Counter,
    pub(crate) request_seconds: Histogram,
    /// Runs that are in MLflow in full, and those that it refused for good.
    pub(crate) runs_logged: Counter,
    pub(crate) runs_refused: Counter,
    /// Messages of RESULTS that are not worked on yet, as far as the bridge has looked.
    lag: Arc<AtomicU64>,
    /// Whether MLflow has ever answered.
    has_answered: Arc<AtomicBool>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            succeeded: Counter::default(),
            refused: Counter::default(),
            denied: Counter::default(),
            failed: Counter::default(),
            // From a millisecond to 65 seconds, beyond which a request has no time by default.
            request_seconds: monitor::durations(1e-3, 17),
            runs_logged: Counter::default(),
            runs_refused: Counter::default(),
            lag: Arc::default(),
            has_answered: Arc::default(),
        }
    }
}

impl Metrics {
    pub(crate) fn lags(&self, messages: u64) {
        self.lag.store(messages, Ordering::Relaxed);
    }

    /// MLflow let us make what the bridge needs.
    pub(crate) fn answered(&self) {
        self.has_answered.store(true, Ordering::Relaxed);
    }

    fn numbers(&self, is_up: bool) -> Vec<Numbers> {
        vec![
            Numbers::gauge("jetsweep_bridge_mlflow_up", "1 while MLflow answers").is(is_up),
            Numbers::counter("jetsweep_bridge_requests", "Requests to MLflow by what became of them")
                .with([("outcome", "succeeded")], self.succeeded.get())
                .with([("outcome", "refused")], self.refused.get())
                .with([("outcome", "denied")], self.denied.get())
                .with([("outcome", "failed")], self.failed.get()),
            Numbers::counter("jetsweep_bridge_runs", "Runs by what became of them in MLflow")
                .with([("outcome", "logged")], self.runs_logged.get())
                .with([("outcome", "refused")], self.runs_refused.get()),
            Numbers::gauge("jetsweep_bridge_lag_messages", "Messages of the log that are not in MLflow yet")
                .is(self.lag.load(Ordering::Relaxed)),
        ]
    }
}

/// Adds a bridge's metrics to a monitor, and MLflow to what must be there.
pub(crate) fn register(monitor: &Monitor, mlflow: &Mlflow) {
    let help = "Time of requests to MLflow, whatever became of them";
    let seconds = mlflow.metrics().request_seconds.clone();
    monitor.register("jetsweep_bridge_request_duration_seconds", help, seconds);
    let (told, watched) = (mlflow.clone(), mlflow.clone());
    monitor.tell(move || told.metrics().numbers(check(&told).is_ok()));
    monitor.watch("mlflow", move || check(&watched));
}

/// Whether MLflow is there, as far as the bridge knows.
fn check(mlflow: &Mlflow) -> Result<(), String> {
    match mlflow.health().away_since {
        Some(since) => Err(format!("it is away since {since}")),
        None if mlflow.metrics().has_answered.load(Ordering::Relaxed) => Ok(()),
        None => Err("it has not answered yet".to_owned()),
    }
}
