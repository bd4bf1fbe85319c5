//! Questions in SQL: what may be asked, how it is run, how rows become JSON.

mod endpoint;
mod guard;
mod json;
mod select;

pub(crate) use endpoint::{Endpoint, Queries, ROLE};
pub use select::{Row, Rows};

/// A question that has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The question is none: it does not parse, does not bind, or does more than read.
    #[error("{0}")]
    Invalid(String),
    /// The answer is larger than it may be.
    #[error("{0}")]
    TooLarge(String),
    /// The answer takes longer than it may.
    #[error("the query took more than {seconds} s and was stopped: narrow it, or use `jetsweep export` and DuckDB")]
    TimedOut {
        /// How long it may take.
        seconds: u64,
    },
    /// It cannot be answered now.
    #[error("{0}")]
    Unavailable(String),
}

impl QueryError {
    /// Stable word for the kind of error.
    pub fn code(&self) -> &'static str {
        match self {
            QueryError::Invalid(_) => "invalid_query",
            QueryError::TooLarge(_) => "too_large",
            QueryError::TimedOut { .. } => "timed_out",
            QueryError::Unavailable(_) => "unavailable",
        }
    }

    /// What HTTP would answer.
    pub(crate) fn status(&self) -> u16 {
        match self {
            QueryError::Invalid(_) => 400,
            QueryError::TooLarge(_) => 413,
            QueryError::TimedOut { .. } => 504,
            QueryError::Unavailable(_) => 503,
        }
    }

    /// DuckDB's error, seen while a statement of the user's was prepared or run.
    pub(crate) fn from_duckdb(error: &duckdb::Error) -> Self {
        let words = match error {
            duckdb::Error::DuckDBFailure(_, Some(words)) => words.clone(),
            other => other.to_string(),
        };
        let is_ours = ["Out of Memory Error", "IO Error", "FATAL Error", "INTERNAL Error"];
        if is_ours.iter().any(|kind| words.starts_with(kind)) {
            return QueryError::Unavailable(words);
        }
        QueryError::Invalid(words)
    }
}
