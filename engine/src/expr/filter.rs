//! `where`: a condition on parameters alone, decided before there are bars.

use crate::problem::Problem;

use super::check::{self, Scope};
use super::program::{Condition, Program, Value};
use super::{Parameter, parser};

/// A compiled `where`: which parameter sets are worth a run.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Program,
    numbers: Vec<f64>,
    truths: Vec<bool>,
}

impl Filter {
    /// Compiles `source`, which may refer to `parameters` only. `at` is where it stands in its document.
    ///
    /// # Errors
    /// Everything wrong with it, each problem pointing at its place in the expression.
    pub fn new(at: &str, source: &str, parameters: &[Parameter]) -> Result<Self, Vec<Problem>> {
        let syntax = parser::parse(source).map_err(|error| vec![error.into_problem(at, source)])?;
        let program = check::check(source, &syntax, Scope { parameters, bars: false })
            .map_err(|errors| errors.into_iter().map(|error| error.into_problem(at, source)).collect::<Vec<_>>())?;
        let numbers = vec![0.0; program.values.len()];
        let truths = vec![false; program.conditions.len()];
        Ok(Self { program, numbers, truths })
    }

    /// Whether the condition is true (not false and not unknown) for these values, in the order of the parameters
    /// it was compiled with.
    pub fn holds(&mut self, values: &[f64]) -> bool {
        for (index, value) in self.program.values.iter().enumerate() {
            self.numbers[index] = match *value {
                Value::Number(number) => number,
                Value::Parameter(position) => values[position],
                Value::Unary(op, x) => op.apply(self.numbers[x]),
                Value::Binary(op, a, b) => op.apply(self.numbers[a], self.numbers[b]),
                Value::Series(_) | Value::Call(_) => unreachable!("a filter is checked to see no bars"),
            };
        }
        for (index, condition) in self.program.conditions.iter().enumerate() {
            self.truths[index] = match *condition {
                Condition::Compare(comparison, a, b) => comparison.holds(self.numbers[a], self.numbers[b]),
                Condition::And(a, b) => self.truths[a] && self.truths[b],
                Condition::Or(a, b) => self.truths[a] || self.truths[b],
                Condition::Previous(_) => unreachable!("a filter is checked to see no bars"),
            };
        }
        self.truths.last().copied().unwrap_or(false)
    }
}
