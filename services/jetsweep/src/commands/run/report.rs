//! What `jetsweep run` answers: the execution summary.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use jetsweep_consolidator::{BatchSummary, BestRun, FailureReason, OutOfSample};
use jetsweep_shared::events::BatchState;
use jetsweep_shared::ids::BatchId;
use jetsweep_worker::WorkerSummary;
use serde::Serialize;

use super::batch::Batch;
use super::data;
use super::stages::{StageSeconds, Stages};
use crate::exit::Exit;
use crate::leaderboard;
use crate::output::number::{bytes, counted, duration, grouped, percent};
use crate::output::{Look, Report};
use crate::summary;

/// The execution summary. Its JSON is documented in `docs/json.md`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunReport {
    pub(crate) batch_id: BatchId,
    pub(crate) state: BatchState,
    pub(crate) total: u64,
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) dead: u64,
    pub(crate) cancelled: u64,
    /// Runs that succeeded, of those whose data is usable and that were not cancelled.
    pub(crate) success_rate: Option<f64>,
    /// Runs computed by this command: fewer than `total` when the batch was resumed.
    pub(crate) computed: u64,
    pub(crate) wall_seconds: f64,
    /// Runs computed a second, from submitting to the last committed row.
    pub(crate) runs_per_second: Option<f64>,
    pub(crate) stages: StageSeconds,
    pub(crate) worker: WorkerSeconds,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) failures: Vec<Reason>,
    pub(crate) out_of_sample: Vec<OutOfSample>,
    pub(crate) best: Vec<BestRun>,
    pub(crate) database: String,
    /// Whether data problems were accepted.
    #[serde(skip)]
    skip_invalid: bool,
}

/// Why runs have no metrics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reason {
    pub(crate) status: String,
    pub(crate) code: String,
    pub(crate) runs: u64,
    pub(crate) symbols: u64,
    /// What the first of the runs says.
    pub(crate) message: String,
}

/// What the slots did, added up over all of them, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct WorkerSeconds {
    pub(crate) slots: usize,
    pub(crate) wait: f64,
    pub(crate) load: f64,
    pub(crate) compute: f64,
    pub(crate) publish: f64,
}

impl WorkerSeconds {
    pub(crate) fn new(slots: usize, worker: WorkerSummary) -> Self {
        let seconds = |us: u64| Duration::from_micros(us).as_secs_f64();
        Self {
            slots,
            wait: seconds(worker.wait_us),
            load: seconds(worker.load_us),
            compute: seconds(worker.compute_us),
            publish: seconds(worker.publish_us),
        }
    }
}

impl RunReport {
    /// The summary of a batch that just ended. [`RunReport::finish`] adds what is known last.
    pub(super) fn new(
        batch: &Batch,
        summary: BatchSummary,
        database: &Path,
        worker: WorkerSummary,
        slots: usize,
        server_memory: u64,
    ) -> Self {
        Self {
            computed: worker.runs,
            worker: WorkerSeconds::new(slots, worker),
            peak_memory_bytes: crate::memory::peak().map(|own| own + server_memory),
            ..Self::of_finished(batch, summary, database)
        }
    }

    /// The summary of a batch that had ended before.
    pub(super) fn of_finished(batch: &Batch, summary: BatchSummary, database: &Path) -> Self {
        let failures: Vec<Reason> = summary.failures.into_iter().map(Reason::from).collect();
        let without_data: u64 = failures.iter().filter(|reason| reason.is_data()).map(|reason| reason.runs).sum();
        let valid = summary.total_runs.saturating_sub(without_data + summary.cancelled);
        Self {
            batch_id: summary.batch_id,
            state: summary.state,
            total: summary.total_runs,
            succeeded: summary.succeeded,
            failed: summary.failed,
            dead: summary.dead,
            cancelled: summary.cancelled,
            success_rate: (valid > 0).then(|| summary.succeeded as f64 / valid as f64),
            computed: 0,
            wall_seconds: 0.0,
            runs_per_second: None,
            stages: StageSeconds::default(),
            worker: WorkerSeconds::default(),
            peak_memory_bytes: None,
            failures,
            out_of_sample: summary.out_of_sample,
            best: summary.best,
            database: database.display().to_string(),
            skip_invalid: batch.record.skip_invalid,
        }
    }

    /// Adds how long it took, up to now.
    pub(super) fn finish(&mut self, stages: &Stages) {
        self.wall_seconds = stages.wall().as_secs_f64();
        self.stages = stages.seconds();
        let running = stages.running().as_secs_f64();
        self.runs_per_second = (running > 0.0).then(|| self.computed as f64 / running);
    }

    fn data_failures(&self) -> u64 {
        self.failures.iter().filter(|reason| reason.is_data()).map(|reason| reason.runs).sum()
    }

    fn write_times(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.computed == 0 {
            return Ok(());
        }
        let time = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let rate = self.runs_per_second.map_or_else(|| "-".to_owned(), |rate| grouped(rate as u64));
        writeln!(out, "  speed        {rate} runs/s")?;
        let StageSeconds { prepare, start, run, finish } = self.stages;
        let stages = [("prepare", prepare), ("start", start), ("run", run), ("finish", finish)];
        let stages: Vec<String> = stages.iter().map(|(name, seconds)| format!("{name} {}", time(*seconds))).collect();
        writeln!(out, "  wall time    {} ({})", time(self.wall_seconds), stages.join(", "))?;
        let WorkerSeconds { slots, load, compute, .. } = self.worker;
        let slots = counted(slots as u64, "slot");
        writeln!(out, "  worker time  compute {}, load {} on {slots}", time(compute), time(load))?;
        if let Some(peak) = self.peak_memory_bytes {
            writeln!(out, "  peak memory  {} (jetsweep and nats-server)", bytes(peak))?;
        }
        Ok(())
    }
}

impl Reason {
    fn is_data(&self) -> bool {
        data::CODES.contains(&self.code.as_str())
    }
}

impl From<FailureReason> for Reason {
    fn from(reason: FailureReason) -> Self {
        let FailureReason { status, code, runs, symbols, first_message, .. } = reason;
        Self { status, code, runs, symbols, message: first_message.unwrap_or_default() }
    }
}

impl Report for RunReport {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let state = crate::batches::state_word(self.state);
        writeln!(out, "{}: {state}", look.bold(self.batch_id.as_str()))?;
        writeln!(out)?;
        writeln!(out, "  runs         {}", grouped(self.total))?;
        let rate = self.success_rate.map(|rate| format!(" ({} of valid runs)", percent(Some(rate))));
        let succeeded = format!("{}{}", grouped(self.succeeded), rate.unwrap_or_default());
        writeln!(out, "  succeeded    {}", look.green(&succeeded))?;
        for (count, name) in [(self.failed, "failed"), (self.dead, "dead"), (self.cancelled, "cancelled")] {
            if count > 0 {
                writeln!(out, "  {name:<11}  {}", look.red(&grouped(count)))?;
            }
        }
        for reason in &self.failures {
            let Reason { status, code, runs, symbols, message } = reason;
            let (runs, symbols) = (counted(*runs, "run"), counted(*symbols, "symbol"));
            writeln!(out, "    {status}: {code}, {runs} of {symbols}: {}", message.lines().next().unwrap_or_default())?;
        }
        self.write_times(out)?;
        summary::write_out_of_sample(&self.out_of_sample, out, look)?;
        leaderboard::write(&self.best, out, look)?;
        writeln!(out)?;
        writeln!(out, "  results in {}", self.database)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.batch_id)
    }

    /// Data problems that were accepted do not count.
    fn exit(&self) -> Exit {
        let accepted = if self.skip_invalid { self.data_failures() } else { 0 };
        if self.succeeded + accepted >= self.total { Exit::Done } else { Exit::RunsFailed }
    }
}
