//! Reading what is stored, and comparing it with what its entry says.

use std::time::Duration;

use bytes::Bytes;
use futures::{TryStreamExt, future};
use sha2::{Digest, Sha256};

use super::{BucketError, Content, DataBucket};
use crate::hex;

/// How long what a replica lacks may be on its way to it: pieces are asked of whichever is near.
const LAG: Duration = Duration::from_secs(1);

/// What reading a content came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Checked {
    /// It is as its digest says.
    Whole,
    /// It is not there any more.
    Gone,
    /// It is not as its digest says, for this reason.
    Broken(String),
}

impl DataBucket {
    /// Reads a content that was listed. What others have done to it since makes it no broken one.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn check(&self, content: &Content) -> Result<Checked, BucketError> {
        let (mut content, mut is_second) = (content.clone(), false);
        loop {
            let reason = match self.digest(&content).await {
                Ok(found) if found == content.digest => return Ok(Checked::Whole),
                Ok(found) => format!("what is stored has digest {found}"),
                Err(BucketError::Broken { reason, .. }) => reason,
                Err(error) => return Err(error),
            };
            let now = match self.content_now(&content).await {
                Ok(Some(now)) => now,
                Ok(None) => return Ok(Checked::Gone),
                Err(BucketError::Unreadable { reason, .. }) => return Ok(Checked::Broken(reason)),
                Err(error) => return Err(error),
            };
            if now == content {
                if is_second {
                    return Ok(Checked::Broken(reason));
                }
                is_second = true;
                tokio::time::sleep(LAG).await;
            }
            content = now;
        }
    }

    /// The digest of what is stored.
    async fn digest(&self, content: &Content) -> Result<String, BucketError> {
        let add = |mut digest: Sha256, piece: Bytes| {
            digest.update(&piece);
            future::ready(Ok(digest))
        };
        let digest = self.read(content).try_fold(Sha256::new(), add).await?;
        Ok(hex::encode(digest.finalize()))
    }

    /// What the same object holds now; nothing if it is gone, or has become a link.
    async fn content_now(&self, content: &Content) -> Result<Option<Content>, BucketError> {
        match self.live_entry(&content.name).await? {
            Some(entry) if self.link_of(&entry)?.is_none() => Ok(Some(entry.content()?)),
            _ => Ok(None),
        }
    }
}
