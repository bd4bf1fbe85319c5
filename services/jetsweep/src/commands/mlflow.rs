//! `jetsweep mlflow`: how the bridge is, and batches of the past.

use std::io::{self, Write};

use futures::StreamExt;
use jetsweep_mlflow_bridge::{BackfillError, Backfilled, BridgeError, backfill};
use jetsweep_shared::events::{self, MlflowBridgeStatus, MlflowState, MlflowStatus};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::MLFLOW_BRIDGE_KEY;
use serde::Serialize;

use crate::app::App;
use crate::batches;
use crate::cli::{BackfillArgs, MlflowArgs, MlflowCommand, ServerArgs};
use crate::commands::Answer;
use crate::exit::Exit;
use crate::failure::{Failure, OrFail};
use crate::mlflow_source::BatchSource;
use crate::one_run::DataPlace;
use crate::output::number::{counted, grouped};
use crate::output::{Align, Look, Report, Table};
use crate::services::Services;
use crate::source::Results;

/// What ends the key of a batch's view.
const SUFFIX: &str = ".mlflow";

pub(crate) async fn execute(args: MlflowArgs, app: &App) -> Answer {
    match args.command {
        MlflowCommand::Status(args) => status(args, app).await,
        MlflowCommand::Backfill(args) => fill(args, app).await,
    }
}

async fn status(_args: ServerArgs, app: &App) -> Answer {
    let doing = "show the MLflow bridge";
    let Services { bus } = Services::need(app, doing).await?;
    let (name, stream) = (bus.names.mlflow_consumer(), bus.names.results_stream());
    let consumer: Result<async_nats::jetstream::consumer::PullConsumer, _> =
        bus.jetstream.get_consumer_from_stream(name, stream).await;
    let Ok(consumer) = consumer else {
        let cause = "no MLflow bridge has run with these services";
        return Err(Failure::bad_input(doing, cause).hint("`jetsweep mlflow-bridge` is the service"));
    };
    let info = consumer.cached_info();
    let bucket = bus.batches().await.or_broken(|| doing)?;
    let bridge = bucket.get(MLFLOW_BRIDGE_KEY).await.or_broken(|| doing)?;
    let bridge: Option<MlflowBridgeStatus> = bridge.and_then(|bytes| events::decode(&bytes).ok());
    let mut of_batches: Vec<MlflowStatus> = Vec::new();
    let mut keys = bucket.keys().await.or_broken(|| doing)?;
    while let Some(key) = keys.next().await {
        let key = key.or_broken(|| doing)?;
        if !key.ends_with(SUFFIX) {
            continue;
        }
        let value = bucket.get(key.as_str()).await.or_broken(|| doing)?;
        of_batches.extend(value.and_then(|bytes| events::decode::<MlflowStatus>(&bytes).ok()));
    }
    of_batches.sort_by_key(|status| std::cmp::Reverse(status.updated_at));
    let lag = info.num_pending + info.num_ack_pending as u64;
    Ok(Box::new(BridgeReport { lag, bridge, batches: of_batches }))
}

/// How the bridge is.
#[derive(Debug, Serialize)]
struct BridgeReport {
    /// Messages of RESULTS that it has not settled.
    lag: u64,
    bridge: Option<MlflowBridgeStatus>,
    batches: Vec<MlflowStatus>,
}

impl Report for BridgeReport {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        if let Some(bridge) = &self.bridge {
            match bridge.away_since {
                Some(since) => writeln!(out, "MLflow at {} is {} since {since}", bridge.server, look.red("away"))?,
                None => writeln!(out, "MLflow at {}", bridge.server)?,
            }
            if let (Some(error), Some(at)) = (&bridge.last_error, bridge.last_error_at) {
                writeln!(out, "last error at {at}: {error}")?;
            }
        }
        writeln!(out, "{} waiting to be logged", counted(self.lag, "result"))?;
        if self.batches.is_empty() {
            return Ok(());
        }
        let columns = [
            ("batch", Align::Left),
            ("state", Align::Left),
            ("logged", Align::Right),
            ("failed", Align::Right),
            ("refused", Align::Right),
        ];
        let mut table = Table::new(look, columns);
        for status in &self.batches {
            let state = match status.state {
                MlflowState::Logging => "logging",
                MlflowState::Finishing => "finishing",
                MlflowState::Done => "done",
            };
            let counts = [status.logged, status.failed, status.refused].map(grouped);
            table.row([status.batch_id.to_string(), state.to_owned()].into_iter().chain(counts));
        }
        writeln!(out, "{table}")?;
        for status in &self.batches {
            if let Some(problem) = &status.problem {
                writeln!(out, "{} is not completed: {problem}", status.batch_id)?;
            }
        }
        Ok(())
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.lag)
    }
}

async fn fill(args: BackfillArgs, app: &App) -> Answer {
    let doing = format!("log {} to MLflow", args.batch);
    let batch = batches::id(&args.batch, &doing)?;
    let results = Results::open(app, &doing).await?;
    let begin = results.plan(&batch, &doing).await?;
    let place = DataPlace::find(&args.data, app, &batch, &begin.spec.data, &doing)?;
    let source = BatchSource::new(results, place, app, &doing).await?;
    let filled = backfill(&app.config.mlflow, &source, begin, &|_| ()).await;
    match filled {
        Ok(filled) => Ok(Box::new(Filled { batch_id: batch, filled })),
        Err(BackfillError::Bridge(error @ (BridgeError::Client(_) | BridgeError::Denied(_)))) => {
            Err(Failure::bad_input(&doing, error))
        }
        Err(error) => Err(Failure::broken(&doing, error).hint("do it again: what is there is not logged twice")),
    }
}

/// What is in MLflow of a batch.
struct Filled {
    batch_id: BatchId,
    filled: Backfilled,
}

#[derive(Serialize)]
struct FilledDocument<'a> {
    batch_id: &'a BatchId,
    logged: u64,
    failed: u64,
    refused: Vec<Refusal<'a>>,
    url: &'a str,
}

#[derive(Serialize)]
struct Refusal<'a> {
    run: u64,
    message: &'a str,
}

impl Report for Filled {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let Backfilled { logged, failed, refused, url } = &self.filled;
        let logged = counted(*logged, "run");
        writeln!(out, "{logged} of {} in MLflow, of these {} failed", self.batch_id, grouped(*failed))?;
        for (run, words) in refused {
            writeln!(out, "{} run {run}: {words}", look.red("refused"))?;
        }
        writeln!(out, "{url}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        let Backfilled { logged, failed, refused, url } = &self.filled;
        let refused = refused.iter().map(|(run, message)| Refusal { run: *run, message }).collect();
        let document = FilledDocument { batch_id: &self.batch_id, logged: *logged, failed: *failed, refused, url };
        serde_json::to_writer_pretty(out, &document)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.filled.url)
    }

    fn exit(&self) -> Exit {
        if self.filled.refused.is_empty() { Exit::Done } else { Exit::Failed }
    }
}
