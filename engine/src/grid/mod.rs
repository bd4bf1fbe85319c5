//! Parameter grids: which parameter sets a sweep tries, and in which order.
//!
//! A grid is walked, never stored: a point is a *cursor* into the raw grid, the product of all axes. Points which
//! fail the template's `where` or the sweep's are left out; those that remain are numbered in the order of the walk.

mod axis;
mod permutation;
mod points;
#[cfg(test)]
mod tests;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::expr::Filter;
use crate::problem::{Problem, did_you_mean};
use crate::template::Template;

pub use axis::Axis;
pub use points::{Points, Walk};

/// Most points of a raw grid, before any `where`.
pub const MAX_RAW_POINTS: u64 = 1_000_000_000;

/// A parameter grid as it travels in specs and jobs: one axis for every parameter of a template, the last one
/// varying fastest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// The axis of each parameter, in the template's order; a fixed parameter is [`Axis::Value`].
    pub axes: IndexMap<String, Axis>,
    /// The sweep's own condition on parameters, beside the template's.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub where_: Option<String>,
    /// A sample of the points instead of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub random: Option<Random>,
}

/// A sample without replacement, a pure function of its seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Random {
    /// How many points that satisfy `where`; all of them if there are fewer.
    pub count: u64,
    /// Another seed gives another sample.
    pub seed: u64,
}

impl Grid {
    /// A grid for `template` with the axes a spec names: other parameters keep their defaults. Axes that are not the
    /// template's stay, so that [`Grid::points`] reports them.
    pub fn new(template: &Template, mut named: IndexMap<String, Axis>) -> Self {
        let mut axes = IndexMap::new();
        for (name, parameter) in template.params() {
            let axis = named.shift_remove(name).unwrap_or(Axis::Value(parameter.default));
            axes.insert(name.clone(), axis);
        }
        axes.extend(named);
        Self { axes, where_: None, random: None }
    }

    /// The same grid with the sweep's condition.
    #[must_use]
    pub fn with_where(mut self, where_: Option<String>) -> Self {
        self.where_ = where_;
        self
    }

    /// The same grid, sampled.
    #[must_use]
    pub fn with_random(mut self, random: Option<Random>) -> Self {
        self.random = random;
        self
    }

    /// Points of the raw grid, before any `where`.
    pub fn raw_points(&self) -> u128 {
        self.axes.values().fold(1, |points: u128, axis| points.saturating_mul(axis.len().into()))
    }

    /// Checks the grid against its template and makes it ready to walk. Takes no time over the number of points:
    /// whether `where` leaves any is for [`Points::is_empty`] to find out.
    ///
    /// # Errors
    /// Everything that is wrong: axes by parameter name, conditions at `where`, samples at `random`.
    pub fn points(&self, template: &Template) -> Result<Points, Vec<Problem>> {
        let mut problems = Vec::new();
        for name in self.axes.keys().filter(|name| !template.params().contains_key(*name)) {
            let known = template.params().keys().map(String::as_str);
            let message = format!("{} has no parameter \"{name}\"{}", template.name(), did_you_mean(name, known));
            problems.push(Problem::new(name, message));
        }
        let mut axes = Vec::with_capacity(template.params().len());
        for (name, parameter) in template.params() {
            match self.axes.get(name) {
                Some(axis) => {
                    problems.extend(axis.problems(parameter).into_iter().map(|message| Problem::new(name, message)));
                    axes.push(axis.clone());
                }
                None => problems.push(Problem::new(name, "the grid has no axis for this parameter")),
            }
        }
        let raw_points = self.raw_points();
        if raw_points > MAX_RAW_POINTS.into() {
            let message = format!(
                "the grid has {raw_points} points before `where`, at most {MAX_RAW_POINTS} can be walked: use fewer or coarser axes"
            );
            problems.push(Problem::new("", message));
        }
        if self.random.is_some_and(|random| random.count == 0) {
            problems.push(Problem::new("random", "a sample of 0 points runs nothing"));
        }
        let parameters = template.expression_parameters();
        let mut filters = Vec::new();
        for source in [template.where_(), self.where_.as_deref()].into_iter().flatten() {
            match Filter::new("where", source, &parameters) {
                Ok(filter) => filters.push(filter),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() { Ok(Points::new(axes, filters, self.random)) } else { Err(problems) }
    }
}
