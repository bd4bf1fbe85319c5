//! Where the bars of a batch are looked for.

use std::path::PathBuf;

use jetsweep_shared::ids::BatchId;
use jetsweep_shared::spec::{DataRef, split_source};

use crate::app::App;
use crate::cli::DataArgs;
use crate::failure::{Failure, OrFail};
use crate::local::{Batches, StateDir};

/// Where the bars of a batch are.
pub(crate) struct DataPlace {
    /// Folder that the source is relative to.
    pub(crate) root: PathBuf,
    /// Their source, and the dates.
    pub(crate) data: DataRef,
}

impl DataPlace {
    /// Where `--data` says; else where the batch was started, if that was here; else the data folder in force.
    pub(crate) fn find(
        given: &DataArgs,
        app: &App,
        batch: &BatchId,
        data: &DataRef,
        doing: &str,
    ) -> Result<Self, Failure> {
        let configured = || app.config.data.root.clone();
        let mut place = Self { root: PathBuf::new(), data: data.clone() };
        match given.data.as_deref() {
            Some(pattern) if pattern.contains("{symbol}") => {
                let (folder, source) = split_source(pattern);
                place.root = folder.unwrap_or_else(configured);
                place.data.source = source;
            }
            Some(folder) => place.root = PathBuf::from(folder),
            None => {
                let state = StateDir::at(&app.config.state_dir);
                let record = Batches::of(&state).find(batch).or_broken(|| doing)?;
                place.root = record.map_or_else(configured, |record| record.data_root);
            }
        }
        Ok(place)
    }
}
