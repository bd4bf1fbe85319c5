//! What is known of each batch started here, recorded before it starts.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jetsweep_shared::ids::{BatchId, Priority};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::StateDir;

const RECORD: &str = "batch.json";
const SPEC: &str = "spec.json";

/// What `--resume` and `replay` need to know of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct BatchRecord {
    /// The batch.
    pub(crate) batch_id: BatchId,
    /// Digest of its resolved spec.
    pub(crate) spec_digest: String,
    /// Name of the sweep.
    pub(crate) sweep: String,
    /// Folder that the spec's source is relative to, absolute.
    pub(crate) data_root: PathBuf,
    /// Priority of its jobs.
    pub(crate) priority: Priority,
    /// Whether it was started although data was missing or bad.
    pub(crate) skip_invalid: bool,
    /// When it was first started.
    pub(crate) started_at: Timestamp,
}

/// The batches of a state folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batches<'a> {
    state: &'a StateDir,
}

impl<'a> Batches<'a> {
    /// Those of `state`.
    pub(crate) fn of(state: &'a StateDir) -> Self {
        Self { state }
    }

    /// Records a batch and its self-contained spec. Both are on disk when this returns.
    pub(crate) fn record(&self, record: &BatchRecord, spec: &[u8]) -> io::Result<()> {
        let folder = self.state.batch(&record.batch_id);
        std::fs::create_dir_all(&folder)?;
        write_whole(&folder.join(SPEC), spec)?;
        // Last, so that whoever finds the record finds the spec too.
        write_whole(&folder.join(RECORD), &serde_json::to_vec_pretty(record)?)
    }

    /// What is known of a batch; `None` when it was not started here.
    pub(crate) fn find(&self, batch: &BatchId) -> io::Result<Option<BatchRecord>> {
        match std::fs::read(self.state.batch(batch).join(RECORD)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The self-contained spec of a batch that was started here.
    pub(crate) fn spec(&self, batch: &BatchId) -> io::Result<Vec<u8>> {
        std::fs::read(self.spec_path(batch))
    }

    /// Where that is.
    pub(crate) fn spec_path(&self, batch: &BatchId) -> PathBuf {
        self.state.batch(batch).join(SPEC)
    }

    /// All batches started here, newest first. What cannot be read is left out.
    pub(crate) fn all(&self) -> Vec<BatchRecord> {
        let Ok(entries) = std::fs::read_dir(self.state.batches()) else { return Vec::new() };
        let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<BatchId>().ok());
        let mut records: Vec<BatchRecord> = ids.filter_map(|batch| self.find(&batch).ok()?).collect();
        records.sort_by_key(|record| std::cmp::Reverse(record.started_at));
        records
    }
}

/// Writes a file so that it is there in full or not at all, whatever happens meanwhile.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = crate::files::beside(path)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_again_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(folder.path()).unwrap();
        let batches = Batches::of(&state);
        assert_eq!(batches.all(), []);
        let record = |id: &str, second: i64| BatchRecord {
            batch_id: id.parse().unwrap(),
            spec_digest: "d".into(),
            sweep: "s".into(),
            data_root: "/data".into(),
            priority: Priority::Normal,
            skip_invalid: false,
            started_at: Timestamp::from_second(second).unwrap(),
        };
        let (old, new) = (record("old", 1), record("new", 2));
        batches.record(&old, b"{}").unwrap();
        batches.record(&new, b"{\"a\":1}").unwrap();
        assert_eq!(batches.all(), [new.clone(), old]);
        assert_eq!(batches.find(&new.batch_id).unwrap(), Some(new.clone()));
        assert_eq!(batches.spec(&new.batch_id).unwrap(), b"{\"a\":1}");
        assert_eq!(batches.find(&"other".parse().unwrap()).unwrap(), None);
    }
}
