//! What a key of the configuration takes.

use crate::spec::quote;
use crate::spec::tree::{Node, Value};

/// What a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text that is not empty.
    Text,
    /// Text that is not empty and never shown.
    Secret,
    /// One of a few words.
    OneOf(&'static [&'static str]),
    /// A fraction above 0, at most 1.
    Share,
    /// A fraction from 0 to 1.
    Fraction,
    /// A whole number of something, within bounds.
    Whole { unit: &'static str, min: i64, max: i64 },
}

impl Kind {
    /// Whether a value fits, and if not what is wrong with it.
    pub(super) fn check(self, node: &Node) -> Result<(), String> {
        match (self, &node.value) {
            (Kind::Text | Kind::Secret, Value::Text(text)) if text.trim().is_empty() => {
                Err("is empty; leave the key out for its default".to_owned())
            }
            (Kind::Text | Kind::Secret, Value::Text(_)) => Ok(()),
            (Kind::OneOf(words), Value::Text(text)) if words.contains(&text.as_str()) => Ok(()),
            (Kind::Whole { min, max, .. }, Value::Whole(number)) if (min..=max).contains(number) => Ok(()),
            (Kind::Whole { unit, min, max }, Value::Whole(number)) => {
                Err(format!("must be from {min} to {max} {unit}, is {number}"))
            }
            (Kind::Share, Value::Float(number)) if *number > 0.0 && *number <= 1.0 => Ok(()),
            (Kind::Share, Value::Whole(1)) => Ok(()),
            (Kind::Share, Value::Float(number)) => Err(format!("must be above 0 and at most 1, is {number}")),
            (Kind::Share, Value::Whole(number)) => Err(format!("must be above 0 and at most 1, is {number}")),
            (Kind::Fraction, Value::Float(number)) if (0.0..=1.0).contains(number) => Ok(()),
            (Kind::Fraction, Value::Whole(0 | 1)) => Ok(()),
            (Kind::Fraction, Value::Float(number)) => Err(format!("must be from 0 to 1, is {number}")),
            (Kind::Fraction, Value::Whole(number)) => Err(format!("must be from 0 to 1, is {number}")),
            // A value of the wrong type may be a secret written without quotes.
            (Kind::Secret, _) => Err("must be text in quotes".to_owned()),
            (wanted, found) => Err(format!("must be {}, is {}", wanted.describe(), found.describe())),
        }
    }

    /// Reads a variable's text as a value of this kind. What cannot be read stays text, for [`Kind::check`] to refuse.
    pub(super) fn parse(self, text: &str) -> Value {
        match (self, text.trim().parse(), text.trim().parse()) {
            (Kind::Whole { .. }, Ok(number), _) => Value::Whole(number),
            (Kind::Share | Kind::Fraction, _, Ok(number)) => Value::Float(number),
            _ => Value::Text(text.to_owned()),
        }
    }

    fn describe(self) -> String {
        match self {
            Kind::Text | Kind::Secret => "text in quotes".to_owned(),
            Kind::OneOf(words) => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" or "),
            Kind::Share | Kind::Fraction => "a fraction, as in 0.8".to_owned(),
            Kind::Whole { unit, .. } => format!("a whole number of {unit}"),
        }
    }
}
