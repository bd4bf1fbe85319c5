//! Paths within the state folder.

use std::io;
use std::path::{Path, PathBuf};

use jetsweep_shared::ids::BatchId;

/// The state folder: see [`super`] for what lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The folder at `root`, which need not exist: reading commands must not make one.
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The folder at `root`, made if there is none. Its path becomes absolute, for the server has its own working
    /// directory.
    pub(crate) fn create(root: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        Ok(Self { root: root.canonicalize()? })
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The file that a `run` locks.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// How to reach the server of the `run` that uses the folder.
    pub(crate) fn connection(&self) -> PathBuf {
        self.root.join("connection.json")
    }

    /// The folder of all batches.
    pub(crate) fn batches(&self) -> PathBuf {
        self.root.join("batches")
    }

    /// The folder of a batch.
    pub(crate) fn batch(&self, batch: &BatchId) -> PathBuf {
        self.batches().join(batch.as_str())
    }

    /// The folder of a batch's NATS server.
    pub(crate) fn nats(&self, batch: &BatchId) -> PathBuf {
        self.batch(batch).join("nats")
    }
}
