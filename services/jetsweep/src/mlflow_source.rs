//! Where `jetsweep mlflow backfill` reads a batch: running services, or the database they left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jetsweep_consolidator::{Destination, Format, QueryError, Reader};
use jetsweep_engine::bars::Bars;
use jetsweep_mlflow_bridge::{Row, Services, Source, SourceError};
use jetsweep_shared::events::{ReplayReply, ReplayRequest};
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::spec::DataRef;
use jetsweep_worker::data::Loader;
use jetsweep_worker::replay;

use crate::app::App;
use crate::bars;
use crate::failure::Failure;
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
    data: DataRef,
    loader: Loader,
    bars: Mutex<HashMap<Symbol, Arc<Bars>>>,
}

impl BatchSource {
    /// The batch in these results, whose bars are at `place` in case its runs are computed here.
    ///
    /// # Errors
    ///
    /// When the bars are in a data bucket, and there is no connection to the server that has it.
    pub(crate) async fn new(results: Results, place: DataPlace, app: &App, doing: &str) -> Result<Self, Failure> {
        match results {
            Results::Service(services) => Ok(Self::Services(Box::new(Services(services.bus)))),
            Results::File(reader) => {
                let loader = bars::loader(&place.root, &place.data, app, doing).await?;
                let (reader, bars) = (Mutex::new(reader), Mutex::default());
                Ok(Self::File(Box::new(FileSource { reader, data: place.data, loader, bars })))
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
            Self::File(file) => file.replay(request).await,
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

    async fn replay(&self, request: &ReplayRequest) -> Result<ReplayReply, SourceError> {
        let input = request.input.as_ref().ok_or_else(|| refused("invalid_request", &"the run's input is missing"))?;
        let bars = self.bars_of(&input.symbol).await?;
        let compute = || replay::reply(request, input, &bars, &bars.digest(), "jetsweep mlflow backfill");
        let reply = tokio::task::block_in_place(compute);
        reply.map_err(|failure| refused(&failure.code, &failure.message))
    }

    async fn bars_of(&self, symbol: &Symbol) -> Result<Arc<Bars>, SourceError> {
        if let Some(bars) = self.kept().get(symbol) {
            return Ok(Arc::clone(bars));
        }
        let loaded = self.loader.load(&self.data, symbol).await;
        let bars = Arc::new(loaded.map_err(|error| refused(error.code(), &error))?);
        let mut kept = self.kept();
        if kept.len() >= MOST_BARS {
            kept.clear();
        }
        kept.insert(symbol.clone(), Arc::clone(&bars));
        Ok(bars)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Symbol, Arc<Bars>>> {
        self.bars.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(code: &str, error: &impl std::fmt::Display) -> SourceError {
    SourceError { code: code.to_owned(), words: error.to_string(), is_passing: false }
}
