//! Results that cannot be read, or that MLflow refuses for good, are kept in the stream of messages given up on, with the
//! reason.

use async_nats::Message;
use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError, headers_with_id};
use jetsweep_shared::events::headers;
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::telemetry::{Parent, parent_from};

/// Stable word for why: MLflow refuses runs.
const REFUSED: &str = "mlflow_refused";
/// Stable word for why: the payload is not what its subject promises.
const MALFORMED: &str = "malformed";
/// Longest reason in a header, in characters.
const LONGEST_REASON: usize = 500;

/// Why a message of RESULTS is given up on.
#[derive(Debug)]
pub(crate) enum Reason {
    /// It is no result, in words.
    Malformed(String),
    /// MLflow refuses runs of it: their numbers, with its words. Never empty.
    Refused(Vec<(u64, String)>),
}

impl Reason {
    fn code_and_words(&self) -> (&'static str, String) {
        match self {
            Reason::Malformed(words) => (MALFORMED, words.clone()),
            Reason::Refused(refusals) => {
                let words = match refusals.as_slice() {
                    [(run, words)] => format!("run {run}: {words}"),
                    [(run, words), rest @ ..] => format!("run {run} and {} more: {words}", rest.len()),
                    [] => String::new(),
                };
                (REFUSED, words)
            }
        }
    }
}

/// Keeps a message of RESULTS, and waits until it is stored.
pub(crate) async fn keep(bus: &Bus, message: &Message, sequence: u64, reason: &Reason) -> Result<(), BusError> {
    let stream = bus.names.results_stream();
    store(
        bus,
        &bus.names.dead_message(&stream, sequence),
        &format!("mlflow.{stream}.{sequence}"),
        &message.subject,
        reason.code_and_words(),
        message.payload.clone(),
        &parent_from(message.headers.as_ref()),
    )
    .await
}

/// Keeps rows that were refused when a batch was completed, as JSON.
pub(crate) async fn keep_rows(bus: &Bus, batch: &BatchId, refusals: &[(u64, String)]) -> Result<(), BusError> {
    for (run, words) in refusals {
        let payload = serde_json::json!({ "batch_id": batch, "run": run, "error": words }).to_string();
        let origin = format!("mlflow.{batch}");
        let subject = bus.names.dead_message(&origin.replace('.', "_"), *run);
        let reason = (REFUSED, format!("run {run}: {words}"));
        let id = format!("mlflow.{batch}.{run}");
        store(bus, &subject, &id, &origin, reason, payload.into(), &Parent::default()).await?;
    }
    Ok(())
}

async fn store(
    bus: &Bus,
    to: &str,
    id: &str,
    origin: &str,
    (code, reason): (&'static str, String),
    payload: Bytes,
    from: &Parent,
) -> Result<(), BusError> {
    let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_REASON).collect();
    tracing::error!(code, reason, kept_under = to, "given up on");
    let mut map = headers_with_id(id);
    map.insert(headers::ERROR_CODE, code);
    map.insert(headers::ERROR, reason.as_str());
    map.insert(headers::ORIGIN, origin);
    from.inject(&mut map);
    bus.publish_with_headers(to, map, payload).await?;
    Ok(())
}
