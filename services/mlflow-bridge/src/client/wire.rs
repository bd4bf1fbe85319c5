//! What travels. A value that the server cannot parse makes it drop everything after it, with status 200; so these
//! types hold nothing that is not finite, and no number where text belongs.

use serde::{Deserialize, Serialize};

/// Longest tag the server keeps, in bytes; it cuts longer ones without a word.
const LONGEST_TAG: usize = 8000;
/// Longest parameter value.
const LONGEST_PARAM: usize = 6000;
/// What ends a text that was cut.
const CUT: &str = " ...";

/// One metric of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Metric {
    pub(crate) key: String,
    value: f64,
    /// In milliseconds since 1970.
    timestamp: i64,
    step: i64,
}

impl Metric {
    /// `None` for a value that is not finite: JSON has no such number.
    pub(crate) fn new(key: impl Into<String>, value: f64, timestamp: i64) -> Option<Self> {
        value.is_finite().then(|| Self { key: key.into(), value, timestamp, step: 0 })
    }
}

/// One parameter of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Param {
    key: String,
    value: String,
}

impl Param {
    pub(crate) fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: cut(value.into(), LONGEST_PARAM) }
    }
}

/// One tag of a run or experiment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

impl Tag {
    pub(crate) fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: cut(value.into(), LONGEST_TAG) }
    }
}

/// Cuts a text that is too long, and shows that it was cut.
fn cut(mut text: String, longest: usize) -> String {
    if text.len() <= longest {
        return text;
    }
    let mut end = longest - CUT.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text + CUT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_finite_metrics_exist() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Metric::new("m", value, 0), None);
        }
        let metric = Metric::new("m", 0.1 + 0.2, 1_700_000_000_000).unwrap();
        let json = serde_json::to_string(&metric).unwrap();
        assert_eq!(json, r#"{"key":"m","value":0.30000000000000004,"timestamp":1700000000000,"step":0}"#);
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_say_so() {
        let tag = Tag::new("t", "é".repeat(5000));
        assert!(tag.value.len() <= LONGEST_TAG && tag.value.ends_with("é ..."));
        assert_eq!(Tag::new("t", "short").value, "short");
    }
}
