//! `jetsweep run`: a whole sweep on this machine, in one process around a NATS server of its own.
//!
//! In this order: the spec is read and all its problems are told; the data of every symbol is read and all its
//! problems are told; the state folder is locked and the batch recorded; server and services start; the spec is
//! submitted; the batch is followed to its end; everything is stopped; the summary is read from the database. Until
//! the state folder is locked nothing is written anywhere, but for bars that had to be fetched.

mod batch;
pub(crate) mod data;
mod mlflow;
mod report;
mod stages;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::HeaderMap;
use jetsweep_consolidator::{BatchSummary, Reader, Resources};
use jetsweep_shared::bus::{Bus, Creation};
use jetsweep_shared::config::{Config, Origin};
use jetsweep_shared::events::{self, BatchState, BatchStatus, Begin, headers};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::BatchEvent;
use jetsweep_shared::telemetry::steps;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::cli::RunArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::interrupt;
use crate::local::nats_server::{self, NatsServer};
use crate::local::{Batches, Connection, StateDir, StateLock};
use crate::output::Format;
use crate::output::number::{counted, grouped};
use crate::progress::{self, Ui};
use crate::session::{self, Server, Session};

use batch::Batch;
use report::RunReport;
pub(crate) use stages::Stages;

pub(crate) async fn execute(args: RunArgs, app: &App) -> Answer {
    let mut stages = Stages::start();
    let batch = match &args.resume {
        Some(id) => Batch::resume(id, app)?,
        None => Batch::new(&args, app)?,
    };
    // What is complete needs no server, and no data either.
    if let Some(summary) = batch.finished(&app.config)? {
        return Ok(Box::new(RunReport::of_finished(&batch, summary, &app.config.database())));
    }
    batch.check_plan(app)?;
    batch.check_data(app).await?;
    let program = own_server(&app.config, &batch.doing())?;
    mlflow::check(&app.config, &batch.doing()).await?;
    stages.prepared();
    let ui = Ui::new(app.format);
    let report = Run { batch: &batch, app, program, ui, stages }.execute().await?;
    Ok(Box::new(report))
}

/// One batch on its way.
struct Run<'a> {
    batch: &'a Batch,
    app: &'a App,
    /// The server to start; `None` when a running one is used.
    program: Option<PathBuf>,
    ui: Ui,
    stages: Stages,
}

/// How following a batch ended.
enum Followed {
    /// The batch ended.
    Ended(BatchStatus),
    /// A signal came.
    Interrupted,
}

impl Run<'_> {
    async fn execute(mut self) -> Result<RunReport, Failure> {
        let doing = self.batch.doing();
        let stop = interrupt::listen().or_broken(|| &doing)?;
        let root = &self.app.config.state_dir;
        let state = StateDir::create(root).or_broken(|| format!("make the state folder {}", root.display()))?;
        let _lock = StateLock::acquire(&state, &format!("jetsweep {doing}"))
            .map_err(|error| Failure::broken(&doing, error).hint("--state DIR uses another folder"))?;
        self.batch.record(&state)?;
        let config = self.config(&state);
        let result = self.run(&state, &config, &stop).await;
        self.ui.finish();
        let (mut report, is_done) = result?;
        if is_done {
            // The database has everything now, and the store would only take space. What cannot be removed is no harm.
            let _ = std::fs::remove_dir_all(state.nats(&self.batch.record.batch_id));
        }
        report.finish(&self.stages);
        Ok(report)
    }

    /// The configuration of the services: as it is, but with absolute paths, for this batch's data.
    fn config(&self, state: &StateDir) -> Config {
        let mut config = self.app.config.clone();
        config.state_dir = state.root().to_owned();
        config.data.root = self.batch.record.data_root.clone();
        config
    }

    async fn run(
        &mut self,
        state: &StateDir,
        config: &Config,
        stop: &CancellationToken,
    ) -> Result<(RunReport, bool), Failure> {
        let doing = self.batch.doing();
        let id = &self.batch.record.batch_id;
        let folder = state.nats(id);
        let server = match &self.program {
            Some(program) => Server::Own { program, folder: &folder },
            None => {
                let url = jetsweep_shared::config::redact_url(&config.nats.url);
                self.ui.say(&format!("using NATS at {url} (from {})", config.origin("nats.url")));
                Server::Configured
            }
        };
        let started = Session::open(config, server).await;
        let mut session = started.map_err(|error| self.lost(Failure::broken(&doing, error)))?;
        let connection = Connection::of(&session.config, id);
        let published = connection.publish(state).or_broken(|| format!("write {}", state.connection().display()))?;
        // From here on whoever reads results asks the session, so nobody opens the database under its feet.
        session.serve();
        if self.app.format == Format::Table {
            self.ui.say(&format!("batch {id}"));
        }

        let followed = self.submit_and_follow(&mut session, stop).await;
        self.stages.ran();
        self.ui.wait_for("closing the database");

        let worker = session.worker();
        let server_memory = session.server_peak_memory();
        let stopped = session.stop().await;
        drop(published);
        let followed = followed?;
        let server = stopped.or_broken(|| &doing)?;
        if let Followed::Ended(BatchStatus { state: BatchState::Refused, problems, .. }) = followed {
            return Err(Failure::problems(&doing, problems));
        }
        // An interrupted batch may have ended with what was finished after the signal.
        let (summary, ()) = tokio::join!(summary(config, id, &doing), stop_server(server));
        let summary = match (summary?, followed) {
            (Some(summary), _) if summary.state.is_terminal() => summary,
            (summary, Followed::Interrupted) => return Err(self.interrupted(summary.as_ref())),
            (_, Followed::Ended(_)) => {
                let cause = anyhow::anyhow!("the batch ended, but {} does not have it", config.database().display());
                return Err(Failure::broken(&doing, cause));
            }
        };
        let is_done = self.program.is_some() && summary.dead == 0;
        let report =
            RunReport::new(self.batch, summary, &config.database(), worker, config.worker.slots, server_memory);
        Ok((report, is_done))
    }

    async fn submit_and_follow(
        &mut self,
        session: &mut Session,
        stop: &CancellationToken,
    ) -> Result<Followed, Failure> {
        let bus = session.bus.clone();
        let id = &self.batch.record.batch_id;
        let (stages, ui) = (&mut self.stages, &mut self.ui);
        let logs_to_mlflow = session::logs_to_mlflow(&session.config);
        let followed = async {
            submit(&bus, self.batch).await?;
            stages.started();
            let status = progress::follow(&bus, id, 0, ui).await?;
            stages.ran();
            if logs_to_mlflow && status.state != BatchState::Refused {
                mlflow::wait(&bus, id, ui).await;
            }
            Ok(status)
        };
        let failure = tokio::select! {
            biased;
            () = stop.cancelled() => {
                self.ui.finish();
                self.ui.say("interrupted: finishing what runs and handing back the rest; Ctrl+C again leaves at once");
                return Ok(Followed::Interrupted);
            }
            error = session.failed() => Failure::broken(self.batch.doing(), error),
            followed = followed => match followed {
                Ok(status) => return Ok(Followed::Ended(status)),
                Err(failure) => failure,
            },
        };
        Err(self.lost(failure))
    }

    /// A failure after the start: nothing that was done is lost.
    fn lost(&self, failure: Failure) -> Failure {
        failure.hint(format!("what was done is kept; `{}` does the rest", self.batch.resume_command(self.app)))
    }

    /// The failure of an interrupted batch. It has no summary when the signal came before anything was stored.
    fn interrupted(&self, summary: Option<&BatchSummary>) -> Failure {
        let done = summary.map(|summary| {
            let done = summary.succeeded + summary.failed + summary.dead + summary.cancelled;
            format!(" after {} of {}", grouped(done), counted(summary.total_runs, "run"))
        });
        let failure =
            Failure::interrupted_after(self.batch.doing(), format!("interrupted{}", done.unwrap_or_default()));
        failure.hint(format!("`{}` does the rest", self.batch.resume_command(self.app)))
    }
}

/// Whether a server is started for the run, as the configuration names none.
fn has_own_server(config: &Config) -> bool {
    config.origin("nats.url") == Origin::Default
}

/// The server program to start; `None` when the configuration names a running server.
pub(crate) fn own_server(config: &Config, doing: &str) -> Result<Option<PathBuf>, Failure> {
    if !has_own_server(config) {
        return Ok(None);
    }
    let configured = config.nats.server_binary.as_deref();
    let found = nats_server::find(configured).map(Some);
    // Without a name given, a missing program is the machine's fault; a wrong name is the user's.
    if configured.is_some() { found.or_bad_input(|| doing) } else { found.or_broken(|| doing) }
}

/// Puts the spec where the planner finds it, unless the batch is planned already.
async fn submit(bus: &Bus, batch: &Batch) -> Result<(), Failure> {
    let doing = batch.doing();
    let id = &batch.record.batch_id;
    let subject = bus.names.batch_event(id, BatchEvent::Begin);
    let begin = bus.last(&bus.names.results_stream(), &subject).await.or_broken(|| &doing)?;
    if let Some(begin) = begin {
        let begin: Begin = events::decode(&begin).or_broken(|| &doing)?;
        if begin.spec_digest == batch.record.spec_digest {
            return Ok(());
        }
        let cause = format!("{id} is a batch of another spec on this server");
        return Err(Failure::bad_input(&doing, cause).hint("choose another id with --batch"));
    }
    let mut map = HeaderMap::new();
    map.insert(headers::PRIORITY, batch.record.priority.as_str());
    let subject = bus.names.plan(id);
    let step = steps::submit(&subject, id);
    step.inject(&mut map);
    // One that waits there already is this batch's: the planner compares digests when it has planned one of the id.
    let created = bus.create_with_headers(&subject, map, batch.document.clone().into()).await;
    created.map(|_: Creation| ()).or_broken(|| &doing)
}

async fn stop_server(server: Option<NatsServer>) {
    if let Some(server) = server {
        server.stop().await;
    }
}

/// What the database says of a batch. Nothing may write to it meanwhile.
async fn summary(config: &Config, batch: &BatchId, doing: &str) -> Result<Option<BatchSummary>, Failure> {
    let (config, batch) = (config.clone(), batch.clone());
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        Ok(open(&config, &config.database())?.summary(&batch)?)
    });
    reading.await.map_err(anyhow::Error::from).flatten().or_broken(|| doing)
}

fn open(config: &Config, database: &Path) -> Result<Reader, jetsweep_consolidator::DatabaseError> {
    let consolidator = &config.consolidator;
    let resources = Resources { memory_bytes: consolidator.memory_limit_bytes, threads: consolidator.threads };
    Reader::open(database, resources)
}

/// Seconds of a duration, as JSON has them.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// Whether a batch of the state folder is known there.
fn known(state: &StateDir) -> Vec<String> {
    Batches::of(state).all().into_iter().map(|record| record.batch_id.to_string()).collect()
}
