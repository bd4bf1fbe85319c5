//! A web server with files, for tests in which it fails. It is asked for buckets of S3 in the same way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::task::JoinHandle;

/// Where the server listens, and what it was asked.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    site: Arc<Site>,
    task: JoinHandle<()>,
}

struct Site {
    folder: PathBuf,
    /// Requests for content that are answered with an error, before all others.
    errors: AtomicU32,
    /// Requests for content of which half the answer comes, after those.
    halves: AtomicU32,
    /// Where what is asked for under `/moved/` is.
    moved_to: Mutex<String>,
    asked: Mutex<Vec<String>>,
}

impl Web {
    /// Serves the files of a folder.
    pub(crate) async fn serve(folder: &Path) -> Self {
        let site = Arc::new(Site {
            folder: folder.to_owned(),
            errors: AtomicU32::new(0),
            halves: AtomicU32::new(0),
            moved_to: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its port");
        let router = Router::new().fallback(answer).with_state(Arc::clone(&site));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { address, site, task }
    }

    /// The next requests for content fail: so many with an error, then so many in the middle.
    pub(crate) fn fail(&self, errors: u32, halves: u32) {
        self.site.errors.store(errors, Ordering::SeqCst);
        self.site.halves.store(halves, Ordering::SeqCst);
    }

    /// How many failures are still to come.
    pub(crate) fn failures_left(&self) -> u32 {
        self.site.errors.load(Ordering::SeqCst) + self.site.halves.load(Ordering::SeqCst)
    }

    /// Sends whoever asks below `/moved/` there.
    pub(crate) fn move_to(&self, place: &str) {
        *self.site.moved_to.lock().unwrap() = place.to_owned();
    }

    /// What was asked so far: `GET /AAPL.csv`, with its query.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.site.asked.lock().unwrap().clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(site): State<Arc<Site>>, request: Request) -> Response {
    site.asked.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
    let path = request.uri().path();
    if let Some(file) = path.strip_prefix("/moved/") {
        let to = format!("{}/{file}", site.moved_to.lock().unwrap());
        return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response();
    }
    if path.starts_with("/closed/") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    let Ok(content) = std::fs::read(site.folder.join(file)) else { return StatusCode::NOT_FOUND.into_response() };
    let takes = |counter: &AtomicU32| {
        request.method() == Method::GET
            && counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    if takes(&site.errors) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let headers =
        [(header::ETAG, format!("\"{}\"", content.len())), (header::CONTENT_LENGTH, content.len().to_string())];
    if takes(&site.halves) {
        let half = Bytes::copy_from_slice(&content[..content.len() / 2]);
        let pieces = [Ok(half), Err(std::io::Error::other("cut"))];
        return (headers, Body::from_stream(futures::stream::iter(pieces))).into_response();
    }
    (headers, content).into_response()
}
