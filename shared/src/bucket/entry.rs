//! Entries: what says of an object how large it is, where its chunks are, or what it is a link to.

use std::collections::BTreeMap;

use async_nats::datetime::DateTime;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_nats::jetstream::object_store::ObjectInfo;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use futures::StreamExt;
use jiff::Timestamp;

use super::{BucketError, Content, DataBucket, SILENCE, cannot_read, content_name, is_content};
use crate::hex;

/// What an object's digest begins with, in its entry.
const DIGEST_PREFIX: &str = "SHA-256=";

/// An object's entry as it is stored.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) info: ObjectInfo,
    /// Its place in the stream.
    pub(super) sequence: u64,
    /// By the server's clock.
    pub(super) stored_at: Timestamp,
}

/// What is stored where an entry should be, and is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The object's name; the message's subject, if that is not one of an object.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
    /// When it was stored.
    pub stored_at: Timestamp,
    pub(super) sequence: u64,
}

/// A message where entries are.
pub(super) type Found = Result<Entry, Unreadable>;

impl DataBucket {
    fn entries_below(&self) -> String {
        format!("$O.{}.M.", self.name)
    }

    /// Where the entry of an object is.
    pub(super) fn entry_of(&self, name: &str) -> String {
        format!("{}{}", self.entries_below(), URL_SAFE.encode(name))
    }

    /// Where the message is that people know by this name: an object's, or else a subject, as in [`Unreadable`].
    pub(super) fn subject_of(&self, name: &str) -> String {
        if name.starts_with(&self.entries_below()) { name.to_owned() } else { self.entry_of(name) }
    }

    /// An object's entry, asked of the stream's leader: a replica may lag behind.
    pub(super) async fn entry(&self, name: &str) -> Result<Option<Entry>, BucketError> {
        Ok(self.found(&self.entry_of(name)).await?.transpose()?)
    }

    /// The entry of an object that is not deleted.
    pub(super) async fn live_entry(&self, name: &str) -> Result<Option<Entry>, BucketError> {
        Ok(self.entry(name).await?.filter(|entry| !entry.info.deleted))
    }

    /// What is stored at a subject, asked of the stream's leader.
    pub(super) async fn found(&self, subject: &str) -> Result<Option<Found>, BucketError> {
        match self.stream.get_last_raw_message_by_subject(subject).await {
            // A pattern is the subject of no message, whatever it fits.
            Ok(message) if message.subject.as_str() != subject => Ok(None),
            Ok(message) => Ok(Some(self.read_entry(subject, message.sequence, message.time, &message.payload))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(cannot_read(&self.name_at(subject), error)),
        }
    }

    /// Every entry in the order of subjects, those of deleted objects among them.
    pub(super) async fn entries(&self) -> Result<Vec<Found>, BucketError> {
        const WHAT: &str = "the entries";
        let config = pull::OrderedConfig {
            filter_subject: format!("{}>", self.entries_below()),
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..Default::default()
        };
        let consumer = self.stream.create_consumer(config).await.map_err(|error| cannot_read(WHAT, error))?;
        let mut left = consumer.cached_info().num_pending;
        let mut messages = consumer.messages().await.map_err(|error| cannot_read(WHAT, error))?;
        // One that is replaced meanwhile may come twice, the newer one later.
        let mut entries = BTreeMap::new();
        while left > 0 {
            let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await else {
                return Err(cannot_read(WHAT, format!("the server fell silent after {} of them", entries.len())));
            };
            let message = message.map_err(|error| cannot_read(WHAT, error))?;
            let info = message.info().map_err(|error| cannot_read(WHAT, error))?;
            left = info.pending;
            let entry = self.read_entry(&message.subject, info.stream_sequence, info.published, &message.payload);
            entries.insert(message.subject.to_string(), entry);
        }
        Ok(entries.into_values().collect())
    }

    fn read_entry(&self, subject: &str, sequence: u64, stored: DateTime, payload: &[u8]) -> Found {
        let stored_at = time(stored);
        let unreadable = |reason| Unreadable { name: self.name_at(subject), reason, stored_at, sequence };
        let info: ObjectInfo = serde_json::from_slice(payload)
            .map_err(|error| unreadable(format!("its entry is none of an object: {error}")))?;
        if self.entry_of(&info.name) != subject {
            return Err(unreadable(format!("its entry says that its name is {:?}", info.name)));
        }
        Ok(Entry { info, sequence, stored_at })
    }

    /// The name of the object whose entry is at this subject, or the subject if there can be none.
    fn name_at(&self, subject: &str) -> String {
        let encoded = subject.strip_prefix(&self.entries_below());
        let name = encoded.and_then(|encoded| String::from_utf8(URL_SAFE.decode(encoded).ok()?).ok());
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| subject.to_owned())
    }

    /// The object that a link stands for; `None` for one that is no link.
    pub(super) fn link_of<'a>(&self, entry: &'a Entry) -> Result<Option<&'a str>, Unreadable> {
        let Some(link) = entry.info.options.as_ref().and_then(|options| options.link.as_ref()) else { return Ok(None) };
        match &link.name {
            _ if is_content(&entry.info.name) => Err(entry.unreadable("it is a link, and no content".to_owned())),
            Some(target) if link.bucket == self.name => Ok(Some(target)),
            _ => {
                let reason = format!("it is a link into the bucket {}, and only this one is read", link.bucket);
                Err(entry.unreadable(reason))
            }
        }
    }
}

impl Entry {
    /// What is stored under this entry, if it is no link.
    pub(super) fn content(&self) -> Result<Content, Unreadable> {
        content_of(&self.info).map_err(|reason| self.unreadable(reason))
    }

    fn unreadable(&self, reason: String) -> Unreadable {
        Unreadable { name: self.info.name.clone(), reason, stored_at: self.stored_at, sequence: self.sequence }
    }
}

impl From<Unreadable> for BucketError {
    fn from(Unreadable { name, reason, .. }: Unreadable) -> Self {
        Self::Unreadable { what: name, reason }
    }
}

/// What is stored under an entry that is no link, or what is wrong with the entry.
pub(super) fn content_of(info: &ObjectInfo) -> Result<Content, String> {
    let digest = info.digest.as_deref().and_then(|digest| digest.strip_prefix(DIGEST_PREFIX));
    let digest = digest.and_then(|digest| URL_SAFE.decode(digest).ok());
    let digest = hex::encode(digest.ok_or("its entry has no digest")?);
    if is_content(&info.name) && info.name != content_name(&digest) {
        return Err(format!("its entry says that its digest is {digest}"));
    }
    let (name, nuid) = (info.name.clone(), info.nuid.clone());
    Ok(Content { digest, bytes: info.size as u64, name, nuid, chunks: info.chunks })
}

/// When a message was stored, by the server's clock.
pub(super) fn time(stored: DateTime) -> Timestamp {
    Timestamp::from_nanosecond(stored.unix_timestamp_nanos()).unwrap_or_default()
}
