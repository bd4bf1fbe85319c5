//! Where the wall time of a run went.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::seconds;

/// The stages of a run, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages {
    start: Instant,
    prepared: Option<Instant>,
    started: Option<Instant>,
    ran: Option<Instant>,
}

impl Stages {
    /// The first stage starts: reading spec and data.
    pub(crate) fn start() -> Self {
        Self { start: Instant::now(), prepared: None, started: None, ran: None }
    }

    /// Spec and data are read; server and services start.
    pub(crate) fn prepared(&mut self) {
        self.prepared = Some(Instant::now());
    }

    /// The spec is submitted; it is planned and run.
    pub(crate) fn started(&mut self) {
        self.started = Some(Instant::now());
    }

    /// The last row is committed, if this was not said before; the rest is logged to MLflow if that is asked for, and
    /// everything is stopped and summed up.
    pub(crate) fn ran(&mut self) {
        self.ran.get_or_insert_with(Instant::now);
    }

    /// From the start to now.
    pub(crate) fn wall(&self) -> Duration {
        self.start.elapsed()
    }

    /// From submitting to the last row.
    pub(crate) fn running(&self) -> Duration {
        match (self.started, self.ran) {
            (Some(started), Some(ran)) => ran - started,
            _ => Duration::ZERO,
        }
    }

    /// The stages in numbers; the last one ends now.
    pub(crate) fn seconds(&self) -> StageSeconds {
        let now = Instant::now();
        let prepared = self.prepared.unwrap_or(now);
        let started = self.started.unwrap_or(prepared);
        let ran = self.ran.unwrap_or(started);
        StageSeconds {
            prepare: seconds(prepared - self.start),
            start: seconds(started - prepared),
            run: seconds(ran - started),
            finish: seconds(now - ran),
        }
    }
}

/// Wall time by stage, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct StageSeconds {
    /// Reading the spec and the data of every symbol.
    pub(crate) prepare: f64,
    /// Starting server and services, submitting the spec.
    pub(crate) start: f64,
    /// From submitting to the last committed row.
    pub(crate) run: f64,
    /// Stopping everything, reading the summary.
    pub(crate) finish: f64,
}
