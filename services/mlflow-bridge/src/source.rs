//! Where the bridge asks for what is in no result: rows of complete batches, and runs in full.

use std::path::Path;
use std::time::Duration;

use async_nats::HeaderMap;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{ExportRequest, QueryRequest, ReplayReply, ReplayRequest};
use jetsweep_shared::replay;
use jetsweep_shared::service::{self, ServiceError};
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;

/// A row of a query: values by column.
pub type Row = Map<String, Value>;

/// Longest silence of a consolidator. It gives up on a query after a minute and says so.
const SILENCE: Duration = Duration::from_secs(70);
/// Longest silence before the first part of an export, which is written as a whole before it is sent.
const EXPORT_SILENCE: Duration = Duration::from_secs(600);

/// Something cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct SourceError {
    /// Stable word for why, as services have it; empty when the connection is at fault.
    pub code: String,
    /// Why.
    pub words: String,
    /// Whether asking again later may help.
    pub is_passing: bool,
}

impl From<ServiceError> for SourceError {
    fn from(error: ServiceError) -> Self {
        let code = match &error {
            ServiceError::Refused(reply) => reply.code.clone(),
            _ => String::new(),
        };
        Self { code, words: error.to_string(), is_passing: error.is_passing() }
    }
}

/// Where rows and runs in full come from.
pub trait Source: Send + Sync + 'static {
    /// The rows of one statement that reads.
    fn rows(&self, sql: &str) -> impl Future<Output = Result<Vec<Row>, SourceError>> + Send;

    /// Writes all rows of a batch to a file, as Parquet.
    fn parquet(&self, batch: &str, file: &Path) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// One run in full.
    fn replay(&self, request: &ReplayRequest) -> impl Future<Output = Result<ReplayReply, SourceError>> + Send;
}

/// The running services: a consolidator and workers.
#[derive(Debug, Clone)]
pub struct Services(pub Bus);

impl Source for Services {
    async fn rows(&self, sql: &str) -> Result<Vec<Row>, SourceError> {
        let Services(bus) = self;
        let subject = bus.names.endpoint("consolidator", "query");
        let request = serde_json::to_vec(&QueryRequest { sql: sql.to_owned() }).unwrap_or_default();
        let mut parts = service::ask(bus, subject, HeaderMap::new(), request.into(), SILENCE).await?;
        let mut rows = Vec::new();
        while let Some(part) = parts.next().await? {
            let part: Vec<Row> = serde_json::from_slice(&part.payload).map_err(|error| passing(&error))?;
            rows.extend(part);
        }
        Ok(rows)
    }

    async fn parquet(&self, batch: &str, file: &Path) -> Result<(), SourceError> {
        let Services(bus) = self;
        let subject = bus.names.endpoint("consolidator", "export");
        let request =
            ExportRequest { batch_id: batch.parse().map_err(|error| passing(&error))?, format: Default::default() };
        let request = serde_json::to_vec(&request).unwrap_or_default();
        let mut parts = service::ask(bus, subject, HeaderMap::new(), request.into(), EXPORT_SILENCE).await?;
        let mut file = tokio::fs::File::create(file).await.map_err(|error| passing(&error))?;
        while let Some(part) = parts.next().await? {
            file.write_all(&part.payload).await.map_err(|error| passing(&error))?;
        }
        file.flush().await.map_err(|error| passing(&error))
    }

    async fn replay(&self, request: &ReplayRequest) -> Result<ReplayReply, SourceError> {
        Ok(replay::replay(&self.0, request).await?)
    }
}

fn passing(error: &impl std::fmt::Display) -> SourceError {
    SourceError { code: String::new(), words: error.to_string(), is_passing: true }
}
