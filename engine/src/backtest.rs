//! One run: a strategy with its parameters over the bars of one symbol.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::columns::Columns;
use crate::execution::Execution;
use crate::expr::Rule;
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::params::Params;
use crate::problem::Problem;
use crate::simulation::{self, Trade};
use crate::template::Template;

/// Why a run has no metrics. The run's row says so; the other runs of its shard go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFailure {
    /// A stable word to group failures by: `no_bars`, `bad_params`, `bad_period`, `panic`, `timeout`.
    pub code: String,
    /// What went wrong, at most [`RunFailure::LONGEST_MESSAGE`] bytes.
    pub message: String,
}

impl RunFailure {
    /// Longest message kept, in bytes.
    pub const LONGEST_MESSAGE: usize = 500;

    /// A failure with its message cut to [`RunFailure::LONGEST_MESSAGE`] at a character's end.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        let mut message = message.into();
        message.truncate(message.floor_char_boundary(Self::LONGEST_MESSAGE));
        Self { code: code.to_owned(), message }
    }
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for RunFailure {}

/// A run in full: what [`Metrics`] summarise.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// The same metrics, bit for bit, as the run without its trades.
    pub metrics: Metrics,
    /// Every trade in order of entry, the open one last.
    pub trades: Vec<Trade>,
    /// Equity at the close of each bar.
    pub equity: Vec<f64>,
}

/// A template with its rules compiled, and the execution rules: all that the runs of one strategy share.
#[derive(Debug, Clone)]
pub struct Strategy {
    name: String,
    parameters: Vec<String>,
    enter: Rule,
    exit: Rule,
    execution: Execution,
}

impl Strategy {
    /// Compiles the rules of a template.
    ///
    /// # Errors
    /// Everything wrong with the execution rules, at `execution`. The template has been checked already.
    pub fn new(template: &Template, execution: &Execution) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> =
            execution.problems().into_iter().map(|problem| problem.within("execution")).collect();
        let parameters = template.expression_parameters();
        let enter = Rule::new("long.enter", &template.long().enter, &parameters);
        let exit = Rule::new("long.exit", &template.long().exit, &parameters);
        let (enter, exit) = match (enter, exit) {
            (Ok(enter), Ok(exit)) if problems.is_empty() => (enter, exit),
            (enter, exit) => {
                problems.extend(enter.err().into_iter().chain(exit.err()).flatten());
                return Err(problems);
            }
        };
        Ok(Self {
            name: template.name().to_owned(),
            parameters: template.params().keys().cloned().collect(),
            enter,
            exit,
            execution: execution.clone(),
        })
    }

    /// The name of its template.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The execution rules of its runs.
    pub fn execution(&self) -> &Execution {
        &self.execution
    }

    /// Values in the template's order, with their names.
    pub fn params(&self, values: &[f64]) -> Params {
        self.parameters.iter().cloned().zip(values.iter().copied()).collect()
    }

    /// One run: `values` are its parameters, in the template's order.
    ///
    /// # Errors
    /// `no_bars` if there are none; `bad_params` if the number of values is not the template's; `bad_period` if an
    /// indicator's period comes out below its minimum.
    pub fn run(&self, columns: &mut Columns, values: &[f64]) -> Result<Metrics, RunFailure> {
        let [enter, exit] = self.masks(columns, values)?;
        Ok(simulation::simulate(columns.bars(), &enter, &exit, &self.execution))
    }

    /// The same run with its trades and equity.
    ///
    /// # Errors
    /// Those of [`Strategy::run`].
    pub fn replay(&self, columns: &mut Columns, values: &[f64]) -> Result<Replay, RunFailure> {
        let [enter, exit] = self.masks(columns, values)?;
        Ok(simulation::replay(columns.bars(), &enter, &exit, &self.execution))
    }

    /// Where the rules to enter and to exit are true.
    fn masks(&self, columns: &mut Columns, values: &[f64]) -> Result<[Arc<Mask>; 2], RunFailure> {
        if columns.bars().is_empty() {
            return Err(RunFailure::new("no_bars", "there are no bars in the range asked for"));
        }
        if values.len() != self.parameters.len() {
            let (name, wanted, given) = (&self.name, self.parameters.len(), values.len());
            let message = format!("{name} has {wanted} parameters, {given} values are given");
            return Err(RunFailure::new("bad_params", message));
        }
        columns.masks([&self.enter, &self.exit], values)
    }
}
