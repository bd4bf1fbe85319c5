//! Messages of the log that cannot be taken are kept, byte for byte, in the stream of messages given up on.

use async_nats::HeaderMap;
use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError};
use jetsweep_shared::events::headers;
use jetsweep_shared::subjects::ResultSubject;
use jetsweep_shared::telemetry::Parent;

use crate::store::{Rejection, Source};

/// Longest reason in a header, in characters.
const LONGEST_REASON: usize = 500;

/// Stores a message with the reason, and waits until it is stored.
pub(crate) async fn publish(
    bus: &Bus,
    source: &Source,
    sequence: u64,
    subject: &str,
    payload: &Bytes,
    rejection: &Rejection,
    from: &Parent,
) -> Result<(), BusError> {
    let kept_under = match bus.names.parse_result(subject) {
        Some(ResultSubject::Shard { batch, generation, shard }) => bus.names.dead_job(&batch, generation, shard),
        _ => bus.names.dead_message(&source.stream, sequence),
    };
    let mut message_headers = HeaderMap::new();
    // The same message of the same stream has the same id, so that reading it again does not keep it twice.
    let id = format!("{}.{}.{sequence}", source.stream, source.created);
    message_headers.insert(async_nats::header::NATS_MESSAGE_ID, id.as_str());
    message_headers.insert(headers::ERROR_CODE, rejection.code);
    message_headers.insert(headers::ERROR, one_line(&rejection.message).as_str());
    message_headers.insert(headers::ORIGIN, subject);
    from.inject(&mut message_headers);
    bus.publish_with_headers(&kept_under, message_headers, payload.clone()).await?;
    Ok(())
}

/// A header's value cannot have more than one line.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_REASON).collect()
}
