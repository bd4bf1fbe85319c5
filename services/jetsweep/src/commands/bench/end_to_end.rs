//! End to end: `jetsweep run` as a process of its own, so that its memory is its own too.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::DOING;
use super::workload::Workload;
use crate::app::App;
use crate::failure::{Failure, OrFail};

/// What is taken from the answer of `jetsweep run`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct EndToEnd {
    pub(super) total: u64,
    pub(super) succeeded: u64,
    pub(super) wall_seconds: f64,
    pub(super) stages: Stages,
    pub(super) worker: Worker,
    pub(super) peak_memory_bytes: u64,
}

/// Wall time by stage, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Stages {
    pub(super) prepare: f64,
    pub(super) start: f64,
    /// From submitting to the last committed row.
    pub(super) run: f64,
    pub(super) finish: f64,
}

/// Time of the slots, added up, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Worker {
    pub(super) load: f64,
    pub(super) compute: f64,
}

/// Runs a spec into a new state folder, and removes that again.
pub(super) fn run(spec: &Path, workload: &Workload, state: &Path, app: &App) -> Result<EndToEnd, Failure> {
    let this = std::env::current_exe().or_broken(|| DOING)?;
    let mut command = Command::new(this);
    command.arg("run").arg(spec).arg("--state").arg(state).arg("--data").arg(&workload.data_root);
    command.arg("--slots").arg(app.config.worker.slots.to_string()).args(["--output", "json"]);
    if let Some(program) = &app.config.nats.server_binary {
        command.arg("--nats-server").arg(program);
    }
    let output = command.stdin(Stdio::null()).output().or_broken(|| DOING)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let cause = anyhow::anyhow!("jetsweep run ended with {}: {}", output.status, said.trim());
        return Err(Failure::broken(DOING, cause));
    }
    // The next measurement starts with a disk as free as this one did.
    std::fs::remove_dir_all(state).or_broken(|| DOING)?;
    let measured: EndToEnd = serde_json::from_slice(&output.stdout).or_broken(|| DOING)?;
    if measured.succeeded == measured.total {
        return Ok(measured);
    }
    let cause = anyhow::anyhow!("{} of {} runs succeeded", measured.succeeded, measured.total);
    Err(Failure::broken(DOING, cause))
}
