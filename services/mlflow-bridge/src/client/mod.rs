//! The tracking server's REST API, as far as the bridge needs it.
//!
//! ```text
//! api (typed calls) ──> retry: classes, back-off, circuit ──> http (one attempt: sign-in, time limit, bounded number)
//! ```
//!
//! Every request travels over a connection of its own: a server with several workers answers on a kept one 40 ms late
//! (its answer waits for our delayed acknowledgement), and a new connection costs a fraction of a millisecond.

mod api;
mod circuit;
mod http;
mod retry;
mod wire;

pub(crate) use api::{Artifacts, Content, Dataset, Experiment, FoundRun, NewRun};
pub use circuit::Health;
pub(crate) use http::run_route;
pub use http::{ClientError, MlflowUrl};
pub use retry::Mlflow;
pub(crate) use retry::{Attempts, CallError};
pub(crate) use wire::{Metric, Param, Tag};
