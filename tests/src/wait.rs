//! Waiting for what happens, never for time to pass.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::{self, kv};
use futures::StreamExt;

/// Longest wait for anything a test expects. Far more than it takes, for machines with more to do than this test.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at something that cannot be awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The future's output.
///
/// # Panics
///
/// If it takes longer than `limit`.
pub async fn within<F: Future>(limit: Duration, what: &str, future: F) -> F::Output {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("waited {limit:?} for {what}, in vain"))
}

/// What `look` finds, looking again and again: for what no event announces, such as the size of a work queue.
///
/// # Panics
///
/// If it finds nothing within [`LIMIT`].
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(LIMIT, what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await
}

/// Waits until a service of this role answers.
///
/// # Panics
///
/// If none does within [`LIMIT`].
pub async fn answers(client: &async_nats::Client, role: &str) {
    eventually(&format!("the {role} to answer"), async || {
        client.request(format!("$SRV.PING.{role}"), Default::default()).await.ok()
    })
    .await;
}

/// The value of a key once it fits, watching the bucket. Looks at the present value first. A watch that breaks, because its
/// server went away, is begun anew.
///
/// # Panics
///
/// If no value fits within [`LIMIT`].
pub async fn key_value(bucket: &kv::Store, key: &str, mut fits: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut watched = async || {
        let mut entries = bucket.watch_with_history(key).await.ok()?;
        while let Some(Ok(entry)) = entries.next().await {
            if entry.operation == kv::Operation::Put && fits(&entry.value) {
                return Some(entry.value.to_vec());
            }
        }
        None
    };
    eventually(&format!("key {key} of bucket {} to fit", bucket.name), async || watched().await).await
}

/// The first message on `subject` (which may have wildcards) that fits, stored before or after this call.
///
/// # Panics
///
/// If none comes within [`LIMIT`].
pub async fn message(
    jetstream: &jetstream::Context,
    stream: &str,
    subject: &str,
    mut fits: impl FnMut(&async_nats::Message) -> bool,
) -> async_nats::Message {
    within(LIMIT, &format!("a message on {subject} of {stream}"), async {
        let mut messages = read(jetstream, stream, subject).await;
        while let Some(message) = messages.next().await {
            let (message, _) = message.expect("a message of the stream").split();
            if fits(&message) {
                return message;
            }
        }
        panic!("reading {stream} ended")
    })
    .await
}

/// The first `count` messages on `subject` (which may have wildcards), stored before or after this call, in order.
///
/// # Panics
///
/// If there are fewer after [`LIMIT`].
pub async fn messages(
    jetstream: &jetstream::Context,
    stream: &str,
    subject: &str,
    count: usize,
) -> Vec<async_nats::Message> {
    within(LIMIT, &format!("{count} messages on {subject} of {stream}"), async {
        let mut messages = read(jetstream, stream, subject).await;
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let message = messages.next().await.expect("reading a stream does not end");
            found.push(message.expect("a message of the stream").split().0);
        }
        found
    })
    .await
}

async fn read(jetstream: &jetstream::Context, stream: &str, subject: &str) -> pull::Ordered {
    let config = pull::OrderedConfig {
        filter_subject: subject.to_owned(),
        deliver_policy: DeliverPolicy::All,
        ..Default::default()
    };
    let stream = jetstream.get_stream(stream).await.expect("the stream");
    stream.create_consumer(config).await.expect("a consumer").messages().await.expect("its messages")
}
