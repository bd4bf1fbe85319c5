//! A web server with files, for tests in which it fails. It is asked for buckets of S3 in the same way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
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
    /// Whether content ends in the middle without an end.
    hangs: AtomicBool,
    /// Whether answers say nothing of versions, and of sizes only with the content.
    says_little: AtomicBool,
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
            hangs: AtomicBool::new(false),
            says_little: AtomicBool::new(false),
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

    /// From now on requests for content are answered with half of it, and then nothing; or no more.
    pub(crate) fn hang(&self, hangs: bool) {
        self.site.hangs.store(hangs, Ordering::SeqCst);
    }

    /// From now on answers say nothing of versions, and of sizes only with the content.
    pub(crate) fn say_little(&self) {
        self.site.says_little.store(true, Ordering::SeqCst);
    }

    /// Sends whoever asks below `/moved/` there, at addresses that look signed.
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
        let to = format!("{}/{file}?X-Amz-Signature=5ec7e7", site.moved_to.lock().unwrap());
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
    if site.says_little.load(Ordering::SeqCst) {
        // The size of what is streamed is not known.
        let nothing = stream::empty::<std::io::Result<Bytes>>();
        return match *request.method() {
            Method::HEAD => Body::from_stream(nothing).into_response(),
            _ => content.into_response(),
        };
    }
    let headers =
        [(header::ETAG, format!("\"{}\"", content.len())), (header::CONTENT_LENGTH, content.len().to_string())];
    let half = || Ok(Bytes::copy_from_slice(&content[..content.len() / 2]));
    if takes(&site.halves) {
        let pieces = [half(), Err(std::io::Error::other("cut"))];
        return (headers, Body::from_stream(stream::iter(pieces))).into_response();
    }
    if request.method() == Method::GET && site.hangs.load(Ordering::SeqCst) {
        let pieces = stream::iter([half()]).chain(stream::pending::<std::io::Result<Bytes>>());
        return (headers, Body::from_stream(pieces)).into_response();
    }
    (headers, content).into_response()
}
