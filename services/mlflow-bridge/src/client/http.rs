//! One attempt at one request, and what came of it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jetsweep_shared::config::{MlflowConfig, Secret, redact_url};
use reqwest::header::RETRY_AFTER;
use reqwest::{Certificate, Client, Method, StatusCode, Url};
use serde::Deserialize;
use tokio::sync::Semaphore;

/// Slowest upload that is waited for, in bytes a second.
const SLOWEST_UPLOAD: u64 = 1 << 20;
/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// Longest error that is kept, in characters.
const LONGEST_WORDS: usize = 500;

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server is named.
    #[error("no MLflow server is named: set mlflow.url (or MLFLOW_TRACKING_URI), as in http://mlflow:5000")]
    NoUrl,
    /// The server's address is none that this program can talk to.
    #[error("mlflow.url {url:?} is no http:// or https:// address of a tracking server: {reason}")]
    Url {
        /// As configured, without credentials.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The certificates to trust cannot be read.
    #[error("failed to read mlflow.ca_file {}: {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// TLS cannot be set up.
    #[error("failed to set up the HTTP client: {0}")]
    Client(String),
}

/// The address of a tracking server, without credentials and trailing slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MlflowUrl(String);

impl MlflowUrl {
    /// Where the page of a run is.
    pub fn run_page(&self, experiment: &str, run: &str) -> String {
        format!("{self}/{}", run_route(experiment, run))
    }

    /// The host as the server's host check sees it.
    pub(crate) fn host(&self) -> String {
        let rest = self.0.split_once("://").map_or(self.0.as_str(), |(_, rest)| rest);
        rest.split('/').next().unwrap_or(rest).to_owned()
    }
}

impl fmt::Display for MlflowUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The page of a run, from any other page of the server. Servers of today show runs of models or of language models;
/// ours are of the first kind, and older servers do not mind being told.
pub(crate) fn run_route(experiment: &str, run: &str) -> String {
    format!("#/experiments/{experiment}/runs/{run}?workflowType=machine_learning")
}

enum SignIn {
    No,
    User { name: String, password: Secret },
    Token(Secret),
}

/// What a request carries.
#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Json(Bytes),
    Bytes(Bytes),
    File { path: PathBuf, bytes: u64 },
}

/// A request, ready to be made any number of times.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Below the server's address, with its query.
    pub(super) path: String,
    pub(super) body: Body,
}

/// A request without the success it was to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Not now. The server may have done what was asked.
    Passing { words: String, retry_after: Option<Duration> },
    /// We may not: the sign-in, or the host check.
    Denied { words: String },
    /// Never.
    Refused { status: u16, code: String, words: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Passing { words, .. } | Trouble::Denied { words } => f.write_str(words),
            Trouble::Refused { status, code, words } => write!(f, "{status} {code}: {words}"),
        }
    }
}

/// Makes requests, a bounded number at a time.
pub(super) struct Http {
    client: Client,
    pub(super) url: MlflowUrl,
    sign_in: SignIn,
    timeout: Duration,
    permits: Semaphore,
}

impl Http {
    pub(super) fn new(config: &MlflowConfig) -> Result<Self, ClientError> {
        let text = config.url.as_deref().ok_or(ClientError::NoUrl)?;
        let failed = |reason: String| ClientError::Url { url: redact_url(text), reason };
        let mut url = Url::parse(text).map_err(|error| failed(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(failed("the bridge talks to a server, not to files or a database".to_owned()));
        }
        let in_url = (!url.username().is_empty()).then(|| {
            let password = Secret::new(url.password().unwrap_or_default());
            SignIn::User { name: url.username().to_owned(), password }
        });
        // Neither fails for an address that has a host.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        let sign_in = match (&config.token, &config.username, &config.password) {
            (Some(token), _, _) => SignIn::Token(token.clone()),
            (None, Some(name), Some(password)) => SignIn::User { name: name.clone(), password: password.clone() },
            _ => in_url.unwrap_or(SignIn::No),
        };
        Ok(Self {
            client: client(config)?,
            url: MlflowUrl(url.as_str().trim_end_matches('/').to_owned()),
            sign_in,
            timeout: config.timeout(),
            permits: Semaphore::new(config.concurrency.max(1)),
        })
    }

    /// Makes a request once. Its answer's body, all of it.
    pub(super) async fn attempt(&self, call: &Call) -> Result<Bytes, Trouble> {
        let _permit = self.permits.acquire().await;
        let mut request = self.client.request(call.method.clone(), format!("{}{}", self.url, call.path));
        request = match &self.sign_in {
            SignIn::No => request,
            SignIn::User { name, password } => request.basic_auth(name, Some(password.expose())),
            SignIn::Token(token) => request.bearer_auth(token.expose()),
        };
        let mut timeout = self.timeout;
        request = match &call.body {
            Body::None => request,
            Body::Json(json) => request.header("Content-Type", "application/json").body(json.clone()),
            Body::Bytes(bytes) => {
                timeout += upload_time(bytes.len() as u64);
                request.header("Content-Type", "application/octet-stream").body(bytes.clone())
            }
            Body::File { path, bytes } => {
                timeout += upload_time(*bytes);
                let file = tokio::fs::File::open(path).await.map_err(|error| passing(error.to_string()))?;
                let request = request.header("Content-Type", "application/octet-stream");
                request.header("Content-Length", *bytes).body(file)
            }
        };
        let response = request.timeout(timeout).send().await.map_err(|error| passing(chain(&error)))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.bytes().await.map_err(|error| passing(chain(&error)))?;
        match status.is_success() {
            true => Ok(body),
            false => Err(self.classify(status, retry_after.map(Duration::from_secs), &body)),
        }
    }

    fn classify(&self, status: StatusCode, retry_after: Option<Duration>, body: &Bytes) -> Trouble {
        let (code, words) = words_of(body);
        let told = if words.is_empty() { status.to_string() } else { format!("{} {words}", status.as_u16()) };
        match status {
            StatusCode::FORBIDDEN if words.contains("Invalid Host header") => {
                Trouble::Denied { words: host_check(&self.url) }
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let words = format!(
                    "{told} at {}: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to \
                     an account that may create experiments",
                    self.url
                );
                Trouble::Denied { words }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Trouble::Passing { words: told, retry_after }
            }
            status if status.is_server_error() => Trouble::Passing { words: told, retry_after },
            StatusCode::BAD_REQUEST if is_passing(&code, &words) => Trouble::Passing { words: told, retry_after },
            // Not MLflow's words: whoever stands before it answers in its place.
            status if code.is_empty() && status != StatusCode::PAYLOAD_TOO_LARGE => {
                Trouble::Passing { words: told, retry_after }
            }
            status => Trouble::Refused { status: status.as_u16(), code, words },
        }
    }
}

/// Why the server's host check is in the way, and what cures it.
fn host_check(url: &MlflowUrl) -> String {
    let host = url.host();
    let name = host.split(':').next().unwrap_or(&host).to_owned();
    format!(
        "MLflow at {url} refuses the host name {host:?} (its protection against DNS rebinding). Start it with \
         --allowed-hosts '{name}:*,{name},localhost:*,127.0.0.1:*', or set MLFLOW_SERVER_ALLOWED_HOSTS to that; the option \
         replaces the defaults, matches the port, and knows upper from lower case"
    )
}

/// Whether a 400 is none: the server's database had no connection left or no time, or two requests were about to write
/// the same row (as for the dataset of two runs) and this one was later.
fn is_passing(code: &str, words: &str) -> bool {
    if code == "BAD_REQUEST" && words.contains("IntegrityError") {
        return true;
    }
    ["QueuePool", "OperationalError", "database is locked", "timeout", "timed out"]
        .iter()
        .any(|sign| words.contains(sign))
}

fn client(config: &MlflowConfig) -> Result<Client, ClientError> {
    // Fails when there is one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("jetsweep/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIME)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(path) = &config.ca_file {
        let failed = |reason: String| ClientError::CaFile { path: path.clone(), reason };
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(error.to_string()))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder.build().map_err(|error| ClientError::Client(chain(&error)))
}

fn upload_time(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_UPLOAD)
}

fn passing(words: String) -> Trouble {
    Trouble::Passing { words, retry_after: None }
}

/// An error with its causes, outermost first; its address goes unsaid.
fn chain(error: &reqwest::Error) -> String {
    let mut words = match error {
        error if error.is_timeout() => "no answer in time".to_owned(),
        error if error.is_connect() => "no connection".to_owned(),
        error if error.is_body() || error.is_decode() => "half an answer".to_owned(),
        _ => "the request failed".to_owned(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// The server's code and words, in one line. Not every error is JSON: some are plain text, and HTML says nothing.
fn words_of(body: &Bytes) -> (String, String) {
    #[derive(Deserialize)]
    struct ErrorBody {
        error_code: String,
        #[serde(default)]
        message: String,
    }
    let (code, words) = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) => (error.error_code, error.message),
        Err(_) if body.trim_ascii_start().starts_with(b"<") => (String::new(), String::new()),
        Err(_) => (String::new(), String::from_utf8_lossy(body).into_owned()),
    };
    let one_line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_WORDS).collect();
    (code, one_line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(url: &str) -> Result<Http, ClientError> {
        Http::new(&MlflowConfig { url: Some(url.to_owned()), ..MlflowConfig::default() })
    }

    #[test]
    fn addresses_are_checked_and_lose_their_credentials() {
        let http = http("http://me:secret@mlflow:5000/base/").map_err(|error| error.to_string()).ok().unwrap();
        assert_eq!(http.url.to_string(), "http://mlflow:5000/base");
        assert_eq!(http.url.host(), "mlflow:5000");
        assert!(matches!(http.sign_in, SignIn::User { ref name, .. } if name == "me"));
        let page = http.url.run_page("7", "ab");
        assert_eq!(page, "http://mlflow:5000/base/#/experiments/7/runs/ab?workflowType=machine_learning");
        for bad in ["sqlite:///mlflow.db", "./mlruns", "databricks", "file:///tmp/mlruns"] {
            let error = super::Http::new(&MlflowConfig { url: Some(bad.to_owned()), ..MlflowConfig::default() });
            assert!(matches!(error, Err(ClientError::Url { .. })), "{bad}");
        }
    }

    #[test]
    fn answers_fall_into_classes() {
        let http = http("http://mlflow:5000").ok().unwrap();
        let class = |status: u16, body: &'static str| {
            http.classify(StatusCode::from_u16(status).unwrap(), None, &Bytes::from_static(body.as_bytes()))
        };
        let pool = r#"{"error_code":"BAD_REQUEST","message":"QueuePool limit of size 5 overflow 10 reached, timeout"}"#;
        let late = r#"{"error_code":"BAD_REQUEST","message":"(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.name"}"#;
        let no_mlflow = "<html>default backend</html>";
        for (status, body) in
            [(400, late), (500, ""), (503, "x"), (429, ""), (408, ""), (400, pool), (404, no_mlflow), (302, "")]
        {
            assert!(matches!(class(status, body), Trouble::Passing { .. }), "{status}");
        }
        let taken = r#"{"error_code":"RESOURCE_ALREADY_EXISTS","message":"(sqlite3.IntegrityError) UNIQUE"}"#;
        assert!(matches!(class(400, taken), Trouble::Refused { .. }));
        let refused = class(400, r#"{"error_code":"INVALID_PARAMETER_VALUE","message":"no\nway"}"#);
        assert_eq!(refused.to_string(), "400 INVALID_PARAMETER_VALUE: no way");
        let unknown = r#"{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"no"}"#;
        assert!(matches!(class(404, unknown), Trouble::Refused { status: 404, .. }));
        assert!(matches!(class(413, no_mlflow), Trouble::Refused { status: 413, .. }));
        let Trouble::Denied { words } = class(403, "Invalid Host header - possible DNS rebinding attack detected")
        else {
            panic!("a host check is a denial");
        };
        assert!(words.contains("--allowed-hosts 'mlflow:*,mlflow,localhost:*,127.0.0.1:*'"), "{words}");
        let denied = class(401, "<html>").to_string();
        assert!(denied.starts_with("401 Unauthorized at ") && denied.contains("MLFLOW_TRACKING_TOKEN"), "{denied}");
    }
}
