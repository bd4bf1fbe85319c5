//! Bars that are not below the data folder: in the data bucket of NATS, on a web server, in S3.
//!
//! ```text
//! look (what is there now, every 30 s) ──> on disk, by its digest? ──yes──> read, and compared with the digest
//!                                              └─no──> fetched, compared with what was promised, kept ──┘
//! ```
//!
//! What several ask for at the same time is looked at and fetched once. Nothing is believed that was not compared: a fetch
//! with another digest or length is no file, and a file on disk that is not what its name says is fetched again.

mod disk;
mod urls;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jetsweep_engine::bars::Bars;
use jetsweep_shared::bucket::{Content, DataBucket};
use jetsweep_shared::bus::{Bus, with_jitter};
use jetsweep_shared::config::Config;
use jetsweep_shared::spec::{DataRef, Source, store_name_problem};

use self::disk::{Digesting, DiskCache, Draft, Whole};
use self::urls::{Urls, Version};
use super::flights::Flights;
use super::{DataError, blocking, largest_file, read_within};
use crate::stats::WorkerStats;

pub(crate) use self::disk::Kept;

/// How long it is believed what there is, so that a job does not cost a request.
const BELIEVED: Duration = Duration::from_secs(30);

/// Sources of which it is remembered what there was. One that is forgotten costs a request.
const MOST_REMEMBERED: usize = 20_000;

/// Attempts at a request before the job is put off.
const ATTEMPTS: u32 = 3;

/// Pause after the first failed attempt; doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// Longest a fetch may take, for servers that send a byte now and then.
const LONGEST_FETCH: Duration = Duration::from_secs(3600);

/// What was found at a source.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Differs when the content does.
    pub(crate) version: String,
    at: At,
}

#[derive(Debug, Clone)]
enum At {
    Store(Content),
    Url(reqwest::Url, Version),
}

impl Seen {
    fn bytes(&self) -> Option<u64> {
        match &self.at {
            At::Store(content) => Some(content.bytes),
            At::Url(_, version) => version.bytes,
        }
    }

    /// What the file of an address is noted under; `None` if nothing tells its versions apart, or its digest is known.
    fn noted(&self, source: &str) -> Option<String> {
        match &self.at {
            At::Url(_, Version { tag: Some(_), .. }) => Some(format!("{source} {}", self.version)),
            _ => None,
        }
    }
}

/// Where bars come from that are not below the data folder.
#[derive(Debug)]
pub(crate) struct Remote {
    disk: DiskCache,
    urls: Urls,
    bus: Option<Bus>,
    /// The data bucket, once it was opened.
    bucket: Mutex<Option<DataBucket>>,
    seen: Mutex<HashMap<String, (Instant, Seen)>>,
    looks: Flights<String, Seen>,
    /// By source, its version, and how much may be fetched.
    fetches: Flights<(String, String, Most), Kept>,
    stats: Arc<WorkerStats>,
}

impl Remote {
    /// As configured. Without a connection there is no data bucket.
    pub(crate) fn new(config: &Config, bus: Option<Bus>, stats: Arc<WorkerStats>) -> Self {
        Self {
            disk: DiskCache::new(config.data_cache(), config.data.cache_bytes),
            urls: Urls::new(&config.data),
            bus,
            bucket: Mutex::default(),
            seen: Mutex::default(),
            looks: Flights::default(),
            fetches: Flights::default(),
            stats,
        }
    }

    /// What there is at a source now, or was half a minute ago.
    ///
    /// # Errors
    /// [`DataError::NotThere`], [`DataError::Refused`]; [`DataError::Unreadable`] if nobody says.
    pub(crate) async fn look(self: &Arc<Self>, source: &str) -> Result<Seen, DataError> {
        if let Some((at, seen)) = self.seen().get(source)
            && at.elapsed() < BELIEVED
        {
            return Ok(seen.clone());
        }
        let (remote, owned) = (Arc::clone(self), source.to_owned());
        let look = || async move {
            let seen = patiently(|| remote.look_now(&owned)).await?;
            let mut remembered = remote.seen();
            if remembered.len() >= MOST_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(owned, (Instant::now(), seen.clone()));
            Ok(seen)
        };
        self.looks.join(source.to_owned(), look).await
    }

    async fn look_now(&self, source: &str) -> Result<Seen, DataError> {
        let refused = |reason: &str| DataError::Refused { source_path: source.to_owned(), reason: reason.to_owned() };
        match Source::of(source) {
            Ok(Source::Store(name)) => {
                if let Some(problem) = store_name_problem(name) {
                    return Err(refused(problem));
                }
                let bucket = self.bucket(source).await?;
                let content = bucket.find(name).await.map_err(|error| self.not_of_bucket(source, &error))?;
                let content = content.ok_or_else(|| DataError::NotThere { source_path: source.to_owned() })?;
                Ok(Seen { version: content.digest.clone(), at: At::Store(content) })
            }
            Ok(Source::Url(text)) => {
                let url = self.urls.check(text)?;
                let version = self.urls.look(&url).await?;
                let bytes = version.bytes.map_or_else(|| "?".to_owned(), |bytes| bytes.to_string());
                // What nothing tells apart is another version at every look.
                let tag = version.tag.clone().unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
                Ok(Seen { version: format!("{tag} {bytes}"), at: At::Url(url, version) })
            }
            Ok(Source::File(_)) => Err(refused("it is a path")),
            Err(_) => Err(refused("nothing is known of its scheme")),
        }
    }

    async fn bucket(&self, source: &str) -> Result<DataBucket, DataError> {
        let Some(bus) = &self.bus else {
            let reason = "there is no connection to a NATS server that has it: set nats.url".to_owned();
            return Err(DataError::Refused { source_path: source.to_owned(), reason });
        };
        if let Some(bucket) = lock(&self.bucket).clone() {
            return Ok(bucket);
        }
        let bucket = DataBucket::open(bus).await.map_err(|error| unreadable(source, &error))?;
        let nobody =
            || format!("there is no bucket {}: `jetsweep data push` or a planner makes it", bus.names.data_bucket());
        let bucket = bucket.ok_or_else(|| unreadable(source, &nobody()))?;
        *lock(&self.bucket) = Some(bucket.clone());
        Ok(bucket)
    }

    /// What the bucket could not do. It is opened again then: it may not be there any more.
    fn not_of_bucket(&self, source: &str, error: &impl ToString) -> DataError {
        *lock(&self.bucket) = None;
        unreadable(source, error)
    }

    /// The bars of a source between the dates of `data`, that take at most `limit` bytes of memory: from disk, or fetched.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub(crate) async fn load(
        self: &Arc<Self>,
        source: &str,
        seen: &Seen,
        data: &DataRef,
        limit: u64,
    ) -> Result<Bars, DataError> {
        // A second time if the file on disk is not what it should be, or another worker has just let it go.
        for _ in 0..2 {
            let kept = self.fetch(source, seen, data, limit).await?;
            let (source, data) = (source.to_owned(), data.clone());
            if let Some(bars) = blocking(move || kept.read(&source, &data, limit)).await? {
                return Ok(bars);
            }
        }
        let folder = self.disk.folder().display();
        let reason = format!("what is fetched does not stay as it is in {folder} (data.cache_dir): look at its disk");
        Err(DataError::Unreadable { what: source.to_owned(), reason })
    }

    /// The file on disk that a source has, fetched if it is not there.
    ///
    /// # Errors
    /// [`DataError::TooLarge`], [`DataError::TooLargeToKeep`]; [`DataError::Unreadable`] if it cannot be fetched now, and
    /// [`DataError::Unwritable`] if it cannot be kept.
    pub(crate) async fn fetch(
        self: &Arc<Self>,
        source: &str,
        seen: &Seen,
        data: &DataRef,
        limit: u64,
    ) -> Result<Kept, DataError> {
        let (remote, looked_for, owned) = (Arc::clone(self), seen.clone(), source.to_owned());
        let kept = blocking(move || Ok(remote.on_disk(&owned, &looked_for))).await?;
        if let Some(kept) = kept {
            return Ok(kept);
        }
        let most = Most { to_keep: self.disk.limit_bytes(), to_read: largest_file(data, limit), limit };
        most.check(source, seen.bytes().unwrap_or(0))?;
        let flight = (source.to_owned(), seen.version.clone(), most);
        let (remote, seen, owned) = (Arc::clone(self), seen.clone(), source.to_owned());
        let fetch = || async move {
            let fetched = patiently(|| async {
                let fetching = tokio::time::timeout(LONGEST_FETCH, remote.fetch_now(&owned, &seen, most));
                fetching.await.unwrap_or_else(|_| Err(unreadable(&owned, &"it takes more than an hour")))
            });
            let fetched = fetched.await;
            if fetched.is_err() {
                remote.seen().remove(&owned);
            }
            fetched
        };
        self.fetches.join(flight, fetch).await
    }

    /// Blocks.
    fn on_disk(&self, source: &str, seen: &Seen) -> Option<Kept> {
        match &seen.at {
            At::Store(content) => self.disk.find(&content.digest),
            At::Url(..) => self.disk.find_version(&seen.noted(source)?),
        }
    }

    async fn fetch_now(self: &Arc<Self>, source: &str, seen: &Seen, most: Most) -> Result<Kept, DataError> {
        let folder = self.disk.folder().display().to_string();
        let not_kept = |error: io::Error| DataError::Unwritable { folder: folder.clone(), reason: error.to_string() };
        let mut pieces = self.pieces(source, seen).await?;
        let remote = Arc::clone(self);
        let draft = blocking(move || Ok(remote.disk.draft())).await?;
        let mut draft: Draft = draft.map_err(not_kept)?;
        while let Some(piece) = pieces.try_next().await? {
            let bytes = draft.write(&piece).await.map_err(not_kept)?;
            most.check(source, bytes)?;
        }
        let whole = draft.end().await.map_err(not_kept)?;
        check(source, seen, &whole)?;
        self.stats.downloaded(whole.bytes);
        tracing::debug!(source, bytes = whole.bytes, digest = whole.digest, "fetched");
        let (remote, noted) = (Arc::clone(self), seen.noted(source));
        let kept = blocking(move || Ok(remote.keep(whole, noted))).await?;
        kept.map_err(not_kept)
    }

    /// Keeps a file, and notes under what address and version it was found, if that is of use. Blocks.
    fn keep(&self, whole: Whole, noted: Option<String>) -> io::Result<Kept> {
        let kept = self.disk.keep(whole)?;
        if let Some(address) = noted {
            self.disk.note_version(&address, &kept)?;
        }
        Ok(kept)
    }

    /// The content, as it comes.
    async fn pieces(
        self: &Arc<Self>,
        source: &str,
        seen: &Seen,
    ) -> Result<BoxStream<'static, Result<Bytes, DataError>>, DataError> {
        match &seen.at {
            At::Store(content) => {
                let (bucket, source) = (self.bucket(source).await?, source.to_owned());
                let remote = Arc::clone(self);
                Ok(bucket.read(content).map_err(move |error| remote.not_of_bucket(&source, &error)).boxed())
            }
            At::Url(url, version) => {
                let (found, pieces) = self.urls.get(url).await?;
                if found.differs(version) {
                    return Err(unreadable(source, &"it changed between two requests"));
                }
                Ok(pieces.boxed())
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, (Instant, Seen)>> {
        lock(&self.seen)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks leaves a half-made change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether what was fetched is what was promised.
fn check(source: &str, seen: &Seen, whole: &Whole) -> Result<(), DataError> {
    if let Some(promised) = seen.bytes()
        && promised != whole.bytes
    {
        return Err(unreadable(source, &format!("{} of {promised} bytes came", whole.bytes)));
    }
    match &seen.at {
        At::Store(content) if content.digest != whole.digest => {
            Err(unreadable(source, &format!("it is stored as {}, and what came is {}", content.digest, whole.digest)))
        }
        _ => Ok(()),
    }
}

/// Most bytes a file may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Most {
    /// For the disk cache.
    to_keep: u64,
    /// For its bars to have a chance of fitting into memory.
    to_read: u64,
    /// Bytes of that memory.
    limit: u64,
}

impl Most {
    fn check(&self, source: &str, bytes: u64) -> Result<(), DataError> {
        let file = || source.to_owned();
        if bytes > self.to_read {
            return Err(DataError::TooLarge { file: file(), bytes, limit: self.limit });
        }
        if bytes > self.to_keep {
            return Err(DataError::TooLargeToKeep { file: file(), bytes, limit: self.to_keep });
        }
        Ok(())
    }
}

impl Kept {
    /// The bars in the file; `None` if it is gone, or was not what its name says: then it is gone now. Blocks.
    ///
    /// # Errors
    /// As [`load`](super::load); `source` is what errors call it.
    pub(crate) fn read(&self, source: &str, data: &DataRef, limit: u64) -> Result<Option<Bars>, DataError> {
        let cannot_read = |error: io::Error| unreadable(&self.path.display().to_string(), &error);
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot_read(error)),
        };
        let bytes = file.metadata().map_err(cannot_read)?.len();
        let mut reader = Digesting::new(file);
        // What is read says nothing until the digest is known, whether it is bars or not.
        let bars = read_within(&mut reader, bytes, source, data, limit);
        let found = reader.finish().map_err(cannot_read)?;
        if found == self.digest {
            return bars.map(Some);
        }
        tracing::warn!(path = %self.path.display(), found, "a file of the data cache is damaged, and is fetched again");
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot_read(error)),
            _ => Ok(None),
        }
    }
}

/// Makes a few attempts at what may pass.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, DataError>
where
    F: Future<Output = Result<T, DataError>>,
{
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(error) if error.is_retryable() => tracing::debug!(%error, "asking again"),
            outcome => return outcome,
        }
        tokio::time::sleep(with_jitter(pause)).await;
        pause *= 2;
    }
    attempt().await
}

fn unreadable(what: &str, error: &impl ToString) -> DataError {
    DataError::Unreadable { what: what.to_owned(), reason: error.to_string() }
}
