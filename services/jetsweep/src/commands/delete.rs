//! `jetsweep delete` and `jetsweep prune`: batches that have ended, with all that is stored of them.

use std::io::{self, Write};
use std::time::Duration;

use async_nats::HeaderMap;
use jetsweep_shared::events::DeleteRequest;
use jetsweep_shared::ids::BatchId;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::app::App;
use crate::batches;
use crate::cli::{DeleteArgs, PruneArgs};
use crate::commands::{Answer, status};
use crate::failure::{Failure, OrFail};
use crate::follow::{self, Known};
use crate::output::number::counted;
use crate::output::{Look, Report};
use crate::services::Services;

/// Longest wait for the consolidator to delete the rows of a batch.
const DELETING_TIME: Duration = Duration::from_secs(60);

/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

pub(crate) async fn execute(args: DeleteArgs, app: &App) -> Answer {
    let doing = format!("delete {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let services = Services::need(app, &doing).await?;
    if let Known::No = follow::known(&services, &batch).await? {
        return Err(status::unknown(&services, &batch, &doing).await);
    }
    delete(&services, &batch, &doing).await?;
    Ok(Box::new(Deleted { batches: vec![batch], is_done: true }))
}

pub(crate) async fn prune(args: PruneArgs, app: &App) -> Answer {
    const DOING: &str = "prune batches";
    let services = Services::need(app, DOING).await?;
    let age = SignedDuration::try_from(args.older_than).unwrap_or(SignedDuration::MAX);
    let before = Timestamp::now().checked_sub(age).unwrap_or(Timestamp::MIN);
    let mut statuses = services.statuses().await?;
    statuses.retain(|status| status.state.is_terminal() && status.completed_at.is_some_and(|at| at < before));
    statuses.sort_by_key(|status| status.completed_at);
    let batches: Vec<BatchId> = statuses.into_iter().map(|status| status.batch_id).collect();
    if !args.dry_run {
        for batch in &batches {
            delete(&services, batch, &format!("delete {batch}")).await?;
        }
    }
    Ok(Box::new(Deleted { batches, is_done: !args.dry_run }))
}

/// Deletes a batch, and waits until its rows are gone.
async fn delete(services: &Services, batch: &BatchId, doing: &str) -> Result<(), Failure> {
    let request = serde_json::to_vec(&DeleteRequest { batch_id: batch.clone() }).or_broken(|| doing)?;
    services.ask_planner("delete", HeaderMap::new(), request.into(), doing).await?;
    let gone = async {
        while services.status(batch).await?.is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    match tokio::time::timeout(DELETING_TIME, gone).await {
        Ok(gone) => gone,
        Err(_) => {
            let cause = anyhow::anyhow!("the consolidator has not deleted its rows within {DELETING_TIME:?}");
            Err(Failure::broken(doing, cause).hint("it will once it runs; nothing else need be done"))
        }
    }
}

/// Batches that are gone, or would be.
#[derive(Debug, Serialize)]
struct Deleted {
    batches: Vec<BatchId>,
    #[serde(rename = "deleted")]
    is_done: bool,
}

impl Report for Deleted {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let what = if self.is_done { "deleted" } else { "would be deleted" };
        for batch in &self.batches {
            writeln!(out, "{} {what}", look.bold(batch.as_str()))?;
        }
        match self.batches.len() {
            1 => Ok(()),
            count => writeln!(out, "{} {what}", counted(count as u64, "batch").replace("batchs", "batches")),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        self.batches.iter().try_for_each(|batch| writeln!(out, "{batch}"))
    }
}
