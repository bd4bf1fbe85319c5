//! A monitor over HTTP, and asking one.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process answers at all |
//! | `/readyz` | 200 when the service does its work, else 503; a JSON object says what is not ready and why |
//! | `/metrics` | metrics in Prometheus' text format; needs the token, if there is one |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Monitor, exposition};
use crate::config::{HttpConfig, Secret};

/// Connections at a time; more wait until one of them ends.
const MOST_CONNECTIONS: usize = 64;

/// Longest that a client may take to ask something, once it is connected or has its last answer.
const ASKING_TIME: Duration = Duration::from_secs(20);

/// Pause before the next connection when one could not be taken, as when there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Longest that [`ask`] waits for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Longest answer that [`ask`] reads, in bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// A monitor that cannot be shown or asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Nothing can listen there.
    #[error("failed to listen on http.listen {address}: {source}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// There is no answer.
    #[error("no answer from http://{address}{path}: {reason}")]
    NoAnswer {
        /// Who was asked.
        address: SocketAddr,
        /// For what.
        path: &'static str,
        /// Why not.
        reason: String,
    },
}

#[derive(Clone)]
struct Shown {
    monitor: Monitor,
    token: Option<Secret>,
}

/// Shows a monitor over HTTP until `shutdown`, if the configuration says where. The address is the one in the end: a
/// configured port 0 becomes a free one.
///
/// # Errors
/// When nothing can listen there.
pub async fn serve(
    config: &HttpConfig,
    monitor: Monitor,
    shutdown: CancellationToken,
) -> Result<Option<(SocketAddr, JoinHandle<()>)>, HttpError> {
    let Some(address) = config.address() else { return Ok(None) };
    let failed = |source| HttpError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    if !bound.ip().is_loopback() && config.token.is_none() {
        tracing::info!(%bound, "health and metrics are open to whoever reaches this address (http.token closes /metrics)");
    }
    let routes = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shown { monitor, token: config.token.clone() });
    let serving = tokio::spawn(async move {
        shutdown.run_until_cancelled(accept(&listener, &routes, ASKING_TIME)).await;
    });
    tracing::info!(%bound, "showing /livez, /readyz and /metrics");
    Ok(Some((bound, serving)))
}

/// Answers whoever connects. Nobody's connection outlives its silence, so that they cannot use up what the process has.
async fn accept(listener: &TcpListener, routes: &Router, asking_time: Duration) {
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        // Nobody closes the semaphore.
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection to health and metrics now");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let answering = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(asking_time)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            // A client that breaks off is no trouble of ours.
            let _ = answering.await;
            drop(permit);
        });
    }
}

async fn readyz(State(shown): State<Shown>) -> Response {
    let troubles = shown.monitor.troubles();
    let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": troubles.is_empty(), "not_ready": troubles });
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

async fn metrics(State(shown): State<Shown>, headers: HeaderMap) -> Response {
    if !is_allowed(&headers, shown.token.as_ref()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "needs the bearer token of http.token\n").into_response();
    }
    ([(header::CONTENT_TYPE, exposition::CONTENT_TYPE)], shown.monitor.metrics()).into_response()
}

fn is_allowed(headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    given.is_some_and(|given| same(given.trim().as_bytes(), token.expose().as_bytes()))
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

/// Asks a monitor for one of its paths: the status and the text of its answer.
///
/// # Errors
/// When there is no answer in time.
pub async fn ask(address: SocketAddr, path: &'static str) -> Result<(u16, String), HttpError> {
    let failed = |reason: String| HttpError::NoAnswer { address, path, reason };
    match tokio::time::timeout(ANSWER_TIME, exchange(address, path)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("nothing within {ANSWER_TIME:?}"))),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

async fn exchange(address: SocketAddr, path: &str) -> Result<(u16, String), BoxError> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request =
        hyper::Request::get(path).header(header::HOST, address.to_string()).body(Empty::<bytes::Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), LONGEST_ANSWER).collect().await?.to_bytes();
    driver.abort();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn shown(config: &HttpConfig) -> (Monitor, SocketAddr) {
        let monitor = Monitor::new("planner", "1.2.3");
        let (address, _) = serve(config, monitor.clone(), CancellationToken::new()).await.unwrap().unwrap();
        (monitor, address)
    }

    #[tokio::test]
    async fn readyz_says_what_is_not_ready() {
        let config = HttpConfig { listen: Some("0".to_owned()), ..HttpConfig::default() };
        let (monitor, address) = shown(&config).await;
        assert!(address.ip().is_loopback(), "a port alone is one of this machine only");
        assert_eq!(ask(address, "/livez").await.unwrap().0, 200);
        let not_ready = r#"{"ready":false,"not_ready":{"service":"it is starting"}}"#;
        assert_eq!(ask(address, "/readyz").await.unwrap(), (503, format!("{not_ready}\n")));
        monitor.started();
        assert_eq!(ask(address, "/readyz").await.unwrap().0, 200);
        let (status, text) = ask(address, "/metrics").await.unwrap();
        assert_eq!(status, 200);
        assert!(text.contains("jetsweep_build_info{role=\"planner\",version=\"1.2.3\"} 1"), "{text}");
        assert_eq!(ask(address, "/").await.unwrap().0, 404);
    }

    #[tokio::test]
    async fn metrics_need_the_token_and_nothing_shows_it() {
        let token = Some(Secret::new("hunter2"));
        let config = HttpConfig { listen: Some("127.0.0.1:0".to_owned()), token, ..HttpConfig::default() };
        let (_, address) = shown(&config).await;
        let (status, text) = ask(address, "/metrics").await.unwrap();
        assert_eq!((status, text.contains("hunter2")), (401, false));
        assert_eq!(ask(address, "/livez").await.unwrap().0, 200);
        let headers = |value: &str| HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        for (value, allowed) in
            [("Bearer hunter2", true), ("Bearer hunter3", false), ("Bearer ", false), ("hunter2", false)]
        {
            assert_eq!(is_allowed(&headers(value), config.token.as_ref()), allowed, "{value}");
        }
    }

    #[tokio::test]
    async fn clients_that_ask_nothing_do_not_keep_others_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/livez", get(async || "alive"));
        tokio::spawn(async move { accept(&listener, &routes, Duration::from_millis(100)).await });
        let mut silent = Vec::new();
        for _ in 0..2 * MOST_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nHost: half").await.unwrap();
            silent.push(stream);
        }
        assert_eq!(ask(address, "/livez").await.unwrap().0, 200);
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_told() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = ask(free, "/readyz").await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("no answer from http://{free}/readyz: ")), "{error}");
    }
}
