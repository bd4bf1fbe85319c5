//! Errors that point at their place in an expression.

use std::ops::Range;

use crate::problem::Problem;

/// Bytes of an expression, from the first to before the last.
pub(super) type Span = Range<usize>;

/// Something wrong at a place of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExprError {
    pub(super) span: Span,
    pub(super) message: String,
}

impl ExprError {
    pub(super) fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into() }
    }

    /// The error as a problem at `at`, with the expression quoted below the message and the place marked by carets.
    pub(super) fn into_problem(self, at: &str, source: &str) -> Problem {
        /// Characters of the expression quoted on either side of the place.
        const CONTEXT: usize = 60;
        // Tokens begin and end between characters, and so do the spans made of them.
        let column = source[..self.span.start].chars().count();
        let width = source[self.span.clone()].chars().count().clamp(1, CONTEXT);

        let first = column.saturating_sub(CONTEXT);
        let last = column + width + CONTEXT;
        let total = source.chars().count();
        let (before, after) = (if first > 0 { "..." } else { "" }, if last < total { "..." } else { "" });
        // A rule may span lines in its document; the quote is one line so that the carets stay below their place.
        let quoted: String =
            source.chars().skip(first).take(last - first).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let indent = " ".repeat(before.len() + column - first);
        let carets = "^".repeat(width);
        let message =
            format!("{} (column {})\n    {before}{quoted}{after}\n    {indent}{carets}", self.message, column + 1);
        Problem::new(at, message)
    }
}
