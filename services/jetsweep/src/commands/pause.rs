//! `jetsweep pause` and `jetsweep resume`: of a batch, or of all work.

use std::io::{self, Write};

use jetsweep_shared::events::{self, Control, ControlAction};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{ALL_CONTROL_KEY, control_key};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::batches;
use crate::cli::PauseArgs;
use crate::commands::{Answer, status};
use crate::failure::{Failure, OrFail};
use crate::follow::{self, Known};
use crate::output::{Look, Report};
use crate::services::Services;

pub(crate) async fn pause(args: PauseArgs, app: &App) -> Answer {
    execute(args, app, ControlAction::Pause, "pause").await
}

pub(crate) async fn resume(args: PauseArgs, app: &App) -> Answer {
    execute(args, app, ControlAction::Resume, "resume").await
}

async fn execute(args: PauseArgs, app: &App, action: ControlAction, verb: &'static str) -> Answer {
    let Some(text) = args.batch else {
        let doing = format!("{verb} all work");
        let services = Services::need(app, &doing).await?;
        put(&services, ALL_CONTROL_KEY, action, &doing).await?;
        return Ok(Box::new(Asked { batch_id: None, state: word(action) }));
    };
    let doing = format!("{verb} {text}");
    let batch = batches::id(&text, &doing)?;
    let services = Services::need(app, &doing).await?;
    match follow::known(&services, &batch).await? {
        Known::Status(status) if status.state.is_terminal() => {
            let cause = format!("{batch} is {} already", batches::state_word(status.state));
            return Err(Failure::bad_input(&doing, cause));
        }
        Known::Status(_) | Known::Queued => {}
        Known::No => return Err(status::unknown(&services, &batch, &doing).await),
    }
    match services.asked(&batch).await? {
        Some(Control { action: ControlAction::Cancel, .. }) => {
            return Err(Failure::bad_input(&doing, format!("{batch} is being cancelled")));
        }
        Some(Control { action: ControlAction::Pause, .. }) => {}
        _ if action == ControlAction::Resume => {
            return Err(Failure::bad_input(&doing, format!("{batch} is not paused")));
        }
        _ => {}
    }
    put(&services, &control_key(&batch), action, &doing).await?;
    Ok(Box::new(Asked { batch_id: Some(batch), state: word(action) }))
}

/// Stores the wish, which planners and workers watch for.
async fn put(services: &Services, key: &str, action: ControlAction, doing: &str) -> Result<(), Failure> {
    let control =
        Control { version: events::VERSION, action, generation: 0, reason: None, requested_at: Timestamp::now() };
    let bucket = services.bus.batches().await.or_broken(|| doing)?;
    bucket.put(key, events::encode(&control)).await.map(drop).or_broken(|| doing)
}

fn word(action: ControlAction) -> &'static str {
    if action == ControlAction::Pause { "paused" } else { "running" }
}

/// What was asked.
#[derive(Debug, Serialize)]
struct Asked {
    /// Absent for all work.
    batch_id: Option<BatchId>,
    state: &'static str,
}

impl Report for Asked {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let what = self.batch_id.as_ref().map_or("all work", BatchId::as_str);
        let how = if self.state == "paused" { "is paused; what is being computed is finished" } else { "goes on" };
        writeln!(out, "{} {how}", look.bold(what))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.state)
    }
}
