//! Putting files into the bucket: the content first, then the name that refers to it.
//!
//! However it is interrupted, names lead to whole contents: one that is not whole has no entry, and its chunks are
//! [tidied up](super::DataBucket::tidy) later.

use std::collections::HashMap;

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_ROLLUP};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::{ObjectInfo, ObjectLink, ObjectMetadata, ObjectOptions};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use serde::Serialize;

use super::entry::{Entry, Unreadable, content_of};
use super::{BucketError, DataBucket, content_name, is_content};
use crate::hex;

/// Largest chunk, in bytes: a read is a request a chunk.
const LARGEST_CHUNK: usize = 512 << 10;

/// What came of pushing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pushed {
    /// Its content was uploaded.
    Uploaded,
    /// Its content was there, under another name or none, and the name refers to it now.
    Named,
    /// The name referred to this content before.
    Unchanged,
}

impl DataBucket {
    /// Makes `name` stand for a file. `digest` is the SHA-256 of its bytes in hexadecimal; a content that is there already
    /// is not uploaded again, unless `force` says so.
    ///
    /// # Errors
    /// When the server refuses, or the bytes have another digest.
    pub async fn push(&self, name: &str, digest: &str, bytes: &Bytes, force: bool) -> Result<Pushed, BucketError> {
        let target = content_name(digest);
        if !force && self.is_named(name, &target).await? && self.whole_entry(&target).await?.is_some() {
            return Ok(Pushed::Unchanged);
        }
        let pushed = match !force && self.touch(&target).await? {
            true => Pushed::Named,
            false => {
                self.upload(&target, bytes).await?;
                Pushed::Uploaded
            }
        };
        self.link(name, target).await?;
        Ok(pushed)
    }

    /// Takes a name away; its content stays until the bucket is tidied up. `false` if there is no such name.
    ///
    /// An entry that says nothing of use goes as well, whatever it is called.
    ///
    /// # Errors
    /// When the server refuses, and [`BucketError::IsContent`].
    pub async fn remove(&self, name: &str) -> Result<bool, BucketError> {
        let subject = self.subject_of(name);
        loop {
            let entry = match self.found(&subject).await? {
                None => return Ok(false),
                Some(Ok(entry)) if entry.info.deleted => return Ok(false),
                Some(Ok(entry)) => entry,
                Some(Err(unreadable)) => return self.purge_entry(&subject, &unreadable).await.map(|()| true),
            };
            if is_content(name) && self.link_of(&entry).is_ok() && entry.content().is_ok() {
                return Err(BucketError::IsContent(name.to_owned()));
            }
            if self.delete(&entry).await? {
                return Ok(true);
            }
        }
    }

    /// Whether a name refers to this content now.
    async fn is_named(&self, name: &str, target: &str) -> Result<bool, BucketError> {
        let found = self.found(&self.entry_of(name)).await?.and_then(Result::ok);
        Ok(found.is_some_and(|entry| !entry.info.deleted && self.link_of(&entry) == Ok(Some(target))))
    }

    /// The entry of a content that is there; one that says nothing of use is replaced by whoever uploads it again.
    async fn whole_entry(&self, target: &str) -> Result<Option<Entry>, BucketError> {
        let found = self.found(&self.entry_of(target)).await?.and_then(Result::ok);
        Ok(found.filter(|entry| !entry.info.deleted && self.link_of(entry) == Ok(None) && entry.content().is_ok()))
    }

    async fn upload(&self, target: &str, bytes: &Bytes) -> Result<(), BucketError> {
        let failed = |reason: String| BucketError::Write { what: target.to_owned(), reason };
        let store = self.context.get_object_store(&self.name).await.map_err(|error| failed(error.to_string()))?;
        let chunk_size = Some(LARGEST_CHUNK.min(self.max_payload));
        let metadata = ObjectMetadata { name: target.to_owned(), chunk_size, ..Default::default() };
        let info = store.put(metadata, &mut bytes.as_ref()).await.map_err(|error| failed(error.to_string()))?;
        content_of(&info).map(drop).map_err(failed)
    }

    /// Makes `name` a link to a content, whatever it was before. Chunks of an object that somebody put there by other means
    /// are tidied up later.
    async fn link(&self, name: &str, target: String) -> Result<(), BucketError> {
        let link = ObjectLink { name: Some(target), bucket: self.name.clone() };
        let info = ObjectInfo {
            name: name.to_owned(),
            description: None,
            metadata: HashMap::new(),
            headers: None,
            options: Some(ObjectOptions { link: Some(link), max_chunk_size: None }),
            bucket: self.name.clone(),
            // No chunks have this name; other clients take an entry without one for a broken one.
            nuid: hex::encode(rand::random::<[u8; 11]>()),
            size: 0,
            chunks: 0,
            modified: None,
            digest: None,
            deleted: false,
        };
        self.publish(&info, None).await.map(drop)
    }

    /// Makes a content new again if it is there, so that nobody tidies it up before a name refers to it.
    async fn touch(&self, target: &str) -> Result<bool, BucketError> {
        loop {
            let Some(entry) = self.whole_entry(target).await? else { return Ok(false) };
            if self.publish(&entry.info, Some(entry.sequence)).await? {
                return Ok(true);
            }
        }
    }

    /// Deletes an object unless its entry has changed meanwhile: `false`.
    pub(super) async fn delete(&self, entry: &Entry) -> Result<bool, BucketError> {
        let gone = ObjectInfo { deleted: true, size: 0, chunks: 0, ..entry.info.clone() };
        if !self.publish(&gone, Some(entry.sequence)).await? {
            return Ok(false);
        }
        self.purge_chunks(&entry.info.nuid).await?;
        Ok(true)
    }

    /// Removes the chunks of this name, if it is one: anybody may have written it into an entry, and a pattern fits others.
    pub(super) async fn purge_chunks(&self, nuid: &str) -> Result<(), BucketError> {
        if nuid.split('.').any(|token| matches!(token, "" | "*" | ">")) {
            return Ok(());
        }
        let purged = self.stream.purge().filter(self.chunks_of(nuid)).await;
        purged.map(drop).map_err(|error| BucketError::Write { what: "chunks".to_owned(), reason: error.to_string() })
    }

    /// Removes what is stored where an entry should be. One that has come meanwhile stays.
    async fn purge_entry(&self, subject: &str, found: &Unreadable) -> Result<(), BucketError> {
        let purged = self.stream.purge().filter(subject).sequence(found.sequence + 1).await;
        let failed = |reason: String| BucketError::Write { what: found.name.clone(), reason };
        purged.map(drop).map_err(|error| failed(error.to_string()))
    }

    /// Makes `info` an object's entry; with the place of an entry only if that is the object's last still, else `false`.
    async fn publish(&self, info: &ObjectInfo, replaced: Option<u64>) -> Result<bool, BucketError> {
        let name = &info.name;
        let failed = |reason: String| BucketError::Write { what: name.clone(), reason };
        let payload = serde_json::to_vec(info).map_err(|error| failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        if let Some(sequence) = replaced {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string().as_str());
        }
        let published = self.context.publish_with_headers(self.entry_of(name), headers, payload.into()).await;
        match published.map_err(|error| failed(error.to_string()))?.await {
            Ok(_) => Ok(true),
            Err(error) if is_of_another(&error) => Ok(false),
            Err(error) => Err(failed(error.to_string())),
        }
    }
}

/// Whether somebody else was first: the client knows only one of the server's two words for it.
fn is_of_another(error: &PublishError) -> bool {
    let refusal = std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    error.kind() == PublishErrorKind::WrongLastSequence
        || refusal.is_some_and(|refusal| refusal.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)
}
