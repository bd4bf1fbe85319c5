//! Putting files into the bucket: the content first, then the name that refers to it.
//!
//! However it is interrupted, names lead to whole contents: one that is not whole has no entry, and its chunks are
//! [tidied up](super::DataBucket::tidy) later.

use async_nats::HeaderMap;
use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_ROLLUP};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::object_store::{ObjectInfo, ObjectMetadata};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;

use super::{BucketError, DataBucket, Entry, content_name, content_of, link_of};

/// Largest chunk, in bytes: a read is a request a chunk.
const LARGEST_CHUNK: usize = 512 << 10;

/// What came of pushing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Its content was uploaded.
    Uploaded,
    /// Its content was there already, and the name refers to it now.
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
        let is_named = self.live_entry(name).await?.is_some_and(|entry| link_of(&entry.info) == Some(&target));
        if is_named && !force && self.live_entry(&target).await?.is_some() {
            return Ok(Pushed::Unchanged);
        }
        let touched = if force { None } else { self.touch(&target).await? };
        let (info, pushed) = match touched {
            Some(info) => (info, Pushed::Named),
            None => (self.upload(target, digest, bytes).await?, Pushed::Uploaded),
        };
        let failed = |reason: String| BucketError::Write { what: name.to_owned(), reason };
        let store = self.context.get_object_store(&self.name).await.map_err(|error| failed(error.to_string()))?;
        store.add_link(name, &info).await.map_err(|error| failed(error.to_string()))?;
        Ok(pushed)
    }

    /// Takes a name away; its content stays until the bucket is tidied up. `false` if there is no such name.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn remove(&self, name: &str) -> Result<bool, BucketError> {
        loop {
            let Some(entry) = self.live_entry(name).await? else { return Ok(false) };
            if self.delete(&entry).await? {
                return Ok(true);
            }
        }
    }

    async fn upload(&self, target: String, digest: &str, bytes: &Bytes) -> Result<ObjectInfo, BucketError> {
        let failed = |reason: String| BucketError::Write { what: content_name(digest), reason };
        let store = self.context.get_object_store(&self.name).await.map_err(|error| failed(error.to_string()))?;
        let chunk_size = Some(LARGEST_CHUNK.min(self.max_payload));
        let metadata = ObjectMetadata { name: target, chunk_size, ..Default::default() };
        let info = store.put(metadata, &mut bytes.as_ref()).await.map_err(|error| failed(error.to_string()))?;
        content_of(&info).map(|_| info)
    }

    /// Makes a content new again if it is there, so that nobody tidies it up before a name refers to it.
    async fn touch(&self, target: &str) -> Result<Option<ObjectInfo>, BucketError> {
        loop {
            let Some(entry) = self.live_entry(target).await? else { return Ok(None) };
            if self.replace(&entry, &entry.info).await? {
                return Ok(Some(entry.info));
            }
        }
    }

    /// Deletes an object unless its entry has changed meanwhile: `false`.
    pub(super) async fn delete(&self, entry: &Entry) -> Result<bool, BucketError> {
        let gone = ObjectInfo { deleted: true, size: 0, chunks: 0, ..entry.info.clone() };
        if !self.replace(entry, &gone).await? {
            return Ok(false);
        }
        self.purge_chunks(&entry.info.nuid).await?;
        Ok(true)
    }

    pub(super) async fn purge_chunks(&self, nuid: &str) -> Result<(), BucketError> {
        let purged = self.stream.purge().filter(self.chunks_of(nuid)).await;
        purged.map(drop).map_err(|error| BucketError::Write { what: "chunks".to_owned(), reason: error.to_string() })
    }

    /// Puts `info` in the place of an entry unless that has changed meanwhile: `false`.
    async fn replace(&self, entry: &Entry, info: &ObjectInfo) -> Result<bool, BucketError> {
        let name = &entry.info.name;
        let failed = |reason: String| BucketError::Write { what: name.clone(), reason };
        let payload = serde_json::to_vec(info).map_err(|error| failed(error.to_string()))?;
        let mut headers = HeaderMap::new();
        headers.insert(NATS_ROLLUP, "sub");
        headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, entry.sequence.to_string().as_str());
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
