//! The values one parameter takes.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::problem::did_you_mean;
use crate::template::Parameter;

/// The values of one parameter, in order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// One value for all points.
    Value(f64),
    /// These values.
    List(Vec<f64>),
    /// `from`, `from + step`, `from + 2 * step`, ... up to and including `to`.
    Range {
        /// The first value.
        from: f64,
        /// The last value, if steps reach it.
        to: f64,
        /// The distance of values, above 0.
        step: f64,
    },
}

/// How far, in steps, the last value of a range may miss `to` and still count as reaching it: 0.1 to 0.5 by 0.1 has
/// five values, though no multiple of the `f64` nearest to 0.1 is exact.
const STEP_TOLERANCE: f64 = 1e-9;

impl Axis {
    /// An axis as a spec writes it: `10`, `[10, 20]` or `{ from = 5, to = 50, step = 5 }`.
    ///
    /// # Errors
    /// What is wrong with its form, in words. Its values are checked by [`super::Grid::points`].
    pub fn from_document(document: &Value) -> Result<Self, String> {
        const KEYS: [&str; 3] = ["from", "to", "step"];
        const FORMS: &str = "an axis is a number, a list of numbers or a range { from, to, step }";
        let number =
            |value: &Value, what: &str| value.as_f64().ok_or_else(|| format!("{what} must be a number: {FORMS}"));
        match document {
            Value::Number(_) => number(document, "a value").map(Axis::Value),
            Value::Array(items) => {
                let values: Result<Vec<f64>, String> = items.iter().map(|item| number(item, "each value")).collect();
                values.map(Axis::List)
            }
            Value::Object(fields) => {
                if let Some(unknown) = fields.keys().find(|key| !KEYS.contains(&key.as_str())) {
                    return Err(format!("unknown key \"{unknown}\"{}: {FORMS}", did_you_mean(unknown, KEYS)));
                }
                let field = |key: &str| {
                    let value = fields.get(key).ok_or_else(|| format!("{key} is missing: {FORMS}"))?;
                    number(value, key)
                };
                Ok(Axis::Range { from: field("from")?, to: field("to")?, step: field("step")? })
            }
            _ => Err(FORMS.to_owned()),
        }
    }

    /// Number of values; beyond `u64` it is `u64::MAX`, and 0 for a range that makes no sense.
    pub fn len(&self) -> u64 {
        match self {
            Axis::Value(_) => 1,
            Axis::List(values) => values.len() as u64,
            Axis::Range { from, to, step } => {
                let steps = ((to - from) / step + STEP_TOLERANCE).floor();
                // The cast saturates, and takes NaN to 0.
                if steps >= 0.0 { (steps as u64).saturating_add(1) } else { 0 }
            }
        }
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at `index`, which is less than [`Axis::len`].
    pub fn value(&self, index: u64) -> f64 {
        match self {
            Axis::Value(value) => *value,
            Axis::List(values) => values[index as usize],
            // Rounding must not carry the last value past the bound that was checked.
            Axis::Range { from, to, step } => (from + index as f64 * step).min(*to),
        }
    }

    /// What is wrong with these values for `parameter`, in words.
    pub(super) fn problems(&self, parameter: &Parameter) -> Vec<String> {
        let mut problems = Vec::new();
        match self {
            Axis::Value(value) => problems.extend(value_problem(*value, parameter)),
            Axis::List(values) => {
                if values.is_empty() {
                    problems.push("the list has no values".to_owned());
                }
                problems.extend(values.iter().filter_map(|value| value_problem(*value, parameter)));
                let mut sorted = values.clone();
                sorted.sort_by(f64::total_cmp);
                let twice = sorted.windows(2).filter(|pair| pair[0] == pair[1]);
                let mut repeated: Vec<f64> = twice.map(|pair| pair[0]).collect();
                repeated.dedup();
                problems.extend(repeated.into_iter().map(|value| format!("the list has {value} more than once")));
            }
            Axis::Range { from, to, step } => match range_problem(*from, *to, *step) {
                Some(problem) => problems.push(problem),
                None => {
                    problems.extend(value_problem(*from, parameter));
                    let last = self.value(self.len() - 1);
                    problems
                        .extend(Some(last).filter(|last| last != from).and_then(|last| value_problem(last, parameter)));
                    if parameter.whole && from.fract() == 0.0 && step.fract() != 0.0 {
                        problems.push(format!("the step {step} is not a whole number, but the parameter's values are"));
                    }
                }
            },
        }
        problems
    }
}

fn value_problem(value: f64, parameter: &Parameter) -> Option<String> {
    let (min, max) = (parameter.min, parameter.max);
    if !(min..=max).contains(&value) {
        return Some(format!("{value} is outside the parameter's bounds, {min} to {max}"));
    }
    (parameter.whole && value.fract() != 0.0)
        .then(|| format!("{value} is not a whole number, which this parameter needs"))
}

fn range_problem(from: f64, to: f64, step: f64) -> Option<String> {
    let range = format!("the range from {from} to {to} by {step}");
    if ![from, to, step].into_iter().all(f64::is_finite) {
        return Some(format!("{range} needs finite numbers"));
    }
    if step <= 0.0 {
        return Some(format!("{range} needs a step above 0"));
    }
    if from > to {
        return Some(format!("{range} is empty: from is above to"));
    }
    let told_apart = from == to || (from + step > from && to - step < to);
    (!told_apart).then(|| format!("{range} has a step too small to tell its values apart"))
}
