//! A plan message in the planner's hands.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError, with_jitter};
use tokio::task::JoinHandle;

/// Delay before a message that was handed back is given to somebody: by then the server has heard that this planner asks for
/// no more. It would else be sent to an inbox that is closed, and stay there for an ack wait.
const HAND_BACK_DELAY: Duration = Duration::from_millis(100);

/// Longest wait for the server's word that a message was handed back.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(1);

/// A plan message in the planner's hands, kept alive by regular signs of life.
///
/// Its fate is decided by exactly one of [`HeldPlan::ack`], [`HeldPlan::hand_back`] and [`HeldPlan::retry_later`].
/// Dropped without any (a panic), the signs of life stop, and the server gives the message away after its ack wait.
#[derive(Debug)]
pub(crate) struct HeldPlan {
    bus: Bus,
    message: async_nats::Message,
    /// Subject on which the server takes acks.
    reply: String,
    sequence: u64,
    published_nanos: i128,
    signs_of_life: JoinHandle<()>,
}

impl HeldPlan {
    /// Takes over a delivered message. `None`, with a log line, for one that is not of a consumer: nothing can be
    /// acknowledged then.
    pub(crate) fn new(bus: Bus, message: jetstream::Message, sign_interval: Duration) -> Option<Self> {
        let (Some(reply), Ok(info)) = (&message.reply, message.info()) else {
            tracing::warn!(subject = %message.subject, "ignoring a message that no consumer delivered");
            return None;
        };
        let (sequence, published_nanos) = (info.stream_sequence, info.published.unix_timestamp_nanos());
        let reply = reply.to_string();
        let message = message.split().0;
        let signs_of_life = tokio::spawn(give_signs_of_life(bus.clone(), reply.clone(), sign_interval));
        Some(Self { bus, message, reply, sequence, published_nanos, signs_of_life })
    }

    /// The subject it was published on.
    pub(crate) fn subject(&self) -> &str {
        &self.message.subject
    }

    /// The sweep spec.
    pub(crate) fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Its headers.
    pub(crate) fn headers(&self) -> Option<&HeaderMap> {
        self.message.headers.as_ref()
    }

    /// Its place in PLANS.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Id of the message that keeps this one in DEAD; the same at each delivery. The time of publishing tells apart equal
    /// places in a stream that was made anew.
    pub(crate) fn dead_id(&self) -> String {
        format!("plan.{}.{}", self.sequence, self.published_nanos)
    }

    /// Done with: removes it from PLANS.
    ///
    /// # Errors
    /// When the server does not confirm; the message may then be delivered again, which does no harm.
    pub(crate) async fn ack(self) -> Result<(), BusError> {
        self.bus.ack(&self.reply).await
    }

    /// Gives it back, for another planner to take at once.
    pub(crate) async fn hand_back(self) {
        self.signs_of_life.abort();
        // Without an answer the message is given away after its ack wait: later, but not lost.
        if let Err(error) = self.bus.hand_back(&self.reply, HAND_BACK_DELAY, HAND_BACK_TIMEOUT).await {
            tracing::debug!(subject = self.subject(), %error, "handing back a plan was not confirmed");
        }
    }

    /// Gives it back, to be taken up again, here or elsewhere, after about `pause`.
    pub(crate) async fn retry_later(self, pause: Duration) {
        self.signs_of_life.abort();
        let nak = AckKind::Nak(Some(with_jitter(pause)));
        if let Err(error) = self.bus.client.publish(self.reply.clone(), nak.into()).await {
            tracing::debug!(subject = self.subject(), %error, "putting off a plan failed");
        }
    }
}

impl Drop for HeldPlan {
    fn drop(&mut self) {
        self.signs_of_life.abort();
    }
}

/// Tells the server again and again that a message is being worked on.
async fn give_signs_of_life(bus: Bus, reply: String, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        if let Err(error) = bus.client.publish(reply.clone(), Bytes::from_static(b"+WPI")).await {
            tracing::debug!(%error, "a sign of life was not sent");
        }
    }
}
