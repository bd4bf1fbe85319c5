//! Bars in memory, loaded once and shared read-only by all slots.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use jetsweep_engine::bars::Bars;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::{DataRef, Source};
use jiff::civil::Date;

use super::flights::Flights;
use super::remote::{Kept, Remote, Seen};
use super::{DataError, blocking, open, read_within, resolve};
use crate::stats::WorkerStats;

/// Bars with their identity.
#[derive(Debug)]
pub(crate) struct SharedBars {
    pub(crate) bars: Arc<Bars>,
    /// See [`Bars::digest`].
    pub(crate) digest: String,
}

impl SharedBars {
    pub(crate) fn new(bars: Bars) -> Self {
        let digest = bars.digest();
        Self { bars: Arc::new(bars), digest }
    }
}

/// Bars and how long it took to load them: nothing when they were there.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    pub(crate) bars: Arc<SharedBars>,
    pub(crate) load_time: Duration,
}

/// Which bars of which file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    /// Its path, or where else it is.
    path: PathBuf,
    from: Option<Date>,
    to: Option<Date>,
}

/// What tells that a file's content is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stamp {
    /// Of a file in the data folder.
    File { modified: Option<SystemTime>, len: u64 },
    /// Of what is elsewhere: its digest, or what its server says.
    Version(String),
}

#[derive(Debug)]
struct Held {
    bars: Arc<SharedBars>,
    bytes: u64,
    last_used: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The digest of each place's bars, true as long as the file has that stamp.
    places: HashMap<Place, (Stamp, String)>,
    /// By digest, so that equal bars are held once, whatever they are read from.
    held: HashMap<String, Held>,
    bytes: u64,
    clock: u64,
}

/// A cache of bars within a memory bound, least recently used ones first out. Bars still in use by a slot stay in
/// memory until it is done with them, in the cache or not.
#[derive(Debug)]
pub(crate) struct BarsCache {
    root: PathBuf,
    remote: Arc<Remote>,
    limit_bytes: u64,
    state: Mutex<State>,
    /// What is being loaded now. Whoever needs the same waits for the one who loads it.
    loads: Flights<(Place, Stamp), Loaded>,
    stats: Arc<WorkerStats>,
}

impl BarsCache {
    /// An empty cache of at most `limit_bytes` of bars, which lie under the folder `root` or elsewhere.
    pub(crate) fn new(root: PathBuf, remote: Remote, limit_bytes: u64, stats: Arc<WorkerStats>) -> Self {
        let (remote, state, loads) = (Arc::new(remote), Mutex::default(), Flights::default());
        Self { root, remote, limit_bytes, state, loads, stats }
    }

    /// The bars of a symbol: those in memory if the file is still the same, else read on a blocking thread, once for
    /// all who wait for them.
    ///
    /// # Errors
    /// See [`super::load`] and [`Remote`]. All who wait share an error, and nobody remembers it: the file may be there by
    /// the next time.
    pub(crate) async fn get(self: &Arc<Self>, data: &DataRef, symbol: &Symbol) -> Result<Loaded, DataError> {
        let source = data.source_of(symbol);
        let Found { content, place, stamp } = match Source::is_file(&source) {
            true => {
                let (cache, data, source) = (Arc::clone(self), data.clone(), source.clone());
                blocking(move || cache.find(&data, &source)).await?
            }
            false => {
                let seen = self.remote.look(&source).await?;
                let place = Place { path: PathBuf::from(&source), from: data.from, to: data.to };
                Found { place, stamp: Stamp::Version(seen.version.clone()), content: At::Elsewhere(seen) }
            }
        };

        let key = (place, stamp);
        let mut is_first = false;
        let get = || {
            is_first = true;
            let (cache, data, key) = (Arc::clone(self), data.clone(), key.clone());
            async move { cache.held_or_loaded(content, key, source, data).await }
        };
        let loaded = self.loads.join(key.clone(), get).await?;
        if is_first {
            return Ok(loaded);
        }
        self.stats.cache_hit();
        Ok(Loaded { load_time: Duration::ZERO, ..loaded })
    }

    /// Bars that are held from now on at the latest. For one at a time: all others wait for what it returns.
    async fn held_or_loaded(
        &self,
        content: At,
        (place, stamp): (Place, Stamp),
        source: String,
        data: DataRef,
    ) -> Result<Loaded, DataError> {
        if let Some(bars) = self.lock().held_at(&place, &stamp) {
            self.stats.cache_hit();
            return Ok(Loaded { bars, load_time: Duration::ZERO });
        }
        let start = Instant::now();
        let bars = Arc::new(self.load(content, source, data).await?);
        self.stats.cache_miss();
        let mut state = self.lock();
        let bars = state.hold(place, stamp, bars, self.limit_bytes);
        self.stats.cache_holds(state.bytes);
        Ok(Loaded { bars, load_time: start.elapsed() })
    }

    /// The file on disk that a source elsewhere has, for a process that cannot fetch; `None` for one in the data folder.
    ///
    /// # Errors
    /// See [`Remote`].
    pub(crate) async fn on_disk(&self, data: &DataRef, symbol: &Symbol) -> Result<Option<Kept>, DataError> {
        let source = data.source_of(symbol);
        if Source::is_file(&source) {
            return Ok(None);
        }
        let seen = self.remote.look(&source).await?;
        self.remote.fetch(&source, &seen, data, self.limit_bytes).await.map(Some)
    }

    /// Opens a file of the data folder and looks at it. Blocks.
    fn find(&self, data: &DataRef, file: &str) -> Result<Found, DataError> {
        let path = resolve(&self.root, file)?;
        // Opened before it is looked at: the stamp is of what is read, even if the file is replaced meanwhile.
        let (opened, metadata) = open(&path, file)?;
        let bytes = metadata.len();
        let stamp = Stamp::File { modified: metadata.modified().ok(), len: bytes };
        let place = Place { path, from: data.from, to: data.to };
        Ok(Found { content: At::File(opened, bytes), place, stamp })
    }

    async fn load(&self, content: At, source: String, data: DataRef) -> Result<SharedBars, DataError> {
        let limit = self.limit_bytes;
        match content {
            At::File(opened, bytes) => {
                blocking(move || read_within(opened, bytes, &source, &data, limit).map(SharedBars::new)).await
            }
            At::Elsewhere(seen) => {
                let bars = self.remote.load(&source, &seen, &data, limit).await?;
                blocking(move || Ok(SharedBars::new(bars))).await
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half-changed, so a panic elsewhere is no reason to stop.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be read if its bars are not held.
struct Found {
    content: At,
    place: Place,
    stamp: Stamp,
}

/// Where it is read.
enum At {
    /// In the data folder: the file, and its size.
    File(File, u64),
    /// Elsewhere.
    Elsewhere(Seen),
}

impl State {
    fn held_at(&mut self, place: &Place, stamp: &Stamp) -> Option<Arc<SharedBars>> {
        let (known, digest) = self.places.get(place)?;
        if known != stamp {
            return None;
        }
        let held = self.held.get_mut(digest)?;
        self.clock += 1;
        held.last_used = self.clock;
        Some(Arc::clone(&held.bars))
    }

    /// Keeps bars, and lets others go beyond the limit. Returns the equal bars that were held before, if any.
    fn hold(&mut self, place: Place, stamp: Stamp, bars: Arc<SharedBars>, limit_bytes: u64) -> Arc<SharedBars> {
        self.clock += 1;
        let digest = bars.digest.clone();
        let bytes = bars.bars.size_bytes() as u64;
        let held = self.held.entry(digest.clone()).or_insert_with(|| {
            self.bytes += bytes;
            Held { bars, bytes, last_used: 0 }
        });
        held.last_used = self.clock;
        let bars = Arc::clone(&held.bars);
        self.places.insert(place, (stamp, digest));
        while self.bytes > limit_bytes {
            let oldest = self.held.iter().min_by_key(|(_, held)| held.last_used).map(|(digest, _)| digest.clone());
            let Some(oldest) = oldest else { break };
            self.let_go(&oldest);
        }
        bars
    }

    fn let_go(&mut self, digest: &str) {
        if let Some(held) = self.held.remove(digest) {
            self.bytes -= held.bytes;
            self.places.retain(|_, (_, of)| of != digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicU32, Ordering};

    use jetsweep_shared::config::Config;

    use super::*;

    fn write(root: &std::path::Path, symbol: &str, close: f64) {
        let mut csv = "date,open,high,low,close,volume\n".to_owned();
        for day in 1..=28 {
            csv += &format!("2024-01-{day:02},10,20,5,{close},100\n");
        }
        fs::write(root.join(format!("{symbol}.csv")), csv).unwrap();
    }

    fn data() -> DataRef {
        DataRef { source: "{symbol}.csv".to_owned(), from: None, to: None }
    }

    fn cache(root: &std::path::Path, limit_bytes: u64) -> (Arc<BarsCache>, Arc<WorkerStats>) {
        let stats = Arc::new(WorkerStats::default());
        let remote = Remote::new(&Config::default(), None, Arc::clone(&stats));
        (Arc::new(BarsCache::new(root.to_owned(), remote, limit_bytes, Arc::clone(&stats))), stats)
    }

    async fn get(cache: &Arc<BarsCache>, symbol: &str) -> Arc<SharedBars> {
        cache.get(&data(), &symbol.parse().unwrap()).await.unwrap().bars
    }

    fn counts(stats: &WorkerStats) -> (u64, u64) {
        (stats.cache_hits.load(Ordering::Relaxed), stats.cache_misses.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn all_who_wait_share_one_load() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "A", 10.0);
        let (cache, stats) = cache(root.path(), 1 << 20);
        let all = futures::future::join_all((0..20).map(|_| get(&cache, "A"))).await;
        assert!(all.iter().all(|bars| Arc::ptr_eq(bars, &all[0])));
        assert_eq!(counts(&stats), (19, 1));
        assert!(cache.loads.is_empty());
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_equal_bars_are_held_once() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "A", 10.0);
        write(root.path(), "B", 10.0);
        let (cache, _) = cache(root.path(), 1 << 20);
        let first = get(&cache, "A").await;
        assert!(Arc::ptr_eq(&first, &get(&cache, "B").await), "equal bars");
        assert_eq!(cache.lock().bytes, first.bars.size_bytes() as u64);
        write(root.path(), "A", 11.25);
        let second = get(&cache, "A").await;
        assert_ne!(first.digest, second.digest);
        assert!(Arc::ptr_eq(&first, &get(&cache, "B").await));
    }

    #[tokio::test]
    async fn least_recently_used_bars_go_first() {
        let root = tempfile::tempdir().unwrap();
        for (symbol, close) in [("A", 10.0), ("B", 11.0), ("C", 12.0)] {
            write(root.path(), symbol, close);
        }
        let (unbounded, _) = cache(root.path(), u64::MAX);
        let one = get(&unbounded, "A").await.bars.size_bytes() as u64;

        let (cache, stats) = cache(root.path(), 2 * one);
        for symbol in ["A", "B", "A", "C"] {
            get(&cache, symbol).await;
        }
        assert_eq!(counts(&stats), (1, 3));
        get(&cache, "A").await;
        assert_eq!(counts(&stats), (2, 3), "A was used after B, so B went");
        get(&cache, "B").await;
        assert_eq!(counts(&stats), (2, 4));
        assert_eq!(cache.lock().bytes, 2 * one);
        assert_eq!(stats.cache_peak_bytes.load(Ordering::Relaxed), 2 * one);
    }

    #[tokio::test]
    async fn bars_that_do_not_fit_are_refused() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "A", 10.0);
        let (unbounded, _) = cache(root.path(), u64::MAX);
        let one = get(&unbounded, "A").await.bars.size_bytes() as u64;
        for limit in [one - 1, 10] {
            let (cache, _) = cache(root.path(), limit);
            let error = cache.get(&data(), &"A".parse().unwrap()).await.unwrap_err();
            assert_eq!((error.code(), error.is_retryable()), ("data_too_large", false), "{error}");
        }
    }

    /// The address of a web server that has every file and fails to send it, and how often it was asked to.
    fn failing_server() -> (String, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut request = [0; 4096];
                let count = connection.read(&mut request).unwrap();
                let (status, bytes) = match request[..count].starts_with(b"HEAD") {
                    true => ("200 OK", 100),
                    false => ("500 Internal Server Error", 0),
                };
                if bytes == 0 {
                    counter.fetch_add(1, Ordering::Relaxed);
                }
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn all_who_wait_share_a_failure() {
        let (address, asked) = failing_server();
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.data.allowed_urls = Some(address.clone());
        config.data.cache_dir = Some(root.path().join("cache"));
        let stats = Arc::new(WorkerStats::default());
        let remote = Remote::new(&config, None, Arc::clone(&stats));
        let cache = Arc::new(BarsCache::new(root.path().to_owned(), remote, 1 << 20, stats));
        let data = DataRef { source: address + "{symbol}.csv", from: None, to: None };
        let symbol = "A".parse().unwrap();
        let all = futures::future::join_all((0..5).map(|_| cache.get(&data, &symbol))).await;
        for outcome in all {
            assert!(outcome.unwrap_err().to_string().contains("500 Internal Server Error"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 3, "so many attempts are made");
    }

    #[tokio::test]
    async fn failures_are_not_remembered() {
        let root = tempfile::tempdir().unwrap();
        let (cache, stats) = cache(root.path(), 1 << 20);
        let error = cache.get(&data(), &"A".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code(), "data_missing");
        fs::write(root.path().join("A.csv"), "date,open\n").unwrap();
        let error = cache.get(&data(), &"A".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.code(), "data_invalid");
        write(root.path(), "A", 10.0);
        assert_eq!(get(&cache, "A").await.bars.len(), 28);
        assert_eq!(counts(&stats), (0, 1));
        assert!(cache.loads.is_empty());
    }
}
