//! Sweep specs: the document a user writes, and what it comes to once every default, template and axis is filled in.

use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::Grid;
use jetsweep_engine::template::Template;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::Symbol;

/// Where a sweep's bars come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataRef {
    /// Path of a symbol's bars under the worker's `data.root`, with `{symbol}` in place of the symbol.
    pub source: String,
    /// First date used, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Date>,
    /// Last date used, inclusive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Date>,
}

/// One strategy of a sweep: a template with a grid of parameter values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StrategySpec {
    /// Unique within the sweep; the template's name unless the spec says otherwise.
    pub name: String,
    /// The template, in full.
    pub template: Template,
    /// An axis for every parameter of the template, in its order.
    pub grid: Grid,
}

/// A sweep spec with every default, template and axis filled in. What planners, workers and replays work from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResolvedSpec {
    /// Name of the sweep.
    pub name: String,
    /// Where the bars come from.
    pub data: DataRef,
    /// The universe, in the spec's order, without duplicates.
    pub symbols: Vec<Symbol>,
    /// The strategies, in the spec's order.
    pub strategies: Vec<StrategySpec>,
    /// Execution rules of every run.
    pub execution: Execution,
}
