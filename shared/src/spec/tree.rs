//! A TOML or JSON document as a tree whose nodes remember their line.
//!
//! Documents are read into this tree and walked by hand, so that all their problems can be told at once, each with
//! its place. Both notations come to the same tree; dates become text, as JSON writes them.

use std::fmt;

use indexmap::IndexMap;
use indexmap::map::Entry;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use toml::de::{DeTable, DeValue};

/// Keys and values in the document's order.
pub(crate) type Table = IndexMap<String, Node>;

/// A value and where it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    /// Line in the document, from 1. TOML only: the JSON parser does not tell.
    pub(crate) line: Option<usize>,
}

/// What a document can hold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// JSON only.
    Null,
    Bool(bool),
    Whole(i64),
    /// TOML may say `nan` and `inf`: readers of numbers refuse them.
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Table(Table),
}

/// A document that does not follow its notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl Node {
    /// A node that was not read from anywhere.
    pub(crate) fn new(value: Value) -> Self {
        Self { value, line: None }
    }

    /// A text node that was not read from anywhere.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Text(text.into()))
    }

    /// The node at a path such as `strategy[0].fast`, or the nearest one above it.
    pub(crate) fn nearest(&self, path: &str) -> &Node {
        let mut node = self;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let child = match &node.value {
                Value::Table(table) => table.get(step),
                Value::List(items) => step.strip_suffix(']').and_then(|i| items.get(i.parse::<usize>().ok()?)),
                _ => None,
            };
            let Some(child) = child else { return node };
            node = child;
        }
        node
    }
}

/// Reads a TOML document.
pub(crate) fn from_toml(text: &str) -> Result<Table, SyntaxError> {
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        let (line, column) = position(text, offset);
        SyntaxError { line, column, message: one_line(error.message()) }
    })?;
    let lines = Lines::of(text);
    Ok(table_from_toml(document.into_inner(), &lines))
}

/// Reads a JSON document, which must be an object.
pub(crate) fn from_json(text: &str) -> Result<Table, SyntaxError> {
    serde_json::from_str::<JsonObject>(text).map(|object| object.0).map_err(|error| {
        let message = error.to_string();
        // serde_json appends the position, which is told separately here.
        let message = message.split(" at line ").next().unwrap_or_default();
        SyntaxError { line: error.line(), column: error.column(), message: one_line(message) }
    })
}

/// Line and column (in characters) of a byte offset, both from 1.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn one_line(message: &str) -> String {
    message.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

/// Byte offsets at which lines start, to find the line of many offsets quickly.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let starts = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset + 1);
        Self(std::iter::once(0).chain(starts).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }
}

fn table_from_toml(table: DeTable<'_>, lines: &Lines) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            // The key's line, not the value's: a dotted or multi-line value is looked for where its key stands.
            let line = lines.line(key.span().start);
            let value = value_from_toml(value.into_inner(), lines);
            (key.into_inner().into_owned(), Node { value, line: Some(line) })
        })
        .collect()
}

fn value_from_toml(value: DeValue<'_>, lines: &Lines) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(whole) => Value::Whole(whole),
            Err(_) => Value::Float(number.as_str().parse().unwrap_or(f64::INFINITY)),
        },
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Datetime(moment) => Value::Text(moment.to_string()),
        DeValue::Array(items) => {
            let node = |item: toml::Spanned<DeValue<'_>>| {
                let line = Some(lines.line(item.span().start));
                Node { value: value_from_toml(item.into_inner(), lines), line }
            };
            Value::List(items.into_iter().map(node).collect())
        }
        DeValue::Table(table) => Value::Table(table_from_toml(table, lines)),
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Whole(value) => serializer.serialize_i64(*value),
            // JSON has no such numbers: as text they are refused where the number is wanted.
            Value::Float(value) if !value.is_finite() => serializer.serialize_str(&value.to_string()),
            Value::Float(value) => serializer.serialize_f64(*value),
            Value::Text(text) => serializer.serialize_str(text),
            Value::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Table(table) => serialize_table(table, serializer),
        }
    }
}

/// Writes a table as a map.
pub(crate) fn serialize_table<S: Serializer>(table: &Table, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(table.len()))?;
    for (key, node) in table {
        map.serialize_entry(key, node)?;
    }
    map.end()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor).map(Node::new)
    }
}

/// A JSON document whose outermost value is an object.
struct JsonObject(Table);

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(NodeVisitor)? {
            Value::Table(table) => Ok(Self(table)),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Whole))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut table = Table::new();
        while let Some(key) = map.next_key::<String>()? {
            match table.entry(key) {
                Entry::Occupied(entry) => return Err(A::Error::custom(format!("duplicate key {:?}", entry.key()))),
                Entry::Vacant(entry) => entry.insert(map.next_value()?),
            };
        }
        Ok(Value::Table(table))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "name = \"x\"\n[data]\nfrom = 2005-01-01\n\n[[strategy]]\nfast = [\n  1,\n  2.5,\n]\n\
                        [[strategy]]\nslow = { from = 0x10, to = 99999999999999999999 }\n";

    #[test]
    fn nodes_remember_their_line() {
        let root = Node::new(Value::Table(from_toml(SPEC).unwrap()));
        for (path, line) in [
            ("name", 1),
            ("data.from", 3),
            ("strategy[0].fast", 6),
            ("strategy[0].fast[1]", 8),
            ("strategy[1].slow.from", 11),
            ("strategy[1].nowhere", 10),
            ("data.nowhere[3].x", 2),
        ] {
            assert_eq!(root.nearest(path).line, Some(line), "{path}");
        }
        assert_eq!(root.nearest("data.from").value, Value::Text("2005-01-01".into()));
        assert_eq!(root.nearest("strategy[1].slow.from").value, Value::Whole(16));
        assert_eq!(root.nearest("strategy[1].slow.to").value, Value::Float(1e20));
    }

    #[test]
    fn json_and_toml_come_to_the_same_tree() {
        let table = from_toml(SPEC).unwrap();
        let json = serde_json::to_string(&Node::new(Value::Table(table.clone()))).unwrap();
        let again = serde_json::to_string(&Node::new(Value::Table(from_json(&json).unwrap()))).unwrap();
        assert_eq!(json, again);
        assert!(json.starts_with(r#"{"name":"x","data":{"from":"2005-01-01"}"#), "{json}");
    }

    #[test]
    fn syntax_errors_have_a_place() {
        let error = from_toml("a = 1\nü = 2\n").unwrap_err();
        assert_eq!((error.line, error.column), (2, 1), "{error:?}");
        let error = from_toml("a = 1\na = 2\n").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "duplicate key"), "{error:?}");
        let error = from_json("{\"a\": 1,\n \"a\": 2}").unwrap_err();
        assert_eq!((error.line, error.message.as_str()), (2, "duplicate key \"a\""), "{error:?}");
        let error = from_json("{\"a\": 1,\n").unwrap_err();
        assert_eq!(error.message, "EOF while parsing a value");
        assert!(from_json("[1]").is_err());
    }
}
