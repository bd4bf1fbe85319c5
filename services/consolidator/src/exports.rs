//! The service endpoint `consolidator.export`: all rows of a batch as a file, in the table's own types.
//!
//! The file is written beside the database, sent in parts of which each waits for the receipt of the one before, and
//! removed. A query's answer is JSON of at most a million rows; this has no such bound.

use std::io;
use std::path::{Path, PathBuf};

use async_nats::HeaderMap;
use async_nats::service::endpoint::Endpoint as Requests;
use async_nats::service::{Request, Service};
use bytes::Bytes;
use futures::StreamExt;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::events::{ErrorReply, ExportFormat, ExportRequest};
use jetsweep_shared::service::{self, PartSender};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::export::{Destination, ExportError, Format, export};
use crate::query::{Queries, QueryError};

/// Files made and sent at the same time.
const AT_ONCE: usize = 1;

/// The open endpoint.
pub(crate) struct Endpoint {
    bus: Bus,
    requests: Requests,
    /// Where files are made.
    folder: PathBuf,
}

impl Endpoint {
    /// Adds the endpoint to the consolidator's service. Files are made in `folder`.
    pub(crate) async fn open(bus: &Bus, service: &Service, role: &str, folder: PathBuf) -> Result<Self, String> {
        let subject = bus.names.endpoint(role, "export");
        let requests = service.endpoint_builder().name("export").add(subject).await;
        Ok(Self { bus: bus.clone(), requests: requests.map_err(|error| error.to_string())?, folder })
    }

    /// Answers requests until the program stops.
    pub(crate) async fn serve(self, queries: Queries, shutdown: CancellationToken) {
        let Self { bus, requests, folder } = self;
        let (bus, folder, queries, stop) = (&bus, &folder, &queries, &shutdown);
        requests
            .take_until(stop.cancelled())
            .for_each_concurrent(AT_ONCE, async |request| {
                // Whoever asked asks again when the program stops in the middle.
                let answering = answer(bus, folder, queries, &request);
                let _ = stop.run_until_cancelled(answering).await;
            })
            .await;
    }
}

async fn answer(bus: &Bus, folder: &Path, queries: &Queries, request: &Request) {
    let sent = match make(folder, queries, &request.message.payload).await {
        Ok(made) => send(bus, request, &made).await,
        Err((status, reply)) => {
            let (headers, body) = service::error_reply(status, &reply);
            request.respond_with_headers(Ok(body), headers).await.map_err(|error| error.to_string())
        }
    };
    if let Err(reason) = sent {
        tracing::debug!(reason, "an exported file was not sent");
    }
}

/// A file in a folder that goes with it.
struct Made {
    _folder: TempDir,
    file: PathBuf,
}

async fn make(folder: &Path, queries: &Queries, payload: &Bytes) -> Result<Made, (u16, ErrorReply)> {
    let refused = |status: u16, code: &str, message: String| {
        (status, ErrorReply { code: code.to_owned(), message, problems: Vec::new() })
    };
    let unavailable = |message: String| refused(503, "unavailable", message);
    let request: ExportRequest = serde_json::from_slice(payload).map_err(|error| {
        refused(400, "invalid_request", format!("the request is {{\"batch_id\": \"...\"}}: {error}"))
    })?;
    let format = match request.format {
        ExportFormat::Parquet => Format::Parquet,
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Json => Format::JsonLines,
    };
    let database = queries.connect().map_err(|error| unavailable(error.to_string()))?;
    let made = std::fs::create_dir_all(folder).and_then(|()| tempfile::tempdir_in(folder));
    let made = made.map_err(|error| unavailable(format!("failed to make a folder for the file: {error}")))?;
    let file = made.path().join("rows");
    let writing = tokio::task::spawn_blocking({
        let file = file.clone();
        move || export(&database.connection, &request.batch_id, format, Destination::File(&file))
    });
    match writing.await {
        Ok(Ok(_)) => Ok(Made { _folder: made, file }),
        Ok(Err(error @ ExportError::UnknownBatch(_))) => Err(refused(404, "unknown_batch", error.to_string())),
        Ok(Err(ExportError::Query { source, .. })) if !matches!(source, QueryError::Unavailable(_)) => {
            Err(refused(source.status(), source.code(), source.to_string()))
        }
        Ok(Err(error)) => Err(unavailable(error.to_string())),
        Err(error) => Err(unavailable(error.to_string())),
    }
}

async fn send(bus: &Bus, request: &Request, made: &Made) -> Result<(), String> {
    let Some(to) = request.message.reply.clone() else { return Err("nobody waits for it".to_owned()) };
    let words = |error: io::Error| error.to_string();
    let mut file = tokio::fs::File::open(&made.file).await.map_err(words)?;
    let mut parts = PartSender::new(bus, to, HeaderMap::new());
    loop {
        let mut part = Vec::with_capacity(parts.largest_part());
        (&mut file).take(parts.largest_part() as u64).read_to_end(&mut part).await.map_err(words)?;
        if part.is_empty() {
            return parts.end().await;
        }
        parts.send(part.into()).await?;
    }
}
