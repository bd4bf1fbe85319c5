//! Reading values out of a document by hand: whatever does not fit becomes a problem, and reading goes on.

use jetsweep_engine::problem::{Problem, did_you_mean};

use super::tree::{Node, Table, Value};

/// Longest text quoted in a message, in characters.
const LONGEST_QUOTE: usize = 60;

/// Most problems collected of one document. Nobody mends more than this in one round, and an answer stays small.
const MOST_PROBLEMS: usize = 100;

/// Longest message and path kept, in bytes. Our own are shorter; what quotes a document may be of any length.
const LONGEST_MESSAGE: usize = 1000;
const LONGEST_PATH: usize = 200;

/// Text in quotes, with control characters escaped and cut when it is long.
pub(crate) fn quote(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

impl Value {
    /// The value as a message names it: `the text "5"`, `the number 5`, `a list`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Value::Null => "null".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Whole(number) => format!("the number {number}"),
            Value::Float(number) => format!("the number {number}"),
            Value::Text(text) => format!("the text {}", quote(text)),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    /// How many more there were than are kept.
    beyond: usize,
}

impl Problems {
    /// Adds a problem at a place.
    pub(crate) fn add(&mut self, at: impl Into<String>, message: impl Into<String>) {
        self.push(Problem::new(at, message));
    }

    /// Adds a problem.
    pub(crate) fn push(&mut self, mut problem: Problem) {
        if self.found.len() < MOST_PROBLEMS {
            shorten(&mut problem.message, LONGEST_MESSAGE);
            shorten(&mut problem.at, LONGEST_PATH);
            self.found.push(problem);
        } else {
            self.beyond += 1;
        }
    }

    /// Adds problems of a part, as seen from the whole.
    pub(crate) fn extend_within(&mut self, outer: &str, problems: impl IntoIterator<Item = Problem>) {
        for problem in problems {
            self.push(problem.within(outer));
        }
    }

    /// Whether nothing was found.
    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.found.len() + self.beyond
    }

    /// All of them, in the order in which they were found; the last one says how many were left out.
    pub(crate) fn into_vec(mut self) -> Vec<Problem> {
        if self.beyond > 0 {
            self.found.push(Problem::new("", format!("and {} more problems", self.beyond)));
        }
        self.found
    }
}

fn shorten(text: &mut String, longest: usize) {
    if text.len() > longest {
        let end = (0..=longest).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
}

/// A table being read, with the path that leads to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) at: &'a str,
    pub(crate) table: &'a Table,
}

impl<'a> Section<'a> {
    /// The path of one of its keys.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    /// Makes a problem of every key that is none of `known`.
    pub(crate) fn only(&self, known: &[&str], problems: &mut Problems) {
        for key in self.table.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match did_you_mean(key, known.iter().copied()) {
                hint if hint.is_empty() => format!("; the keys here are {}", known.join(", ")),
                hint => hint,
            };
            problems.add(self.path(&quote_key(key)), format!("unknown key{hint}"));
        }
    }

    /// A text, when the key is there.
    pub(crate) fn text(&self, key: &str, wanted: &str, problems: &mut Problems) -> Option<&'a str> {
        let node = self.table.get(key)?;
        match &node.value {
            Value::Text(text) => Some(text),
            other => {
                problems.add(self.path(key), format!("must be {wanted}, is {}", other.describe()));
                None
            }
        }
    }

    /// A finite number, when the key is there.
    pub(crate) fn number(&self, key: &str, wanted: &str, problems: &mut Problems) -> Option<f64> {
        number(self.table.get(key)?, &self.path(key), wanted, problems)
    }

    /// One of a few words, when the key is there.
    pub(crate) fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let wanted = words.iter().map(|(word, _)| format!("{word:?}")).collect::<Vec<_>>().join(" or ");
        let text = self.text(key, &wanted, problems)?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let hint = did_you_mean(text, words.iter().map(|(word, _)| *word));
            problems.add(self.path(key), format!("must be {wanted}, is {}{hint}", quote(text)));
        }
        found.map(|(_, value)| *value)
    }

    /// A table within this one, when the key is there.
    pub(crate) fn table(&self, key: &str, problems: &mut Problems) -> Option<&'a Table> {
        let node = self.table.get(key)?;
        match &node.value {
            Value::Table(table) => Some(table),
            other => {
                problems
                    .add(self.path(key), format!("must be a table ([{}]), is {}", self.path(key), other.describe()));
                None
            }
        }
    }
}

/// A finite number.
pub(crate) fn number(node: &Node, at: &str, wanted: &str, problems: &mut Problems) -> Option<f64> {
    match &node.value {
        // Whole numbers beyond 2^53 lose digits here. Every bound on a number refuses them long before.
        Value::Whole(number) => Some(*number as f64),
        Value::Float(number) if number.is_finite() => Some(*number),
        other => {
            problems.add(at, format!("must be {wanted}, is {}", other.describe()));
            None
        }
    }
}

/// A key as part of a path: cut when it is long, as documents may hold keys of any length.
pub(crate) fn quote_key(key: &str) -> String {
    match key.char_indices().nth(LONGEST_QUOTE) {
        None => key.escape_debug().to_string(),
        Some((end, _)) => format!("{}…", key[..end].escape_debug()),
    }
}
