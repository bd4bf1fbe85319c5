//! A sweep spec as it was written, before anything in it is checked.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;

use super::reader::quote_key;
use super::tree::{self, Node, SyntaxError, Table, Value};
use crate::ids::Priority;

/// Largest sweep spec, in bytes: 1 MiB, which is also what a NATS server takes in one message unless told otherwise.
pub const MAX_SPEC_BYTES: usize = 1 << 20;

/// A document that cannot be read as a sweep spec at all.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is larger than [`MAX_SPEC_BYTES`].
    #[error(
        "has {bytes} bytes; a sweep spec has at most {MAX_SPEC_BYTES} (1 MiB): write long lists of values as ranges \
         {{ from, to, step }}, and split the universe into several sweeps"
    )]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is no text.
    #[error("is not UTF-8: byte {offset}, on line {line}, is part of no character; save the file as UTF-8")]
    NotUtf8 {
        /// Position of the byte, from 0.
        offset: usize,
        /// Its line, from 1.
        line: usize,
    },
    /// It does not follow its notation.
    #[error("is not valid {notation}: line {line}, column {column}: {message}")]
    Syntax {
        /// `TOML` or `JSON`.
        notation: &'static str,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// What the parser says.
        message: String,
    },
}

/// A sweep spec as it was written. Reading one only takes valid TOML or JSON: [`SpecDocument::resolve`] checks the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct SpecDocument {
    /// Names the document in reports: the path of its file, or what it came from.
    pub(super) name: String,
    /// The document itself.
    pub(super) root: Node,
    /// Parts that were put in from other files: the file's name by the path of the part.
    pub(super) parts: BTreeMap<String, String>,
}

/// Reads a sweep spec from bytes, TOML or JSON: it is JSON when its first character is `{`.
///
/// # Errors
///
/// When it is larger than [`MAX_SPEC_BYTES`] (told before it is parsed), not UTF-8, or not valid TOML or JSON.
pub fn read(bytes: &[u8]) -> Result<SpecDocument, SpecError> {
    if bytes.len() > MAX_SPEC_BYTES {
        return Err(SpecError::TooLarge { bytes: bytes.len() as u64 });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let offset = error.valid_up_to();
        let line = bytes[..offset].iter().filter(|byte| **byte == b'\n').count() + 1;
        SpecError::NotUtf8 { offset, line }
    })?;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let is_json = text.trim_start().starts_with('{');
    let parsed = if is_json { tree::from_json(text) } else { tree::from_toml(text) };
    let table = parsed.map_err(|SyntaxError { line, column, message }| {
        let notation = if is_json { "JSON" } else { "TOML" };
        SpecError::Syntax { notation, line, column, message }
    })?;
    Ok(SpecDocument::new("the sweep spec", table))
}

/// Reads a sweep spec from a file, which names it in reports.
///
/// # Errors
///
/// When the file cannot be read, and as [`read`].
pub fn read_file(path: &Path) -> Result<SpecDocument, SpecError> {
    let bytes = read_at_most(path, MAX_SPEC_BYTES)?;
    read(&bytes).map(|document| document.named(path.display().to_string()))
}

/// The bytes of a file; of one larger than `most`, nothing but its size is looked at.
pub(super) fn read_at_most(path: &Path, most: usize) -> Result<Vec<u8>, SpecError> {
    let file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > most as u64 {
        return Err(SpecError::TooLarge { bytes: size });
    }
    // A pipe has no size, and a file may grow: one byte more than allowed is enough to know.
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl SpecDocument {
    pub(super) fn new(name: impl Into<String>, table: Table) -> Self {
        Self { name: name.into(), root: Node::new(Value::Table(table)), parts: BTreeMap::new() }
    }

    /// The same document, called otherwise in reports.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The document as JSON: what is submitted. [`read`] reads it back.
    ///
    /// Nothing outside is read, so [`SpecDocument::inline`] comes first.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, finite numbers and string keys: serde_json has nothing to refuse.
        serde_json::to_vec(&self.root).expect("a document always serializes")
    }

    /// The priority it asks for; `normal` when it asks for none, or for one that [`SpecDocument::resolve`] refuses.
    pub fn priority(&self) -> Priority {
        match self.table().get("priority").map(|node| &node.value) {
            Some(Value::Text(text)) => text.parse().unwrap_or_default(),
            _ => Priority::default(),
        }
    }

    /// Sets a value, as a flag of a command does: `document.set("execution.cash", "5000")`. Tables on the way are
    /// made. A text that reads as a number is one.
    pub fn set(&mut self, path: &str, text: &str) {
        let mut node = &mut self.root;
        for step in path.split('.') {
            if !matches!(node.value, Value::Table(_)) {
                node.value = Value::Table(IndexMap::new());
            }
            let Value::Table(table) = &mut node.value else { return };
            node = table.entry(step.to_owned()).or_insert_with(|| Node::new(Value::Null));
        }
        *node = Node::new(scalar(text));
    }

    /// The table of the whole document.
    pub(super) fn table(&self) -> &Table {
        match &self.root.value {
            Value::Table(table) => table,
            _ => unreachable!("a document is made from a table, and nothing replaces it"),
        }
    }

    /// The table of the whole document, to be changed.
    pub(super) fn table_mut(&mut self) -> &mut Table {
        match &mut self.root.value {
            Value::Table(table) => table,
            _ => unreachable!("a document is made from a table, and nothing replaces it"),
        }
    }

    /// Where the value at a path was written, as far as is known: file and line, and the path within that file.
    pub(super) fn place(&self, path: &str) -> Place {
        let part = self.parts.iter().find(|(part, _)| is_within(path, part));
        let (file, within) = match part {
            Some((part, file)) => (file, path[part.len()..].trim_start_matches('.')),
            None => (&self.name, path),
        };
        let line = if path.is_empty() { None } else { self.root.nearest(path).line };
        Place { file: file.clone(), line, path: within.to_owned() }
    }
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: String,
    pub(super) line: Option<usize>,
    pub(super) path: String,
}

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A value typed on a command line: a number when it reads as one, text otherwise.
pub(super) fn scalar(text: &str) -> Value {
    let text = text.trim();
    match (text.parse::<i64>(), text.parse::<f64>()) {
        (Ok(whole), _) => Value::Whole(whole),
        (_, Ok(number)) if number.is_finite() => Value::Float(number),
        _ => Value::Text(text.to_owned()),
    }
}

/// The path of a strategy.
pub(super) fn strategy_path(index: usize) -> String {
    format!("strategy[{index}]")
}

/// A key at the end of a path.
pub(super) fn join(path: &str, key: &str) -> String {
    format!("{path}.{}", quote_key(key))
}
