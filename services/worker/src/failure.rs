//! Why a job did not become a result, by what is to be done about it.
//!
//! | class | example | what happens |
//! |---|---|---|
//! | retryable | the data folder is not mounted, NATS does not answer | handed back with a delay, for as long as it takes |
//! | fatal | the job does not parse, its grid is not its template's | dead letter: payload to DEAD, a `dead` result, then the ack |
//! | run-level | a symbol's file is missing, a run panics or takes too long | no [`Failure`] at all: the run's row says `failed`, see [`RunFailure`] |
//!
//! [`RunFailure`]: jetsweep_engine::backtest::RunFailure

use serde::{Deserialize, Serialize};

/// Why a job has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// The infrastructure's fault: the same job may succeed later, here or elsewhere. Never counted, never given up on.
    #[error("{reason}")]
    Retryable {
        /// What failed, in words.
        reason: String,
    },
    /// The job's own fault: it can succeed nowhere.
    #[error("{code}: {message}")]
    Fatal {
        /// Stable word for it; see [`code`].
        code: String,
        /// What is wrong, in words.
        message: String,
    },
}

impl Failure {
    /// A failure that may pass.
    pub(crate) fn retryable(reason: impl ToString) -> Self {
        Failure::Retryable { reason: reason.to_string() }
    }

    /// A failure that will not.
    pub(crate) fn fatal(code: &str, message: impl ToString) -> Self {
        Failure::Fatal { code: code.to_owned(), message: message.to_string() }
    }
}

/// Stable words for why a job is dead or a run failed, as they appear in DEAD, in results and in the database.
pub(crate) mod code {
    /// Dead: the payload is no job of this version, or its template is none.
    pub(crate) const MALFORMED: &str = "malformed";
    /// Dead: the payload names another shard than its subject.
    pub(crate) const SUBJECT_MISMATCH: &str = "subject_mismatch";
    /// Dead: the strategy's template or execution rules do not compile.
    pub(crate) const INVALID_STRATEGY: &str = "invalid_strategy";
    /// Dead: the grid is not its template's, or has fewer points than the job says.
    pub(crate) const INVALID_GRID: &str = "invalid_grid";
    /// Dead: no stream takes the result.
    pub(crate) const RESULT_REFUSED: &str = "result_refused";
    /// Dead: the child process that ran the job died.
    pub(crate) const CHILD_DIED: &str = "child_died";
    /// Dead: the child process was killed at its deadline. Failed: the run took too long, or was not reached before the
    /// job's deadline.
    pub(crate) const TIMEOUT: &str = "timeout";
    /// Dead: the worker panicked outside a run. Failed: the run panicked.
    pub(crate) const PANIC: &str = "panic";
    /// Failed: there is no file of bars.
    pub(crate) const DATA_MISSING: &str = "data_missing";
    /// Failed: the file of bars has a bad row, or is no file.
    pub(crate) const DATA_INVALID: &str = "data_invalid";
    /// Failed: the source points outside the data folder.
    pub(crate) const DATA_REFUSED: &str = "data_refused";
    /// Failed: the bars take more memory than the worker has for bars.
    pub(crate) const DATA_TOO_LARGE: &str = "data_too_large";
    /// Failed: the bars are not those that the batch started with.
    pub(crate) const DATA_CHANGED: &str = "data_changed";
    /// Failed: the run's numbers left the range of 64-bit floats.
    pub(crate) const OVERFLOW: &str = "overflow";
}
