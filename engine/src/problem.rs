//! What is wrong with a document a user wrote, and where.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing wrong with a document, in words for the person who wrote it.
///
/// Readers collect all problems of a document before they refuse it, so that one round of editing is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where in the document, as a path: `strategy[0].fast`, `long.enter`. Empty for the document as a whole.
    pub at: String,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Problem {
    /// A problem at a place.
    pub fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at: at.into(), message: message.into() }
    }

    /// The same problem seen from one level further out: `enter` within `strategy[0].template` is at
    /// `strategy[0].template.enter`.
    pub fn within(mut self, outer: &str) -> Self {
        self.at = match (outer.is_empty(), self.at.is_empty()) {
            (true, _) => self.at,
            (false, true) => outer.to_owned(),
            (false, false) => format!("{outer}.{}", self.at),
        };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.message) } else { write!(f, "{}: {}", self.at, self.message) }
    }
}

/// The candidate a misspelt name most likely meant, if any is close enough to suggest.
pub fn closest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity a suggestion is more confusing than none.
    const LEAST_SIMILARITY: f64 = 0.75;
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(similarity, _)| *similarity >= LEAST_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// ` (did you mean "x"?)` for a misspelt name, or nothing.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    closest(name, candidates).map(|candidate| format!(" (did you mean \"{candidate}\"?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_is_close() {
        assert_eq!(closest("comission", ["commission", "cash"]), Some("commission"));
        assert_eq!(closest("zzz", ["commission", "cash"]), None);
    }

    #[test]
    fn places_nest() {
        let problem = Problem::new("enter", "x").within("strategy[0]");
        assert_eq!(problem.to_string(), "strategy[0].enter: x");
        assert_eq!(Problem::new("", "x").within("a").at, "a");
    }
}
