//! The service endpoint `consolidator.query`, which `nats micro ls` shows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::service::{self, NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE, Request, ServiceExt};
use bytes::Bytes;
use futures::StreamExt;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::disguise::is_request;
use jetsweep_shared::events::{ErrorReply, QueryRequest, headers};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{QueryError, Rows};
use crate::database::Database;
use crate::metrics::Metrics;

/// Queries answered at the same time; more wait.
const AT_ONCE: usize = 4;
/// Longest time for a query with its answer.
const LONGEST: Duration = Duration::from_secs(60);
/// Most rows of an answer.
const MOST_ROWS: usize = 1_000_000;
/// Size that one message of an answer in several aims at, in bytes.
const PART_BYTES: usize = 256 << 10;
/// Bytes of a message that headers may take.
const HEADERS_BYTES: usize = 4 << 10;
/// Parts computed ahead of the network.
const PARTS_AHEAD: usize = 2;
/// Role of the consolidator in subjects, and its name as a service.
pub(crate) const ROLE: &str = "consolidator";
/// The endpoint's name.
const QUERY: &str = "query";

/// Where connections for queries come from.
#[derive(Debug, Clone)]
pub(crate) struct Queries {
    // A connection is used by one thread at a time, even if only to make another one.
    database: Arc<Mutex<Database>>,
}

impl Queries {
    pub(crate) fn new(database: Database) -> Self {
        Self { database: Arc::new(Mutex::new(database)) }
    }

    /// A connection of its own.
    pub(crate) fn connect(&self) -> Result<Database, QueryError> {
        let database = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        database.connect().map_err(|error| QueryError::Unavailable(error.to_string()))
    }
}

/// The open endpoint.
pub(crate) struct Endpoint {
    bus: Bus,
    service: service::Service,
    requests: service::endpoint::Endpoint,
}

impl Endpoint {
    /// Registers the service.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, String> {
        let service = bus
            .client
            .service_builder()
            .description("Answers SQL over the results of backtests, and exports them")
            .start(ROLE, env!("CARGO_PKG_VERSION"))
            .await
            .map_err(|error| error.to_string())?;
        let subject = bus.names.endpoint(ROLE, QUERY);
        let requests = service.endpoint_builder().name(QUERY).add(subject).await.map_err(|error| error.to_string())?;
        Ok(Self { bus: bus.clone(), service, requests })
    }

    /// The service, for endpoints beside this one.
    pub(crate) fn service(&self) -> &service::Service {
        &self.service
    }

    /// Answers requests until the program stops; what is being answered then is stopped too.
    pub(crate) async fn serve(self, queries: Queries, metrics: Metrics, shutdown: CancellationToken) {
        let Self { bus, service, requests } = self;
        let (bus, queries, metrics, stop) = (&bus, &queries, &metrics, &shutdown);
        let subject = &bus.names.endpoint(ROLE, QUERY);
        requests
            .take_until(stop.cancelled())
            .for_each_concurrent(AT_ONCE, async |request| {
                if is_request(&request.message, subject) {
                    answer(bus, queries, metrics, &request, stop).await;
                }
            })
            .await;
        if let Err(error) = service.stop().await {
            tracing::debug!(%error, "the service was not stopped in order");
        }
    }
}

/// How an answer travels.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Largest message, in bytes.
    most_bytes: usize,
    in_parts: bool,
}

async fn answer(bus: &Bus, queries: &Queries, metrics: &Metrics, request: &Request, shutdown: &CancellationToken) {
    let start = Instant::now();
    let wants_parts = request.message.headers.as_ref().and_then(|headers| headers.get(headers::STREAM));
    let in_parts = wants_parts.is_some_and(|value| value.as_str() == "1");
    let most = bus.client.max_payload().saturating_sub(HEADERS_BYTES);
    let shape = Shape { most_bytes: if in_parts { most.min(PART_BYTES) } else { most }, in_parts };
    let (parts, mut computed) = mpsc::channel(PARTS_AHEAD);
    let computing = compute(queries, &request.message.payload, shape, parts, shutdown);
    let sending = async {
        let mut sent = 0;
        while let Some(part) = computed.recv().await {
            if in_parts {
                send_part(bus, request, sent, part).await;
            } else {
                respond(request, HeaderMap::new(), part).await;
            }
            sent += 1;
        }
        sent
    };
    let (computed, sent) = tokio::join!(computing, sending);
    metrics.counts.query_seconds.observe(start.elapsed().as_secs_f64());
    match computed {
        Ok(()) if in_parts => respond(request, part_header(sent), Bytes::new()).await,
        Ok(()) => {}
        Err(error) => {
            tracing::debug!(code = error.code(), %error, "a query has no answer");
            metrics.counts.failed_queries.inc();
            let (headers, body) = error_reply(&error);
            respond(request, headers, body).await;
        }
    }
}

/// Runs a query on a thread and connection of its own, and stops it when it takes too long.
async fn compute(
    queries: &Queries,
    payload: &Bytes,
    shape: Shape,
    parts: mpsc::Sender<Bytes>,
    shutdown: &CancellationToken,
) -> Result<(), QueryError> {
    let sql = sql_of(payload)?;
    let database = queries.connect()?;
    let interrupt = database.connection.interrupt_handle();
    let deadline = Instant::now() + LONGEST;
    let (done, mut result) = oneshot::channel();
    let run = move || {
        let result = read(&database, &sql, shape, deadline, &parts);
        // The connection is closed before anybody learns that it is.
        drop(database);
        drop(parts);
        let _ = done.send(result);
    };
    std::thread::Builder::new()
        .name("query".to_owned())
        .spawn(run)
        .map_err(|error| QueryError::Unavailable(format!("failed to start a thread: {error}")))?;
    let gone = || QueryError::Unavailable("the thread of the query ended without a word".to_owned());
    let stopped = tokio::select! {
        result = &mut result => return result.unwrap_or_else(|_| Err(gone())),
        () = tokio::time::sleep(LONGEST) => QueryError::TimedOut { seconds: LONGEST.as_secs() },
        () = shutdown.cancelled() => QueryError::Unavailable("the consolidator is stopping: ask again".to_owned()),
    };
    interrupt.interrupt();
    // It may have ended just before it was stopped.
    match result.await.unwrap_or_else(|_| Err(gone())) {
        Ok(()) => Ok(()),
        Err(_) => Err(stopped),
    }
}

fn sql_of(payload: &Bytes) -> Result<String, QueryError> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| QueryError::Invalid(format!("the request is not UTF-8: {error}")))?
        .trim();
    if !text.starts_with('{') {
        return Ok(text.to_owned());
    }
    let request: QueryRequest = serde_json::from_str(text)
        .map_err(|error| QueryError::Invalid(format!("the request is not {{\"sql\": \"...\"}}: {error}")))?;
    Ok(request.sql)
}

/// Reads all rows into parts, each an array of objects of its own.
fn read(
    database: &Database,
    sql: &str,
    shape: Shape,
    deadline: Instant,
    parts: &mpsc::Sender<Bytes>,
) -> Result<(), QueryError> {
    let mut rows = Rows::of_user(&database.connection, sql)?;
    let mut part = Part::default();
    let mut count = 0;
    while let Some(row) = rows.next_row()? {
        count += 1;
        if count > MOST_ROWS {
            let message = format!("the answer has more than {MOST_ROWS} rows: narrow it, or use `jetsweep export`");
            return Err(QueryError::TooLarge(message));
        }
        if Instant::now() > deadline {
            return Err(QueryError::TimedOut { seconds: LONGEST.as_secs() });
        }
        let row = serde_json::to_vec(&row).map_err(|error| QueryError::Unavailable(error.to_string()))?;
        if part.would_exceed(&row, shape.most_bytes) {
            if !shape.in_parts {
                let message = format!(
                    "the answer is larger than one message ({} bytes): ask with the header {}: 1 for an answer in \
                     several, or narrow the query",
                    shape.most_bytes,
                    headers::STREAM
                );
                return Err(QueryError::TooLarge(message));
            }
            send(parts, part.finish())?;
            if part.would_exceed(&row, shape.most_bytes) {
                let message = format!("row {count} alone is larger than {} bytes", shape.most_bytes);
                return Err(QueryError::TooLarge(message));
            }
        }
        part.push(&row);
    }
    if !shape.in_parts || !part.is_empty() {
        send(parts, part.finish())?;
    }
    Ok(())
}

fn send(parts: &mpsc::Sender<Bytes>, part: Bytes) -> Result<(), QueryError> {
    parts.blocking_send(part).map_err(|_| QueryError::Unavailable("nobody waits for the answer any more".to_owned()))
}

/// A JSON array in the making.
#[derive(Debug, Default)]
struct Part {
    rows: Vec<u8>,
}

impl Part {
    /// The brackets around and the comma before a row.
    const AROUND: usize = 3;

    fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    fn would_exceed(&self, row: &[u8], most_bytes: usize) -> bool {
        self.rows.len() + row.len() + Self::AROUND > most_bytes
    }

    fn push(&mut self, row: &[u8]) {
        self.rows.push(if self.rows.is_empty() { b'[' } else { b',' });
        self.rows.extend_from_slice(row);
    }

    fn finish(&mut self) -> Bytes {
        if self.rows.is_empty() {
            self.rows.push(b'[');
        }
        self.rows.push(b']');
        std::mem::take(&mut self.rows).into()
    }
}

fn part_header(number: usize) -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(headers::PART, number.to_string().as_str());
    map
}

async fn send_part(bus: &Bus, request: &Request, number: usize, part: Bytes) {
    let Some(reply) = request.message.reply.clone() else { return };
    if let Err(error) = bus.client.publish_with_headers(reply, part_header(number), part).await {
        tracing::debug!(number, %error, "a part of an answer was not sent");
    }
}

fn error_reply(error: &QueryError) -> (HeaderMap, Bytes) {
    let mut map = HeaderMap::new();
    let short: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    map.insert(NATS_SERVICE_ERROR, short.as_str());
    map.insert(NATS_SERVICE_ERROR_CODE, error.status().to_string().as_str());
    let body = ErrorReply { code: error.code().to_owned(), message: error.to_string(), problems: Vec::new() };
    // Strings always have a JSON.
    (map, serde_json::to_vec(&body).unwrap_or_default().into())
}

async fn respond(request: &Request, headers: HeaderMap, body: Bytes) {
    // Answered as a success with the error's headers: an error of the service API has no body, and ours says what
    // to do.
    if let Err(error) = request.respond_with_headers(Ok(body), headers).await {
        tracing::debug!(%error, "an answer was not sent");
    }
}
