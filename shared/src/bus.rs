//! The connection to NATS, and the few ways in which messages are stored and acknowledged safely.
//!
//! Publishing waits for the stream's word and tries again until it is stored: a full stream, a restarting server or
//! a lost connection delays work and never drops it. Acknowledging is a request whose reply is checked, because an
//! ack that is only sent can be lost with the process that sent it.

mod stored;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, AckKind, kv};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, HeaderMap, Request, RequestErrorKind, ServerAddr};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::config::{NatsConfig, redact_url};
use crate::subjects::Names;

pub use stored::is_no_stream;

/// How often the server is asked whether it is there. One that leaves two of these unanswered is left for another: that is how
/// a server that is cut off, without a word, is noticed.
const PING_INTERVAL: Duration = Duration::from_secs(5);

/// Longest wait for the reply to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// First pause before a request is repeated; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause before a request is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Requests for an ack that are made before the ack counts as unconfirmed.
const ACK_ATTEMPTS: u32 = 5;

/// Server error codes for which repeating cannot help; any other (a full stream, no leader) means "not now".
mod code {
    /// The expected last sequence does not match: somebody else was first.
    pub(super) const WRONG_LAST_SEQUENCE: u64 = 10071;
    /// The same, in the API's other wording.
    pub(super) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;
    /// The message is larger than the stream takes.
    pub(super) const MESSAGE_TOO_LARGE: u64 = 10054;
}

/// The bus could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// No connection, for a reason that stays: a wrong address, or being refused.
    #[error("failed to connect to NATS at {url}: {reason}")]
    Connect {
        /// Where it was looked for, without credentials.
        url: String,
        /// The client's words.
        reason: String,
    },
    /// No connection now: there is no server at the address, or it does not answer.
    #[error("failed to connect to NATS at {url}: {reason}")]
    NoServer {
        /// Where it was looked for, without credentials.
        url: String,
        /// The client's words.
        reason: String,
    },
    /// The server refused a message for good.
    #[error("failed to publish to {subject}: {reason}")]
    Refused {
        /// The message's subject.
        subject: String,
        /// The server's words.
        reason: String,
    },
    /// An ack was not confirmed: the server may deliver the message again.
    #[error("failed to confirm an acknowledgement: {0}")]
    AckUnconfirmed(String),
    /// A read from a stream or bucket failed.
    #[error("failed to read {what}: {reason}")]
    Read {
        /// What was read.
        what: String,
        /// The client's words.
        reason: String,
    },
    /// A write to the bucket failed.
    #[error("failed to write key {key}: {reason}")]
    Write {
        /// Its key.
        key: String,
        /// The client's words.
        reason: String,
    },
}

/// A message a stream has stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the stream.
    pub sequence: u64,
    /// Whether the stream had a message of this id already.
    pub duplicate: bool,
}

/// What came of creating something that may exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// It was created.
    Created,
    /// It was there before.
    Existed,
}

#[derive(Deserialize)]
struct PublishReply {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct ApiError {
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

#[derive(Debug, thiserror::Error)]
enum PublishFailure {
    #[error("{0}")]
    NotNow(String),
    #[error("{reason}")]
    Refused { code: u64, reason: String },
}

/// A connection to NATS with the names of one namespace. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Bus {
    /// The plain connection.
    pub client: Client,
    /// JetStream over it.
    pub jetstream: jetstream::Context,
    /// Names of streams, subjects and buckets.
    pub names: Names,
}

impl Bus {
    /// Connects as `name`, which the server shows in its list of connections, signed in and over TLS as `config` says.
    /// Afterwards the connection is kept up for as long as it takes, with a log line at each change of state.
    ///
    /// # Errors
    /// [`BusError::NoServer`] and [`BusError::Connect`], at the first attempt.
    pub async fn connect(config: &NatsConfig, name: &str, names: Names) -> Result<Self, BusError> {
        Self::connect_and_tell(config, name, names, None).await
    }

    /// Like [`Bus::connect`], but what the server complains of, such as requests that are not permitted, goes to `complaints`
    /// in place of the log.
    ///
    /// # Errors
    /// See [`Bus::connect`].
    pub async fn connect_and_hear(
        config: &NatsConfig,
        name: &str,
        names: Names,
        complaints: UnboundedSender<String>,
    ) -> Result<Self, BusError> {
        Self::connect_and_tell(config, name, names, Some(complaints)).await
    }

    async fn connect_and_tell(
        config: &NatsConfig,
        name: &str,
        names: Names,
        complaints: Option<UnboundedSender<String>>,
    ) -> Result<Self, BusError> {
        let url = config.url.as_str();
        let failed = |reason: String| BusError::Connect { url: redact_url(url), reason };
        let addresses: Vec<ServerAddr> = url
            .split(',')
            .map(|part| part.trim().parse())
            .collect::<Result<_, std::io::Error>>()
            .map_err(|error| failed(error.to_string()))?;
        let options = signed_in(config).await.map_err(|error| failed(error.to_string()))?;
        let disconnected = std::sync::Arc::new(AtomicBool::new(false));
        let options = with_tls(options, config)
            .name(name)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(reconnect_pause)
            .event_callback(move |event| {
                match (&event, &complaints) {
                    // Nobody may be left to hear it.
                    (async_nats::Event::ServerError(error), Some(hear)) => drop(hear.send(error.to_string())),
                    _ => log_connection_event(&event, &disconnected),
                }
                std::future::ready(())
            });
        let client = options.connect(addresses).await.map_err(|error| match error.kind() {
            ConnectErrorKind::Dns | ConnectErrorKind::Io | ConnectErrorKind::TimedOut => {
                BusError::NoServer { url: redact_url(url), reason: error.to_string() }
            }
            _ => failed(error.to_string()),
        })?;
        let jetstream = jetstream::ContextBuilder::new().api_prefix(&config.api_prefix).build(client.clone());
        Ok(Self { client, jetstream, names })
    }

    /// Like [`Bus::connect`], but waits for a server that is not there: whoever serves may start before the server
    /// does, or while it is started again.
    ///
    /// # Errors
    /// [`BusError::Connect`].
    pub async fn connect_when_there(config: &NatsConfig, name: &str, names: Names) -> Result<Self, BusError> {
        let is_away = |error: &BusError| matches!(error, BusError::NoServer { .. });
        patiently("connect to NATS", name, is_away, || Self::connect(config, name, names.clone())).await
    }

    /// Publishes a message and waits until a stream has stored it, trying again as long as that can help.
    /// `id` keeps the stream from storing a repetition within its duplicate window.
    ///
    /// Dropping the future gives up; the message may then be stored or not.
    pub async fn publish(&self, subject: &str, id: &str, payload: Bytes) -> Result<Stored, BusError> {
        self.publish_with_headers(subject, headers_with_id(id), payload).await
    }

    /// Like [`Bus::publish`], with headers of the caller's.
    pub async fn publish_with_headers(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, BusError> {
        let published = self.publish_patiently(subject, headers, payload).await;
        published.map_err(|failure| BusError::Refused { subject: subject.to_owned(), reason: failure.to_string() })
    }

    /// Publishes a message that must be the only one of its subject. A second one is not stored. In RESULTS, [answers in
    /// disguise](crate::disguise) do not count.
    pub async fn create(&self, subject: &str, id: &str, payload: Bytes) -> Result<Creation, BusError> {
        self.create_with_headers(subject, headers_with_id(id), payload).await
    }

    /// Like [`Bus::create`], with headers of the caller's and no id unless they have one.
    pub async fn create_with_headers(
        &self,
        subject: &str,
        mut headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Creation, BusError> {
        let mut last = 0_u64;
        loop {
            headers.insert(async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, last.to_string().as_str());
            match self.publish_patiently(subject, headers.clone(), payload.clone()).await {
                Ok(Stored { duplicate: false, .. }) => return Ok(Creation::Created),
                Ok(Stored { duplicate: true, .. }) => return Ok(Creation::Existed),
                Err(PublishFailure::Refused {
                    code: code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT,
                    ..
                }) => match self.only_disguised(subject).await? {
                    Some(sequence) if sequence > last => last = sequence,
                    _ => return Ok(Creation::Existed),
                },
                Err(failure) => {
                    return Err(BusError::Refused { subject: subject.to_owned(), reason: failure.to_string() });
                }
            }
        }
    }

    /// Tries to publish until that succeeds or is refused for good.
    async fn publish_patiently(
        &self,
        subject: &str,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<Stored, PublishFailure> {
        let passes = |failure: &PublishFailure| matches!(failure, PublishFailure::NotNow(_));
        patiently("publish", subject, passes, || self.try_publish(subject, headers.clone(), payload.clone())).await
    }

    async fn try_publish(&self, subject: &str, headers: HeaderMap, payload: Bytes) -> Result<Stored, PublishFailure> {
        let max_payload = self.client.max_payload();
        if payload.len() > max_payload {
            let reason = format!("{} bytes are more than the server's max_payload of {max_payload}", payload.len());
            return Err(PublishFailure::Refused { code: code::MESSAGE_TOO_LARGE, reason });
        }
        let request = Request::new().headers(headers).payload(payload).timeout(Some(REQUEST_TIMEOUT));
        let message = match self.client.send_request(subject.to_owned(), request).await {
            Ok(message) => message,
            Err(error) => {
                return Err(match error.kind() {
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                        PublishFailure::Refused { code: 0, reason: error.to_string() }
                    }
                    RequestErrorKind::NoResponders => {
                        PublishFailure::NotNow("no stream takes this subject right now".to_owned())
                    }
                    _ => PublishFailure::NotNow(error.to_string()),
                });
            }
        };
        let reply: PublishReply =
            serde_json::from_slice(&message.payload).map_err(|error| PublishFailure::NotNow(error.to_string()))?;
        match reply.error {
            None => Ok(Stored { sequence: reply.seq, duplicate: reply.duplicate }),
            Some(error) if is_for_good(error.err_code) => {
                Err(PublishFailure::Refused { code: error.err_code, reason: error.description })
            }
            Some(error) => Err(PublishFailure::NotNow(error.description)),
        }
    }

    /// Acknowledges a delivered message, given its reply subject, and waits for the server's word. `Err` means that
    /// the message may be delivered again.
    pub async fn ack(&self, reply: &str) -> Result<(), BusError> {
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        for _ in 0..ACK_ATTEMPTS {
            let request = Request::new().payload(Bytes::from_static(b"+ACK")).timeout(Some(REQUEST_TIMEOUT));
            match self.client.send_request(reply.to_owned(), request).await {
                Ok(_) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(with_jitter(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Err(BusError::AckUnconfirmed(last))
    }

    /// Hands a delivered message back, given its reply subject, to be delivered again after `delay`. Waits for the server's
    /// word for at most `limit`: with it, this process may end. `Err` means that the message is delivered again after its
    /// ack wait at the latest.
    pub async fn hand_back(&self, reply: &str, delay: Duration, limit: Duration) -> Result<(), BusError> {
        let nak = AckKind::Nak((!delay.is_zero()).then_some(delay));
        let request = Request::new().payload(nak.into()).timeout(Some(limit));
        let answered = self.client.send_request(reply.to_owned(), request).await;
        answered.map(drop).map_err(|error| BusError::AckUnconfirmed(error.to_string()))
    }

    /// The bucket of batch status, control and data digests.
    pub async fn batches(&self) -> Result<kv::Store, BusError> {
        let bucket = self.names.batches_bucket();
        let opened = self.jetstream.get_key_value(&bucket).await;
        let mut opened =
            opened.map_err(|error| BusError::Read { what: format!("bucket {bucket}"), reason: error.to_string() })?;
        // Keys are written to their own subjects wherever the API is.
        opened.use_jetstream_prefix = false;
        Ok(opened)
    }

    /// The same for whoever has put it in place: it is there, so a server that does not show it now is waited for.
    ///
    /// # Errors
    /// None of those of [`Bus::batches`].
    pub async fn batches_in_place(&self) -> Result<kv::Store, BusError> {
        let passes = |error: &BusError| matches!(error, BusError::Read { .. });
        patiently("open a bucket", &self.names.batches_bucket(), passes, || self.batches()).await
    }
}

/// Makes attempts until one succeeds or fails in a way that does not pass, with a log line when the waiting begins and when
/// it is over: for what a server does once it is there, and does not while it is being started again. `doing` completes
/// "cannot", `what` is done something to.
///
/// # Errors
/// The first that does not pass.
pub async fn patiently<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    doing: &str,
    what: &str,
    passes: impl Fn(&E) -> bool,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        match attempt().await {
            Err(error) if passes(&error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(what, %error, "cannot {doing} now, waiting");
                }
                tokio::time::sleep(with_jitter(pause)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            outcome => {
                if told && outcome.is_ok() {
                    tracing::info!(what, "could {doing} after waiting");
                }
                return outcome;
            }
        }
    }
}

/// Headers of a message that a stream stores once.
pub fn headers_with_id(id: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    headers
}

/// Whether repeating a publish that was refused with this code cannot help.
fn is_for_good(err_code: u64) -> bool {
    matches!(err_code, code::WRONG_LAST_SEQUENCE | code::WRONG_LAST_SEQUENCE_CONSTANT | code::MESSAGE_TOO_LARGE)
}

/// A pause of between half and all of `pause`, so that many clients do not come back at once.
pub fn with_jitter(pause: Duration) -> Duration {
    pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

/// How to sign in. A credentials file wins over a user; a user without a password has an empty one.
async fn signed_in(config: &NatsConfig) -> std::io::Result<ConnectOptions> {
    if let Some(path) = &config.credentials {
        return ConnectOptions::with_credentials_file(path).await;
    }
    let Some(user) = &config.user else { return Ok(ConnectOptions::new()) };
    let password = config.password.as_ref().map_or("", |password| password.expose());
    let options = ConnectOptions::with_user_and_password(user.clone(), password.to_owned());
    // Answers arrive below the user's name, if it can be part of a subject: permissions can keep others from listening.
    let is_token = !user.is_empty() && user.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    Ok(if is_token { options.custom_inbox_prefix(format!("_INBOX.{user}")) } else { options })
}

/// TLS as configured. With certificates to check the server's by, plain text will not do.
fn with_tls(mut options: ConnectOptions, config: &NatsConfig) -> ConnectOptions {
    if let Some(ca) = &config.tls_ca {
        options = options.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let (Some(certificate), Some(key)) = (&config.tls_certificate, &config.tls_key) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options
}

/// The pause before an attempt to connect, numbered from 1. The client asks before the very first one too, which has
/// nothing to wait for.
fn reconnect_pause(attempt: usize) -> Duration {
    match attempt {
        0 | 1 => Duration::ZERO,
        attempt => FIRST_PAUSE.saturating_mul(1 << attempt.min(6) as u32).min(LONGEST_PAUSE),
    }
}

fn log_connection_event(event: &async_nats::Event, disconnected: &AtomicBool) {
    match event {
        async_nats::Event::Connected => {
            if disconnected.swap(false, Ordering::Relaxed) {
                tracing::info!("connected to NATS again");
            } else {
                tracing::debug!("connected to NATS");
            }
        }
        async_nats::Event::Disconnected => {
            if !disconnected.swap(true, Ordering::Relaxed) {
                tracing::warn!("lost the connection to NATS, reconnecting");
            }
        }
        async_nats::Event::SlowConsumer(id) => tracing::warn!(id, "a subscription cannot keep up"),
        async_nats::Event::ServerError(error) => tracing::warn!(%error, "the NATS server complains"),
        async_nats::Event::ClientError(error) => tracing::debug!(%error, "the NATS client complains"),
        other => tracing::debug!(event = %other, "NATS connection"),
    }
}
