//! Giving back the space of what nobody refers to.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::TryStreamExt;
use jiff::Timestamp;

use super::{BucketError, DataBucket, Entry, is_content, link_of};

/// What tidying up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Freed {
    /// Contents that no name referred to.
    pub contents: u64,
    /// Uploads that were never finished, and contents half of which was deleted.
    pub remains: u64,
    /// Space that is free now, in bytes of the stream.
    pub bytes: u64,
}

impl DataBucket {
    /// Removes contents that no name refers to, and chunks that belong to no content, both if they were stored at least so
    /// long ago: what is younger may belong to a push that is not done.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn tidy(&self, older_than: Duration) -> Result<Freed, BucketError> {
        let before = self.stored_bytes().await?;
        let mut freed = Freed::default();
        let entries = self.entries().await?;
        let live: Vec<&Entry> = entries.iter().filter(|entry| !entry.info.deleted).collect();
        let wanted: HashSet<&str> = live.iter().filter_map(|entry| link_of(&entry.info)).collect();
        let mut nuids: HashSet<&str> = live.iter().map(|entry| entry.info.nuid.as_str()).collect();
        for entry in live.iter().filter(|entry| is_content(&entry.info.name)) {
            let is_wanted = wanted.contains(entry.info.name.as_str());
            // A push that has found the content meanwhile has made its entry a new one, and it stays.
            if !is_wanted && is_older(entry.stored_at, older_than) && self.delete(entry).await? {
                freed.contents += 1;
                nuids.remove(entry.info.nuid.as_str());
            }
        }
        for nuid in self.uploads().await? {
            if !nuids.contains(nuid.as_str()) && self.is_abandoned(&nuid, older_than).await? {
                self.purge_chunks(&nuid).await?;
                freed.remains += 1;
            }
        }
        freed.bytes = before.saturating_sub(self.stored_bytes().await?);
        Ok(freed)
    }

    async fn stored_bytes(&self) -> Result<u64, BucketError> {
        let info = self.stream.get_info().await.map_err(|error| cannot_read("its size", error))?;
        Ok(info.state.bytes)
    }

    /// What chunks there are belong to.
    async fn uploads(&self) -> Result<Vec<String>, BucketError> {
        const WHAT: &str = "the chunks";
        let subjects = self.stream.info_with_subjects(self.chunks_of(">")).await;
        let subjects = subjects.map_err(|error| cannot_read(WHAT, error))?;
        let subjects: Vec<(String, usize)> = subjects.try_collect().await.map_err(|error| cannot_read(WHAT, error))?;
        let prefix = self.chunks_of("");
        Ok(subjects.iter().filter_map(|(subject, _)| Some(subject.strip_prefix(&prefix)?.to_owned())).collect())
    }

    /// Whether the last chunk of an upload came so long ago.
    async fn is_abandoned(&self, nuid: &str, older_than: Duration) -> Result<bool, BucketError> {
        match self.stream.get_last_raw_message_by_subject(&self.chunks_of(nuid)).await {
            Ok(chunk) => {
                let stored_at = Timestamp::from_nanosecond(chunk.time.unix_timestamp_nanos());
                Ok(is_older(stored_at.unwrap_or_default(), older_than))
            }
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(cannot_read(nuid, error)),
        }
    }
}

fn is_older(stored_at: Timestamp, than: Duration) -> bool {
    let age = Timestamp::now().duration_since(stored_at);
    age.unsigned_abs() >= than && age.is_positive()
}

fn cannot_read(what: &str, error: impl ToString) -> BucketError {
    BucketError::Read { what: what.to_owned(), reason: error.to_string() }
}
