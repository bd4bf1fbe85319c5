//! The data bucket: files of bars in a NATS object store, for workers without a shared folder.
//!
//! ```text
//! daily/AAPL.csv ──link──> sha256/3f5a… ──> chunks
//! daily/APPL.csv ──link──────┘
//! ```
//!
//! A content is named by its SHA-256 and never changes; a name is a link to one. So equal files are stored once, a changed
//! file is another content, and whoever reads can tell whether it has what it asked for. It is an ordinary object store:
//! `nats object ls jetsweep-data` shows it, and what `nats object put` puts there is read as well.
//!
//! Reading needs two requests that change nothing, and no consumer: see the worker in `nats/roles.conf`.

mod tidy;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::object_store::ObjectInfo;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;

use crate::bus::Bus;

pub use tidy::Freed;
pub use write::Pushed;

/// What the names of contents begin with.
const CONTENTS: &str = "sha256/";

/// What an object's digest begins with, in its entry.
const DIGEST_PREFIX: &str = "SHA-256=";

/// Longest wait for the next of the entries that are there.
const SILENCE: Duration = Duration::from_secs(10);

/// The bucket could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BucketError {
    /// A read failed: the server is away, or this user may not.
    #[error("failed to read {what} in the data bucket: {reason}")]
    Read {
        /// What was read.
        what: String,
        /// The client's words.
        reason: String,
    },
    /// A write failed: the server is away, or this user may not.
    #[error("failed to write {what} in the data bucket: {reason}")]
    Write {
        /// What was written.
        what: String,
        /// The client's words.
        reason: String,
    },
    /// What is stored is not whole.
    #[error("{what} in the data bucket is broken: {reason}; push the file again with --force")]
    Broken {
        /// The object.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Content {
    /// SHA-256 of its bytes, in hexadecimal.
    pub digest: String,
    /// How many there are.
    pub bytes: u64,
    /// What its chunks are called.
    nuid: String,
    chunks: usize,
}

/// A name in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// What it stands for; `None` if that is not there.
    pub content: Option<Content>,
    /// When it was given its content.
    pub pushed_at: Timestamp,
}

/// All that the bucket holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Names, in their order.
    pub names: Vec<Named>,
    /// Contents, whether named or not.
    pub contents: Vec<Content>,
}

/// The bucket of one namespace.
#[derive(Debug, Clone)]
pub struct DataBucket {
    context: Context,
    stream: Stream,
    name: String,
    max_payload: usize,
}

/// An object's entry as it is stored.
#[derive(Debug, Clone)]
struct Entry {
    info: ObjectInfo,
    /// Its place in the stream.
    sequence: u64,
    /// By the server's clock.
    stored_at: Timestamp,
}

impl DataBucket {
    /// The bucket, if there is one.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn open(bus: &Bus) -> Result<Option<Self>, BucketError> {
        let name = bus.names.data_bucket();
        match bus.jetstream.get_stream(bus.names.data_stream()).await {
            Ok(stream) => {
                let (context, max_payload) = (bus.jetstream.clone(), bus.client.max_payload());
                Ok(Some(Self { context, stream, name, max_payload }))
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                _ => Err(BucketError::Read { what: name, reason: error.to_string() }),
            },
        }
    }

    /// What a name stands for now; `None` if there is no such name.
    ///
    /// # Errors
    /// When the server does not say, and [`BucketError::Broken`] for a name that leads nowhere.
    pub async fn find(&self, name: &str) -> Result<Option<Content>, BucketError> {
        let Some(entry) = self.live_entry(name).await? else { return Ok(None) };
        let Some(target) = link_of(&entry.info) else { return content_of(&entry.info).map(Some) };
        match self.live_entry(target).await? {
            Some(content) => content_of(&content.info).map(Some),
            None => Err(broken(name, &format!("its content, {target}, is gone"))),
        }
    }

    /// The bytes of a content, in pieces. Whoever takes them compares their digest.
    ///
    /// One request a piece, each of which has an end: reading a content that is not whole does not wait for the rest.
    pub fn read(
        &self,
        content: &Content,
    ) -> impl futures::Stream<Item = Result<Bytes, BucketError>> + Send + 'static + use<> {
        let subject = self.chunks_of(&content.nuid);
        let start = (self.stream.clone(), subject, content.clone(), 1, 0);
        futures::stream::try_unfold(start, |(stream, subject, content, sequence, done)| async move {
            if done == content.chunks {
                return Ok(None);
            }
            let what = content_name(&content.digest);
            match stream.direct_get_next_for_subject(subject.as_str(), Some(sequence)).await {
                Ok(chunk) => {
                    let next = (stream, subject, content, chunk.sequence + 1, done + 1);
                    Ok(Some((chunk.payload, next)))
                }
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    Err(broken(&what, &format!("{done} of {} pieces are there", content.chunks)))
                }
                Err(error) => Err(BucketError::Read { what, reason: error.to_string() }),
            }
        })
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn list(&self) -> Result<Listing, BucketError> {
        let entries = self.entries().await?;
        let live = || entries.iter().filter(|entry| !entry.info.deleted);
        let by_name: HashMap<&str, Content> =
            live().filter_map(|entry| Some((entry.info.name.as_str(), content_of(&entry.info).ok()?))).collect();
        let named = live().filter(|entry| !is_content(&entry.info.name)).map(|entry| Named {
            name: entry.info.name.clone(),
            content: by_name.get(link_of(&entry.info).unwrap_or(&entry.info.name)).cloned(),
            pushed_at: entry.stored_at,
        });
        let mut names: Vec<Named> = named.collect();
        names.sort_by(|a, b| a.name.cmp(&b.name));
        let mut contents: Vec<Content> = by_name.into_values().collect();
        contents.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(Listing { names, contents })
    }

    fn entry_of(&self, name: &str) -> String {
        format!("$O.{}.M.{}", self.name, URL_SAFE.encode(name))
    }

    fn chunks_of(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name)
    }

    /// An object's entry, asked of the stream's leader: a replica may lag behind.
    async fn entry(&self, name: &str) -> Result<Option<Entry>, BucketError> {
        match self.stream.get_last_raw_message_by_subject(&self.entry_of(name)).await {
            Ok(message) => {
                let nanos = message.time.unix_timestamp_nanos();
                Ok(Some(Entry::read(name, message.sequence, nanos, &message.payload)?))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BucketError::Read { what: name.to_owned(), reason: error.to_string() }),
        }
    }

    /// The entry of an object that is not deleted.
    async fn live_entry(&self, name: &str) -> Result<Option<Entry>, BucketError> {
        Ok(self.entry(name).await?.filter(|entry| !entry.info.deleted))
    }

    /// Every entry, those of deleted objects among them.
    async fn entries(&self) -> Result<Vec<Entry>, BucketError> {
        const WHAT: &str = "the entries";
        let failed = |reason: String| BucketError::Read { what: WHAT.to_owned(), reason };
        let config = pull::OrderedConfig {
            filter_subject: format!("$O.{}.M.>", self.name),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(|error| failed(error.to_string()))?;
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await.map_err(|error| failed(error.to_string()))?;
        let mut entries = Vec::new();
        while left > 0 {
            let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await else {
                return Err(failed(format!("the server fell silent after {} of them", entries.len())));
            };
            let message = message.map_err(|error| failed(error.to_string()))?;
            let info = message.info().map_err(|error| failed(error.to_string()))?;
            left = info.pending;
            entries.push(Entry::read(
                WHAT,
                info.stream_sequence,
                info.published.unix_timestamp_nanos(),
                &message.payload,
            )?);
        }
        Ok(entries)
    }
}

impl Entry {
    fn read(name: &str, sequence: u64, nanos: i128, payload: &[u8]) -> Result<Self, BucketError> {
        let info = serde_json::from_slice(payload).map_err(|error| broken(name, &error.to_string()))?;
        Ok(Self { info, sequence, stored_at: Timestamp::from_nanosecond(nanos).unwrap_or_default() })
    }
}

/// What a content is called.
fn content_name(digest: &str) -> String {
    format!("{CONTENTS}{digest}")
}

/// Whether this is what a content is called. Nobody may give such a name.
pub fn is_content(name: &str) -> bool {
    name.starts_with(CONTENTS)
}

/// The object that a link stands for.
fn link_of(info: &ObjectInfo) -> Option<&str> {
    info.options.as_ref()?.link.as_ref()?.name.as_deref()
}

fn content_of(info: &ObjectInfo) -> Result<Content, BucketError> {
    let digest = info.digest.as_deref().and_then(|digest| digest.strip_prefix(DIGEST_PREFIX));
    let digest = digest.and_then(|digest| URL_SAFE.decode(digest).ok());
    let digest = digest.ok_or_else(|| broken(&info.name, "its entry has no digest"))?;
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    if is_content(&info.name) && info.name != content_name(&digest) {
        return Err(broken(&info.name, &format!("its entry says that its digest is {digest}")));
    }
    Ok(Content { digest, bytes: info.size as u64, nuid: info.nuid.clone(), chunks: info.chunks })
}

fn broken(what: &str, reason: &str) -> BucketError {
    BucketError::Broken { what: what.to_owned(), reason: reason.to_owned() }
}
