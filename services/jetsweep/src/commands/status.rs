//! `jetsweep status`: how far batches are.

use std::cmp::Reverse;

use jetsweep_consolidator::Row;
use jetsweep_shared::events::{BatchStatus, ControlAction};
use jetsweep_shared::ids::BatchId;
use serde_json::Value;

use crate::app::App;
use crate::batches::{self, ManyBatches, OneBatch, Progress};
use crate::cli::StatusArgs;
use crate::commands::Answer;
use crate::failure::Failure;
use crate::follow::{self, Known};
use crate::services::Services;
use crate::source::Results;

pub(crate) async fn execute(args: StatusArgs, app: &App) -> Answer {
    let doing = match &args.batch {
        Some(batch) => format!("show the status of {batch}"),
        None => "show the status of all batches".to_owned(),
    };
    let batch = args.batch.as_deref().map(|batch| batches::id(batch, &doing)).transpose()?;
    match (Results::open(app, &doing).await?, batch) {
        (Results::Service(services), Some(batch)) => one_of_service(&services, &batch, &doing).await,
        (Results::Service(services), None) => {
            let mut batches = Vec::new();
            for status in services.statuses().await? {
                batches.push(seen(&services, status).await?);
            }
            Ok(many(batches))
        }
        (results, Some(batch)) => {
            let row = results.rows(&sql(Some(&batch)), &doing).await?.into_iter().next();
            match row {
                Some(row) => Ok(Box::new(OneBatch::seen(progress(&row)))),
                None => Err(results.unknown(&batch, &doing).await),
            }
        }
        (results, None) => {
            let rows = results.rows(&sql(None), &doing).await?;
            Ok(many(rows.iter().map(progress).collect()))
        }
    }
}

async fn one_of_service(services: &Services, batch: &BatchId, doing: &str) -> Answer {
    match follow::known(services, batch).await? {
        Known::Status(status) => Ok(Box::new(OneBatch::seen(seen(services, status).await?))),
        Known::Queued => Ok(Box::new(OneBatch::seen(Progress::queued(batch)))),
        Known::No => Err(unknown(services, batch, doing).await),
    }
}

/// How far a batch is, as it is shown.
async fn seen(services: &Services, status: BatchStatus) -> Result<Progress, Failure> {
    let is_paused = !status.state.is_terminal()
        && services.asked(&status.batch_id).await?.is_some_and(|asked| asked.action == ControlAction::Pause);
    let progress = Progress::from(status);
    Ok(if is_paused { progress.paused() } else { progress })
}

/// The failure of a command about a batch that the services do not know.
pub(super) async fn unknown(services: &Services, batch: &BatchId, doing: &str) -> Failure {
    let others = services.statuses().await.unwrap_or_default();
    follow::unknown(doing, batch, others.into_iter().map(|status| status.batch_id.to_string()))
}

fn many(mut batches: Vec<Progress>) -> Box<ManyBatches> {
    batches.sort_by_key(|batch| Reverse(batch.created_at));
    Box::new(ManyBatches(batches))
}

fn sql(batch: Option<&BatchId>) -> String {
    let condition = batch.map(|batch| format!("WHERE batch_id = '{batch}'")).unwrap_or_default();
    format!(
        "SELECT batch_id, state, total_runs, succeeded, failed, dead, cancelled, created_at, completed_at
         FROM batches {condition}"
    )
}

/// A row of [`sql`].
fn progress(row: &Row) -> Progress {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    let count = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or_default();
    let [succeeded, failed, dead, cancelled] = ["succeeded", "failed", "dead", "cancelled"].map(count);
    Progress {
        batch_id: text("batch_id").unwrap_or_default().to_owned(),
        state: text("state").unwrap_or_default().to_owned(),
        total: count("total_runs"),
        done: succeeded + failed + dead + cancelled,
        succeeded,
        failed,
        dead,
        cancelled,
        created_at: text("created_at").and_then(|at| at.parse().ok()),
        completed_at: text("completed_at").and_then(|at| at.parse().ok()),
        problems: Vec::new(),
    }
}
