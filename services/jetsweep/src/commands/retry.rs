//! `jetsweep retry`: runs of a batch that has ended, run again as its next generation.

use std::io::{self, Write};

use async_nats::HeaderMap;
use jetsweep_consolidator::Row;
use jetsweep_shared::events::{self, Retry, RetryReply};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::plan::RunRange;
use jetsweep_shared::telemetry::steps;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::batches::{self, OneBatch};
use crate::cli::RetryArgs;
use crate::commands::{Answer, status};
use crate::failure::{Failure, OrFail};
use crate::follow;
use crate::local::{Batches, StateDir};
use crate::output::number::counted;
use crate::output::{Look, Report};
use crate::services::Services;
use crate::source::Results;

pub(crate) async fn execute(args: RetryArgs, app: &App) -> Answer {
    let doing = format!("retry runs of {}", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let Some(services) = Services::find(app).await? else { return Err(alone(app, &batch, &doing)) };
    let results = Results::of(&services);
    let runs = ranges(&results, &runs_sql(&batch, &args), &doing).await?;
    if runs.is_empty() {
        if services.status(&batch).await?.is_none() {
            return Err(status::unknown(&services, &batch, &doing).await);
        }
        let cause = format!("no run of {batch} is {}", wanted(&args).join(" or "));
        return Err(Failure::bad_input(&doing, cause));
    }
    let reply = ask(&services, &batch, runs, &doing).await?;
    if !args.wait {
        return Ok(Box::new(Retried { reply }));
    }
    let status = follow::generation_to_the_end(&services, &batch, reply.generation, app.format).await?;
    Ok(Box::new(OneBatch::ended(status.into())))
}

/// The failure of a retry with no services about. What `jetsweep run` has ended cannot be retried: its log, where a retry
/// is planned, goes with the batch's own server.
fn alone(app: &App, batch: &BatchId, doing: &str) -> Failure {
    let state = StateDir::at(&app.config.state_dir);
    let Ok(Some(record)) = Batches::of(&state).find(batch) else { return Services::none(app, doing) };
    let (spec, data) = (Batches::of(&state).spec_path(batch), record.data_root);
    let failure =
        Failure::bad_input(doing, format!("{batch} is of a `jetsweep run` that has ended, and its server with it"));
    failure.hint(format!(
        "what it left unfinished is finished by `jetsweep run --resume {batch}`; to run all of it again: \
         jetsweep run {} --data {} --batch {batch}-again",
        spec.display(),
        data.display()
    ))
}

/// The words for the runs that are meant.
fn wanted(args: &RetryArgs) -> Vec<&'static str> {
    let all = [("failed", args.failed), ("dead", args.dead), ("cancelled", args.cancelled)];
    let none_given = !(args.failed || args.dead || args.cancelled);
    all.into_iter().filter(|(_, given)| *given || none_given).map(|(word, _)| word).collect()
}

/// A query for the runs that are meant, in order. What was cancelled has no row.
fn runs_sql(batch: &BatchId, args: &RetryArgs) -> String {
    let wanted = wanted(args);
    let statuses: Vec<String> =
        wanted.iter().filter(|word| **word != "cancelled").map(|word| format!("'{word}'")).collect();
    let mut parts = Vec::new();
    if !statuses.is_empty() {
        parts.push(format!(
            "SELECT run FROM backtest_results WHERE batch_id = '{batch}' AND status IN ({})",
            statuses.join(", ")
        ));
    }
    if wanted.contains(&"cancelled") {
        parts.push(format!(
            "SELECT run FROM (SELECT unnest(range(total_runs)) AS run FROM batches WHERE batch_id = '{batch}')
             ANTI JOIN (SELECT run FROM backtest_results WHERE batch_id = '{batch}') USING (run)"
        ));
    }
    let limit = args.first.map(|first| format!(" LIMIT {first}")).unwrap_or_default();
    format!("SELECT run FROM ({}) ORDER BY run{limit}", parts.join(" UNION ALL "))
}

/// The runs of a query, as few ranges as they are.
pub(super) async fn ranges(results: &Results, runs_sql: &str, doing: &str) -> Result<Vec<RunRange>, Failure> {
    let sql = format!(
        "SELECT min(run) AS start, count(*) AS count
         FROM (SELECT run, run - row_number() OVER (ORDER BY run) AS stretch FROM ({runs_sql}))
         GROUP BY stretch ORDER BY start"
    );
    let mut ranges = Vec::new();
    results
        .each_row(&sql, doing, |row| {
            ranges.extend(range(&row));
            Ok(())
        })
        .await?;
    Ok(ranges)
}

fn range(row: &Row) -> Option<RunRange> {
    let number = |name: &str| row.get(name).and_then(Value::as_u64);
    Some(RunRange { start: number("start")?, count: u32::try_from(number("count")?).ok()? })
}

/// Asks the planner for the next generation of a batch, of these runs.
pub(super) async fn ask(
    services: &Services,
    batch: &BatchId,
    runs: Vec<RunRange>,
    doing: &str,
) -> Result<RetryReply, Failure> {
    let status = services.status(batch).await?;
    let generation = status.map_or(0, |status| status.generation) + 1;
    let retry =
        Retry { version: events::VERSION, batch_id: batch.clone(), generation, runs, requested_at: Timestamp::now() };
    let step = steps::retry(&services.bus.names.endpoint("planner", "retry"), batch, generation);
    let mut headers = HeaderMap::new();
    step.inject(&mut headers);
    let answer = services.ask_planner("retry", headers, events::encode(&retry), doing).await?;
    serde_json::from_slice(&answer).or_broken(|| doing)
}

/// Runs that are run again.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Retried {
    reply: RetryReply,
}

impl Report for Retried {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let RetryReply { batch_id, generation, runs } = &self.reply;
        let runs = counted(*runs, "run");
        writeln!(out, "{}: {runs} again, as generation {generation}", look.bold(batch_id.as_str()))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.reply.runs)
    }
}
