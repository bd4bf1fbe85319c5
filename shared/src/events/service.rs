//! Answers of the service endpoints.

use jetsweep_engine::problem::Problem;
use serde::{Deserialize, Serialize};

use crate::ids::BatchId;

/// Answer of `jetsweep.planner.submit`. The request's payload is the sweep spec, TOML or JSON, with the batch id and
/// priority as headers ([`super::headers`]); without an id the batch is named after the spec and its digest, so that
/// repeating the request repeats the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitReply {
    /// The batch.
    pub batch_id: BatchId,
    /// Digest of its resolved spec.
    pub spec_digest: String,
    /// Runs of the batch.
    pub total_runs: u64,
    /// Whether the batch was known already, with the same spec.
    pub known: bool,
}

/// Answer of `jetsweep.planner.validate`. The request's payload is the sweep spec.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidateReply {
    /// Name of the sweep.
    pub name: String,
    /// Digest of the resolved spec.
    pub spec_digest: String,
    /// Symbols of the universe.
    pub symbols: u32,
    /// Strategies.
    pub strategies: u32,
    /// Runs it would make.
    pub total_runs: u64,
    /// Shards they would be cut into.
    pub total_shards: u32,
}

/// Answer of `jetsweep.planner.retry`, whose request is a [`super::Retry`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryReply {
    /// The batch.
    pub batch_id: BatchId,
    /// The generation that runs them.
    pub generation: u32,
    /// Runs that are run again.
    pub runs: u64,
}

/// Request of `jetsweep.planner.delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRequest {
    /// The batch, which must have ended.
    pub batch_id: BatchId,
}

/// Answer of `jetsweep.planner.delete`: the wish is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReply {
    /// The batch.
    pub batch_id: BatchId,
}

/// Request of `jetsweep.consolidator.query`. A payload that is not a JSON object is taken as the SQL itself.
///
/// The answer is one JSON array of objects. With the header [`super::headers::STREAM`] it may come in several messages,
/// each an array of its own and numbered by [`super::headers::PART`]; a message without payload ends it. An error reply
/// ends it too, at any time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryRequest {
    /// One statement that reads.
    pub sql: String,
}

/// Body of every error reply; the headers `Nats-Service-Error` and `Nats-Service-Error-Code` carry the same in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// Stable word: `invalid_spec`, `batch_exists`, `batch_deleted`, `unknown_batch`, `not_over`, `invalid_retry`,
    /// `invalid_query`, `too_large`, `timed_out`, `unavailable`; `invalid_request`, `unknown_run`, `data_changed` and the
    /// codes of failed runs from a replay.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// Every problem of a refused spec.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// Request of `jetsweep.consolidator.export`: all rows of a batch as a file, in order of runs. The answer is the file, in
/// parts; see [`crate::service`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// The batch.
    pub batch_id: BatchId,
    /// The kind of file.
    #[serde(default)]
    pub format: ExportFormat,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// Apache Parquet.
    #[default]
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// One JSON object a line.
    Json,
}
