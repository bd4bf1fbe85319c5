//! The rules of the run at hand, with their parameters put in.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::backtest::RunFailure;
use crate::expr::{Call, ParameterSet, Rules, Step, Value};
use crate::indicators::{ArgumentKind, Arguments};
use crate::mask::Mask;

use super::node::NodeHasher;
use super::{Nodes, Operand, Operation};

/// Rules with parameters: what their values are, and where their conditions are true.
///
/// It is kept from run to run, since most runs of a sweep differ from the one before in one parameter: only what
/// depends on that one is bound and evaluated again, into the same memory.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) rules: Arc<Rules>,
    parameters: Vec<f64>,
    pub(super) operands: Vec<Operand>,
    /// Of each value that depends on one parameter: what it was bound to, by the bits of that parameter.
    known: Vec<HashMap<u64, Operand, BuildHasherDefault<NodeHasher>>>,
    /// Where each condition is true.
    pub(super) masks: Vec<Mask>,
}

/// What is to be done again for a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stale {
    Everything,
    /// What depends on these parameters.
    DependentOn(ParameterSet),
}

impl Stale {
    pub(super) fn has<T>(self, step: &Step<T>) -> bool {
        match self {
            Stale::Everything => true,
            Stale::DependentOn(parameters) => step.parameters.meets(parameters),
        }
    }
}

impl Binding {
    /// Nothing bound yet.
    pub(super) fn new(rules: &Arc<Rules>, bars: usize) -> Self {
        Self {
            rules: Arc::clone(rules),
            parameters: Vec::new(),
            operands: Vec::with_capacity(rules.values.len()),
            known: rules.values.iter().map(|_| HashMap::default()).collect(),
            masks: rules.conditions.iter().map(|_| Mask::none(bars)).collect(),
        }
    }

    /// Where a rule is true, by its position among the rules.
    pub(super) fn mask(&self, rule: usize) -> &Mask {
        &self.masks[self.rules.roots[rule]]
    }

    /// Puts parameter values in and interns what is left, so that equal sub-expressions of any rules become one node.
    /// Tells which conditions are to be evaluated.
    ///
    /// # Errors
    /// `bad_period` if the period of an indicator comes out below its minimum or not whole. The binding is not to be
    /// used after that.
    pub(super) fn put_in(&mut self, nodes: &mut Nodes, parameters: &[f64]) -> Result<Stale, RunFailure> {
        let stale = if self.operands.is_empty() {
            self.parameters = parameters.to_vec();
            Stale::Everything
        } else {
            let changed = ParameterSet::of_differences(&self.parameters, parameters);
            self.parameters.copy_from_slice(parameters);
            Stale::DependentOn(changed)
        };
        for (index, step) in self.rules.values.iter().enumerate() {
            if stale.has(step) {
                let mut bind = || bind(&step.what, nodes, &self.operands, parameters);
                let operand = match step.parameters.only() {
                    None => bind()?,
                    Some(only) => match self.known[index].entry(parameters[only].to_bits()) {
                        Entry::Occupied(known) => *known.get(),
                        Entry::Vacant(place) => *place.insert(bind()?),
                    },
                };
                match self.operands.get_mut(index) {
                    Some(place) => *place = operand,
                    None => self.operands.push(operand),
                }
            }
        }
        Ok(stale)
    }
}

/// The node or number of a value whose operands are bound.
fn bind(value: &Value, nodes: &mut Nodes, operands: &[Operand], parameters: &[f64]) -> Result<Operand, RunFailure> {
    Ok(match value {
        Value::Number(number) => Operand::number(*number),
        Value::Parameter(position) => Operand::number(parameters[*position]),
        Value::Series(series) => Operand::Column(nodes.series(*series)),
        Value::Unary(op, x) => match operands[*x] {
            Operand::Number(x) => Operand::number(op.apply(f64::from_bits(x))),
            Operand::Column(x) => Operand::Column(nodes.intern(Operation::Unary(*op, x))),
        },
        Value::Binary(op, a, b) => match (operands[*a], operands[*b]) {
            (Operand::Number(a), Operand::Number(b)) => Operand::number(op.apply(f64::from_bits(a), f64::from_bits(b))),
            (a, b) => Operand::Column(nodes.intern(Operation::Binary(*op, a, b))),
        },
        Value::Call(call) => {
            let arguments = call_arguments(call, operands)?;
            Operand::Column((call.indicator.build)(nodes, &arguments))
        }
    })
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
