//! Answers as messages.

use async_nats::HeaderMap;
use async_nats::service::{NATS_SERVICE_ERROR, NATS_SERVICE_ERROR_CODE};
use bytes::Bytes;
use jetsweep_engine::problem::Problem;
use jetsweep_shared::events::ErrorReply;
use jetsweep_shared::ids::BatchId;
use serde::Serialize;

use crate::error::BatchError;
use crate::header;
use crate::refusal;
use crate::submission;

/// Longest error header, in bytes; the body has all of it.
const LONGEST_HEADER: usize = 256;

/// A request that is not granted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rejection {
    /// Code of the header `Nats-Service-Error-Code`, in the manner of HTTP.
    status: u16,
    reply: ErrorReply,
}

impl Rejection {
    fn new(status: u16, code: &str, message: String) -> Self {
        Self { status, reply: ErrorReply { code: code.to_owned(), message, problems: Vec::new() } }
    }

    /// The spec, or a header beside it, is wrong.
    pub(super) fn invalid_spec(problems: Vec<Problem>) -> Self {
        let mut rejection = Self::new(400, "invalid_spec", refusal::one_line(&problems));
        rejection.reply.problems = problems;
        rejection
    }

    /// The id is taken.
    pub(super) fn batch_exists(planned: &str, refused: &str) -> Self {
        Self::new(409, "batch_exists", refusal::exists_message(planned, refused))
    }

    /// The id was taken by a batch that was deleted.
    pub(super) fn batch_deleted() -> Self {
        Self::new(410, "batch_deleted", refusal::DELETED_MESSAGE.to_owned())
    }

    /// There is no such batch.
    pub(super) fn unknown_batch(batch: &BatchId) -> Self {
        Self::new(404, "unknown_batch", format!("there is no batch {batch} in the log"))
    }

    /// The batch still runs.
    pub(super) fn not_over(batch: &BatchId) -> Self {
        let message = format!("batch {batch} has not ended: wait for its end, or cancel it");
        Self::new(409, "not_over", message)
    }

    /// These runs cannot be retried.
    pub(super) fn invalid_retry(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_retry", message.into())
    }

    /// The document is larger than can be taken.
    pub(super) fn too_large(bytes: usize) -> Self {
        let message = format!(
            "the spec is {bytes} bytes, at most {} are taken: use ranges in place of lists, fewer symbols, or several \
             sweeps",
            submission::MAX_BYTES
        );
        Self::new(413, "too_large", message)
    }

    /// Not now. The request may have been carried out or not; repeating it with the same id is safe.
    pub(super) fn unavailable(reason: &str) -> Self {
        Self::new(503, "unavailable", format!("{reason}; ask again with the same batch id"))
    }

    /// The answer's headers and body.
    pub(super) fn into_message(self) -> (HeaderMap, Bytes) {
        let mut headers = HeaderMap::new();
        let short = format!("{}: {}", self.reply.code, self.reply.message);
        headers.insert(NATS_SERVICE_ERROR, header::text(&short, LONGEST_HEADER).as_str());
        headers.insert(NATS_SERVICE_ERROR_CODE, self.status.to_string().as_str());
        (headers, json(&self.reply))
    }
}

impl From<BatchError> for Rejection {
    fn from(error: BatchError) -> Self {
        Self::unavailable(&error.to_string())
    }
}

/// A reply as bytes.
pub(super) fn json(reply: &impl Serialize) -> Bytes {
    // Replies hold strings and whole numbers only: serde_json has nothing to refuse.
    serde_json::to_vec(reply).expect("replies always serialize").into()
}
