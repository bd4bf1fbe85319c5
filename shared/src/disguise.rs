//! Answers of the server in disguise.
//!
//! Whoever may ask the server for anything names the subject of its answer, and permissions to publish do not bind the
//! server: the answer to `$JS.API.DIRECT.GET...`, which is a stored message of the asker's own choosing, may be sent to
//! `jetsweep.results.v1.B.begin` or `jetsweep.planner.delete`. Two things give such messages away. The answer to a request for a
//! message carries headers that say where it was stored, which whoever asks cannot keep away. What a consumer delivers
//! keeps the subject it was stored under.
//!
//! Nothing of ours carries these headers: whoever publishes a stored message again (dead letters, refused plans, `jetsweep dead
//! retry`) leaves out what begins with `Nats-`, and restoring or mirroring a stream adds none of them.

use async_nats::jetstream::kv;
use async_nats::jetstream::stream::DirectGetErrorKind;
use async_nats::{HeaderMap, Message};

/// What the server says of a message that it takes out of a stream for whoever asks.
const WHERE_STORED: [&str; 4] = ["Nats-Stream", "Nats-Subject", "Nats-Sequence", "Nats-Time-Stamp"];

/// Why an answer in disguise is given up on.
pub const REFUSED: &str = "it is an answer of the server that somebody has sent here, and nobody published it";

/// Whether a message with these headers is the server's answer to a request for a stored message.
pub fn is_answer(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| WHERE_STORED.iter().any(|name| headers.get(*name).is_some()))
}

/// Whether somebody sent this request to the endpoint at `subject`. One that is none gets no answer: who made it has chosen
/// where that would go, too.
pub fn is_request(message: &Message, subject: &str) -> bool {
    let is_request = message.subject.as_str() == subject && !is_answer(message.headers.as_ref());
    if !is_request {
        tracing::warn!(
            endpoint = subject,
            subject = %message.subject,
            "ignored a message of the server's that somebody has sent to an endpoint: nobody asked"
        );
    }
    is_request
}

/// Whether the entry that a bucket has under a key now is one.
///
/// # Errors
/// In words, if it cannot be read now.
pub async fn is_entry(bucket: &kv::Store, key: &str) -> Result<bool, String> {
    let subject = format!("$KV.{}.{key}", bucket.name);
    match bucket.stream.direct_get_last_for_subject(subject).await {
        // This answer says where the entry is stored, too.
        Ok(entry) => Ok(WHERE_STORED.iter().any(|name| entry.headers.get_all(*name).count() > 1)),
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_header_of_an_answer_gives_it_away() {
        for name in WHERE_STORED {
            let mut headers = HeaderMap::new();
            headers.insert(name, "x");
            assert!(is_answer(Some(&headers)), "{name}");
        }
        let mut ours = HeaderMap::new();
        ours.insert(async_nats::header::NATS_MESSAGE_ID, "1");
        ours.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        assert!(!is_answer(Some(&ours)) && !is_answer(None));
    }
}
