//! A checked expression in the form in which it is evaluated.

use crate::indicators::Indicator;

use super::Series;

/// Index of a value in its [`Program`].
pub(crate) type ValueIndex = usize;

/// Index of a condition in its [`Program`].
pub(crate) type ConditionIndex = usize;

/// Arithmetic on one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum UnaryOp {
    Negate,
    Abs,
    Log,
}

impl UnaryOp {
    /// Applies it to one number. `log` is the natural logarithm: NaN below 0, minus infinity at 0.
    pub(crate) fn apply(self, x: f64) -> f64 {
        match self {
            UnaryOp::Negate => -x,
            UnaryOp::Abs => x.abs(),
            UnaryOp::Log => libm::log(x),
        }
    }
}

/// Arithmetic on two operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum BinaryOp {
    Add,
    Subtract,
    Multiply,
    Divide,
    Min,
    Max,
}

impl BinaryOp {
    /// Applies it to two numbers. `min` and `max` are NaN if either operand is.
    pub(crate) fn apply(self, a: f64, b: f64) -> f64 {
        match self {
            BinaryOp::Add => a + b,
            BinaryOp::Subtract => a - b,
            BinaryOp::Multiply => a * b,
            BinaryOp::Divide => a / b,
            BinaryOp::Min => min(a, b),
            BinaryOp::Max => max(a, b),
        }
    }
}

/// The smaller, `a` where they are equal, NaN where either is.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    if a <= b || a.is_nan() { a } else { b }
}

/// The larger, `a` where they are equal, NaN where either is.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a >= b || a.is_nan() { a } else { b }
}

/// Comparisons that are left once `>` and `>=` have swapped their operands. None is true when an operand is NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Comparison {
    Less,
    LessEqual,
    Equal,
    /// Different, and neither is NaN: "is false" of [`Comparison::Equal`].
    Differs,
}

impl Comparison {
    /// Whether it asks which of two is the larger.
    pub(crate) fn is_of_order(self) -> bool {
        matches!(self, Comparison::Less | Comparison::LessEqual)
    }

    /// Compares two numbers.
    pub(crate) fn holds(self, a: f64, b: f64) -> bool {
        match self {
            Comparison::Less => a < b,
            Comparison::LessEqual => a <= b,
            Comparison::Equal => a == b,
            Comparison::Differs => differ(a, b),
        }
    }
}

/// Whether two numbers differ and neither is NaN, which `!=` alone would not say.
#[allow(clippy::double_comparisons)]
pub(crate) fn differ(a: f64, b: f64) -> bool {
    a < b || a > b
}

/// A number or a column.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Number(f64),
    /// The parameter at this position of the template's order.
    Parameter(usize),
    Series(Series),
    Unary(UnaryOp, ValueIndex),
    Binary(BinaryOp, ValueIndex, ValueIndex),
    Call(Call),
}

impl Value {
    /// Whether it is the same of the same operands.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Number(a), Value::Number(b)) => a.to_bits() == b.to_bits(),
            (Value::Parameter(a), Value::Parameter(b)) => a == b,
            (Value::Series(a), Value::Series(b)) => a == b,
            (Value::Unary(a, x), Value::Unary(b, y)) => (a, x) == (b, y),
            (Value::Binary(a, x, y), Value::Binary(b, z, w)) => (a, x, y) == (b, z, w),
            (Value::Call(a), Value::Call(b)) => std::ptr::eq(a.indicator, b.indicator) && a.arguments == b.arguments,
            _ => false,
        }
    }
}

/// A call of an indicator.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) indicator: &'static Indicator,
    pub(crate) arguments: Vec<ValueIndex>,
    /// The call as written, for messages.
    pub(crate) text: String,
}

/// What is true at a bar; negation has been pushed down to comparisons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Condition {
    Compare(Comparison, ValueIndex, ValueIndex),
    And(ConditionIndex, ConditionIndex),
    Or(ConditionIndex, ConditionIndex),
    /// True at a bar where the condition is true at the bar before.
    Previous(ConditionIndex),
}

/// A checked condition. Children come before their parents, the root is the last condition.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) values: Vec<Value>,
    pub(super) conditions: Vec<Condition>,
}

impl Program {
    /// Keeps only the conditions that `root` needs, which becomes the last.
    pub(super) fn new(values: Vec<Value>, conditions: &[Condition], root: ConditionIndex) -> Self {
        let mut needed = vec![false; conditions.len()];
        needed[root] = true;
        for index in (0..=root).rev() {
            if !needed[index] {
                continue;
            }
            match conditions[index] {
                Condition::Compare(..) => {}
                Condition::And(a, b) | Condition::Or(a, b) => {
                    needed[a] = true;
                    needed[b] = true;
                }
                Condition::Previous(inner) => needed[inner] = true,
            }
        }

        let mut moved_to = vec![0; conditions.len()];
        let mut kept = Vec::new();
        for index in (0..=root).filter(|&index| needed[index]) {
            moved_to[index] = kept.len();
            kept.push(match conditions[index] {
                Condition::Compare(comparison, a, b) => Condition::Compare(comparison, a, b),
                Condition::And(a, b) => Condition::And(moved_to[a], moved_to[b]),
                Condition::Or(a, b) => Condition::Or(moved_to[a], moved_to[b]),
                Condition::Previous(inner) => Condition::Previous(moved_to[inner]),
            });
        }
        Self { values, conditions: kept }
    }
}
