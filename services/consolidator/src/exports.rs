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
use jetsweep_shared::disguise::is_request;
use jetsweep_shared::events::{ErrorReply, ExportFormat, ExportRequest};
use jetsweep_shared::service::{self, PartSender};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::database::exports_folder;
use crate::export::{Destination, ExportError, Format, export};
use crate::query::{Queries, QueryError};

/// Files made and sent at the same time.
const AT_ONCE: usize = 1;

/// The open endpoint.
pub(crate) struct Endpoint {
    bus: Bus,
    subject: String,
    requests: Requests,
    place: Place,
}

/// Where files are made: in folders of their own, named after the database, in the one folder that DuckDB may write.
#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    prefix: String,
}

impl Place {
    fn beside(database: &Path) -> Self {
        let name = database.file_name().unwrap_or_default().to_string_lossy();
        Self { folder: exports_folder(database), prefix: format!(".{name}-") }
    }

    fn make(&self) -> io::Result<TempDir> {
        std::fs::create_dir_all(&self.folder)?;
        tempfile::Builder::new().prefix(&self.prefix).tempdir_in(&self.folder)
    }

    /// Removes what a consolidator of this database left that was killed. Whoever calls has the database to itself.
    fn sweep(&self) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else { return };
        let is_left = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&self.prefix);
        for left in entries.flatten().filter(|entry| is_left(&entry.file_name())) {
            match std::fs::remove_dir_all(left.path()) {
                Ok(()) => tracing::info!(folder = %left.path().display(), "removed an export that was never sent"),
                Err(error) => tracing::warn!(folder = %left.path().display(), %error, "cannot remove an old export"),
            }
        }
    }
}

impl Endpoint {
    /// Adds the endpoint to the consolidator's service, which has `database` open. Files are made beside it; those that
    /// were never sent are removed now.
    pub(crate) async fn open(bus: &Bus, service: &Service, role: &str, database: &Path) -> Result<Self, String> {
        let place = Place::beside(database);
        place.sweep();
        let subject = bus.names.endpoint(role, "export");
        let requests = service.endpoint_builder().name("export").add(subject.as_str()).await;
        Ok(Self { bus: bus.clone(), subject, requests: requests.map_err(|error| error.to_string())?, place })
    }

    /// Answers requests until the program stops.
    pub(crate) async fn serve(self, queries: Queries, shutdown: CancellationToken) {
        let Self { bus, subject, requests, place } = self;
        let (bus, subject, place, queries, stop) = (&bus, &subject, &place, &queries, &shutdown);
        requests
            .take_until(stop.cancelled())
            .for_each_concurrent(AT_ONCE, async |request| {
                if !is_request(&request.message, subject) {
                    return;
                }
                // Whoever asked asks again when the program stops in the middle.
                let answering = answer(bus, place, queries, &request);
                let _ = stop.run_until_cancelled(answering).await;
            })
            .await;
    }
}

async fn answer(bus: &Bus, place: &Place, queries: &Queries, request: &Request) {
    let sent = match make(place, queries, &request.message.payload).await {
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

async fn make(place: &Place, queries: &Queries, payload: &Bytes) -> Result<Made, (u16, ErrorReply)> {
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
    let made = place.make().map_err(|error| unavailable(format!("failed to make a folder for the file: {error}")))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_of_this_database_is_swept_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (ours, others) = (folder.path().join("a.duckdb"), folder.path().join("b.duckdb"));
        let (ours, others) = (Place::beside(&ours), Place::beside(&others));
        // As after a kill: nobody removes them.
        let left = ours.make().unwrap().keep();
        std::fs::write(left.join("rows"), "rows").unwrap();
        let kept = others.make().unwrap();
        let mine = ours.folder.join("my-own.parquet");
        std::fs::write(&mine, "rows").unwrap();
        ours.sweep();
        assert!(!left.exists() && kept.path().exists() && mine.exists());
    }
}
