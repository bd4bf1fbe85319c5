//! The services as long-running roles: they serve until they are told to stop.

use std::io::{self, Write};

use crate::app::App;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::interrupt;
use crate::output::{Look, Report};

/// Turns submitted specs into jobs.
pub(crate) async fn planner(app: &App) -> Answer {
    let shutdown = interrupt::listen().or_broken(|| "serve as planner")?;
    stopped("planner", jetsweep_planner::run(&app.config, shutdown).await)
}

/// Runs jobs and publishes their results.
pub(crate) async fn worker(app: &App) -> Answer {
    let shutdown = interrupt::listen().or_broken(|| "serve as worker")?;
    stopped("worker", jetsweep_worker::run(&app.config, shutdown).await)
}

/// Writes results to DuckDB and answers queries.
pub(crate) async fn consolidator(app: &App) -> Answer {
    let state = &app.config.state_dir;
    std::fs::create_dir_all(state).or_broken(|| format!("make the state folder {}", state.display()))?;
    let shutdown = interrupt::listen().or_broken(|| "serve as consolidator")?;
    stopped("consolidator", jetsweep_consolidator::run(&app.config, shutdown).await)
}

/// Logs runs to MLflow.
pub(crate) async fn mlflow_bridge(app: &App) -> Answer {
    let shutdown = interrupt::listen().or_broken(|| "serve as MLflow bridge")?;
    stopped("MLflow bridge", jetsweep_mlflow_bridge::run(&app.config, shutdown).await)
}

fn stopped(role: &'static str, ended: Result<(), impl Into<anyhow::Error>>) -> Answer {
    match ended {
        Ok(()) => Ok(Box::new(Stopped)),
        Err(error) => Err(Failure::broken(format!("serve as {role}"), error)),
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
