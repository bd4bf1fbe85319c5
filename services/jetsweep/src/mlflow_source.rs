//! Where `jetsweep mlflow backfill` reads a batch: running services, or the database they left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jetsweep_consolidator::{Destination, Format, QueryError, Reader};
use jetsweep_engine::bars::Bars;
use jetsweep_mlflow_bridge::{Row, Services, Source, SourceError};
use jetsweep_shared::events::{ReplayReply, ReplayRequest};
use jetsweep_shared::ids::Symbol;
use jetsweep_worker::{data, replay};

use crate::one_run::DataPlace;
use crate::source::Results;

/// Symbols whose bars are kept: runs of a symbol come one after the other.
const MOST_BARS: usize = 8;

/// A batch's rows, and its runs in full.
pub(crate) enum BatchSource {
    /// Consolidator and workers answer.
    Services(Box<Services>),
    /// The database is read and runs are computed here.
    File(Box<FileSource>),
}

/// The database, and the bars it was computed from.
pub(crate) struct FileSource {
    reader: Mutex<Reader>,
    place: DataPlace,
    bars: Mutex<HashMap<Symbol, Arc<Bars>>>,
}

impl BatchSource {
    pub(crate) fn new(results: Results, place: DataPlace) -> Self {
        match results {
            Results::Service(services) => Self::Services(Box::new(Services(services.bus))),
            Results::File(reader) => {
                Self::File(Box::new(FileSource { reader: Mutex::new(reader), place, bars: Mutex::default() }))
            }
        }
    }
}

impl Source for BatchSource {
    async fn rows(&self, sql: &str) -> Result<Vec<Row>, SourceError> {
        match self {
            Self::Services(services) => services.rows(sql).await,
            // These block, which keeps nobody else waiting: a command does one thing.
            Self::File(file) => tokio::task::block_in_place(|| file.rows(sql)),
        }
    }

    async fn parquet(&self, batch: &str, path: &Path) -> Result<(), SourceError> {
        match self {
            Self::Services(services) => services.parquet(batch, path).await,
            Self::File(file) => tokio::task::block_in_place(|| file.parquet(batch, path)),
        }
    }

    async fn replay(&self, request: &ReplayRequest) -> Result<ReplayReply, SourceError> {
        match self {
            Self::Services(services) => services.replay(request).await,
            Self::File(file) => tokio::task::block_in_place(|| file.replay(request)),
        }
    }
}

impl FileSource {
    fn rows(&self, sql: &str) -> Result<Vec<Row>, SourceError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error: QueryError| refused(error.code(), &error);
        reader.query(sql).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    fn parquet(&self, batch: &str, path: &Path) -> Result<(), SourceError> {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let batch = batch.parse().map_err(|error| refused("invalid_request", &error))?;
        let exported = reader.export(&batch, Format::Parquet, Destination::File(path));
        exported.map(drop).map_err(|error| refused("export_failed", &error))
    }

    fn replay(&self, request: &ReplayRequest) -> Result<ReplayReply, SourceError> {
        let input = request.input.as_ref().ok_or_else(|| refused("invalid_request", &"the run's input is missing"))?;
        let bars = self.bars_of(&input.symbol)?;
        let reply = replay::reply(request, input, &bars, &bars.digest(), "jetsweep mlflow backfill");
        reply.map_err(|failure| refused(&failure.code, &failure.message))
    }

    fn bars_of(&self, symbol: &Symbol) -> Result<Arc<Bars>, SourceError> {
        let mut kept = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bars) = kept.get(symbol) {
            return Ok(Arc::clone(bars));
        }
        let loaded = data::load(&self.place.root, &self.place.data, symbol);
        let bars = Arc::new(loaded.map_err(|error| refused(error.code(), &error))?);
        if kept.len() >= MOST_BARS {
            kept.clear();
        }
        kept.insert(symbol.clone(), Arc::clone(&bars));
        Ok(bars)
    }
}

fn refused(code: &str, error: &impl std::fmt::Display) -> SourceError {
    SourceError { code: code.to_owned(), words: error.to_string(), is_passing: false }
}
