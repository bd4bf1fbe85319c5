//! Whether the user that is signed in may do what its role has to.
//!
//! Each thing is tried in a way that changes nothing: a message to be stored says that it expects another stream, for which
//! the server drops it once it has looked at the permissions; a request cannot be read. None has a reply subject: of what
//! is permitted nothing comes, and the server complains of all else.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_STREAM;
use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::config::NatsConfig;
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::{BatchEvent, NATIVE, Names};
use tokio::sync::mpsc;

use super::Findings;

/// Longest silence of a server that has more to complain of. It does so within milliseconds.
const LONGEST: Duration = Duration::from_secs(1);

/// Name of a batch that is none.
const NO_BATCH: &str = "doctor";

/// A request that nobody can read.
const UNREADABLE: &str = "{";

/// Roles of `nats/roles.conf` by the names of their users. Any other user is taken for a client.
const ROLES: [&str; 6] = ["planner", "worker", "consolidator", "bridge", "client", "operator"];

/// Something that a role has to be able to do.
struct Need {
    /// Completes "may not".
    doing: &'static str,
    subject: String,
    payload: &'static str,
}

pub(super) async fn check(config: &NatsConfig, bus: &Bus, findings: &mut Findings) {
    // Nobody who does not sign in has a role.
    let Some(user) = config.user.as_deref() else { return };
    let role = if ROLES.contains(&user) { user } else { "client" };
    let refused = match refused(config, &bus.names, needs(&bus.names, &config.api_prefix, role)).await {
        Ok(refused) => refused,
        Err(error) => return findings.bad("permissions", error.to_string(), "look at the server's log"),
    };
    if refused.is_empty() {
        return findings.good("permissions", format!("the user {user} may do what a {role} has to"));
    }
    let refused: Vec<String> = refused.iter().map(|need| format!("{} ({})", need.doing, need.subject)).collect();
    findings.bad(
        "permissions",
        format!("the user {user} may not {}", refused.join(", nor ")),
        format!("permit it these subjects in the server's configuration: nats/roles.conf has all that a {role} needs"),
    );
}

/// What the server does not permit of what is needed.
async fn refused(config: &NatsConfig, names: &Names, mut needs: Vec<Need>) -> Result<Vec<Need>, BusError> {
    let (complaints, mut heard) = mpsc::unbounded_channel();
    // A connection of its own, which hears no other complaints.
    let bus = Bus::connect_and_hear(config, "jetsweep-doctor", names.clone(), complaints).await?;
    for need in &needs {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_EXPECTED_STREAM, "none");
        let payload = Bytes::from_static(need.payload.as_bytes());
        let failed = |reason: String| BusError::Refused { subject: need.subject.clone(), reason };
        let sent = bus.client.publish_with_headers(need.subject.clone(), headers, payload).await;
        sent.map_err(|error| failed(error.to_string()))?;
        bus.client.flush().await.map_err(|error| failed(error.to_string()))?;
    }
    let mut told = String::new();
    while let Ok(Some(complaint)) = tokio::time::timeout(LONGEST, heard.recv()).await {
        told.push_str(&complaint);
    }
    needs.retain(|need| told.contains(&format!("\"{}\"", need.subject)));
    Ok(needs)
}

/// What a role has to be able to do.
fn needs(names: &Names, api_prefix: &str, role: &str) -> Vec<Need> {
    let need = |doing: &'static str, subject: String, payload: &'static str| Need { doing, subject, payload };
    let store = |doing: &'static str, subject: String| need(doing, subject, "");
    let entry =
        |doing: &'static str, key: &str| store(doing, format!("$KV.{}.{NO_BATCH}.{key}", names.batches_bucket()));
    let api = |doing: &'static str, request: &str, stream: &str| {
        need(doing, format!("{api_prefix}.{request}.{stream}"), UNREADABLE)
    };
    let endpoint = |doing: &'static str, role: &str, name: &str| need(doing, names.endpoint(role, name), UNREADABLE);
    let (results, jobs, plans) = (names.results_stream(), names.jobs_stream(), names.plans_stream());
    let subject = |kind: &str, rest: &str| format!("{}.{kind}.v1.{NO_BATCH}{rest}", names.namespace());
    let event = |event: BatchEvent| subject("results", &format!(".{event}"));
    let native = format!("{jobs}.{}", names.jobs_consumer(NATIVE, Priority::Normal));
    let entries = format!("{}.$KV.{}.{NO_BATCH}", names.batches_stream(), names.batches_bucket());

    let mut needs = vec![
        api("look at streams", "STREAM.INFO", &results),
        api("read plans of batches", "STREAM.MSG.GET", &results),
        api("read entries of the bucket", "DIRECT.GET", &format!("{entries}.status")),
    ];
    if role == "client" || role == "operator" {
        needs.extend([
            store("submit sweeps", subject("plans", "")),
            entry("cancel and pause batches", "control"),
            endpoint("check sweeps", "planner", "validate"),
            endpoint("ask for results", "consolidator", "query"),
            endpoint("ask for runs in full", "worker", "replay"),
            api("list dead letters", "CONSUMER.CREATE", &names.dead_stream()),
        ]);
    }
    match role {
        "planner" => needs.extend([
            api("create streams", "STREAM.CREATE", &plans),
            api("take plans", "CONSUMER.MSG.NEXT", &format!("{plans}.{}", names.planner_consumer())),
            store("ask for retries", subject("plans", ".1")),
            store("publish jobs", format!("{}.jobs.v1.{NATIVE}.normal.{NO_BATCH}.0.0", names.namespace())),
            store("begin batches", event(BatchEvent::Begin)),
            store("seal batches", event(BatchEvent::Sealed)),
            store("cancel batches", event(BatchEvent::Cancelled)),
            store("delete batches", event(BatchEvent::Deleted)),
            store("give up on plans", subject("dead", ".plan")),
            entry("show why a spec is refused", "status"),
        ]),
        "worker" => needs.extend([
            api("take jobs", "CONSUMER.MSG.NEXT", &native),
            store("publish results", subject("results", ".0.0")),
            store("give up on jobs", subject("dead", ".0.0")),
            entry("pin the bars of a batch", "data.X"),
            api("read the data bucket", "STREAM.MSG.GET", &names.data_stream()),
        ]),
        "consolidator" => needs.extend([
            api("read results", "CONSUMER.CREATE", &results),
            store("say that results have left", event(BatchEvent::Purged)),
            store("give up on results", subject("dead", ".0.0")),
            entry("show how far batches are", "status"),
        ]),
        "bridge" => needs.extend([
            api("take results", "CONSUMER.MSG.NEXT", &format!("{results}.{}", names.mlflow_consumer())),
            entry("show how far it is", "mlflow"),
            store("give up on results", names.dead_message(&results, 0)),
            endpoint("ask for results", "consolidator", "query"),
            endpoint("ask for runs in full", "worker", "replay"),
        ]),
        "operator" => needs.extend([
            store("put bars into the data bucket", format!("$O.{}.M.{NO_BATCH}", names.data_bucket())),
            store("put plans back", subject("plans", ".1")),
            store("put results back", subject("results", ".0.0")),
        ]),
        _ => {}
    }
    needs
}
