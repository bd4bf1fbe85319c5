//! How far batches are, as commands show it.

use std::io::{self, Write};
use std::time::Duration;

use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::{BatchState, BatchStatus};
use jetsweep_shared::ids::BatchId;
use jiff::Timestamp;
use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::number::{duration, grouped};
use crate::output::{Align, Look, Report, Table};

/// A batch's id as typed.
///
/// # Errors
///
/// When it is none. `doing` completes "failed to ".
pub(crate) fn id(text: &str, doing: &str) -> Result<BatchId, Failure> {
    text.parse().map_err(|error| Failure::bad_input(doing, error))
}

/// The word for a state, as JSON and the database have it.
pub(crate) fn state_word(state: BatchState) -> &'static str {
    match state {
        BatchState::Refused => "refused",
        BatchState::Running => "running",
        BatchState::Completed => "completed",
        BatchState::Cancelled => "cancelled",
    }
}

/// How far a batch is, as JSON shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Progress {
    pub(crate) batch_id: String,
    pub(crate) state: String,
    pub(crate) total: u64,
    pub(crate) done: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
    pub(crate) cancelled: u64,
    pub(crate) created_at: Option<Timestamp>,
    pub(crate) completed_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<Problem>,
}

impl From<BatchStatus> for Progress {
    fn from(status: BatchStatus) -> Self {
        Self {
            batch_id: status.batch_id.to_string(),
            state: state_word(status.state).to_owned(),
            total: status.total_runs,
            done: status.done(),
            succeeded: status.succeeded,
            failed: status.failed,
            dead: status.dead,
            cancelled: status.cancelled,
            created_at: status.created_at,
            completed_at: status.completed_at,
            problems: status.problems,
        }
    }
}

impl Progress {
    /// A batch whose spec waits for a planner.
    pub(crate) fn queued(batch: &BatchId) -> Self {
        Self {
            batch_id: batch.to_string(),
            state: "queued".to_owned(),
            total: 0,
            done: 0,
            succeeded: 0,
            failed: 0,
            dead: 0,
            cancelled: 0,
            created_at: None,
            completed_at: None,
            problems: Vec::new(),
        }
    }

    /// The same of a batch that somebody paused.
    pub(crate) fn paused(self) -> Self {
        Self { state: "paused".to_owned(), ..self }
    }

    fn done_share(&self) -> String {
        if self.total == 0 {
            return "-".to_owned();
        }
        format!("{:.1}%", self.done as f64 / self.total as f64 * 100.0)
    }

    /// From the plan to the last run; for a batch that runs, to now.
    fn time(&self, now: Timestamp) -> String {
        let Some(from) = self.created_at else { return "-".to_owned() };
        let to = self.completed_at.unwrap_or(now);
        Duration::try_from(to.duration_since(from)).map_or_else(|_| "-".to_owned(), duration)
    }
}

/// One batch, as the answer of a command.
pub(crate) struct OneBatch {
    progress: Progress,
    exit: Exit,
}

impl OneBatch {
    /// A batch that was looked at: how it fares says nothing about how the program ends.
    pub(crate) fn seen(progress: Progress) -> Self {
        Self { progress, exit: Exit::Done }
    }

    /// A batch that was followed to its end: the program ends well when every run succeeded.
    pub(crate) fn ended(progress: Progress) -> Self {
        let exit = if progress.succeeded == progress.total { Exit::Done } else { Exit::RunsFailed };
        Self { progress, exit }
    }
}

impl Report for OneBatch {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let batch = &self.progress;
        writeln!(out, "{} is {}", look.bold(&batch.batch_id), batch.state)?;
        for problem in &batch.problems {
            writeln!(out, "  {}", problem.to_string().replace('\n', "\n  "))?;
        }
        let mut table = Table::new(
            look,
            [
                ("runs", Align::Right),
                ("done", Align::Right),
                ("", Align::Right),
                ("succeeded", Align::Right),
                ("failed", Align::Right),
                ("dead", Align::Right),
                ("cancelled", Align::Right),
                ("time", Align::Right),
            ],
        );
        let [total, done, succeeded, failed, dead, cancelled] =
            [batch.total, batch.done, batch.succeeded, batch.failed, batch.dead, batch.cancelled].map(grouped);
        let (share, time) = (batch.done_share(), batch.time(Timestamp::now()));
        table.row([total, done, share, succeeded, failed, dead, cancelled, time]);
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.progress)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.progress.state)
    }

    fn exit(&self) -> Exit {
        self.exit
    }
}

/// Many batches, newest first.
pub(crate) struct ManyBatches(pub(crate) Vec<Progress>);

impl Report for ManyBatches {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        if self.0.is_empty() {
            return writeln!(out, "no batches");
        }
        let mut table = Table::new(
            look,
            [
                ("batch", Align::Left),
                ("state", Align::Left),
                ("runs", Align::Right),
                ("done", Align::Right),
                ("failed", Align::Right),
                ("dead", Align::Right),
                ("cancelled", Align::Right),
                ("time", Align::Right),
                ("created", Align::Left),
            ],
        );
        let now = Timestamp::now();
        for batch in &self.0 {
            let created = batch.created_at.map_or_else(|| "-".to_owned(), |at| format!("{at:.0}"));
            table.row([
                batch.batch_id.clone(),
                batch.state.clone(),
                grouped(batch.total),
                batch.done_share(),
                grouped(batch.failed),
                grouped(batch.dead),
                grouped(batch.cancelled),
                batch.time(now),
                created,
            ]);
        }
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.0.iter().try_for_each(|batch| writeln!(out, "{}\t{}", batch.batch_id, batch.state))
    }
}
