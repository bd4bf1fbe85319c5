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

mod check;
mod entry;
mod tidy;
mod write;

use std::collections::HashMap;
use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::stream::{DirectGetErrorKind, Stream};
use bytes::Bytes;
use jiff::Timestamp;

use crate::bus::{Bus, is_no_stream};

pub use check::Checked;
pub use entry::Unreadable;
pub use tidy::Freed;
pub use write::Pushed;

/// What the names of contents begin with.
const CONTENTS: &str = "sha256/";

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
    /// An entry says nothing of use: it is none, or says too little, or leads elsewhere.
    #[error(
        "failed to read {what} in the data bucket: {reason}; push its file again, or take it away with `jetsweep data rm \
         '{what}'`"
    )]
    Unreadable {
        /// The object.
        what: String,
        /// What is wrong with its entry.
        reason: String,
    },
    /// Contents are not taken away by name.
    #[error("{0} is a content, not a name")]
    IsContent(String),
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
    /// The object it is.
    name: String,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// Names, in their order.
    pub names: Vec<Named>,
    /// Contents, whether named or not.
    pub contents: Vec<Content>,
    /// What is there beside them and says nothing of use.
    pub unreadable: Vec<Unreadable>,
}

/// The bucket of one namespace.
#[derive(Debug, Clone)]
pub struct DataBucket {
    context: Context,
    stream: Stream,
    name: String,
    max_payload: usize,
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
            Err(error) if is_no_stream(&error) => Ok(None),
            Err(error) => Err(cannot_read(&name, error)),
        }
    }

    /// What a name stands for now; `None` if there is no such name.
    ///
    /// # Errors
    /// When the server does not say, [`BucketError::Broken`] for a name that leads nowhere, and
    /// [`BucketError::Unreadable`] for one that says nothing of use.
    pub async fn find(&self, name: &str) -> Result<Option<Content>, BucketError> {
        let Some(entry) = self.live_entry(name).await? else { return Ok(None) };
        let Some(target) = self.link_of(&entry)? else { return Ok(Some(entry.content()?)) };
        match self.live_entry(target).await? {
            Some(content) => Ok(Some(content.content()?)),
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
            match stream.direct_get_next_for_subject(subject.as_str(), Some(sequence)).await {
                Ok(chunk) => {
                    let next = (stream, subject, content, chunk.sequence + 1, done + 1);
                    Ok(Some((chunk.payload, next)))
                }
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => {
                    Err(broken(&content.name, &format!("{done} of {} pieces are there", content.chunks)))
                }
                Err(error) => Err(cannot_read(&content.name, error)),
            }
        })
    }

    /// Everything that is there.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn list(&self) -> Result<Listing, BucketError> {
        let (mut plain, mut links) = (HashMap::new(), Vec::new());
        let mut listing = Listing::default();
        for found in self.entries().await? {
            let sorted = found.and_then(|entry| {
                if entry.info.deleted {
                    return Ok(());
                }
                let name = entry.info.name.clone();
                match self.link_of(&entry)? {
                    Some(target) => links.push((name, target.to_owned(), entry.stored_at)),
                    None => drop(plain.insert(name, (entry.content()?, entry.stored_at))),
                }
                Ok(())
            });
            listing.unreadable.extend(sorted.err());
        }
        for (name, target, pushed_at) in links {
            let content = plain.get(&target).map(|(content, _)| content.clone());
            listing.names.push(Named { name, content, pushed_at });
        }
        for (name, (content, pushed_at)) in plain {
            if !is_content(&name) {
                listing.names.push(Named { name, content: Some(content.clone()), pushed_at });
            }
            listing.contents.push(content);
        }
        listing.names.sort_by(|a, b| a.name.cmp(&b.name));
        listing.contents.sort_by(|a, b| a.digest.cmp(&b.digest));
        listing.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(listing)
    }

    fn chunks_of(&self, nuid: &str) -> String {
        format!("$O.{}.C.{nuid}", self.name)
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

fn broken(what: &str, reason: &str) -> BucketError {
    BucketError::Broken { what: what.to_owned(), reason: reason.to_owned() }
}

fn cannot_read(what: &str, error: impl ToString) -> BucketError {
    BucketError::Read { what: what.to_owned(), reason: error.to_string() }
}
