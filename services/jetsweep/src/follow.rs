//! Following a batch to its end.

use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{self, BatchState, BatchStatus, Begin};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::BatchEvent;

use crate::failure::{Failure, OrFail};
use crate::output::Format;
use crate::progress::{self, Ui};
use crate::services::Services;

/// Whether a batch is known, and how far it is.
pub(crate) enum Known {
    /// It has a status.
    Status(BatchStatus),
    /// Its spec waits for a planner.
    Queued,
    /// Nobody has heard of it.
    No,
}

/// What is known of a batch.
pub(crate) async fn known(services: &Services, batch: &BatchId) -> Result<Known, Failure> {
    if let Some(status) = services.status(batch).await? {
        return Ok(Known::Status(status));
    }
    // A spec leaves the queue when its plan is stored, which is when the log begins; a status comes later still. So
    // looking in this order misses nothing.
    let doing = || format!("look for {batch}");
    let Bus { names, .. } = &services.bus;
    let waiting = services.bus.last(&names.plans_stream(), &names.plan(batch)).await.or_broken(doing)?;
    let begin = names.batch_event(batch, BatchEvent::Begin);
    let begin = services.bus.last(&names.results_stream(), &begin).await.or_broken(doing)?;
    match (begin, waiting) {
        (Some(begin), _) => Ok(Known::Status(planned(events::decode(&begin).or_broken(doing)?))),
        (None, Some(_)) => Ok(Known::Queued),
        (None, None) => Ok(Known::No),
    }
}

/// The status of a batch of which no row is committed yet.
fn planned(begin: Begin) -> BatchStatus {
    BatchStatus {
        version: events::VERSION,
        batch_id: begin.batch_id,
        state: BatchState::Running,
        generation: begin.generation,
        total_runs: begin.total_runs,
        succeeded: 0,
        failed: 0,
        dead: 0,
        cancelled: 0,
        created_at: Some(begin.created_at),
        completed_at: None,
        updated_at: begin.created_at,
        problems: Vec::new(),
    }
}

/// The failure of a command about a batch that nobody knows.
pub(crate) fn unknown(doing: &str, batch: &BatchId, known: impl IntoIterator<Item = String>) -> Failure {
    /// Batches named in the hint.
    const MOST: usize = 10;
    let failure = Failure::bad_input(doing, format!("there is no batch {batch}"));
    let mut known: Vec<String> = known.into_iter().take(MOST + 1).collect();
    if known.is_empty() {
        return failure.hint("there are no batches yet");
    }
    if known.len() > MOST {
        known[MOST] = "...".to_owned();
    }
    failure.hint(format!("there are {}", known.join(", ")))
}

/// Waits until a batch has ended, or the user stops waiting, showing how far it is.
///
/// # Errors
///
/// When its spec is refused, with all problems; when the wait is interrupted.
pub(crate) async fn to_the_end(services: &Services, batch: &BatchId, format: Format) -> Result<BatchStatus, Failure> {
    generation_to_the_end(services, batch, 0, format).await
}

/// Like [`to_the_end`], of this generation or a later one.
pub(crate) async fn generation_to_the_end(
    services: &Services,
    batch: &BatchId,
    generation: u32,
    format: Format,
) -> Result<BatchStatus, Failure> {
    let mut ui = Ui::new(format);
    let interrupted = tokio::signal::ctrl_c();
    let status = tokio::select! {
        status = progress::follow(&services.bus, batch, generation, &mut ui) => status?,
        _ = interrupted => {
            ui.finish();
            let hint = format!("the batch goes on; `jetsweep watch {batch}` follows it again");
            return Err(Failure::interrupted(format!("follow {batch} to its end")).hint(hint));
        }
    };
    match status.state {
        BatchState::Refused => Err(Failure::problems(format!("run {batch}"), status.problems)),
        _ => Ok(status),
    }
}
