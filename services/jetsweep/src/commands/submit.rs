//! `jetsweep submit`: sends a sweep to running services.

use std::io::{self, Write};
use std::time::Duration;

use async_nats::service::NATS_SERVICE_ERROR;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use bytes::Bytes;
use jetsweep_planner::PlanOptions;
use jetsweep_shared::bus::{Bus, Creation};
use jetsweep_shared::events::{self, Begin, ErrorReply, SubmitReply, headers};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::spec::{self, ResolvedSpec};
use jetsweep_shared::subjects::BatchEvent;
use jetsweep_shared::telemetry::{Step, steps};
use jetsweep_shared::topology::{self, Tuning};
use serde::Serialize;

use crate::app::App;
use crate::batches::{self, OneBatch};
use crate::cli::SubmitArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::follow;
use crate::output::number::counted;
use crate::output::{Look, Report};
use crate::services::Services;
use crate::sweep;

/// Longest wait for the planner's answer. It walks every grid first, up to 10^9 points each.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Characters of the digest in the id of a batch that was given none.
const ID_DIGEST_CHARS: usize = 8;

pub(crate) async fn execute(args: SubmitArgs, app: &App) -> Answer {
    let doing = format!("submit {}", sweep::name(&args.sweep));
    let named = args.batch.batch.as_deref().map(|id| batches::id(id, &doing)).transpose()?;
    let spec = sweep::load(&args.sweep, app, &doing)?.spec;
    let services = Services::need(app, &doing).await?;
    let batch = named.unwrap_or_else(|| default_id(&spec.resolved));
    let submission = Submission {
        step: steps::submit(&services.bus.names.endpoint("planner", "submit"), &batch),
        batch,
        document: spec.document.to_json().into(),
        digest: spec.resolved.digest(),
        priority: args.batch.priority.map(Priority::from),
        spec: spec.resolved,
    };
    let submitted = match submission.ask_planner(&services.bus, &doing).await? {
        Some(reply) => Submitted::planned(reply),
        None => submission.queue(&services.bus, app, &doing).await?,
    };
    drop(submission);
    if !args.wait {
        return Ok(Box::new(submitted));
    }
    let status = follow::to_the_end(&services, &submitted.batch_id, app.format).await?;
    Ok(Box::new(OneBatch::ended(status.into())))
}

/// The id of a batch that was given none: the same for the same spec, so that submitting again is the same batch.
fn default_id(spec: &ResolvedSpec) -> BatchId {
    let digest: String = spec.digest().chars().take(ID_DIGEST_CHARS).collect();
    let id = format!("{}-{digest}", spec.name);
    id.parse().expect("a sweep's name is at most 40 characters, each of which an id can have")
}

/// What is submitted.
struct Submission {
    batch: BatchId,
    /// The self-contained document.
    document: Bytes,
    /// What it comes to.
    spec: ResolvedSpec,
    digest: String,
    /// In place of the document's, when given.
    priority: Option<Priority>,
    /// Submitting it.
    step: Step,
}

impl Submission {
    fn headers(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        if let Some(priority) = self.priority {
            map.insert(headers::PRIORITY, priority.as_str());
        }
        self.step.inject(&mut map);
        map
    }

    /// Asks a planner to take the batch; `None` when none answers.
    async fn ask_planner(&self, bus: &Bus, doing: &str) -> Result<Option<SubmitReply>, Failure> {
        let mut headers = self.headers();
        headers.insert(headers::BATCH, self.batch.as_str());
        let request = Request::new().headers(headers).payload(self.document.clone()).timeout(Some(ANSWER_TIME));
        let subject = bus.names.endpoint("planner", "submit");
        let message = match bus.client.send_request(subject, request).await {
            Ok(message) => message,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => return Ok(None),
            Err(error) => return Err(Failure::broken(doing, error)),
        };
        let is_refused = message.headers.as_ref().is_some_and(|headers| headers.get(NATS_SERVICE_ERROR).is_some());
        if !is_refused {
            return serde_json::from_slice(&message.payload).map(Some).or_broken(|| doing);
        }
        let reply: ErrorReply = serde_json::from_slice(&message.payload).or_broken(|| doing)?;
        Err(match reply.code.as_str() {
            "unavailable" => Failure::broken(doing, anyhow::anyhow!(reply.message)),
            _ if !reply.problems.is_empty() => Failure::problems(doing, reply.problems),
            _ => Failure::bad_input(doing, reply.message),
        })
    }

    /// Puts the document where the next planner finds it.
    async fn queue(&self, bus: &Bus, app: &App, doing: &str) -> Result<Submitted, Failure> {
        let plan = jetsweep_planner::plan(&self.spec, &PlanOptions::from_config(&app.config))
            .map_err(|problems| Failure::problems(doing, problems))?;
        ensure_queue(bus, app, doing).await?;
        let submitted = |known| Submitted {
            batch_id: self.batch.clone(),
            spec_digest: self.digest.clone(),
            total: plan.total_runs(),
            known,
            queued: true,
        };
        if let Some(digest) = self.planned_digest(bus, doing).await? {
            return self.known(&digest, doing).map(|()| Submitted { queued: false, ..submitted(true) });
        }
        let subject = bus.names.plan(&self.batch);
        let created = bus.create_with_headers(&subject, self.headers(), self.document.clone()).await;
        if created.or_broken(|| doing)? == Creation::Created {
            return Ok(submitted(false));
        }
        let waiting = bus.last(&bus.names.plans_stream(), &subject).await.or_broken(|| doing)?;
        let waiting = waiting.and_then(|document| spec::read(&document).ok()?.resolve().ok());
        match waiting {
            Some(spec) => self.known(&spec.digest(), doing).map(|()| submitted(true)),
            None => Err(Failure::bad_input(doing, format!("another spec is queued as {}", self.batch))),
        }
    }

    /// Digest of the spec the batch was planned from, if it was.
    async fn planned_digest(&self, bus: &Bus, doing: &str) -> Result<Option<String>, Failure> {
        let subject = bus.names.batch_event(&self.batch, BatchEvent::Begin);
        let begin = bus.last(&bus.names.results_stream(), &subject).await.or_broken(|| doing)?;
        let begin = begin.map(|begin| events::decode::<Begin>(&begin)).transpose().or_broken(|| doing)?;
        Ok(begin.map(|begin| begin.spec_digest))
    }

    /// Whether the batch of this id is of this spec.
    fn known(&self, digest: &str, doing: &str) -> Result<(), Failure> {
        if digest == self.digest {
            return Ok(());
        }
        let cause =
            format!("{} is a batch of another spec (digest {digest}, this one has {})", self.batch, self.digest);
        Err(Failure::bad_input(doing, cause).hint("choose another id with --batch"))
    }
}

/// Makes the streams when no service has been there yet to make them all.
async fn ensure_queue(bus: &Bus, app: &App, doing: &str) -> Result<(), Failure> {
    let plans = bus.jetstream.get_stream(bus.names.plans_stream()).await;
    let results = bus.jetstream.get_stream(bus.names.results_stream()).await;
    if plans.is_ok() && results.is_ok() {
        return Ok(());
    }
    topology::ensure(&bus.jetstream, &bus.names, &Tuning::from(&app.config)).await.or_broken(|| doing)
}

/// A batch that was taken.
#[derive(Debug, Serialize)]
struct Submitted {
    batch_id: BatchId,
    spec_digest: String,
    total: u64,
    /// Whether it had been submitted before.
    known: bool,
    /// Whether it waits for a planner.
    queued: bool,
}

impl Submitted {
    fn planned(reply: SubmitReply) -> Self {
        let SubmitReply { batch_id, spec_digest, total_runs, known } = reply;
        Self { batch_id, spec_digest, total: total_runs, known, queued: false }
    }
}

impl Report for Submitted {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let how = match (self.known, self.queued) {
            (false, false) => "submitted",
            (false, true) => "queued until a planner starts",
            (true, false) => "submitted before",
            (true, true) => "queued before, until a planner starts",
        };
        writeln!(out, "{}: {}, {how}", look.bold(self.batch_id.as_str()), counted(self.total, "run"))
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.batch_id)
    }
}
