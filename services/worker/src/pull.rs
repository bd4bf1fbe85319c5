//! Pull requests on one consumer, asked for one at a time.
//!
//! The client library's own streams ask for more as soon as half of what they asked for has come, and keep it where
//! nobody shows signs of life for it; its batches with heartbeats stall. Here a request asks for as many jobs as there
//! are places for, another follows when it has ended, and silence is noticed within seconds.

use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::BatchConfig;
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::{Message, StatusCode, Subscriber};
use futures::StreamExt;
use jetsweep_shared::bus::Bus;

/// How long the server keeps a request open while there are no jobs.
const EXPIRES: Duration = Duration::from_secs(30);

/// How often the server says that it still has an open request.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Silence after which an open request counts as lost: with its server, or with its consumer.
const LONGEST_SILENCE: Duration = HEARTBEAT.saturating_mul(3);

/// Longest wait for the server when an inbox is closed.
const LONGEST_CLOSE: Duration = Duration::from_secs(1);

/// Why jobs cannot be pulled now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    /// The stream or the consumer is not there.
    #[error("{0} does not exist")]
    Gone(String),
    /// Nothing was heard of an open request.
    #[error("nothing heard from the server for {} s", LONGEST_SILENCE.as_secs())]
    Silent,
    /// Anything else: the server shuts down, changes its leader, or does not answer.
    #[error("{0}")]
    NotNow(String),
}

/// What was heard of the open request.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A job.
    Job(Message),
    /// The server still has the request, and no jobs.
    NoJobsYet,
    /// The request has ended; nothing is asked for now.
    Ended,
}

/// One consumer's inbox and the request that is open on it.
#[derive(Debug)]
pub(crate) struct Pull {
    consumer: PullConsumer,
    name: String,
    inbox: String,
    messages: Subscriber,
    /// Jobs asked for that have not come.
    open: usize,
}

impl Pull {
    /// Looks the consumer up and opens an inbox for it.
    pub(crate) async fn open(bus: &Bus, stream: &str, consumer: &str) -> Result<Self, PullError> {
        let name = format!("consumer {consumer} of stream {stream}");
        let found = bus.jetstream.get_consumer_from_stream(consumer, stream).await;
        let consumer: PullConsumer = found.map_err(|error| match error.kind() {
            ConsumerErrorKind::JetStream(refusal)
                if matches!(refusal.error_code(), ErrorCode::CONSUMER_NOT_FOUND | ErrorCode::STREAM_NOT_FOUND) =>
            {
                PullError::Gone(name.clone())
            }
            _ => PullError::NotNow(error.to_string()),
        })?;
        let inbox = bus.client.new_inbox();
        let subscribed = bus.client.subscribe(inbox.clone()).await;
        let messages = subscribed.map_err(|error| PullError::NotNow(error.to_string()))?;
        Ok(Self { consumer, name, inbox, messages, open: 0 })
    }

    /// Whether no request is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0
    }

    /// Asks for `count` jobs.
    pub(crate) async fn ask(&mut self, count: usize) -> Result<(), PullError> {
        let request =
            BatchConfig { batch: count, expires: Some(EXPIRES), idle_heartbeat: HEARTBEAT, ..Default::default() };
        let asked = self.consumer.request_batch(request, self.inbox.clone().into()).await;
        asked.map_err(|error| PullError::NotNow(error.to_string()))?;
        self.open = count;
        Ok(())
    }

    /// Waits for what becomes of the open request. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Heard, PullError> {
        let heard = tokio::time::timeout(LONGEST_SILENCE, self.messages.next());
        let Some(message) = heard.await.map_err(|_| PullError::Silent)? else {
            return Err(PullError::NotNow("the connection is closed".to_owned()));
        };
        match message.status {
            None | Some(StatusCode::OK) => {
                self.open = self.open.saturating_sub(1);
                Ok(Heard::Job(message))
            }
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(Heard::NoJobsYet),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.open = 0;
                Ok(Heard::Ended)
            }
            Some(StatusCode::NO_RESPONDERS) => Err(PullError::Gone(self.name.clone())),
            Some(status) => {
                let description = message.description.unwrap_or_else(|| status.to_string());
                let is_gone = description.contains("Consumer Deleted");
                Err(if is_gone { PullError::Gone(self.name.clone()) } else { PullError::NotNow(description) })
            }
        }
    }

    /// Ends the request and returns the jobs that came meanwhile, which must be handed back.
    ///
    /// A job that the server sends in the very moment in which the inbox closes reaches nobody; it is delivered again
    /// after its ack wait.
    pub(crate) async fn close(mut self) -> Vec<Message> {
        let mut jobs = Vec::new();
        let close = async {
            if self.open > 0 {
                // By the time of this answer the server has looked at the request: what it had to send is here.
                let _ = self.consumer.get_info().await;
            }
            if self.messages.drain().await.is_err() {
                return;
            }
            while let Some(message) = self.messages.next().await {
                if message.status.is_none_or(|status| status == StatusCode::OK) {
                    jobs.push(message);
                }
            }
        };
        // Without a connection none of this ends, and there is nothing to wait for.
        let _ = tokio::time::timeout(LONGEST_CLOSE, close).await;
        jobs
    }
}
