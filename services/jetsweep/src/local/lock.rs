//! One `run` at a time uses a state folder.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateDir;

/// The lock on a state folder, held as long as this lives. The system releases it with the process, however that ends.
#[derive(Debug)]
pub(crate) struct StateLock {
    _file: File,
}

/// Who holds the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// Its process.
    pub(crate) pid: u32,
    /// What it runs.
    pub(crate) command: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// Why a state folder cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Somebody else uses it.
    #[error("{} is in use{}", state.display(), told(holder))]
    Held {
        /// The folder.
        state: PathBuf,
        /// Who that is, if they said so.
        holder: Option<Holder>,
    },
    /// The lock file cannot be used.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

fn told(holder: &Option<Holder>) -> String {
    match holder {
        Some(Holder { pid, command, since }) => format!(" by process {pid} ({command}) since {since:.0}"),
        None => " by another process".to_owned(),
    }
}

impl StateLock {
    /// Takes the lock for `command`, or says who has it. Never waits.
    ///
    /// # Errors
    ///
    /// When it is held, or its file cannot be used.
    pub(crate) fn acquire(state: &StateDir, command: &str) -> Result<Self, LockError> {
        let path = state.lock();
        let failed = |error| LockError::Io { path: path.clone(), error };
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // Whoever holds the lock may be writing who it is just now.
                let holder = file.read_to_string(&mut text).ok().and_then(|_| serde_json::from_str(&text).ok());
                return Err(LockError::Held { state: state.root().to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let holder = Holder { pid: std::process::id(), command: command.to_owned(), since: Timestamp::now() };
        write_over(&mut file, &serde_json::to_vec(&holder).map_err(io::Error::from).map_err(failed)?)
            .map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn write_over(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_learns_who_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let first = StateLock::acquire(&state, "jetsweep run a.toml").unwrap();
        let error = StateLock::acquire(&state, "jetsweep run b.toml").unwrap_err().to_string();
        let who = format!("is in use by process {} (jetsweep run a.toml) since 20", std::process::id());
        assert!(error.contains(&who), "{error}");
        drop(first);
        StateLock::acquire(&state, "jetsweep run b.toml").unwrap();
    }
}
