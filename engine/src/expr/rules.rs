//! The rules of a strategy together.

use super::Rule;
use super::program::{Call, Condition, ConditionIndex, Value, ValueIndex};

/// A set of parameters, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ParameterSet(u64);

impl ParameterSet {
    /// All positions from the last bit's on share it: a set may hold more than was put in, never less.
    fn of(position: usize) -> Self {
        Self(1 << position.min(u64::BITS as usize - 1))
    }

    /// The positions at which two lists of values differ in their bits.
    pub(crate) fn of_differences(a: &[f64], b: &[f64]) -> Self {
        let differ =
            |(position, (a, b)): (usize, (&f64, &f64))| (a.to_bits() != b.to_bits()).then(|| Self::of(position));
        a.iter().zip(b).enumerate().filter_map(differ).fold(Self::default(), Self::and)
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The position of the one parameter in it; `None` of none, of many, and where that cannot be told.
    pub(crate) fn only(self) -> Option<usize> {
        let position = self.0.trailing_zeros();
        (self.0.is_power_of_two() && position < u64::BITS - 1).then_some(position as usize)
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// A value or condition, and the parameters it depends on.
#[derive(Debug, Clone)]
pub(crate) struct Step<T> {
    pub(crate) what: T,
    pub(crate) parameters: ParameterSet,
}

/// Rules joined into one program, in which equal values and conditions of any of them are there once. Children come
/// before their parents.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) values: Vec<Step<Value>>,
    pub(crate) conditions: Vec<Step<Condition>>,
    /// For each condition the one that compares the same values in the other order, if there is one: both are best
    /// evaluated together. Twins are each other's.
    pub(crate) twins: Vec<Option<ConditionIndex>>,
    /// The condition that each rule is, in the order in which they were joined.
    pub(crate) roots: Vec<ConditionIndex>,
}

impl Rules {
    /// Joins some rules over the same parameters.
    pub(crate) fn join<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Self {
        let mut joined = Self::default();
        for rule in rules {
            let program = rule.program();
            let mut values = Vec::with_capacity(program.values.len());
            for value in &program.values {
                values.push(joined.value(moved(value, &values)));
            }
            let mut conditions: Vec<ConditionIndex> = Vec::with_capacity(program.conditions.len());
            for condition in &program.conditions {
                let condition = match *condition {
                    Condition::Compare(comparison, a, b) => Condition::Compare(comparison, values[a], values[b]),
                    Condition::And(a, b) => Condition::And(conditions[a], conditions[b]),
                    Condition::Or(a, b) => Condition::Or(conditions[a], conditions[b]),
                    Condition::Previous(inner) => Condition::Previous(conditions[inner]),
                };
                conditions.push(joined.condition(condition));
            }
            joined.roots.extend(conditions.last());
        }
        joined.find_twins();
        joined
    }

    fn value(&mut self, value: Value) -> ValueIndex {
        if let Some(known) = self.values.iter().position(|step| step.what.is(&value)) {
            return known;
        }
        let of = |index: &ValueIndex| self.values[*index].parameters;
        let parameters = match &value {
            Value::Number(_) | Value::Series(_) => ParameterSet::default(),
            Value::Parameter(position) => ParameterSet::of(*position),
            Value::Unary(_, x) => of(x),
            Value::Binary(_, a, b) => of(a).and(of(b)),
            Value::Call(call) => call.arguments.iter().map(of).fold(ParameterSet::default(), ParameterSet::and),
        };
        self.values.push(Step { what: value, parameters });
        self.values.len() - 1
    }

    fn condition(&mut self, condition: Condition) -> ConditionIndex {
        if let Some(known) = self.conditions.iter().position(|step| step.what == condition) {
            return known;
        }
        let of = |index: ConditionIndex| self.conditions[index].parameters;
        let parameters = match condition {
            Condition::Compare(_, a, b) => self.values[a].parameters.and(self.values[b].parameters),
            Condition::And(a, b) | Condition::Or(a, b) => of(a).and(of(b)),
            Condition::Previous(inner) => of(inner),
        };
        self.conditions.push(Step { what: condition, parameters });
        self.conditions.len() - 1
    }

    fn find_twins(&mut self) {
        self.twins = vec![None; self.conditions.len()];
        for index in 0..self.conditions.len() {
            let twin = (0..index).find(|&other| self.twins[other].is_none() && self.are_twins(index, other));
            if let Some(twin) = twin {
                self.twins[index] = Some(twin);
                self.twins[twin] = Some(index);
            }
        }
    }

    fn are_twins(&self, one: ConditionIndex, other: ConditionIndex) -> bool {
        match (self.conditions[one].what, self.conditions[other].what) {
            (Condition::Compare(one, a, b), Condition::Compare(other, x, y)) => {
                one.is_of_order() && other.is_of_order() && (a, b) == (y, x)
            }
            _ => false,
        }
    }
}

/// A value whose operands are at other places.
fn moved(value: &Value, places: &[ValueIndex]) -> Value {
    match value {
        Value::Number(_) | Value::Parameter(_) | Value::Series(_) => value.clone(),
        Value::Unary(op, x) => Value::Unary(*op, places[*x]),
        Value::Binary(op, a, b) => Value::Binary(*op, places[*a], places[*b]),
        Value::Call(call) => {
            let arguments = call.arguments.iter().map(|&argument| places[argument]).collect();
            Value::Call(Call { indicator: call.indicator, arguments, text: call.text.clone() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::Parameter;

    fn joined(sources: &[&str]) -> Rules {
        let parameters = ["a", "b"].map(|name| Parameter { name: name.to_owned(), whole: true });
        let rules: Vec<Rule> = sources.iter().map(|source| Rule::new("", source, &parameters).unwrap()).collect();
        Rules::join(&rules)
    }

    #[test]
    fn what_rules_have_in_common_is_there_once() {
        let rules = joined(&["sma(close, a) > sma(close, b)", "sma(close, a) < sma(close, b) or close > 3"]);
        // close, a, sma, b, sma; 3
        assert_eq!(rules.values.len(), 6);
        assert_eq!(rules.conditions.len(), 4);
        assert_eq!(rules.roots, [0, 3]);
        assert_eq!(joined(&["close > a", "close > a"]).roots, [0, 0]);
    }

    #[test]
    fn parameters_are_those_of_all_operands() {
        let rules = joined(&["sma(close, a) > b", "close > open", "close > sma(open, b)"]);
        let sets: Vec<ParameterSet> = rules.roots.iter().map(|&root| rules.conditions[root].parameters).collect();
        let (a, b) = (ParameterSet::of(0), ParameterSet::of(1));
        assert_eq!(sets, [a.and(b), ParameterSet::default(), b]);
        assert_eq!(ParameterSet::of_differences(&[1.0, 2.0], &[1.0, 3.0]), b);
        assert!(!ParameterSet::of_differences(&[f64::NAN], &[f64::NAN]).meets(a));
        assert!(ParameterSet::of(100).meets(ParameterSet::of(63)));
    }

    #[test]
    fn twins_compare_the_same_values_the_other_way_round() {
        assert_eq!(joined(&["close > open", "close < open"]).twins, [Some(1), Some(0)]);
        assert_eq!(joined(&["close >= open", "close < open"]).twins, [Some(1), Some(0)]);
        assert_eq!(joined(&["close > open", "close < high"]).twins, [None, None]);
        assert_eq!(joined(&["close == open", "open < close"]).twins, [None, None]);
        assert_eq!(joined(&["close < close"]).twins, [None]);
        assert_eq!(joined(&["close > open", "close < open", "close <= open"]).twins, [Some(1), Some(0), None]);
    }
}
