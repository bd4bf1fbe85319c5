//! Opening the DuckDB file, for writing or for reading, and saying who has it when it cannot be opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use duckdb::{AccessMode, Config, Connection};

use crate::schema;

/// Bytes of log after which a commit moves it into the file. Larger than DuckDB's 16 MiB, because moving it writes the
/// last, incomplete row group again each time: about 200,000 rows now, which saves a fifth of the CPU time.
const CHECKPOINT_THRESHOLD: &str = "128MiB";

/// The database cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// There is none.
    #[error("there is no database at {path}: no consolidator has written results there yet")]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another process has it.
    #[error(
        "failed to open {path}: it is held by {holder}; DuckDB lets one process write, and nobody read meanwhile \
         (ask that process through the query service, or stop it)"
    )]
    Held {
        /// The file.
        path: PathBuf,
        /// The program and its process id, as far as DuckDB says.
        holder: String,
    },
    /// This process has it, in a way that does not go together with what is asked.
    #[error("failed to open {path}: this process has it open already, and one process writes or reads, never both")]
    HeldHere {
        /// The file.
        path: PathBuf,
    },
    /// A later jetsweep made it.
    #[error("failed to open {path}: its schema is version {found}, this program knows {known}: upgrade jetsweep")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema's version.
        found: i64,
        /// The version this program writes.
        known: i64,
    },
    /// The folder for it cannot be made.
    #[error("failed to create the folder of {path}: {source}")]
    Folder {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// DuckDB refuses something.
    #[error("failed to {doing}: {source}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// DuckDB's words.
        source: duckdb::Error,
    },
}

impl DatabaseError {
    /// For `map_err`: wraps DuckDB's error with what was being done.
    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(duckdb::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    /// Whether the same may work later: too little memory or disk, rather than something wrong with what is written.
    pub(crate) fn is_temporary(&self) -> bool {
        let Self::Sql { source: duckdb::Error::DuckDBFailure(_, Some(words)), .. } = self else { return false };
        let is_fatal = words.contains("FATAL Error") || words.contains("has been invalidated");
        !is_fatal && ["Out of Memory Error", "IO Error", "TransactionContext Error"].iter().any(|k| words.contains(k))
    }
}

/// How much of the machine DuckDB may use.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// Its memory limit, in bytes.
    pub memory_bytes: u64,
    /// Its threads.
    pub threads: usize,
}

/// An open database, and a connection to it. It is closed with the last of its connections.
#[derive(Debug)]
pub(crate) struct Database {
    // Dropped in this order: first the connection, then the note that this process has the file.
    pub(crate) connection: Connection,
    path: PathBuf,
    registration: Arc<Registration>,
}

impl Database {
    /// Opens the file for writing, creating it and its tables when it is not there.
    ///
    /// Nothing that runs on it afterwards can reach files outside of [`exports_folder`] or change its settings.
    pub(crate) fn open_for_writing(path: &Path, resources: Resources) -> Result<Self, DatabaseError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|source| DatabaseError::Folder { path: path.to_owned(), source })?;
        }
        let registration = Arc::new(Registration::new(path, Use::Writing)?);
        let connection = open(path, read_write(resources)?)?;
        schema::create_or_check(&connection, path)?;
        let exports = exports_folder(path).display().to_string().replace('\'', "''");
        connection
            .execute_batch(&format!(
                "SET allowed_directories = ['{exports}']; SET enable_external_access = false; \
                 SET lock_configuration = true;"
            ))
            .map_err(DatabaseError::sql("shut DuckDB off from other files"))?;
        Ok(Self { connection, path: path.to_owned(), registration })
    }

    /// Opens an existing file for reading. What a killed writer committed and left in the log beside it is read too.
    pub(crate) fn open_for_reading(path: &Path, resources: Resources) -> Result<Self, DatabaseError> {
        if !path.exists() {
            return Err(DatabaseError::Missing { path: path.to_owned() });
        }
        let registration = Arc::new(Registration::new(path, Use::Reading)?);
        let connection = match open_read_only(path, resources) {
            Err(DatabaseError::Sql { source, .. }) if is_unreplayed(&source) => {
                // Its writer was killed, and left a log with something in it that cannot be applied in memory alone.
                // Opening for writing applies it.
                drop(open(path, read_write(resources)?)?);
                open_read_only(path, resources)?
            }
            opened => opened?,
        };
        if schema::check(&connection, path)? == schema::VERSION {
            return Ok(Self { connection, path: path.to_owned(), registration });
        }
        // Its writer was an earlier jetsweep: questions are asked of the tables and views of this one.
        drop(connection);
        schema::create_or_check(&open(path, read_write(resources)?)?, path)?;
        Ok(Self { connection: open_read_only(path, resources)?, path: path.to_owned(), registration })
    }

    /// The same database with a connection of its own.
    pub(crate) fn connect(&self) -> Result<Self, DatabaseError> {
        let connection = self.connection.try_clone().map_err(DatabaseError::sql("connect to the open database"))?;
        Ok(Self { connection, path: self.path.clone(), registration: self.registration.clone() })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// A database file held by this process alone, with a connection that may attach others: for making one out of two.
#[derive(Debug)]
pub(crate) struct WholeFile {
    // Dropped in this order, as in `Database`.
    pub(crate) connection: Connection,
    _registration: Registration,
}

impl WholeFile {
    /// Opens an existing file.
    pub(crate) fn open(path: &Path, resources: Resources) -> Result<Self, DatabaseError> {
        let registration = Registration::new(path, Use::Writing)?;
        let connection = open(path, read_write(resources)?)?;
        schema::create_or_check(&connection, path)?;
        Ok(Self { connection, _registration: registration })
    }
}

/// The one folder in which whoever has the database open for writing may make files: those it exports.
pub(crate) fn exports_folder(database: &Path) -> PathBuf {
    let absolute = std::path::absolute(database).unwrap_or_else(|_| database.to_owned());
    absolute.with_file_name("exports")
}

fn read_write(resources: Resources) -> Result<Config, DatabaseError> {
    base_config(resources)
        .and_then(|config| config.access_mode(AccessMode::ReadWrite))
        .and_then(|config| config.with("checkpoint_threshold", CHECKPOINT_THRESHOLD))
        .map_err(DatabaseError::sql("configure DuckDB"))
}

fn open_read_only(path: &Path, resources: Resources) -> Result<Connection, DatabaseError> {
    let config = base_config(resources)
        .and_then(|config| config.access_mode(AccessMode::ReadOnly))
        .map_err(DatabaseError::sql("configure DuckDB"))?;
    open(path, config)
}

/// Whether DuckDB failed to apply the log beside the file.
fn is_unreplayed(error: &duckdb::Error) -> bool {
    error.to_string().contains("replaying WAL")
}

fn base_config(resources: Resources) -> duckdb::Result<Config> {
    let threads = i64::try_from(resources.threads.max(1)).unwrap_or(i64::MAX);
    Config::default()
        .enable_autoload_extension(false)?
        .threads(threads)?
        .max_memory(&format!("{}B", resources.memory_bytes))
}

fn open(path: &Path, config: Config) -> Result<Connection, DatabaseError> {
    Connection::open_with_flags(path, config).map_err(|source| {
        let words = source.to_string();
        match holder(&words) {
            Some(holder) => DatabaseError::Held { path: path.to_owned(), holder },
            None => DatabaseError::Sql { doing: "open the database", source },
        }
    })
}

/// Who has the file, out of `IO Error: Could not set lock on file "...": Conflicting lock is held in PROGRAM (PID N) by
/// user U. See also ...`.
fn holder(words: &str) -> Option<String> {
    if !words.contains("Could not set lock on file") {
        return None;
    }
    const UNKNOWN: &str = "another process";
    let Some((_, rest)) = words.split_once("lock is held in ") else {
        return Some(UNKNOWN.to_owned());
    };
    let Some((program, rest)) = rest.split_once(" (PID ") else {
        return Some(UNKNOWN.to_owned());
    };
    let id: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("{program} (process {id})"))
}

/// How this process uses a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Writing,
    Reading,
}

/// The files this process has open, with how many times.
///
/// DuckDB's lock on a file belongs to the process (`fcntl`), so it does not keep a process from opening a file twice;
/// and closing the second one would give up the lock of the first.
static OPEN: Mutex<Option<HashMap<PathBuf, (Use, usize)>>> = Mutex::new(None);

/// A note that this process has a file open, taken back when dropped.
#[derive(Debug)]
struct Registration {
    file: PathBuf,
}

impl Registration {
    fn new(path: &Path, wanted: Use) -> Result<Self, DatabaseError> {
        let file = identity(path);
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let files = open.get_or_insert_default();
        match files.get_mut(&file) {
            None => {
                files.insert(file.clone(), (wanted, 1));
            }
            Some((Use::Reading, times)) if wanted == Use::Reading => *times += 1,
            Some(_) => return Err(DatabaseError::HeldHere { path: path.to_owned() }),
        }
        Ok(Self { file })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(files) = open.as_mut() else { return };
        if let Some((_, times)) = files.get_mut(&self.file) {
            *times -= 1;
            if *times == 0 {
                files.remove(&self.file);
            }
        }
    }
}

/// One path for a file, however it is named. The file need not exist, its folder does.
fn identity(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_named() {
        let words = "IO Error: Could not set lock on file \"/x/r.duckdb\": Conflicting lock is held in \
                     /usr/bin/jetsweep (PID 4711) by user ann. See also https://duckdb.org/docs";
        assert_eq!(holder(words).as_deref(), Some("/usr/bin/jetsweep (process 4711)"));
        assert_eq!(holder("IO Error: Could not set lock on file \"/x\": gone").as_deref(), Some("another process"));
        assert_eq!(holder("IO Error: No such file"), None);
    }

    #[test]
    fn a_process_writes_or_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.duckdb");
        let resources = Resources { memory_bytes: 128 << 20, threads: 1 };
        assert!(matches!(Database::open_for_reading(&path, resources), Err(DatabaseError::Missing { .. })));
        let writing = Database::open_for_writing(&path, resources).unwrap();
        assert!(matches!(Database::open_for_reading(&path, resources), Err(DatabaseError::HeldHere { .. })));
        assert!(matches!(Database::open_for_writing(&path, resources), Err(DatabaseError::HeldHere { .. })));
        drop(writing);
        let first = Database::open_for_reading(&path, resources).unwrap();
        let second = Database::open_for_reading(&path, resources).unwrap();
        drop(first);
        assert!(matches!(Database::open_for_writing(&path, resources), Err(DatabaseError::HeldHere { .. })));
        drop(second);
        Database::open_for_writing(&path, resources).unwrap();
    }
}
