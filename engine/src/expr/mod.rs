//! The expression language of rules and `where` filters.
//!
//! ```text
//! text ──lexer──> tokens ──parser──> syntax tree ──check──> program ──(params)──> masks of columns::Columns
//!                                                              └──filter──> true or false for a point
//! ```
//!
//! A rule is a condition over bars: numbers, parameters, the columns `open high low close volume`, indicators as
//! functions, `+ - * /`, comparisons, `and or not`, `crosses_above`, `crosses_below`, `lag`, `min max abs log`.
//! From weakest to strongest: `or`, `and`, `not`, comparisons (which do not chain), `+ -`, `* /`, unary minus.
//!
//! **Unknown values.** A comparison with NaN is *unknown*; `and`, `or`, `not` are Kleene's; only *true* counts. No
//! third state is ever stored: a rule is rewritten so that every `not` is pushed down to the comparisons (negation
//! normal form), where "is false" of `a > b` is `a <= b`, and both are false on NaN.
//!
//! **Hostile input** can neither overflow the stack nor use unbounded memory: [`MAX_LENGTH`], [`MAX_NODES`] and
//! [`MAX_NESTING`] bound every stage, and nothing in the language loops, allocates or touches the machine.

mod check;
mod error;
mod filter;
mod lexer;
mod parser;
mod program;
mod rule;
mod rules;
#[cfg(test)]
mod tests;

pub use filter::Filter;
pub(crate) use program::{BinaryOp, Call, Comparison, Condition, UnaryOp, Value, differ};
pub use rule::Rule;
pub(crate) use rules::{ParameterSet, Rules, Step};

use crate::indicators;

/// Longest expression, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// Most numbers, names, operators and calls in one expression. It bounds the columns that one rule can hold in
/// memory at once.
pub const MAX_NODES: usize = 256;

/// Deepest nesting of parentheses, calls and prefix operators, which bounds the parser's recursion.
pub const MAX_NESTING: usize = 64;

/// A column of the bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Series {
    /// First price of each bar.
    Open,
    /// Highest price of each bar.
    High,
    /// Lowest price of each bar.
    Low,
    /// Last price of each bar.
    Close,
    /// Shares traded in each bar.
    Volume,
}

impl Series {
    /// All columns of the bars, with their names in expressions.
    pub const ALL: [(&'static str, Series); 5] = [
        ("open", Series::Open),
        ("high", Series::High),
        ("low", Series::Low),
        ("close", Series::Close),
        ("volume", Series::Volume),
    ];

    fn from_name(name: &str) -> Option<Series> {
        Series::ALL.iter().find(|(known, _)| *known == name).map(|(_, series)| *series)
    }
}

/// A parameter as expressions see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Whether its values are whole numbers, so that it can be the period of an indicator.
    pub whole: bool,
}

/// Functions which are no indicators, with their arguments.
const FUNCTIONS: [(&str, &str); 6] = [
    ("crosses_above", "a, b"),
    ("crosses_below", "a, b"),
    ("min", "a, b"),
    ("max", "a, b"),
    ("abs", "x"),
    ("log", "x"),
];

/// Words of the grammar.
const KEYWORDS: [&str; 3] = ["and", "or", "not"];

/// Whether a name already means something in expressions, so that no parameter can have it.
pub fn is_built_in(name: &str) -> bool {
    KEYWORDS.contains(&name)
        || Series::from_name(name).is_some()
        || FUNCTIONS.iter().any(|(known, _)| *known == name)
        || indicators::find(name).is_some()
}
