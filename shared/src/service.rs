//! Asking service endpoints, and answering with more than one message holds.
//!
//! A request with the header [`headers::STREAM`] takes an answer in several messages, numbered by [`headers::PART`]; one
//! without payload ends it, and so does an error, at any time. A part that has a reply subject wants its receipt
//! acknowledged before the next one is sent: that is how whoever answers with much keeps from flooding whoever reads.

use std::time::Duration;

use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use async_nats::{HeaderMap, Message, Request, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::StreamExt;

use crate::bus::Bus;
use crate::events::{ErrorReply, headers};

/// Bytes of a message that headers may take.
const HEADERS_BYTES: usize = 4 << 10;
/// Size that one message of an answer in several aims at, in bytes.
const PART_BYTES: usize = 256 << 10;
/// Longest wait for the receipt of a part. Whoever reads has it in milliseconds, or is gone.
const RECEIPT_TIME: Duration = Duration::from_secs(30);
/// Longest error header, in characters; the body has all of it.
const LONGEST_HEADER: usize = 200;

/// A question that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Nobody serves the endpoint.
    #[error("nobody answers at {subject}")]
    NoResponders {
        /// The endpoint's subject.
        subject: String,
    },
    /// Whoever answers says no.
    #[error("{}", .0.message)]
    Refused(ErrorReply),
    /// Whoever answers fell silent.
    #[error("{subject} fell silent after {parts} parts of its answer")]
    Silent {
        /// The endpoint's subject.
        subject: String,
        /// Parts that came.
        parts: usize,
    },
    /// A part was lost on the way.
    #[error("part {part} of the answer of {subject} was lost: ask again")]
    Lost {
        /// The endpoint's subject.
        subject: String,
        /// Its number, from 0.
        part: usize,
    },
    /// The answer has no end, or is larger than any should be.
    #[error("the answer of {subject} has more than {limit} bytes, more than any should: look at what answers there")]
    TooLarge {
        /// The endpoint's subject.
        subject: String,
        /// Most bytes that are taken.
        limit: usize,
    },
    /// The connection does not take the question, or the answer is none.
    #[error("failed to ask {subject}: {reason}")]
    Failed {
        /// The endpoint's subject.
        subject: String,
        /// What is wrong.
        reason: String,
    },
}

impl ServiceError {
    /// Whether asking again later may help.
    pub fn is_passing(&self) -> bool {
        match self {
            ServiceError::Refused(reply) => matches!(reply.code.as_str(), "unavailable" | "timed_out"),
            ServiceError::TooLarge { .. } => false,
            _ => true,
        }
    }
}

/// An answer in several messages, as they come.
#[derive(Debug)]
pub struct Parts {
    bus: Bus,
    subject: String,
    messages: Subscriber,
    silence: Duration,
    /// Number of the next part.
    next: usize,
}

/// Asks an endpoint for an answer in parts. `silence` is the longest wait for each of them.
///
/// # Errors
/// When the question cannot be sent.
pub async fn ask(
    bus: &Bus,
    subject: String,
    mut asking: HeaderMap,
    payload: Bytes,
    silence: Duration,
) -> Result<Parts, ServiceError> {
    let failed = |reason: String| ServiceError::Failed { subject: subject.clone(), reason };
    let inbox = bus.client.new_inbox();
    let messages = bus.client.subscribe(inbox.clone()).await.map_err(|error| failed(error.to_string()))?;
    asking.insert(headers::STREAM, "1");
    bus.client
        .publish_with_reply_and_headers(subject.clone(), inbox, asking, payload)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(Parts { bus: bus.clone(), subject, messages, silence, next: 0 })
}

impl Parts {
    /// The next part; `None` after the last one.
    ///
    /// # Errors
    /// When there is no answer, or no more of it.
    pub async fn next(&mut self) -> Result<Option<Message>, ServiceError> {
        let part = tokio::time::timeout(self.silence, self.messages.next()).await;
        let Ok(Some(part)) = part else {
            return Err(ServiceError::Silent { subject: self.subject.clone(), parts: self.next });
        };
        if part.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(ServiceError::NoResponders { subject: self.subject.clone() });
        }
        if header(&part, NATS_SERVICE_ERROR).is_some() {
            return Err(match serde_json::from_slice(&part.payload) {
                Ok(reply) => ServiceError::Refused(reply),
                Err(error) => ServiceError::Failed { subject: self.subject.clone(), reason: error.to_string() },
            });
        }
        if header(&part, headers::PART).and_then(|number| number.parse().ok()) != Some(self.next) {
            return Err(ServiceError::Lost { subject: self.subject.clone(), part: self.next });
        }
        if let Some(receipt) = part.reply.clone() {
            let sent = self.bus.client.publish(receipt, Bytes::new()).await;
            sent.map_err(|error| ServiceError::Failed { subject: self.subject.clone(), reason: error.to_string() })?;
        }
        self.next += 1;
        Ok((!part.payload.is_empty()).then_some(part))
    }

    /// All parts, one after the other, and the headers of the first: at most `limit` bytes, whoever answers.
    ///
    /// # Errors
    /// See [`Parts::next`]; [`ServiceError::TooLarge`].
    pub async fn all(mut self, limit: usize) -> Result<(HeaderMap, Vec<u8>), ServiceError> {
        let mut bytes = Vec::new();
        let mut first = None;
        while let Some(part) = self.next().await? {
            if bytes.len() + part.payload.len() > limit {
                return Err(ServiceError::TooLarge { subject: self.subject, limit });
            }
            bytes.extend_from_slice(&part.payload);
            first.get_or_insert(part.headers.unwrap_or_default());
        }
        Ok((first.unwrap_or_default(), bytes))
    }
}

/// A header's value.
pub fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    message.headers.as_ref()?.get(name).map(|value| value.as_str())
}

/// Whether a request takes an answer in parts.
pub fn takes_parts(request: &Message) -> bool {
    header(request, headers::STREAM) == Some("1")
}

/// Largest payload of a message that also has headers, in bytes.
pub fn largest_payload(bus: &Bus) -> usize {
    bus.client.max_payload().saturating_sub(HEADERS_BYTES)
}

/// Sends an answer in parts, each after the receipt of the one before.
#[derive(Debug)]
pub struct PartSender<'a> {
    bus: &'a Bus,
    to: Subject,
    /// Goes with each part.
    extra: HeaderMap,
    sent: usize,
}

impl<'a> PartSender<'a> {
    /// Nothing is sent yet.
    pub fn new(bus: &'a Bus, to: Subject, extra: HeaderMap) -> Self {
        Self { bus, to, extra, sent: 0 }
    }

    /// Largest part, in bytes.
    pub fn largest_part(&self) -> usize {
        largest_payload(self.bus).clamp(1, PART_BYTES)
    }

    /// Sends a part that is not empty, and waits for its receipt.
    ///
    /// # Errors
    /// In words, when whoever asked is gone.
    pub async fn send(&mut self, part: Bytes) -> Result<(), String> {
        let request = Request::new().headers(self.headers()).payload(part).timeout(Some(RECEIPT_TIME));
        self.bus.client.send_request(self.to.clone(), request).await.map_err(|error| error.to_string())?;
        self.sent += 1;
        Ok(())
    }

    /// Ends the answer.
    ///
    /// # Errors
    /// In words, when the connection does not take the message.
    pub async fn end(self) -> Result<(), String> {
        let ended = self.bus.client.publish_with_headers(self.to.clone(), self.headers(), Bytes::new()).await;
        ended.map_err(|error| error.to_string())
    }

    fn headers(&self) -> HeaderMap {
        let mut map = self.extra.clone();
        map.insert(headers::PART, self.sent.to_string().as_str());
        map
    }
}

/// Sends bytes as an answer in parts. `extra` goes with each part.
///
/// # Errors
/// In words, when whoever asked is gone.
pub async fn answer_in_parts(bus: &Bus, to: Subject, extra: HeaderMap, mut bytes: Bytes) -> Result<(), String> {
    let mut parts = PartSender::new(bus, to, extra);
    while !bytes.is_empty() {
        let part = bytes.split_to(parts.largest_part().min(bytes.len()));
        parts.send(part).await?;
    }
    parts.end().await
}

/// An error's headers and body. It is sent as a success with the headers of an error: an error of the service API has
/// no body, and this one says what to do. `status` is what HTTP would answer.
pub fn error_reply(status: u16, reply: &ErrorReply) -> (HeaderMap, Bytes) {
    let short = format!("{}: {}", reply.code, reply.message);
    let short: String = short.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_HEADER).collect();
    let mut map = HeaderMap::new();
    map.insert(NATS_SERVICE_ERROR, short.as_str());
    map.insert(NATS_SERVICE_ERROR_CODE, status.to_string().as_str());
    // Strings always have a JSON.
    (map, serde_json::to_vec(reply).unwrap_or_default().into())
}
