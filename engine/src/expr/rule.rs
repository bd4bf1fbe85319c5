//! A rule: a condition over bars, with parameters still open.

use crate::backtest::RunFailure;
use crate::columns::{NodeId, Nodes, Operand, Operation};
use crate::indicators::{ArgumentKind, Arguments};
use crate::problem::Problem;

use super::check::{self, Scope};
use super::program::{Call, Condition, Program, Value};
use super::{Parameter, parser};

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    program: Program,
}

/// A bound condition: known for all bars, or a mask still to be computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    Everywhere(bool),
    Mask(NodeId),
}

impl Rule {
    /// Compiles `source`, which may refer to `parameters` and bars. `at` is where it stands in its document.
    ///
    /// # Errors
    /// Everything wrong with it, each problem pointing at its place in the expression.
    pub fn new(at: &str, source: &str, parameters: &[Parameter]) -> Result<Self, Vec<Problem>> {
        let syntax = parser::parse(source).map_err(|error| vec![error.into_problem(at, source)])?;
        let program = check::check(source, &syntax, Scope { parameters, bars: true })
            .map_err(|errors| errors.into_iter().map(|error| error.into_problem(at, source)).collect::<Vec<_>>())?;
        Ok(Self { program })
    }

    /// Puts parameter values in and interns what is left, so that equal sub-expressions of any rules become one node.
    ///
    /// # Errors
    /// `bad_period` if the period of an indicator comes out below its minimum or not whole.
    pub(crate) fn bind(&self, nodes: &mut Nodes, values: &[f64]) -> Result<Bound, RunFailure> {
        let operands = self.bind_values(nodes, values)?;
        let mut bound: Vec<Bound> = Vec::with_capacity(self.program.conditions.len());
        for condition in &self.program.conditions {
            let next = match *condition {
                Condition::Compare(comparison, a, b) => match (operands[a], operands[b]) {
                    (Operand::Number(a), Operand::Number(b)) => {
                        Bound::Everywhere(comparison.holds(f64::from_bits(a), f64::from_bits(b)))
                    }
                    (a, b) => Bound::Mask(nodes.intern(Operation::Compare(comparison, a, b))),
                },
                Condition::And(a, b) => match (bound[a], bound[b]) {
                    (Bound::Everywhere(false), _) | (_, Bound::Everywhere(false)) => Bound::Everywhere(false),
                    (Bound::Everywhere(true), other) | (other, Bound::Everywhere(true)) => other,
                    (Bound::Mask(a), Bound::Mask(b)) => Bound::Mask(nodes.intern(Operation::And(a, b))),
                },
                Condition::Or(a, b) => match (bound[a], bound[b]) {
                    (Bound::Everywhere(true), _) | (_, Bound::Everywhere(true)) => Bound::Everywhere(true),
                    (Bound::Everywhere(false), other) | (other, Bound::Everywhere(false)) => other,
                    (Bound::Mask(a), Bound::Mask(b)) => Bound::Mask(nodes.intern(Operation::Or(a, b))),
                },
                Condition::Previous(inner) => match bound[inner] {
                    Bound::Mask(inner) => Bound::Mask(nodes.intern(Operation::Previous(inner))),
                    Bound::Everywhere(_) => unreachable!("crosses_above and crosses_below are checked to see a column"),
                },
            };
            bound.push(next);
        }
        Ok(*bound.last().unwrap_or(&Bound::Everywhere(false)))
    }

    fn bind_values(&self, nodes: &mut Nodes, values: &[f64]) -> Result<Vec<Operand>, RunFailure> {
        let mut operands: Vec<Operand> = Vec::with_capacity(self.program.values.len());
        for value in &self.program.values {
            let operand = match value {
                Value::Number(number) => Operand::number(*number),
                Value::Parameter(position) => Operand::number(values[*position]),
                Value::Series(series) => Operand::Column(nodes.series(*series)),
                Value::Unary(op, x) => match operands[*x] {
                    Operand::Number(x) => Operand::number(op.apply(f64::from_bits(x))),
                    Operand::Column(x) => Operand::Column(nodes.intern(Operation::Unary(*op, x))),
                },
                Value::Binary(op, a, b) => match (operands[*a], operands[*b]) {
                    (Operand::Number(a), Operand::Number(b)) => {
                        Operand::number(op.apply(f64::from_bits(a), f64::from_bits(b)))
                    }
                    (a, b) => Operand::Column(nodes.intern(Operation::Binary(*op, a, b))),
                },
                Value::Call(call) => {
                    let arguments = call_arguments(call, &operands)?;
                    Operand::Column((call.indicator.build)(nodes, &arguments))
                }
            };
            operands.push(operand);
        }
        Ok(operands)
    }
}

/// The arguments of a call in this run, periods checked.
fn call_arguments(call: &Call, operands: &[Operand]) -> Result<Arguments, RunFailure> {
    let mut arguments = Arguments::default();
    for (argument, &value) in call.indicator.arguments.iter().zip(&call.arguments) {
        match operands[value] {
            Operand::Column(column) => arguments.push_column(column),
            Operand::Number(bits) => {
                let number = f64::from_bits(bits);
                if let ArgumentKind::Whole { least } = argument.kind {
                    let fits = number.is_finite() && number.fract() == 0.0 && number >= f64::from(least);
                    if !fits {
                        let text = &call.text;
                        let name = argument.name;
                        let message = format!("{text}: {name} is {number}, must be a whole number of at least {least}");
                        return Err(RunFailure::new("bad_period", message));
                    }
                }
                arguments.push_number(number);
            }
        }
    }
    Ok(arguments)
}
