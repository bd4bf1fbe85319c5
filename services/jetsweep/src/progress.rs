//! Following a batch to its end, and showing how far it is: a bar on a terminal, plain lines elsewhere.
//!
//! Everything shown comes from the batch's status, which counts committed rows: it never goes back and never passes
//! the total.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{self, BatchStatus};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::status_key;

use crate::failure::{Failure, OrFail};
use crate::output::number::{duration, grouped};
use crate::output::{Format, no_colour};

/// Time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// How often the status is read although the watch says nothing: a watch may stall while its server restarts.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two pictures of a spinner.
const SPIN_INTERVAL: Duration = Duration::from_millis(100);

/// Times a second that the bar is drawn.
const DRAWS_PER_SECOND: u8 = 12;

/// Follows a batch until it ends in this generation or a later one, showing how far it is. Waits for as long as it takes: a server that is away comes
/// back, and a batch nobody has planned yet will be.
///
/// # Errors
///
/// When the bucket of statuses cannot be opened.
pub(crate) async fn follow(bus: &Bus, batch: &BatchId, generation: u32, ui: &mut Ui) -> Result<BatchStatus, Failure> {
    let doing = || format!("follow {batch}");
    let bucket = bus.batches().await.or_broken(doing)?;
    let key = status_key(batch);
    let mut entries = bucket.watch_with_history(&key).await.or_broken(doing)?;
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    look.reset();
    let mut watching = true;
    loop {
        let value = tokio::select! {
            entry = entries.next(), if watching => match entry {
                Some(Ok(entry)) => Some(entry.value),
                Some(Err(_)) => None,
                None => { watching = false; None }
            },
            _ = look.tick() => bucket.get(&key).await.ok().flatten(),
        };
        let Some(status) = value.and_then(|value| events::decode::<BatchStatus>(&value).ok()) else { continue };
        if status.generation < generation {
            continue;
        }
        ui.show(&status);
        if status.state.is_terminal() {
            ui.finish();
            return Ok(status);
        }
    }
}

/// Where progress is shown: on standard error.
pub(crate) enum Ui {
    /// A bar, redrawn in place.
    Bar(Bar),
    /// A line every few seconds.
    Lines(Lines),
    /// Nowhere.
    Silent,
}

impl Ui {
    /// A bar on a terminal, lines elsewhere, nothing when the answer is to be quiet.
    pub(crate) fn new(format: Format) -> Self {
        match format {
            Format::Quiet => Ui::Silent,
            Format::Table | Format::Json if std::io::stderr().is_terminal() => Ui::Bar(Bar::new()),
            Format::Table | Format::Json => Ui::Lines(Lines::default()),
        }
    }

    /// Shows how far a batch is.
    pub(crate) fn show(&mut self, status: &BatchStatus) {
        match self {
            Ui::Bar(bar) => bar.show(status),
            Ui::Lines(lines) => lines.show(status),
            Ui::Silent => {}
        }
    }

    /// Says something beside the progress.
    pub(crate) fn say(&self, text: &str) {
        if let Ui::Silent = self {
            return;
        }
        // Standard error may be closed; progress is no reason to fail.
        let _ = Stderr.write_all(format!("{text}\n").as_bytes());
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Ui::Bar(bar) = self {
            bar.bar.finish_and_clear();
            *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Shows that something goes on which has no measure, in place of the bar, until [`Ui::finish`].
    pub(crate) fn wait_for(&mut self, what: &'static str) {
        self.finish();
        if let Ui::Bar(bar) = self {
            let spinner = ProgressBar::new_spinner().with_message(what);
            spinner.enable_steady_tick(SPIN_INTERVAL);
            *bar = Bar::around(spinner);
        }
    }
}

/// The bar that is on the terminal now.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Standard error for whoever writes whole lines there: the bar steps aside for each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some(bar) => bar.suspend(|| io::stderr().write(line)),
            None => io::stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A progress bar.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// Whether a status was shown: rate and ETA start from there, so that a resumed batch has honest ones.
    is_started: bool,
}

impl Bar {
    fn new() -> Self {
        let colours = if no_colour() { "{bar:32}" } else { "{bar:32.cyan/dim}" };
        let template = format!("{colours} {{human_pos}}/{{human_len}} runs  {{rate}}  ETA {{left}}{{msg}}");
        let style = ProgressStyle::with_template(&template)
            // The template is fixed above.
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━╸─")
            .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&rate(state.per_sec()));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&left(state.eta()));
            });
        let target = ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND);
        Self::around(ProgressBar::with_draw_target(None, target).with_style(style))
    }

    /// Makes a bar the one that is shown.
    fn around(bar: ProgressBar) -> Self {
        *SHOWN.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.clone());
        Self { bar, is_started: false }
    }

    fn show(&mut self, status: &BatchStatus) {
        let done = status.done().min(status.total_runs);
        self.bar.set_length(status.total_runs);
        if !self.is_started {
            self.is_started = true;
            self.bar.set_position(done);
            self.bar.reset_eta();
        }
        self.bar.set_message(lost(status).map(|lost| format!("  {lost}")).unwrap_or_default());
        self.bar.set_position(done);
    }
}

/// Plain lines.
#[derive(Default)]
pub(crate) struct Lines {
    /// When the first status was shown, and how many runs were done then.
    start: Option<(Instant, u64)>,
    last: Option<Instant>,
}

impl Lines {
    fn show(&mut self, status: &BatchStatus) {
        let now = Instant::now();
        let (start, done_before) = *self.start.get_or_insert((now, status.done()));
        let is_due = now.duration_since(*self.last.get_or_insert(now)) >= LINE_INTERVAL;
        // A batch that is over before the first line is due is told by its summary.
        if !is_due {
            return;
        }
        self.last = Some(now);
        let line = line(status, status.done() - done_before.min(status.done()), now - start);
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// `1,200/4,000 runs (30%)  240 runs/s  ETA 11.67 s  3 failed`, for so many runs done in the time looked at.
fn line(status: &BatchStatus, done_here: u64, time: Duration) -> String {
    let done = status.done().min(status.total_runs);
    let per_second = done_here as f64 / time.as_secs_f64().max(f64::EPSILON);
    let share = done * 100 / status.total_runs.max(1);
    let mut text = format!("{}/{} runs ({share}%)  {}", grouped(done), grouped(status.total_runs), rate(per_second));
    if per_second > 0.0 {
        let seconds = (status.total_runs - done) as f64 / per_second;
        text.push_str(&format!("  ETA {}", left(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))));
    }
    if let Some(lost) = lost(status) {
        text.push_str(&format!("  {lost}"));
    }
    text
}

/// What came to nothing: `3 failed, 1 dead`.
fn lost(status: &BatchStatus) -> Option<String> {
    let counts = [(status.failed, "failed"), (status.dead, "dead"), (status.cancelled, "cancelled")];
    let some: Vec<_> = counts.iter().filter(|(count, _)| *count > 0).collect();
    let told: Vec<_> = some.iter().map(|(count, word)| format!("{} {word}", grouped(*count))).collect();
    if told.is_empty() { None } else { Some(told.join(", ")) }
}

fn rate(per_second: f64) -> String {
    // A rate below one a second says more with a decimal.
    if per_second < 10.0 { format!("{per_second:.1} runs/s") } else { format!("{} runs/s", grouped(per_second as u64)) }
}

fn left(time: Duration) -> String {
    /// Beyond this an estimate says nothing.
    const LONGEST: Duration = Duration::from_secs(100 * 24 * 3600);
    match time {
        time if time > LONGEST => "?".to_owned(),
        time if time < Duration::from_secs(60) => format!("{} s", time.as_secs()),
        time => duration(time),
    }
}

#[cfg(test)]
mod tests {
    use jetsweep_shared::events::{BatchState, VERSION};
    use jiff::Timestamp;

    use super::*;

    fn status(succeeded: u64, failed: u64, dead: u64) -> BatchStatus {
        BatchStatus {
            version: VERSION,
            batch_id: "b".parse().unwrap(),
            state: BatchState::Running,
            generation: 0,
            total_runs: 4_000,
            succeeded,
            failed,
            dead,
            cancelled: 0,
            created_at: None,
            completed_at: None,
            updated_at: Timestamp::UNIX_EPOCH,
            problems: Vec::new(),
        }
    }

    #[test]
    fn lines_tell_what_is_done_and_when_it_ends() {
        let seconds = Duration::from_secs;
        insta::assert_snapshot!(line(&status(1_200, 0, 0), 1_200, seconds(5)), @"1,200/4,000 runs (30%)  240 runs/s  ETA 11 s");
        insta::assert_snapshot!(line(&status(1_190, 7, 3), 12, seconds(5)), @"1,200/4,000 runs (30%)  2.4 runs/s  ETA 19 m 26 s  7 failed, 3 dead");
        insta::assert_snapshot!(line(&status(0, 0, 0), 0, seconds(5)), @"0/4,000 runs (0%)  0.0 runs/s");
        insta::assert_snapshot!(line(&status(4_000, 0, 0), 4_000, seconds(5)), @"4,000/4,000 runs (100%)  800 runs/s  ETA 0 s");
    }
}
