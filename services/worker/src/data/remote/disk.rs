//! Fetched files on disk, each named by the SHA-256 of what is in it. Several workers may share the folder.
//!
//! ```text
//! sha256/3f5a…      a file of bars; its time of modification is when it was last used
//! sha256/.part-…    one that is being fetched
//! urls/9c01…        a link to the file that an address had, under a digest of the address and its version
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use jetsweep_shared::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

/// What names a file that is not whole yet.
const DRAFT: &str = ".part-";

/// How long nobody has written to a draft whose writer is dead: a fetch ends after half a minute of silence.
const DEAD_DRAFT: Duration = Duration::from_secs(5 * 60);

/// Part of the limit after which the folder is looked through again, as others may write there too.
const LOOK_AFTER: u64 = 16;

/// A file of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) path: PathBuf,
    /// SHA-256 that its content must have, in hexadecimal.
    pub(crate) digest: String,
}

/// What is known of the folder's size.
#[derive(Debug, Default)]
struct Room {
    /// Bytes at the last look; `None` before the first.
    seen: Option<u64>,
    /// Bytes written since.
    since: u64,
}

/// A folder of fetched files within a bound of disk, least recently used ones first out.
#[derive(Debug)]
pub(super) struct DiskCache {
    folder: PathBuf,
    limit_bytes: u64,
    room: Mutex<Room>,
}

impl DiskCache {
    /// The cache in a folder, which is made when something is fetched.
    pub(super) fn new(folder: PathBuf, limit_bytes: u64) -> Self {
        Self { folder, limit_bytes, room: Mutex::default() }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Most bytes it keeps.
    pub(super) fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    fn files(&self) -> PathBuf {
        self.folder.join("sha256")
    }

    fn links(&self) -> PathBuf {
        self.folder.join("urls")
    }

    /// The file with this digest, if there is one. It counts as used now. Blocks.
    pub(super) fn find(&self, digest: &str) -> Option<Kept> {
        let path = self.files().join(digest);
        let file = File::open(&path).ok()?;
        // Only its owner may say so, and a wrong order of eviction is no harm.
        let _ = file.set_modified(SystemTime::now());
        Some(Kept { path, digest: digest.to_owned() })
    }

    /// The file that an address had when it was of this version. Blocks.
    pub(super) fn find_version(&self, address: &str) -> Option<Kept> {
        let target = fs::read_link(self.link(address)).ok()?;
        self.find(target.file_name()?.to_str()?)
    }

    /// Notes that a file is what an address has in this version. Blocks.
    pub(super) fn note_version(&self, address: &str, kept: &Kept) -> io::Result<()> {
        let draft = self.links().join(format!("{DRAFT}{:016x}", rand::random::<u64>()));
        std::os::unix::fs::symlink(Path::new("../sha256").join(&kept.digest), &draft)?;
        fs::rename(&draft, self.link(address))
    }

    fn link(&self, address: &str) -> PathBuf {
        self.links().join(hex::encode(Sha256::digest(address)))
    }

    /// An empty file to fetch into. Blocks.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        for folder in [self.files(), self.links()] {
            fs::create_dir_all(folder)?;
        }
        // Others who share the folder may be other users.
        let permissions = fs::Permissions::from_mode(0o644);
        let file = tempfile::Builder::new().prefix(DRAFT).permissions(permissions).tempfile_in(self.files())?;
        let (file, path) = file.into_parts();
        Ok(Draft { file: tokio::fs::File::from_std(file), path, digest: Sha256::new(), bytes: 0 })
    }

    /// Keeps a draft under its digest, and lets others go beyond the limit. Blocks.
    pub(super) fn keep(&self, whole: Whole) -> io::Result<Kept> {
        let Whole { path: draft, digest, bytes } = whole;
        let path = self.files().join(&digest);
        draft.persist(&path).map_err(|error| error.error)?;
        self.make_room(&path, bytes);
        Ok(Kept { path, digest })
    }

    /// Lets the least recently used files go if the limit is exceeded, but for the `newest`, which took `bytes`.
    fn make_room(&self, newest: &Path, bytes: u64) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        room.since += bytes;
        let is_known = room.seen.is_some_and(|seen| seen + room.since <= self.limit_bytes);
        if is_known && room.since < self.limit_bytes / LOOK_AFTER {
            return;
        }
        match self.evict(newest) {
            Ok(left) => *room = Room { seen: Some(left), since: 0 },
            Err(error) => tracing::warn!(folder = %self.folder.display(), %error, "cannot look through the data cache"),
        }
    }

    /// Removes what must go. How many bytes are left, those of drafts among them.
    fn evict(&self, newest: &Path) -> io::Result<u64> {
        let mut files = Vec::new();
        let mut drafts = 0;
        for entry in fs::read_dir(self.files())? {
            let entry = entry?;
            // Another worker may remove it meanwhile.
            let Ok(metadata) = entry.metadata() else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if !entry.file_name().to_string_lossy().starts_with(DRAFT) {
                files.push((used, metadata.len(), entry.path()));
                continue;
            }
            let is_dead = used.elapsed().is_ok_and(|age| age > DEAD_DRAFT);
            if !is_dead || fs::remove_file(entry.path()).is_err() {
                drafts += metadata.len();
            }
        }
        let mut total = drafts + files.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        files.sort();
        let mut is_less = false;
        for (_, bytes, path) in files {
            if total <= self.limit_bytes {
                break;
            }
            if path != newest && fs::remove_file(&path).is_ok() {
                total -= bytes;
                is_less = true;
            }
        }
        if is_less {
            self.remove_dead_links()?;
        }
        Ok(total)
    }

    fn remove_dead_links(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.links())? {
            let path = entry?.path();
            if !path.exists() {
                // Gone already, or made anew by another worker, who then fetches once more.
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }
}

/// A file that is being fetched; it disappears unless it is kept.
#[derive(Debug)]
pub(super) struct Draft {
    file: tokio::fs::File,
    path: TempPath,
    digest: Sha256,
    bytes: u64,
}

/// A file that was fetched to its end.
#[derive(Debug)]
pub(super) struct Whole {
    path: TempPath,
    /// SHA-256 of what is in it.
    pub(super) digest: String,
    /// How much is.
    pub(super) bytes: u64,
}

impl Draft {
    /// Adds a piece. Returns how many bytes there are.
    pub(super) async fn write(&mut self, piece: &[u8]) -> io::Result<u64> {
        self.digest.update(piece);
        self.bytes += piece.len() as u64;
        self.file.write_all(piece).await?;
        Ok(self.bytes)
    }

    /// There is no more.
    pub(super) async fn end(mut self) -> io::Result<Whole> {
        self.file.flush().await?;
        Ok(Whole { path: self.path, digest: hex::encode(self.digest.finalize()), bytes: self.bytes })
    }
}

/// What is read through it has a digest.
pub(super) struct Digesting<R> {
    inner: R,
    digest: Sha256,
}

impl<R: Read> Digesting<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, digest: Sha256::new() }
    }

    /// The digest of everything, what nobody has read yet included.
    pub(super) fn finish(mut self) -> io::Result<String> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(hex::encode(self.digest.finalize()))
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keep(cache: &DiskCache, content: &[u8]) -> Kept {
        let mut draft = cache.draft().unwrap();
        draft.write(content).await.unwrap();
        cache.keep(draft.end().await.unwrap()).unwrap()
    }

    /// Makes a file look as if it was last used so long ago.
    fn age(kept: &Kept, seconds: u64) {
        let file = File::open(&kept.path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
    }

    fn digest(kept: &Kept) -> String {
        Digesting::new(File::open(&kept.path).unwrap()).finish().unwrap()
    }

    #[tokio::test]
    async fn a_file_is_found_by_its_digest_and_by_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::new(folder.path().join("cache"), 1 << 20);
        let kept = keep(&cache, b"abc").await;
        assert_eq!(kept.digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digest(&kept), kept.digest);
        assert_eq!(cache.find(&kept.digest).as_ref(), Some(&kept));
        cache.note_version("https://h/A.csv \"1\" 3", &kept).unwrap();
        assert_eq!(cache.find_version("https://h/A.csv \"1\" 3").as_ref(), Some(&kept));
        assert_eq!(cache.find_version("https://h/A.csv \"2\" 3"), None);
        let other = keep(&cache, b"abcd").await;
        cache.note_version("https://h/A.csv \"1\" 3", &other).unwrap();
        assert_eq!(cache.find_version("https://h/A.csv \"1\" 3"), Some(other), "the last word counts");
    }

    #[tokio::test]
    async fn the_least_recently_used_files_go_first_with_their_links() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::new(folder.path().to_owned(), 3 * 100);
        let mut kept = Vec::new();
        for byte in 0..3_u8 {
            let file = keep(&cache, &[byte; 100]).await;
            age(&file, 100 - u64::from(byte));
            cache.note_version(&format!("{byte}"), &file).unwrap();
            kept.push(file);
        }
        cache.find(&kept[0].digest).unwrap();
        let last = keep(&cache, &[9; 100]).await;
        let there = |kept: &Kept| kept.path.exists();
        assert_eq!(
            kept.iter().map(there).collect::<Vec<_>>(),
            [true, false, true],
            "the first was used after the second"
        );
        assert!(there(&last));
        assert_eq!(fs::read_dir(cache.links()).unwrap().count(), 2);

        // One that fills the whole folder stays all the same, and what another worker wrote counts too.
        let other = DiskCache::new(folder.path().to_owned(), 3 * 100);
        let large = keep(&other, &[7; 300]).await;
        assert_eq!(fs::read_dir(cache.files()).unwrap().count(), 1);
        assert!(there(&large));
    }

    #[tokio::test]
    async fn what_was_not_fetched_to_its_end_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::new(folder.path().to_owned(), 100);
        let mut draft = cache.draft().unwrap();
        draft.write(b"abc").await.unwrap();
        assert_eq!(fs::read_dir(cache.files()).unwrap().count(), 1);
        drop(draft);
        assert_eq!(fs::read_dir(cache.files()).unwrap().count(), 0);

        // A killed worker leaves its draft, which is removed when nobody has written to it for a while.
        let dead = cache.files().join(".part-dead");
        fs::write(&dead, b"abc").unwrap();
        keep(&cache, b"x").await;
        assert!(dead.exists());
        File::open(&dead).unwrap().set_modified(SystemTime::now() - Duration::from_secs(10 * 60)).unwrap();
        keep(&cache, &[1; 50]).await;
        assert!(!dead.exists());
    }

    #[tokio::test]
    async fn what_is_being_fetched_takes_room_too() {
        let folder = tempfile::tempdir().unwrap();
        let cache = DiskCache::new(folder.path().to_owned(), 300);
        let old = keep(&cache, &[1; 100]).await;
        age(&old, 100);
        let mut draft = cache.draft().unwrap();
        draft.write(&[2; 150]).await.unwrap();
        draft.file.flush().await.unwrap();
        let new = keep(&cache, &[3; 100]).await;
        assert_eq!((old.path.exists(), new.path.exists()), (false, true));
        let kept = cache.keep(draft.end().await.unwrap()).unwrap();
        assert!(kept.path.exists() && new.path.exists());
    }
}
