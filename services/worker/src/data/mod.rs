//! Bars: finding them under the data folder, or fetching them; reading them, sharing them.
//!
//! A spec's `source` (`daily/{symbol}.csv`) resolves under the worker's `data.root` and can never leave it; one that is a
//! name of the data bucket or an allowed address is fetched to disk first (`remote`). What can go wrong falls into two
//! classes: the data's fault, which fails the runs that need it and nothing else, and the
//! infrastructure's ([`DataError::Unreadable`], [`DataError::Unwritable`]), which is tried again.

mod cache;
mod flights;
mod remote;

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use jetsweep_engine::backtest::RunFailure;
use jetsweep_engine::bars::{Bars, BarsError, Fault};
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::Config;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::{DataRef, Source};

use crate::failure::code;

pub(crate) use cache::{BarsCache, SharedBars};
pub(crate) use remote::{Kept, Remote};

/// Bars that cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DataError {
    /// The source points outside the data folder, or to where nothing may be read.
    #[error("data source {source_path:?} is refused: {reason}")]
    Refused {
        /// The source, its symbol filled in.
        source_path: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// There is no such file.
    #[error("there is no data file {file} (under data.root)")]
    Missing {
        /// Its path under the data folder.
        file: String,
    },
    /// There is nothing in the data bucket under this name, or at this address.
    #[error("there is nothing at {source_path}")]
    NotThere {
        /// The source, its symbol filled in.
        source_path: String,
    },
    /// The file does not hold bars.
    #[error("{0}")]
    Invalid(BarsError),
    /// It is there but no file.
    #[error("data file {file} is a folder or a device, not a file")]
    NotAFile {
        /// Its path under the data folder.
        file: String,
    },
    /// There is no room for the bars.
    #[error(
        "the bars of {file} take {bytes} bytes, this worker has {limit} for bars: raise worker.cache_bytes, or use fewer \
         bars (`from`, `to`)"
    )]
    TooLarge {
        /// Its path under the data folder.
        file: String,
        /// What they take, or their file does.
        bytes: u64,
        /// What there is.
        limit: u64,
    },
    /// There is no room on disk for the file.
    #[error("{file} has {bytes} bytes, and {limit} are the most that may be fetched: raise data.cache_bytes")]
    TooLargeToKeep {
        /// The source, its symbol filled in.
        file: String,
        /// What it takes, at least.
        bytes: u64,
        /// What there is.
        limit: u64,
    },
    /// Reading failed for a reason that is not the data's: trying again may help.
    #[error("failed to read {what}: {reason}")]
    Unreadable {
        /// What was read.
        what: String,
        /// The system's words.
        reason: String,
    },
    /// What was fetched cannot be kept on disk now.
    #[error(
        "failed to write to the folder {folder} (data.cache_dir): {reason}; it must be one that this user may write to, with \
         room on its disk"
    )]
    Unwritable {
        /// The data cache.
        folder: String,
        /// The system's words.
        reason: String,
    },
}

impl DataError {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, DataError::Unreadable { .. } | DataError::Unwritable { .. })
    }

    /// Stable word for it, as in a failed run's row: `data_refused`, `data_missing`, `data_invalid`. Errors that are
    /// [retryable](DataError::is_retryable) never get there; theirs is `data_unreadable`.
    pub fn code(&self) -> &'static str {
        match self {
            DataError::Refused { .. } => code::DATA_REFUSED,
            DataError::Missing { .. } | DataError::NotThere { .. } => code::DATA_MISSING,
            DataError::Invalid(_) | DataError::NotAFile { .. } => code::DATA_INVALID,
            DataError::TooLarge { .. } | DataError::TooLargeToKeep { .. } => code::DATA_TOO_LARGE,
            DataError::Unreadable { .. } | DataError::Unwritable { .. } => "data_unreadable",
        }
    }

    /// The failure of every run that needs these bars.
    pub(crate) fn as_run_failure(&self) -> RunFailure {
        RunFailure::new(self.code(), self.to_string())
    }
}

/// Reads bars for a command: files of a data folder, and what is elsewhere by way of the data cache.
#[derive(Debug, Clone)]
pub struct Loader {
    root: PathBuf,
    remote: Arc<Remote>,
}

impl Loader {
    /// Bars below the folder `root`, and from where `config` allows; of the data bucket if there is a connection.
    pub fn new(root: PathBuf, config: &Config, bus: Option<Bus>) -> Self {
        Self { root, remote: Arc::new(Remote::new(config, bus, Arc::default())) }
    }

    /// The bars of a symbol from the first to the last date of `data`. May be empty, if there are none between them.
    ///
    /// # Errors
    /// See [`load`]; [`DataError::NotThere`].
    pub async fn load(&self, data: &DataRef, symbol: &Symbol) -> Result<Bars, DataError> {
        let source = data.source_of(symbol);
        if Source::is_file(&source) {
            return load(&self.root, data, symbol);
        }
        let seen = self.remote.look(&source).await?;
        self.remote.load(&source, &seen, data, u64::MAX).await
    }
}

/// The file of a symbol's bars: its source, under the folder `root`.
///
/// The path returned is canonical and lies under `root`, symbolic links followed.
///
/// # Errors
/// [`DataError::Refused`] for a source that is absolute, has `..`, or leads outside `root` through a symbolic link;
/// [`DataError::Missing`] if there is nothing; [`DataError::Unreadable`] if `root` itself is not there, as when a
/// volume is not mounted.
fn resolve(root: &Path, file: &str) -> Result<PathBuf, DataError> {
    let refused = |reason: &str| DataError::Refused { source_path: file.to_owned(), reason: reason.to_owned() };
    if !Source::is_file(file) {
        return Err(refused("it is no path"));
    }
    for component in Path::new(file).components() {
        match component {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err(refused("it contains \"..\"")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused("it is absolute; write it relative to data.root"));
            }
        }
    }
    let root = root.canonicalize().map_err(|error| DataError::Unreadable {
        what: format!("data.root {}", root.display()),
        reason: error.to_string(),
    })?;
    let path = root.join(file).canonicalize().map_err(|error| read_error(file, &error))?;
    if !path.starts_with(&root) {
        return Err(refused("a symbolic link leads outside data.root"));
    }
    Ok(path)
}

/// The bars of a symbol in the data folder from the first to the last date of `data`. May be empty, if the file has none
/// between them.
///
/// # Errors
/// [`DataError::Refused`] for a source that is no path or leaves the folder, [`DataError::Missing`],
/// [`DataError::Invalid`] for a file with a bad row, and [`DataError::Unreadable`].
pub fn load(root: &Path, data: &DataRef, symbol: &Symbol) -> Result<Bars, DataError> {
    load_within(root, data, symbol, u64::MAX)
}

/// Like [`load`], of bars that take at most `limit` bytes of memory.
pub(crate) fn load_within(root: &Path, data: &DataRef, symbol: &Symbol, limit: u64) -> Result<Bars, DataError> {
    let file = data.source_of(symbol);
    let (opened, metadata) = open(&resolve(root, &file)?, &file)?;
    read_within(opened, metadata.len(), &file, data, limit)
}

/// Opens a file, and tells what it is; `file` is what errors call it.
fn open(path: &Path, file: &str) -> Result<(File, Metadata), DataError> {
    let opened = File::open(path).map_err(|error| read_error(file, &error))?;
    let metadata = opened.metadata().map_err(|error| read_error(file, &error))?;
    if !metadata.is_file() {
        return Err(DataError::NotAFile { file: file.to_owned() });
    }
    Ok((opened, metadata))
}

/// Most bytes of a file whose bars may take `limit` bytes of memory. Of a part of the bars nothing can be told.
fn largest_file(data: &DataRef, limit: u64) -> u64 {
    /// Bytes of a file for each byte of memory that its bars take, at most: text of many digits.
    const LARGEST_FILE: u64 = 4;
    let is_whole = data.from.is_none() && data.to.is_none();
    if is_whole { limit.saturating_mul(LARGEST_FILE) } else { u64::MAX }
}

/// Reads bars that take at most `limit` bytes of memory from a file of so many bytes; `file` is what errors call it. A file
/// of which not even a part could fit is not read at all.
fn read_within(reader: impl Read, bytes: u64, file: &str, data: &DataRef, limit: u64) -> Result<Bars, DataError> {
    let too_large = |bytes: u64| DataError::TooLarge { file: file.to_owned(), bytes, limit };
    if bytes > largest_file(data, limit) {
        return Err(too_large(bytes));
    }
    Bars::read_csv_between(reader, file, data.from, data.to, limit).map_err(|error| match &error.fault {
        Fault::TooLarge { bytes, .. } => too_large(*bytes),
        fault if error.is_read_failure() => {
            DataError::Unreadable { what: format!("data file {file}"), reason: fault.to_string() }
        }
        _ => DataError::Invalid(error),
    })
}

/// Runs what blocks on a thread for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DataError> + Send + 'static,
) -> Result<T, DataError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        // Only a bug in the reader or the end of the runtime leads here; neither is the data's fault.
        Err(DataError::Unreadable { what: "bars".to_owned(), reason: error.to_string() })
    })
}

fn read_error(file: &str, error: &io::Error) -> DataError {
    use io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
    match error.kind() {
        NotFound | NotADirectory | InvalidFilename | InvalidInput => DataError::Missing { file: file.to_owned() },
        _ => DataError::Unreadable { what: format!("data file {file}"), reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CSV: &str = "date,open,high,low,close,volume\n\
                       2024-01-02,10,11,9,10,100\n2024-01-03,10,11,9,10.5,100\n2024-01-04,10,11,9,10,100\n";

    fn symbol(name: &str) -> Symbol {
        name.parse().unwrap()
    }

    fn data(source: &str) -> DataRef {
        DataRef { source: source.to_owned(), from: None, to: None }
    }

    #[test]
    fn a_source_cannot_leave_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("A.csv"), CSV).unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("daily")).unwrap();
        fs::write(root.path().join("daily/A.csv"), CSV).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        std::os::unix::fs::symlink("daily", root.path().join("inside")).unwrap();

        let of = |source: &str| resolve(root.path(), &source.replace("{symbol}", "A"));
        for good in ["daily/{symbol}.csv", "./daily/{symbol}.csv", "inside/{symbol}.csv"] {
            assert_eq!(of(good).unwrap(), root.path().canonicalize().unwrap().join("daily/A.csv"), "{good}");
        }
        let absolute = format!("{}/{{symbol}}.csv", root.path().join("daily").display());
        for bad in ["daily/../daily/{symbol}.csv", "../{symbol}.csv", absolute.as_str(), "link/{symbol}.csv"] {
            let error = of(bad).unwrap_err();
            assert_eq!(error.code(), "data_refused", "{bad}: {error}");
            assert!(!error.is_retryable());
        }
        for missing in ["{symbol}.csv", "daily/{symbol}.csv/x", &"x".repeat(300)] {
            assert_eq!(of(missing).unwrap_err().code(), "data_missing", "{missing}");
        }
    }

    #[test]
    fn an_unmounted_folder_is_no_missing_file() {
        let root = tempfile::tempdir().unwrap();
        let error = resolve(&root.path().join("nowhere"), "A.csv").unwrap_err();
        assert!(error.is_retryable(), "{error}");
    }

    #[test]
    fn bad_files_say_where() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("A.csv"), CSV.replace("10.5", "nan")).unwrap();
        fs::create_dir(root.path().join("B.csv")).unwrap();
        let error = load(root.path(), &data("{symbol}.csv"), &symbol("A")).unwrap_err();
        assert!(error.to_string().starts_with("A.csv:3: close"), "{error}");
        assert_eq!(error.code(), "data_invalid");
        let error = load(root.path(), &data("{symbol}.csv"), &symbol("B")).unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("data_invalid", false), "{error}");
    }

    #[test]
    fn dates_cut_the_bars() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("A.csv"), CSV).unwrap();
        let mut wanted = data("{symbol}.csv");
        wanted.from = Some("2024-01-03".parse().unwrap());
        assert_eq!(load(root.path(), &wanted, &symbol("A")).unwrap().len(), 2);
    }

    #[test]
    fn bars_between_dates_are_bounded_too() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("A.csv"), CSV).unwrap();
        let mut wanted = data("{symbol}.csv");
        let size = |wanted: &DataRef| load(root.path(), wanted, &symbol("A")).unwrap().size_bytes() as u64;
        let whole = size(&wanted);
        wanted.from = Some("2024-01-03".parse().unwrap());
        let part = size(&wanted);
        assert!(part < whole);
        assert!(load_within(root.path(), &wanted, &symbol("A"), part).is_ok(), "as much as they take is enough");
        let refused = load_within(root.path(), &wanted, &symbol("A"), part - 1).unwrap_err();
        let DataError::TooLarge { bytes, limit, .. } = refused else { panic!("{refused}") };
        assert_eq!((bytes, limit), (part, part - 1));
        // Whatever is wrong before and after the dates is told as ever.
        fs::write(root.path().join("A.csv"), CSV.replacen("10,11,9", "10,1,9", 1)).unwrap();
        let invalid = load_within(root.path(), &wanted, &symbol("A"), part).unwrap_err();
        assert!(invalid.to_string().starts_with("A.csv:2: high"), "{invalid}");
    }
}
