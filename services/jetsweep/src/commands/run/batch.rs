//! Which batch is run: a new one, or one that was started before.

use std::path::PathBuf;

use jetsweep_consolidator::BatchSummary;
use jetsweep_planner::PlanOptions;
use jetsweep_shared::config::Config;
use jetsweep_shared::events::BatchState;
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::spec::{self, ResolvedSpec, Source};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::data;
use crate::app::App;
use crate::bars;
use crate::cli::RunArgs;
use crate::failure::{Failure, OrFail};
use crate::follow;
use crate::local::{BatchRecord, Batches, StateDir};
use crate::sweep::{self, Sweep};

/// A batch about to be run.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(super) record: BatchRecord,
    /// The self-contained spec, as it is submitted.
    pub(super) document: Vec<u8>,
    /// What it comes to.
    pub(super) spec: ResolvedSpec,
    /// What the user calls it: `run sweep.toml`.
    doing: String,
    /// Whether it was started before.
    is_resumed: bool,
}

impl Batch {
    /// The batch of a spec or of the short form. A batch that was started here with the same id and the same spec is
    /// the same batch.
    pub(super) fn new(args: &RunArgs, app: &App) -> Result<Self, Failure> {
        let doing = format!("run {}", sweep::name(&args.sweep));
        let named = args.batch.batch.as_deref().map(|id| crate::batches::id(id, &doing)).transpose()?;
        let Sweep { spec, data_root } = sweep::load(&args.sweep, app, &doing)?;
        let spec_digest = spec.resolved.digest();
        let data_root = absolute(data_root).or_bad_input(|| &doing)?;
        let record = BatchRecord {
            batch_id: named.unwrap_or_else(|| new_id(&spec.resolved.name)),
            spec_digest,
            sweep: spec.resolved.name.clone(),
            data_root,
            priority: args.batch.priority.map_or(spec.document.priority(), Priority::from),
            skip_invalid: args.skip_invalid,
            started_at: Timestamp::now(),
        };
        let state = StateDir::at(&app.config.state_dir);
        let before = Batches::of(&state).find(&record.batch_id).or_broken(|| &doing)?;
        let is_resumed = before.is_some();
        let record = match before {
            Some(before) if before.spec_digest != record.spec_digest => {
                let cause = format!("{} is a batch of another spec", before.batch_id);
                return Err(Failure::bad_input(&doing, cause).hint("choose another id with --batch"));
            }
            Some(before) => before,
            None => record,
        };
        Ok(Self { record, document: spec.document.to_json(), spec: spec.resolved, doing, is_resumed })
    }

    /// A batch that was started in this state folder.
    pub(super) fn resume(id: &str, app: &App) -> Result<Self, Failure> {
        let doing = format!("resume {id}");
        let batch_id: BatchId = crate::batches::id(id, &doing)?;
        let state = StateDir::at(&app.config.state_dir);
        let batches = Batches::of(&state);
        let Some(record) = batches.find(&batch_id).or_broken(|| &doing)? else {
            return Err(follow::unknown(&doing, &batch_id, super::known(&state)));
        };
        let document = batches.spec(&batch_id).or_broken(|| &doing)?;
        let spec = spec::read(&document).or_broken(|| &doing)?.resolve();
        let spec = spec.map_err(|problems| Failure::problems(&doing, problems))?;
        Ok(Self { record, document, spec, doing, is_resumed: true })
    }

    /// What is being done with it, for messages: completes "failed to ".
    pub(super) fn doing(&self) -> String {
        self.doing.clone()
    }

    /// What the database says of it when it has ended; `None` when there is something left to do.
    pub(super) fn finished(&self, config: &Config) -> Result<Option<BatchSummary>, Failure> {
        let database = config.database();
        if !self.is_resumed || !database.exists() {
            return Ok(None);
        }
        // Whoever has the database open now is told of when the state folder is locked.
        let Ok(reader) = super::open(config, &database) else { return Ok(None) };
        let summary = reader.summary(&self.record.batch_id).or_broken(|| &self.doing)?;
        Ok(summary.filter(|summary| matches!(summary.state, BatchState::Completed | BatchState::Cancelled)))
    }

    /// Tells what a planner would refuse.
    pub(super) fn check_plan(&self, app: &App) -> Result<(), Failure> {
        let mut options = PlanOptions::from_config(&app.config);
        options.data_root = Some(self.record.data_root.clone());
        match jetsweep_planner::plan(&self.spec, &options) {
            Ok(_) => Ok(()),
            Err(problems) => Err(Failure::problems(&self.doing, problems)),
        }
    }

    /// Reads the bars of every symbol and tells everything that is wrong with them, unless that was accepted.
    pub(super) async fn check_data(&self, app: &App) -> Result<(), Failure> {
        let looked_under = bars::looked_under(&self.record.data_root, &self.spec.data);
        if super::has_own_server(&app.config) && matches!(Source::of(&self.spec.data.source), Ok(Source::Store(_))) {
            let cause = format!(
                "`jetsweep run` has a NATS server of its own, and no data bucket with {}",
                self.spec.data.source
            );
            let hint = "`jetsweep submit --nats URL` sends the sweep to the server that has the bars; --data names bars on \
                        this machine";
            return Err(Failure::bad_input(&self.doing, cause).hint(hint));
        }
        let loader = bars::loader(&self.record.data_root, &self.spec.data, app, &self.doing).await?;
        let found = data::check(&loader, &self.spec, app.config.worker.slots).await;
        let found = found.map_err(|error| Failure::bad_input(&self.doing, error).hint(&looked_under))?;
        if found.is_empty() || self.record.skip_invalid {
            return Ok(());
        }
        let hint = format!("{}; --skip-invalid runs the other symbols", looked_under);
        Err(Failure::problems(&self.doing, data::told(found)).hint(hint))
    }

    /// Records the batch, so that it can be resumed and replayed.
    pub(super) fn record(&self, state: &StateDir) -> Result<(), Failure> {
        if self.is_resumed {
            return Ok(());
        }
        let recorded = Batches::of(state).record(&self.record, &self.document);
        recorded.or_broken(|| format!("record the batch in {}", state.root().display()))
    }

    /// The command that goes on with it.
    pub(super) fn resume_command(&self, app: &App) -> String {
        let mut command = format!("jetsweep run --resume {}", self.record.batch_id);
        for (key, flag) in [("state_dir", "--state"), ("nats.url", "--nats")] {
            let by_flag = matches!(app.config.origin(key), jetsweep_shared::config::Origin::Flag { .. });
            let value = match key {
                "state_dir" => app.config.state_dir.display().to_string(),
                _ => jetsweep_shared::config::redact_url(&app.config.nats.url),
            };
            if by_flag {
                command.push_str(&format!(" {flag} {value}"));
            }
        }
        command
    }
}

/// Sweep, time (UTC) and four random digits: no two are alike, and they sort by time.
fn new_id(sweep: &str) -> BatchId {
    let now = TimeZone::UTC.to_datetime(Timestamp::now());
    let id = format!("{sweep}-{}-{:04x}", now.strftime("%Y%m%d-%H%M%S"), rand::random::<u16>());
    id.parse().expect("a sweep's name is at most 40 characters, each of which an id can have")
}

/// The path from the root of the file system; the folder need not exist, which checking the data tells better.
fn absolute(path: PathBuf) -> std::io::Result<PathBuf> {
    path.canonicalize().or_else(|_| std::path::absolute(path))
}
