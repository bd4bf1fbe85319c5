//! One run: a strategy with its parameters over the bars of one symbol.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;
use crate::simulation::Trade;

/// Why a run has no metrics. The run's row says so; the other runs of its shard go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// A stable word to group failures by: `no_bars`, `panic`, `timeout`.
    pub code: String,
    /// What went wrong, at most [`RunFailure::LONGEST_MESSAGE`] bytes.
    pub message: String,
}

impl RunFailure {
    /// Longest message kept, in bytes.
    pub const LONGEST_MESSAGE: usize = 500;

    /// A failure with its message cut to [`RunFailure::LONGEST_MESSAGE`] at a character's end.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(Self::LONGEST_MESSAGE));
        Self { code: code.to_owned(), message }
    }
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for RunFailure {}

/// A run in full: what [`Metrics`] summarise.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The same metrics, bit for bit, as the run without its trades.
    pub metrics: Metrics,
    /// Every trade in order of entry, the open one last.
    pub trades: Vec<Trade>,
    /// Equity at the close of each bar.
    pub equity: Vec<f64>,
}
