//! Traces of batches: one trace from submit to row, over processes of their own, whatever its receiver does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, AckKind};
use futures::StreamExt;
use jetsweep_shared::events::BatchState;
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::{NATIVE, Names};
use jetsweep_tests::{Done, eventually, messages, within};

use crate::cluster::Cluster;
use crate::receiver::{Answers, Receiver, Span, SpanKind};
use crate::support::{State, example, ledger, text};

const ROLES: [&str; 3] = ["planner", "worker", "consolidator"];

/// Runs of the quickstart, and of each of its shards at most.
const RUNS: u64 = 459;
const SHARD_RUNS: &str = "20";

/// What a client says that traces by itself.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Longest a service may take to end. Far more than it does, and far less than one would take that waits for a receiver
/// with each batch of spans.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Services of a small batch with many shards; `settings` are for each of them.
async fn services(settings: &[(&'static str, &str)]) -> Cluster {
    let settings = [&[("JETSWEEP_PLANNER__SHARD_RUNS", SHARD_RUNS)][..], settings].concat();
    let mut cluster = Cluster::new(&settings).await;
    for role in ROLES {
        cluster.serve(role, role);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    cluster
}

/// Submits the quickstart, with these variables, and waits for its end.
async fn submit(cluster: &Cluster, batch: &str, env: &[(&str, &str)]) -> Done {
    let spec = example("quickstart.toml");
    let submit = ["submit", text(&spec), "--batch", batch, "--wait", "--output", "json"];
    let command = env.iter().fold(cluster.jetsweep(&submit), |command, (name, value)| command.env(name, value));
    let done = command.done().await.with_code(0);
    let answer = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(ledger(&answer), (RUNS, [RUNS, 0, 0, 0]));
    done
}

/// Stops services, which send what they have not sent, and returns what they logged.
async fn stop(cluster: &mut Cluster, names: &[&str]) -> Vec<String> {
    let mut logs = Vec::new();
    for name in names {
        let stopped = within(ENDS_WITHIN, &format!("the {name} to end"), cluster.stop(name)).await;
        logs.push(stopped.with_code(0).stderr);
    }
    logs
}

/// Spans by name.
fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let [span] = named(spans, name)[..] else { panic!("not one span {name}: {spans:#?}") };
    span
}

/// Checks that there is all of a batch's way from its jobs to its rows, and returns the number of its shards.
fn check_jobs(spans: &[Span], plans: &BTreeSet<&str>) -> usize {
    let jobs: BTreeMap<&str, &Span> = named(spans, "job").into_iter().map(|job| (job.id.as_str(), job)).collect();
    assert!(jobs.values().all(|job| plans.contains(job.parent.as_str())), "{jobs:#?}");
    let shards: BTreeSet<u32> = jobs.values().map(|job| job.attributes["shard"].parse().unwrap()).collect();
    let numbers: BTreeSet<u32> = (0..shards.len() as u32).collect();
    assert_eq!(shards, numbers);
    for (part, kind) in [
        ("load bars", SpanKind::Internal),
        ("compute", SpanKind::Internal),
        ("publish result", SpanKind::Producer),
        ("acknowledge", SpanKind::Client),
    ] {
        // A job that somebody had before loads its bars in the process in which it computes.
        let has_it = |job: &&Span| part != "load bars" || job.attributes["redelivered"] == "false";
        let owners: BTreeSet<&str> = jobs.values().copied().filter(has_it).map(|job| job.id.as_str()).collect();
        let parts = named(spans, part);
        let parents: BTreeSet<&str> = parts.iter().map(|span| span.parent.as_str()).collect();
        assert_eq!((parts.len(), parents), (owners.len(), owners), "{part}");
        assert!(parts.iter().all(|span| span.kind == kind), "{part}");
    }
    let published: BTreeSet<&str> = named(spans, "publish result").iter().map(|span| span.id.as_str()).collect();
    let commits = named(spans, "commit");
    let committed: BTreeSet<&str> =
        commits.iter().flat_map(|commit| commit.links.iter().chain([&commit.parent]).map(String::as_str)).collect();
    assert_eq!(committed, published);
    let results = commits.iter().map(|commit| commit.attributes["results"].parse::<usize>().unwrap());
    assert_eq!(results.sum::<usize>(), jobs.len());
    shards.len()
}

#[tokio::test]
async fn a_batch_is_one_trace_from_submit_to_row_over_all_processes() {
    let receiver = Receiver::start(Answers::Takes).await;
    let url = receiver.url();
    let secret = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")];
    let mut cluster = services(&[("JETSWEEP_TRACES__ENDPOINT", &url), secret[0]]).await;
    let told = submit(&cluster, "traced", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url), secret[0]]).await;
    let mut logs = stop(&mut cluster, &ROLES).await;

    let spans = receiver.spans();
    let submitted = one(&spans, "submit");
    assert_eq!((submitted.parent.as_str(), submitted.kind), ("", SpanKind::Producer));
    let strangers: Vec<_> = spans.iter().filter(|span| span.trace != submitted.trace).collect();
    assert!(strangers.is_empty(), "{strangers:#?}");
    let (accepted, planned) = (one(&spans, "accept"), one(&spans, "plan"));
    assert_eq!((&accepted.parent, accepted.kind), (&submitted.id, SpanKind::Producer));
    assert_eq!((&planned.parent, planned.kind), (&accepted.id, SpanKind::Consumer));
    let shards = check_jobs(&spans, &BTreeSet::from([planned.id.as_str()]));
    assert!(shards >= 27, "{shards} shards of at most {SHARD_RUNS} runs");

    let services: BTreeMap<&str, &str> = spans.iter().map(|span| (span.name.as_str(), span.service())).collect();
    let expected = [
        ("accept", "jetsweep-planner"),
        ("acknowledge", "jetsweep-worker"),
        ("commit", "jetsweep-consolidator"),
        ("compute", "jetsweep-worker"),
        ("job", "jetsweep-worker"),
        ("load bars", "jetsweep-worker"),
        ("plan", "jetsweep-planner"),
        ("publish result", "jetsweep-worker"),
        ("submit", "jetsweep-submit"),
    ];
    assert_eq!(services, BTreeMap::from(expected));
    let job = named(&spans, "job")[0];
    let said = ["batch", "generation", "messaging.system", "redelivered"].map(|name| job.attributes[name].as_str());
    assert_eq!(said, ["traced", "0", "nats", "false"]);
    assert!(job.attributes["messaging.destination.name"].starts_with("jetsweep.jobs.v1."), "{job:#?}");
    assert!(["symbol", "strategy"].iter().all(|name| !job.attributes[*name].is_empty()), "{job:#?}");
    assert!(["service.version", "service.instance.id"].iter().all(|name| !job.resource[*name].is_empty()), "{job:#?}");

    // Logs know nothing of all this, and what opens the receiver's door is sent and never told.
    assert!(logs.iter().all(|log| !log.contains("messaging.system")), "{logs:#?}");
    assert!(receiver.authorization().iter().all(|value| value == "Bearer s3cret"));
    let config = cluster.jetsweep(&["config"]).env(secret[0].0, secret[0].1).done().await.with_code(0);
    logs.extend([config.stdout, told.stderr]);
    assert!(logs.iter().all(|log| !log.contains("s3cret")), "{logs:#?}");
}

#[tokio::test]
async fn a_run_in_one_process_is_one_trace() {
    let receiver = Receiver::start(Answers::Takes).await;
    let state = State::new();
    let spec = example("quickstart.toml");
    let run = state
        .jetsweep(&["run", text(&spec), "--output", "json"])
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", receiver.url()))
        .env("OTEL_SERVICE_NAME", "laptop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        .env("JETSWEEP_LOG__FILTER", "off");
    assert_eq!(ledger(&run.done().await.json()), (RUNS, [RUNS, 0, 0, 0]));
    let spans = receiver.spans();
    let (submitted, planned) = (one(&spans, "submit"), one(&spans, "plan"));
    assert_eq!(planned.parent, submitted.id);
    check_jobs(&spans, &BTreeSet::from([planned.id.as_str()]));
    assert!(spans.iter().all(|span| span.trace == submitted.trace && span.service() == "laptop"));
    assert!(spans.iter().all(|span| span.resource["deployment.environment.name"] == "test"));
}

#[tokio::test]
async fn a_clients_own_trace_is_honoured_and_survives_services_that_do_not_trace() {
    let receiver = Receiver::start(Answers::Takes).await;
    let mut cluster = services(&[]).await;
    cluster.stop("consolidator").await.with_code(0);
    cluster.set("JETSWEEP_TRACES__ENDPOINT", &receiver.url());
    cluster.serve("traced consolidator", "consolidator");

    let client = cluster.server.connect().await;
    let mut headers = HeaderMap::new();
    headers.insert("Jetsweep-Batch", "theirs");
    headers.insert("traceparent", format!("00-{TRACE}-{SPAN}-01"));
    headers.insert("tracestate", "vendor=value");
    let spec = std::fs::read(example("quickstart.toml")).unwrap();
    let subject = "jetsweep.planner.submit";
    client.request_with_headers(subject, headers.clone(), spec.clone().into()).await.unwrap();
    assert_eq!(cluster.ends("theirs").await.state, BatchState::Completed);
    let context = jetstream::new(client.clone());
    let stored = messages(&context, "JETSWEEP_RESULTS", "jetsweep.results.v1.theirs.>", 28).await;
    let header = |message: &async_nats::Message, name: &str| {
        message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str().to_owned())
    };
    // Of a batch's events the plan has it, for jobs that are published when the plan message is gone.
    for message in stored.iter().filter(|message| !message.subject.ends_with("sealed")) {
        assert_eq!(header(message, "traceparent"), Some(format!("00-{TRACE}-{SPAN}-01")), "{}", message.subject);
        assert_eq!(header(message, "tracestate").as_deref(), Some("vendor=value"), "{}", message.subject);
    }
    let spans = receiver.spans_when("a span of a commit", |spans| !spans.is_empty()).await;
    assert!(spans.iter().all(|span| (span.name.as_str(), span.parent.as_str()) == ("commit", SPAN)), "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");

    // Without a trace, nobody adds one.
    let spans_before = receiver.spans().len();
    headers = HeaderMap::new();
    headers.insert("Jetsweep-Batch", "plain");
    client.request_with_headers(subject, headers, spec.into()).await.unwrap();
    assert_eq!(cluster.ends("plain").await.state, BatchState::Completed);
    for message in messages(&context, "JETSWEEP_RESULTS", "jetsweep.results.v1.plain.>", 28).await {
        assert_eq!(header(&message, "traceparent"), None, "{}", message.subject);
    }
    stop(&mut cluster, &["traced consolidator"]).await;
    let late = receiver.spans().split_off(spans_before);
    assert!(late.iter().all(|span| span.attributes["batch"] == "theirs"), "{late:#?}");
}

#[tokio::test]
async fn what_is_planned_or_delivered_again_is_part_of_the_same_trace() {
    let receiver = Receiver::start(Answers::Takes).await;
    let settings = [
        ("JETSWEEP_TRACES__ENDPOINT", receiver.url()),
        ("JETSWEEP_PLANNER__SHARD_RUNS", SHARD_RUNS.to_owned()),
        ("JETSWEEP_PLANNER__QUEUE_DEPTH", "4".to_owned()),
        ("JETSWEEP_WORKER__ACK_WAIT_SECONDS", "5".to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut cluster = Cluster::new(&settings).await;
    // Nobody plans yet: the message waits, with the trace it is part of.
    cluster.serve("consolidator", "consolidator");
    cluster.answers("consolidator").await;
    let spec = example("quickstart.toml");
    let submit = cluster.jetsweep(&["submit", text(&spec), "--batch", "b"]);
    submit.env("JETSWEEP_TRACES__ENDPOINT", receiver.url()).done().await.with_code(0);
    cluster.serve("planner", "planner");
    // Without a worker it publishes a few jobs and waits for room.
    let client = cluster.server.connect().await;
    let context = jetstream::new(client);
    eventually("some jobs to be queued", async || {
        let mut jobs = context.get_stream("JETSWEEP_JOBS").await.ok()?;
        (jobs.info().await.ok()?.state.messages >= 4).then_some(())
    })
    .await;
    cluster.kill("planner").await;
    // Somebody takes a job and hands it back.
    let names = Names::default();
    let (consumer, jobs) = (names.jobs_consumer(NATIVE, Priority::Normal), names.jobs_stream());
    let consumer: PullConsumer = context.get_consumer_from_stream(consumer, jobs).await.unwrap();
    let taken = consumer.fetch().max_messages(1).messages().await.unwrap().next().await.expect("a job").unwrap();
    taken.ack_with(AckKind::Nak(None)).await.unwrap();
    cluster.serve("planner again", "planner");
    cluster.serve("worker", "worker");
    assert_eq!(cluster.ends("b").await.succeeded, RUNS);
    stop(&mut cluster, &["planner again", "worker", "consolidator"]).await;

    let spans = receiver.spans();
    let (submitted, planned) = (one(&spans, "submit"), one(&spans, "plan"));
    assert!(spans.iter().all(|span| span.trace == submitted.trace), "{spans:#?}");
    assert_eq!(planned.parent, submitted.id);
    // The span of the planner that died is lost with it; its jobs name it all the same.
    let parents: BTreeSet<&str> = named(&spans, "job").iter().map(|job| job.parent.as_str()).collect();
    assert!(parents.contains(planned.id.as_str()) && parents.len() == 2, "{parents:?}");
    check_jobs(&spans, &parents);
    let again: Vec<_> =
        named(&spans, "job").into_iter().filter(|job| job.attributes["redelivered"] == "true").collect();
    let [again] = again[..] else { panic!("not one job was delivered again: {again:#?}") };
    assert_eq!(again.attributes["delivered"], "2");
    assert_eq!(again.attributes["messaging.destination.name"], taken.subject.as_str());
}

#[tokio::test]
async fn a_receiver_that_refuses_changes_nothing() {
    let receiver = Receiver::start(Answers::Refuses).await;
    let logs = works_at(&receiver.url()).await;
    assert!(!receiver.authorization().is_empty(), "nobody asked it");
    assert!(logs.iter().all(|log| log.matches("traces cannot be sent").count() == 1), "{logs:#?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_changes_nothing() {
    let receiver = Receiver::start(Answers::Hangs).await;
    works_at(&receiver.url()).await;
    assert!(!receiver.authorization().is_empty(), "nobody asked it");
}

#[tokio::test]
async fn a_receiver_that_is_away_changes_nothing() {
    let logs = works_at("http://127.0.0.1:1").await;
    assert!(logs.iter().all(|log| log.matches("traces cannot be sent").count() == 1), "{logs:#?}");
}

/// Checks that a batch ends as ever with this receiver, and services too. Returns what they logged.
async fn works_at(receiver: &str) -> Vec<String> {
    let mut cluster = services(&[("JETSWEEP_TRACES__ENDPOINT", receiver)]).await;
    submit(&cluster, "b", &[("JETSWEEP_TRACES__ENDPOINT", receiver)]).await;
    stop(&mut cluster, &ROLES).await
}
