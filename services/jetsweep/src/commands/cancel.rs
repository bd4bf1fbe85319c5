//! `jetsweep cancel`: cancels what a batch has not done yet.

use jetsweep_shared::events::{self, BatchStatus, Control, ControlAction};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::control_key;
use jiff::Timestamp;

use crate::app::App;
use crate::batches::{self, OneBatch, Progress};
use crate::cli::CancelArgs;
use crate::commands::{Answer, status as status_command};
use crate::failure::{Failure, OrFail};
use crate::follow::{self, Known};
use crate::services::Services;

pub(crate) async fn execute(args: CancelArgs, app: &App) -> Answer {
    let doing = format!("cancel {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let services = Services::need(app, &doing).await?;
    let status = match follow::known(&services, &batch).await? {
        Known::Status(status) if status.state.is_terminal() => return Ok(answer(status)),
        Known::Status(status) => Some(status),
        Known::Queued => None,
        Known::No => {
            return Err(status_command::unknown(&services, &batch, &doing).await);
        }
    };
    let generation = status.as_ref().map_or(0, |status| status.generation);
    ask(&services, &batch, generation, args.reason, &doing).await?;
    match status {
        Some(status) if args.no_wait => Ok(answer(status)),
        None if args.no_wait => Ok(Box::new(OneBatch::seen(Progress::queued(&batch)))),
        _ => Ok(answer(follow::to_the_end(&services, &batch, app.format).await?)),
    }
}

fn answer(status: BatchStatus) -> Box<OneBatch> {
    Box::new(OneBatch::seen(status.into()))
}

/// Stores the wish, which the planner and the workers watch for.
async fn ask(
    services: &Services,
    batch: &BatchId,
    generation: u32,
    reason: Option<String>,
    doing: &str,
) -> Result<(), Failure> {
    let control = Control {
        version: events::VERSION,
        action: ControlAction::Cancel,
        generation,
        reason,
        requested_at: Timestamp::now(),
    };
    let bucket = services.bus.batches().await.or_broken(|| doing)?;
    bucket.put(control_key(batch), events::encode(&control)).await.or_broken(|| doing)?;
    Ok(())
}
