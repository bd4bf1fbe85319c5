//! What is wrong with a sweep spec, as one readable report.

use std::fmt;

use jetsweep_engine::problem::Problem;
use serde::Serialize;

use super::document::{SpecDocument, SpecError};

/// All problems of one sweep spec, with the places they were written at.
///
/// ```text
/// spec.toml: 2 problems
///   spec.toml:3: data.from: 2020-01-01 is after data.to, 2019-01-01: no date is left
///   my.toml:7: long.exit: unknown name "slw" (did you mean "slow"?) (column 12)
///       close < slw
///               ^^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct SpecReport {
    /// The document, as it is called.
    pub document: String,
    /// Its problems, down the document and then down each file it names.
    pub problems: Vec<LocatedProblem>,
}

/// One problem and where it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LocatedProblem {
    /// The file: the spec's, or one that it names.
    pub file: String,
    /// Line in that file, from 1, where it is known.
    pub line: Option<usize>,
    /// Path within that file (`strategy[0].fast`), empty for the file as a whole.
    pub at: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl SpecReport {
    /// Problems of a document, with their places looked up in it.
    pub fn new(document: &SpecDocument, problems: Vec<Problem>) -> Self {
        let located = |problem: Problem| {
            let place = document.place(&problem.at);
            LocatedProblem { file: place.file, line: place.line, at: place.path, message: problem.message }
        };
        let mut problems: Vec<LocatedProblem> = problems.into_iter().map(located).collect();
        // As one reads: down the document, then down each file it names; what has no line comes last.
        problems.sort_by_cached_key(|problem| {
            let is_other_file = problem.file != document.name();
            (is_other_file, problem.file.clone(), problem.line.unwrap_or(usize::MAX))
        });
        Self { document: document.name().to_owned(), problems }
    }

    /// A document that could not be read at all, as its one problem.
    pub fn unreadable(name: &str, error: &SpecError) -> Self {
        let (line, message) = match error {
            SpecError::Syntax { notation, line, column, message } => {
                (Some(*line), format!("not valid {notation}: column {column}: {message}"))
            }
            SpecError::NotUtf8 { line, offset } => {
                (Some(*line), format!("not UTF-8: byte {offset} is part of no character; save the file as UTF-8"))
            }
            _ => (None, error.to_string()),
        };
        let problem = LocatedProblem { file: name.to_owned(), line, at: String::new(), message };
        Self { document: name.to_owned(), problems: vec![problem] }
    }
}

impl fmt::Display for SpecReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "{}: 1 problem", self.document)?,
            count => write!(f, "{}: {count} problems", self.document)?,
        }
        for problem in &self.problems {
            // Rules are quoted below their message: further lines keep their distance to the first.
            write!(f, "\n  {}", problem.to_string().replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl fmt::Display for LocatedProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{}:{line}: ", self.file)?;
        }
        // The place within a list of symbols is its line; an index says no more.
        if !self.at.is_empty() && !self.at.starts_with('[') {
            write!(f, "{}: ", self.at)?;
        }
        f.write_str(&self.message)
    }
}
