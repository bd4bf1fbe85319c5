//! A rule: a condition over bars, with parameters still open.

use crate::problem::Problem;

use super::check::{self, Scope};
use super::program::Program;
use super::{Parameter, parser};

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct Rule {
    program: Program,
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

    pub(super) fn program(&self) -> &Program {
        &self.program
    }
}
