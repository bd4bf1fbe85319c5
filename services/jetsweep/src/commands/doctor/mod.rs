//! `jetsweep doctor`: looks at everything a deployment needs, and says what to do about what is wrong.

mod machine;
mod permissions;
mod settings;

use std::io::{self, Write};
use std::time::Duration;

use async_nats::jetstream::consumer::{IntoConsumerConfig, PullConsumer};
use futures::StreamExt;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::Origin;
use jetsweep_shared::events::{self, MlflowBridgeStatus};
use jetsweep_shared::subjects::MLFLOW_BRIDGE_KEY;
use jetsweep_shared::topology::{self, Tuning};
use jiff::Timestamp;
use serde::Serialize;

use crate::app::App;
use crate::commands::Answer;
use crate::exit::Exit;
use crate::local::OLDEST_SERVER;
use crate::output::{Align, Look, Report, Table, number};
use crate::services::Services;

/// Longest wait for services to say that they are there.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Largest difference between the clocks of this machine and the server that is fine, in seconds.
const CLOCK_SECONDS: f64 = 2.0;

/// Share of a stream's limit from which on it counts as filling up.
const FULL: f64 = 0.8;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Good,
    /// Worth a look; work goes on.
    Warning,
    /// Something does not work.
    Bad,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Finding {
    check: String,
    verdict: Verdict,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All findings, in the order in which things depend on each other.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, check: &str, found: impl Into<String>) {
        self.push(check, Verdict::Good, found.into(), None);
    }

    fn warning(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.push(check, Verdict::Warning, found.into(), Some(advice.into()));
    }

    fn bad(&mut self, check: &str, found: impl Into<String>, advice: impl Into<String>) {
        self.push(check, Verdict::Bad, found.into(), Some(advice.into()));
    }

    fn push(&mut self, check: &str, verdict: Verdict, found: String, advice: Option<String>) {
        self.0.push(Finding { check: check.to_owned(), verdict, found, advice });
    }
}

pub(crate) async fn execute(app: &App) -> Answer {
    let mut findings = Findings::default();
    machine::check(&app.config, &mut findings);
    match Services::find(app).await {
        Ok(Some(services)) => check_services(app, &services.bus, &mut findings).await,
        Ok(None) => findings.warning(
            "nats",
            "no server is configured, and no `jetsweep run` is using the state folder",
            "name the server with --nats or nats.url; `jetsweep run` needs none",
        ),
        Err(failure) => findings.bad(
            "nats",
            failure.to_text(),
            "start the server, or correct nats.url, nats.user, nats.password_file, nats.tls_ca: `jetsweep config` shows them",
        ),
    }
    Ok(Box::new(findings))
}

async fn check_services(app: &App, bus: &Bus, findings: &mut Findings) {
    let tuning = Tuning::from(&app.config);
    let server = bus.client.server_info();
    let version = &server.version;
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if number < OLDEST_SERVER {
        let (major, minor) = OLDEST_SERVER;
        findings.bad("nats", format!("version {version}"), format!("upgrade nats-server to {major}.{minor} or later"));
    } else {
        findings.good("nats", format!("{} is version {version}", server.server_name));
    }
    if server.max_payload < 1 << 20 {
        let found = format!("max_payload is {} bytes", server.max_payload);
        findings.bad("payload", found, "set max_payload to 1MB: results of some batches are larger");
    }
    check_clock(bus, findings).await;
    // A server that `jetsweep run` has started lets everybody do everything.
    if app.config.origin("nats.url") != Origin::Default {
        permissions::check(&app.config.nats, bus, findings).await;
    }
    check_streams(bus, &tuning, findings).await;
    check_consumers(bus, &tuning, findings).await;
    check_bridge(bus, findings).await;
    check_roles(bus, findings).await;
}

async fn check_clock(bus: &Bus, findings: &mut Findings) {
    let asked = format!("STREAM.INFO.{}", bus.names.results_stream());
    let Ok::<serde_json::Value, _>(answer) = bus.jetstream.request(asked, &()).await else { return };
    // A server that does not say its time leaves nothing to compare.
    let Some(theirs) = answer["ts"].as_str().and_then(|time| time.parse::<Timestamp>().ok()) else { return };
    let seconds = Timestamp::now().duration_since(theirs).as_secs_f64();
    if seconds.abs() > CLOCK_SECONDS {
        let found = format!("this machine and the server differ by {seconds:.1} s");
        findings.warning(
            "clock",
            found,
            "synchronise both (chrony, systemd-timesyncd): times in results would mislead",
        );
    } else {
        findings.good("clock", "this machine and the server agree");
    }
}

async fn check_streams(bus: &Bus, tuning: &Tuning, findings: &mut Findings) {
    let wanted = match topology::streams(&bus.names, tuning) {
        Ok(wanted) => wanted,
        Err(error) => return findings.bad("streams", error.to_string(), "this is a bug of jetsweep: report it"),
    };
    // Deployments whose bars are in a folder need no data bucket.
    let data = topology::data_stream(&bus.names, tuning).ok();
    let optional = data.as_ref().map(|config| config.name.clone());
    let dead = bus.names.dead_stream();
    for config in wanted.into_iter().chain(data) {
        let name = &config.name;
        let found = match bus.jetstream.get_stream(name).await {
            Ok(found) => found,
            Err(_) if optional.as_ref() == Some(name) => continue,
            Err(error) => {
                findings.bad(name, format!("it cannot be looked at: {error}"), "start a planner, which creates it");
                continue;
            }
        };
        let info = found.cached_info();
        let (messages, bytes) = (info.state.messages, info.state.bytes);
        let limit = u64::try_from(info.config.max_bytes).ok().filter(|limit| *limit > 0);
        let share = limit.map(|limit| bytes as f64 / limit as f64);
        let size = match share {
            Some(share) => format!("{messages} messages, {:.0}% of its limit", share * 100.0),
            None => format!("{messages} messages, {}; it has no limit", number::bytes(bytes)),
        };
        let differs = settings::tell(name, topology::differences(&info.config, &config), findings);
        if share.is_some_and(|share| share > FULL) {
            findings.warning(name, size, "see \"a stream is full\" in the runbook");
        } else if *name == dead && messages > 0 {
            findings.warning(name, size, "look at what was given up on: jetsweep dead list");
        } else if !differs {
            findings.good(name, size);
        }
    }
}

async fn check_consumers(bus: &Bus, tuning: &Tuning, findings: &mut Findings) {
    let Ok(wanted) = topology::consumers(&bus.names, tuning) else { return };
    for (stream, config) in wanted {
        let name = config.durable_name.clone().unwrap_or_default();
        match bus.jetstream.get_consumer_from_stream(&name, &stream).await {
            Ok(found) => {
                let differences = topology::differences(&found.cached_info().config, &config.into_consumer_config());
                let differs = settings::tell(&format!("{stream} > {name}"), differences, findings);
                check_consumer(&stream, &found, differs, findings);
            }
            Err(error) => findings.bad(
                &format!("{stream} > {name}"),
                format!("it cannot be looked at: {error}"),
                "start a planner, which creates it",
            ),
        }
    }
}

/// Whether somebody takes a consumer's messages. Of one whose settings differ it is told only if nobody does.
fn check_consumer(stream: &str, consumer: &PullConsumer, differs: bool, findings: &mut Findings) {
    let info = consumer.cached_info();
    let check = format!("{stream} > {}", info.name);
    let state = format!("{} waiting, {} held", info.num_pending, info.num_ack_pending);
    if info.num_pending > 0 && info.num_waiting == 0 && info.num_ack_pending == 0 {
        findings.bad(&check, format!("{state}, and nobody takes them"), "start the service that does");
    } else if !differs {
        findings.good(&check, state);
    }
}

/// The MLflow bridge, where one has ever run.
async fn check_bridge(bus: &Bus, findings: &mut Findings) {
    let stream = bus.names.results_stream();
    let Ok(consumer) = bus.jetstream.get_consumer_from_stream(bus.names.mlflow_consumer(), &stream).await else {
        return;
    };
    check_consumer(&stream, &consumer, false, findings);
    let Ok(bucket) = bus.batches().await else { return };
    let Ok(Some(told)) = bucket.get(MLFLOW_BRIDGE_KEY).await else { return };
    let Ok(bridge) = events::decode::<MlflowBridgeStatus>(&told) else { return };
    match bridge.away_since {
        None => findings.good("mlflow", format!("{} answers", bridge.server)),
        Some(since) => findings.warning(
            "mlflow",
            format!("{} is away since {since}: {}", bridge.server, bridge.last_error.unwrap_or_default()),
            "start it, or correct mlflow.url and the sign-in of the bridge; nothing is lost meanwhile",
        ),
    }
}

/// Which services answer.
async fn check_roles(bus: &Bus, findings: &mut Findings) {
    for (role, without) in [
        ("planner", "submitted sweeps wait until there is one"),
        ("worker", "jobs wait until there is one"),
        ("consolidator", "results wait in their stream until there is one"),
    ] {
        let count = count_services(bus, role).await;
        if count == 0 {
            findings.bad(role, "none answers", format!("start one: jetsweep {role}; {without}"));
        } else if role == "consolidator" && count > 1 {
            findings.warning(
                role,
                format!("{count} answer"),
                "queries are answered by any of them: keep one a namespace",
            );
        } else {
            findings.good(role, format!("{count} {}", if count == 1 { "answers" } else { "answer" }));
        }
    }
}

async fn count_services(bus: &Bus, role: &str) -> usize {
    let inbox = bus.client.new_inbox();
    let Ok(mut answers) = bus.client.subscribe(inbox.clone()).await else { return 0 };
    let asked = bus.client.publish_with_reply(format!("$SRV.PING.{role}"), inbox, Default::default()).await;
    let mut count = 0;
    if asked.is_ok() {
        while let Ok(Some(answer)) = tokio::time::timeout(ANSWER_TIME, answers.next()).await {
            // Without any service the server itself says so, in a message with a status.
            count += usize::from(answer.status.is_none());
            if answer.status.is_some() {
                break;
            }
        }
    }
    count
}

impl Report for Findings {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let columns = [("check", Align::Left), ("", Align::Left), ("found", Align::Left), ("what to do", Align::Left)];
        let mut table = Table::new(look, columns);
        for Finding { check, verdict, found, advice } in &self.0 {
            let verdict = match verdict {
                Verdict::Good => "good",
                Verdict::Warning => "warning",
                Verdict::Bad => "bad",
            };
            table.row([check.as_str(), verdict, found, advice.as_deref().unwrap_or("")]);
        }
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0)?;
        Ok(())
    }

    /// The number of things that do not work.
    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.0.iter().filter(|finding| finding.verdict == Verdict::Bad).count())
    }

    fn exit(&self) -> Exit {
        let is_bad = self.0.iter().any(|finding| finding.verdict == Verdict::Bad);
        if is_bad { Exit::Failed } else { Exit::Done }
    }
}
