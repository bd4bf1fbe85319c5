//! Requests made until they have an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jetsweep_shared::bus::with_jitter;
use jetsweep_shared::config::MlflowConfig;
use serde::de::DeserializeOwned;

use super::circuit::{Circuit, Health};
use super::http::{Body, Call, ClientError, Http, MlflowUrl, Trouble};
use crate::metrics::Metrics;

/// First pause before a request is repeated; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a request is repeated.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Attempts at a request that fails while others succeed, before its caller lets others go first.
const ATTEMPTS: u32 = 6;

/// A request that has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Refused for good.
    #[error("{status} {code}: {words}")]
    Refused {
        /// Status of the answer.
        status: u16,
        /// MLflow's word for the kind of error.
        code: String,
        /// What it says.
        words: String,
    },
    /// It may have been carried out or not, and repeating it might do it twice.
    #[error("{words}")]
    Ambiguous {
        /// What came instead of an answer.
        words: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// Not now: it keeps failing while others succeed.
    #[error("{0}")]
    NotNow(String),
}

/// Attempts at one thing: the pauses between them, and when they are enough.
#[derive(Debug)]
pub(crate) struct Attempts {
    failed: u32,
    pause: Duration,
}

impl Attempts {
    pub(crate) fn new() -> Self {
        Self { failed: 0, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt. `false`, at once, when enough have failed while others succeed: the caller should
    /// let those go first. While MLflow is away no attempt counts.
    pub(crate) async fn another(&mut self, mlflow: &Mlflow, retry_after: Option<Duration>) -> bool {
        self.failed = if mlflow.is_away() { 0 } else { self.failed + 1 };
        if self.failed >= ATTEMPTS {
            return false;
        }
        tokio::time::sleep(retry_after.unwrap_or(with_jitter(self.pause)).min(LONGEST_PAUSE)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        true
    }
}

impl CallError {
    /// Whether the server says that there is no such thing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, CallError::Refused { code, .. } if code == "RESOURCE_DOES_NOT_EXIST")
    }

    /// Whether the server says that there is one already.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, CallError::Refused { code, .. } if code == "RESOURCE_ALREADY_EXISTS")
    }
}

/// The tracking server. Clones share everything.
#[derive(Clone)]
pub struct Mlflow {
    shared: Arc<Shared>,
}

struct Shared {
    http: Http,
    circuit: Circuit,
    metrics: Metrics,
}

impl Shared {
    /// Makes one attempt, and counts it.
    async fn attempt(&self, call: &Call) -> Result<Bytes, Trouble> {
        let start = Instant::now();
        let attempted = self.http.attempt(call).await;
        self.metrics.request_seconds.observe(start.elapsed().as_secs_f64());
        let outcome = match &attempted {
            Ok(_) => &self.metrics.succeeded,
            Err(Trouble::Refused { .. }) => &self.metrics.refused,
            Err(Trouble::Denied { .. }) => &self.metrics.denied,
            Err(Trouble::Passing { .. }) => &self.metrics.failed,
        };
        outcome.inc();
        attempted
    }
}

impl std::fmt::Debug for Mlflow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mlflow").field(self.url()).finish()
    }
}

impl Mlflow {
    /// A client of the configured server. Makes no request yet.
    ///
    /// # Errors
    /// When no server is named, or its address or certificates cannot be used.
    pub fn new(config: &MlflowConfig) -> Result<Self, ClientError> {
        let shared = Shared { http: Http::new(config)?, circuit: Circuit::new(), metrics: Metrics::default() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Where it is.
    pub fn url(&self) -> &MlflowUrl {
        &self.shared.http.url
    }

    /// Counts of what was asked of it.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.shared.circuit.health()
    }

    /// Whether nobody asks it any more until it is back.
    pub(crate) fn is_away(&self) -> bool {
        self.shared.circuit.is_open()
    }

    /// Makes one attempt, whatever the circuit says, for whoever wants to know now. In words when it fails.
    pub(super) async fn once(&self, call: &Call) -> Result<Bytes, Trouble> {
        self.shared.attempt(call).await
    }

    /// Makes a request that may be repeated, until it has an answer.
    pub(super) async fn repeat<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        self.make(&call, parse).await
    }

    /// The same for a request whose answer says nothing.
    pub(super) async fn repeat_blindly(&self, call: Call) -> Result<(), CallError> {
        self.make(&call, |_| Ok(())).await
    }

    /// Makes a request that must not be carried out twice: [`CallError::Ambiguous`] once it may have been.
    pub(super) async fn once_only<T: DeserializeOwned>(&self, call: Call) -> Result<T, CallError> {
        self.shared.circuit.closed().await;
        let trouble = match self.attempt(&call).await {
            Ok(body) => match parse(&body) {
                Ok(answer) => {
                    self.succeeded();
                    return Ok(answer);
                }
                Err(words) => Trouble::Passing { words, retry_after: None },
            },
            Err(trouble) => trouble,
        };
        self.tell(&trouble);
        match trouble {
            Trouble::Refused { status, code, words } => Err(CallError::Refused { status, code, words }),
            Trouble::Passing { words, retry_after } => Err(CallError::Ambiguous { words, retry_after }),
            Trouble::Denied { words } => Err(CallError::Ambiguous { words, retry_after: None }),
        }
    }

    /// Makes one attempt. A denial is a refusal of this one request if others are answered.
    async fn attempt(&self, call: &Call) -> Result<Bytes, Trouble> {
        match self.shared.attempt(call).await {
            Err(Trouble::Denied { words }) if self.shared.attempt(&probe()).await.is_ok() => {
                Err(Trouble::Refused { status: 403, code: "PERMISSION_DENIED".to_owned(), words })
            }
            answer => answer,
        }
    }

    async fn make<T>(&self, call: &Call, parse: impl Fn(&Bytes) -> Result<T, String>) -> Result<T, CallError> {
        let mut attempts = Attempts::new();
        loop {
            self.shared.circuit.closed().await;
            let trouble = match self.attempt(call).await {
                Ok(body) => match parse(&body) {
                    Ok(answer) => {
                        self.succeeded();
                        return Ok(answer);
                    }
                    Err(words) => Trouble::Passing { words, retry_after: None },
                },
                Err(trouble) => trouble,
            };
            self.tell(&trouble);
            let (words, retry_after) = match trouble {
                Trouble::Refused { status, code, words } => return Err(CallError::Refused { status, code, words }),
                Trouble::Denied { words } => (words, None),
                Trouble::Passing { words, retry_after } => (words, retry_after),
            };
            tracing::debug!(path = call.path, words, "a request to MLflow failed");
            if !attempts.another(self, retry_after).await {
                return Err(CallError::NotNow(words));
            }
        }
    }

    fn succeeded(&self) {
        self.shared.circuit.succeeded(self.url());
    }

    /// Tells the circuit, and has somebody try whether MLflow is back when that opens it.
    fn tell(&self, trouble: &Trouble) {
        let circuit = &self.shared.circuit;
        let opened = match trouble {
            Trouble::Refused { code, .. } => {
                // MLflow has answered, so it is there. That something is missing is often what was asked.
                circuit.succeeded(self.url());
                if code != "RESOURCE_DOES_NOT_EXIST" && code != "RESOURCE_ALREADY_EXISTS" {
                    circuit.note(&trouble.to_string());
                }
                false
            }
            Trouble::Passing { words, .. } => circuit.failed(self.url(), words, false),
            Trouble::Denied { words } => circuit.failed(self.url(), words, true),
        };
        if opened {
            let shared = Arc::downgrade(&self.shared);
            tokio::spawn(async move {
                let mut pause = FIRST_PAUSE;
                loop {
                    tokio::time::sleep(with_jitter(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    // Nobody waits any more when the client is gone.
                    let Some(shared) = shared.upgrade() else { return };
                    match shared.attempt(&probe()).await {
                        Ok(_) | Err(Trouble::Refused { .. }) => return shared.circuit.succeeded(&shared.http.url),
                        Err(Trouble::Passing { words, .. } | Trouble::Denied { words }) => shared.circuit.note(&words),
                    }
                }
            });
        }
    }
}

/// A request that says whether MLflow answers us. `/health` would not: it is exempt from sign-in and host check.
pub(super) fn probe() -> Call {
    let path = "/api/2.0/mlflow/experiments/search?max_results=1".to_owned();
    Call { method: reqwest::Method::GET, path, body: Body::None }
}

/// An answer; one that is cut off, or not what was asked for, is none.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("half an answer: {error}"))
}
