//! Giving back the space of what nobody refers to.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use futures::TryStreamExt;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::entry::{Entry, time};
use super::{BucketError, DataBucket, cannot_read, is_content};

/// What tidying up came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Freed {
    /// Contents that no name referred to.
    pub contents: u64,
    /// Uploads that were never finished, and contents half of which was deleted.
    pub remains: u64,
    /// Space that is free now, in bytes of the stream.
    #[serde(rename = "freed_bytes")]
    pub bytes: u64,
}

/// What the server says of the stream.
#[derive(Debug, Deserialize)]
struct Told {
    /// The time at the server that stores messages and says when.
    ts: Option<Timestamp>,
    state: Size,
}

#[derive(Debug, Deserialize)]
struct Size {
    bytes: u64,
}

/// What was stored until then is old enough to go.
#[derive(Debug, Clone, Copy)]
struct Horizon(Timestamp);

impl Horizon {
    /// So long before `now`, which is the server's: this machine's clock may be ahead of it, and what a push has just stored
    /// would be old.
    fn before(now: Timestamp, age: Duration) -> Self {
        Self(now.checked_sub(age).unwrap_or(Timestamp::MIN))
    }

    fn is_past(self, stored_at: Timestamp) -> bool {
        stored_at <= self.0
    }
}

impl DataBucket {
    /// Removes contents that no name refers to, and chunks that belong to no content, both if they were stored at least so
    /// long ago by the server's clock: what is younger may belong to a push that is not done.
    ///
    /// # Errors
    /// When the server refuses, and [`BucketError::Unreadable`] if an entry does not say which chunks or content it needs.
    pub async fn tidy(&self, older_than: Duration) -> Result<Freed, BucketError> {
        const TIME: &str = "the time at the server";
        let before = self.told().await?;
        let now = before.ts.ok_or_else(|| cannot_read(TIME, "it does not say it; upgrade nats-server"))?;
        let horizon = Horizon::before(now, older_than);
        let mut freed = Freed::default();
        let entries: Vec<Entry> = self.entries().await?.into_iter().collect::<Result<_, _>>()?;
        let live: Vec<&Entry> = entries.iter().filter(|entry| !entry.info.deleted).collect();
        // A link that leads nowhere here keeps nothing.
        let wanted: HashSet<&str> = live.iter().filter_map(|entry| self.link_of(entry).ok().flatten()).collect();
        let mut nuids: HashSet<&str> = live.iter().map(|entry| entry.info.nuid.as_str()).collect();
        for entry in live.iter().filter(|entry| is_content(&entry.info.name)) {
            let is_wanted = wanted.contains(entry.info.name.as_str());
            // A push that has found the content meanwhile has made its entry a new one, and it stays.
            if !is_wanted && horizon.is_past(entry.stored_at) && self.delete(entry).await? {
                freed.contents += 1;
                nuids.remove(entry.info.nuid.as_str());
            }
        }
        for nuid in self.uploads().await? {
            if !nuids.contains(nuid.as_str()) && self.is_abandoned(&nuid, horizon).await? {
                self.purge_chunks(&nuid).await?;
                freed.remains += 1;
            }
        }
        freed.bytes = before.state.bytes.saturating_sub(self.told().await?.state.bytes);
        Ok(freed)
    }

    async fn told(&self) -> Result<Told, BucketError> {
        const WHAT: &str = "its size";
        let info = format!("STREAM.INFO.{}", self.stream.cached_info().config.name);
        match self.context.request(info, &json!({})).await.map_err(|error| cannot_read(WHAT, error))? {
            Response::Ok(told) => Ok(told),
            Response::Err { error } => Err(cannot_read(WHAT, error)),
        }
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
    async fn is_abandoned(&self, nuid: &str, horizon: Horizon) -> Result<bool, BucketError> {
        match self.stream.get_last_raw_message_by_subject(&self.chunks_of(nuid)).await {
            Ok(chunk) => Ok(horizon.is_past(time(chunk.time))),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(cannot_read(nuid, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_from_the_time_of_the_server() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let horizon = Horizon::before(at(10_000), Duration::from_secs(3600));
        assert!(horizon.is_past(at(6400)));
        assert!(!horizon.is_past(at(6401)));
        // Without an age all goes that was there when it began, and nothing that came later.
        let horizon = Horizon::before(at(10_000), Duration::ZERO);
        assert!(horizon.is_past(at(10_000)) && !horizon.is_past(at(10_001)));
        assert!(!Horizon::before(at(10_000), Duration::MAX).is_past(at(0)));
    }
}
