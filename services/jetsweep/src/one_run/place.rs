//! Where the bars of a batch are looked for.

use std::path::PathBuf;

use jetsweep_shared::ids::BatchId;
use jetsweep_shared::spec::{DataRef, Source, split_source};

use crate::app::App;
use crate::cli::DataArgs;
use crate::failure::{Failure, OrFail};
use crate::local::{Batches, StateDir};

/// Where the bars of a batch are.
#[derive(Debug, Clone)]
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
        let known = Self::known(given, app, batch, data, doing)?;
        Ok(known.unwrap_or_else(|| Self { root: app.config.data.root.clone(), data: data.clone() }))
    }

    /// Where `--data` says; else where the batch was started; `None` if that was not here.
    pub(crate) fn known(
        given: &DataArgs,
        app: &App,
        batch: &BatchId,
        data: &DataRef,
        doing: &str,
    ) -> Result<Option<Self>, Failure> {
        let at = |root: PathBuf| Self { root, data: data.clone() };
        let place = match given.data.as_deref() {
            Some(pattern) if pattern.contains("{symbol}") || !Source::is_file(pattern) => {
                let (folder, source) = split_source(pattern);
                let mut place = at(folder.unwrap_or_else(|| app.config.data.root.clone()));
                place.data.source = source;
                Some(place)
            }
            Some(folder) => Some(at(PathBuf::from(folder))),
            None => {
                let state = StateDir::at(&app.config.state_dir);
                let record = Batches::of(&state).find(batch).or_broken(|| doing)?;
                record.map(|record| at(record.data_root))
            }
        };
        Ok(place)
    }
}
