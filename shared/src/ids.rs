//! Names that travel in subjects: batches, symbols, priorities.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that cannot be used, and the rule it breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a {what} ({rule})")]
pub struct InvalidName {
    what: &'static str,
    name: String,
    rule: &'static str,
}

/// Longest batch id and symbol, in characters: they are subject tokens and key-value keys.
const LONGEST_NAME: usize = 64;

/// Longest name quoted back in an error.
const LONGEST_QUOTE: usize = 80;

fn check(what: &'static str, name: &str, rule: &'static str, fits: impl Fn(char) -> bool) -> Result<(), InvalidName> {
    if !name.is_empty() && name.len() <= LONGEST_NAME && name.chars().all(fits) {
        return Ok(());
    }
    Err(InvalidName { what, name: name.chars().take(LONGEST_QUOTE).collect(), rule })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $what:literal, $rule:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, InvalidName> {
                #[allow(clippy::redundant_closure_call, reason = "the rule is given as a closure")]
                ($check)(name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Identifies a batch. Chosen by the client; one subject token.
    BatchId, "batch id", "1 to 64 letters, digits, '-', '_'",
    |name: &str| {
        const RULE: &str = "1 to 64 letters, digits, '-', '_'";
        check("batch id", name, RULE, |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    }
);

name_type!(
    /// A symbol of the universe; stands for `{symbol}` in a data source, so it can never name another folder.
    Symbol, "symbol", "1 to 64 letters, digits, '.', '-', '_'; no '.' first, last or doubled",
    |name: &str| {
        const RULE: &str = "1 to 64 letters, digits, '.', '-', '_'; no '.' first, last or doubled";
        check("symbol", name, RULE, |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))?;
        if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
            return check("symbol", "", RULE, |_| false).map_err(|error| InvalidName { name: name.to_owned(), ..error });
        }
        Ok(())
    }
);

/// How urgently a batch's jobs are taken. Workers poll all three with weights, so that `low` still moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Taken first.
    High,
    /// The default.
    #[default]
    Normal,
    /// Taken when little else is there.
    Low,
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

    /// The name as a subject token.
    pub const fn as_str(self) -> &'static str {
        match self {
            Priority::High => "high",
            Priority::Normal => "normal",
            Priority::Low => "low",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Priority {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Priority::ALL.into_iter().find(|priority| priority.as_str() == name).ok_or_else(|| InvalidName {
            what: "priority",
            name: name.chars().take(LONGEST_QUOTE).collect(),
            rule: "high, normal, low",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_cannot_leave_their_folder() {
        for good in ["AAPL", "BRK.B", "BTC-USD", "es_f"] {
            assert!(good.parse::<Symbol>().is_ok(), "{good}");
        }
        for bad in ["", "BRK/B", "..", ".A", "A..B", "A.", "A B", "A*", "ü", &"A".repeat(65)] {
            assert!(bad.parse::<Symbol>().is_err(), "{bad}");
        }
        let error = "BRK/B".parse::<Symbol>().unwrap_err().to_string();
        assert!(error.starts_with("\"BRK/B\" is not a symbol (1 to 64 letters"), "{error}");
    }

    #[test]
    fn batch_ids_are_one_subject_token() {
        assert!("nightly-2024_01".parse::<BatchId>().is_ok());
        for bad in ["a.b", "a b", "a>", "*", ""] {
            assert!(bad.parse::<BatchId>().is_err(), "{bad}");
        }
    }
}
