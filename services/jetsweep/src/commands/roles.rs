//! The services as long-running roles: they serve until they are told to stop.

use std::io::{self, Write};
use std::sync::Arc;

use jetsweep_shared::monitor::{self, Monitor};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::App;
use crate::cli::VERSION;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::interrupt;
use crate::output::{Look, Report};

/// Turns submitted specs into jobs.
pub(crate) async fn planner(app: &App) -> Answer {
    let role = Role::start("planner", app).await?;
    let ended = jetsweep_planner::run_monitored(&app.config, &role.monitor, role.shutdown.clone()).await;
    role.stopped(ended)
}

/// Runs jobs and publishes their results.
pub(crate) async fn worker(app: &App) -> Answer {
    let role = Role::start("worker", app).await?;
    let options = jetsweep_worker::Options { monitor: role.monitor.clone(), ..Default::default() };
    let stats = Arc::default();
    let ended = jetsweep_worker::run_with(&app.config, options, role.shutdown.clone(), stats).await;
    role.stopped(ended)
}

/// Writes results to DuckDB and answers queries.
pub(crate) async fn consolidator(app: &App) -> Answer {
    let state = &app.config.state_dir;
    std::fs::create_dir_all(state).or_broken(|| format!("make the state folder {}", state.display()))?;
    let role = Role::start("consolidator", app).await?;
    let ended = jetsweep_consolidator::run_monitored(&app.config, &role.monitor, role.shutdown.clone()).await;
    role.stopped(ended)
}

/// Logs runs to MLflow.
pub(crate) async fn mlflow_bridge(app: &App) -> Answer {
    let role = Role::start("mlflow-bridge", app).await?;
    let ended = jetsweep_mlflow_bridge::run_monitored(&app.config, &role.monitor, role.shutdown.clone()).await;
    role.stopped(ended)
}

/// What all roles have: a name, something that stops them, and health and metrics for whoever asks, until they have stopped.
struct Role {
    name: &'static str,
    monitor: Monitor,
    shutdown: CancellationToken,
    _shown: DropGuard,
}

impl Role {
    async fn start(name: &'static str, app: &App) -> Result<Self, Failure> {
        let shutdown = interrupt::listen().or_broken(|| format!("serve as {name}"))?;
        let http = &app.config.http;
        let monitor = match http.listen {
            Some(_) => Monitor::new(name, VERSION),
            None => Monitor::default(),
        };
        let shown = CancellationToken::new();
        monitor::serve(http, monitor.clone(), shown.clone()).await.or_broken(|| format!("serve as {name}"))?;
        Ok(Self { name, monitor, shutdown, _shown: shown.drop_guard() })
    }

    fn stopped(self, ended: Result<(), impl Into<anyhow::Error>>) -> Answer {
        match ended {
            Ok(()) => Ok(Box::new(Stopped)),
            Err(error) => Err(Failure::broken(format!("serve as {}", self.name), error)),
        }
    }
}

/// The role ended because it was told to; its log has said all there is to say.
struct Stopped;

impl Report for Stopped {
    fn human(&self, _out: &mut dyn Write, _look: Look) -> io::Result<()> {
        Ok(())
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{{}}")
    }
}
