//! One run: a strategy with its parameters over the bars of one symbol.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::bars::Bars;
use crate::columns::{Column, Columns};
use crate::execution::{Direction, Execution};
use crate::expr::{Parameter, Rule};
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::params::Params;
use crate::problem::Problem;
use crate::simulation::{self, Run, Score, Signals, Tables, Trade, TrueRanges, Way};
use crate::template::{self, Template};

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
        let mut end = message.len().min(Self::LONGEST_MESSAGE);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
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
    /// The rules of each side that may be taken.
    long: Option<SideRules>,
    short: Option<SideRules>,
    execution: Execution,
}

/// The compiled rules of one side.
#[derive(Debug, Clone)]
struct SideRules {
    enter: Rule,
    exit: Rule,
}

impl SideRules {
    fn new(side: &str, rules: &template::SideRules, parameters: &[Parameter]) -> Result<Self, Vec<Problem>> {
        let enter = Rule::new(&format!("{side}.enter"), &rules.enter, parameters);
        let exit = Rule::new(&format!("{side}.exit"), &rules.exit, parameters);
        match (enter, exit) {
            (Ok(enter), Ok(exit)) => Ok(Self { enter, exit }),
            (enter, exit) => Err(enter.err().into_iter().chain(exit.err()).flatten().collect()),
        }
    }
}

/// The masks of one side in one run.
struct SideMasks {
    enter: Arc<Mask>,
    exit: Arc<Mask>,
}

impl SideMasks {
    fn rules(&self) -> simulation::Rules<'_> {
        simulation::Rules { enter: &self.enter, exit: &self.exit }
    }
}

/// The columns and masks of one run.
struct Prepared {
    bars: Arc<Bars>,
    long: Option<SideMasks>,
    short: Option<SideMasks>,
    atr: [Option<Column>; 3],
    tables: Option<Arc<Tables>>,
}

impl Prepared {
    fn run<'a>(&'a self, execution: &'a Execution, range: Range<usize>) -> Run<'a> {
        let side = |masks: &'a Option<SideMasks>| masks.as_ref().map(SideMasks::rules);
        let signals = Signals { long: side(&self.long), short: side(&self.short) };
        let atr = TrueRanges(self.atr.each_ref().map(|column| column.as_deref()));
        Run { bars: &self.bars, signals, execution, atr, tables: self.tables.as_deref(), range }
    }
}

impl Strategy {
    /// Compiles the rules of a template.
    ///
    /// # Errors
    /// Everything wrong with the execution rules, at `execution`; a direction for which the template has no rules is
    /// one of these. The template itself has been checked already.
    pub fn new(template: &Template, execution: &Execution) -> Result<Self, Vec<Problem>> {
        let mut problems: Vec<Problem> =
            execution.problems().into_iter().map(|problem| problem.within("execution")).collect();
        let parameters = template.expression_parameters();
        let mut compile = |side: &str, wanted: bool, rules: Option<&template::SideRules>| match rules {
            _ if !wanted => None,
            Some(rules) => SideRules::new(side, rules, &parameters).map_err(|found| problems.extend(found)).ok(),
            None => {
                let message = format!("needs [{side}] rules, which the template {} does not have", template.name());
                problems.push(Problem::new("execution.direction", message));
                None
            }
        };
        let direction = execution.direction;
        let long = compile("long", direction != Direction::Short, template.long());
        let short = compile("short", direction != Direction::Long, template.short());
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: template.name().to_owned(),
            parameters: template.params().keys().cloned().collect(),
            long,
            short,
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
        let prepared = self.prepare(columns, values)?;
        Ok(prepared.run(&self.execution, 0..columns.bars().len()).metrics())
    }

    /// A few metrics of one run, the same bits as those of [`Strategy::run`], at a fraction of the cost.
    ///
    /// # Errors
    /// Those of [`Strategy::run`].
    pub fn score(&self, columns: &mut Columns, values: &[f64]) -> Result<Score, RunFailure> {
        let prepared = self.prepare(columns, values)?;
        Ok(prepared.run(&self.execution, 0..columns.bars().len()).score())
    }

    /// The same run with its trades and equity.
    ///
    /// # Errors
    /// Those of [`Strategy::run`].
    pub fn replay(&self, columns: &mut Columns, values: &[f64]) -> Result<Replay, RunFailure> {
        let prepared = self.prepare(columns, values)?;
        Ok(prepared.run(&self.execution, 0..columns.bars().len()).replay())
    }

    /// One run over a window of the bars, by itself: flat at its start with the initial cash, and over at its end as
    /// if no bar followed. Indicators know the bars before it, and the bars a year are those of the whole series.
    ///
    /// # Errors
    /// Those of [`Strategy::run`], `no_bars` also if none of the bars lies in `window`.
    pub fn run_window(
        &self,
        columns: &mut Columns,
        values: &[f64],
        window: Range<usize>,
    ) -> Result<Metrics, RunFailure> {
        let window = self.window(columns, window)?;
        let prepared = self.prepare(columns, values)?;
        Ok(prepared.run(&self.execution, window).metrics())
    }

    /// The run of a window with its trades, whose bars are numbered as in the whole series, and its equity.
    ///
    /// # Errors
    /// Those of [`Strategy::run_window`].
    pub fn replay_window(
        &self,
        columns: &mut Columns,
        values: &[f64],
        window: Range<usize>,
    ) -> Result<Replay, RunFailure> {
        let window = self.window(columns, window)?;
        let prepared = self.prepare(columns, values)?;
        Ok(prepared.run(&self.execution, window).replay())
    }

    /// The part of a window that has bars.
    fn window(&self, columns: &Columns, window: Range<usize>) -> Result<Range<usize>, RunFailure> {
        let end = window.end.min(columns.bars().len());
        if window.start >= end {
            let message = format!("there are no bars in the window from bar {} to {}", window.start, window.end);
            return Err(RunFailure::new("no_bars", message));
        }
        Ok(window.start..end)
    }

    /// Where each rule is true, by its place in the template, such as `long.enter`.
    pub(crate) fn rule_masks(
        &self,
        columns: &mut Columns,
        values: &[f64],
    ) -> Result<Vec<(&'static str, Arc<Mask>)>, RunFailure> {
        let Prepared { long, short, .. } = self.prepare(columns, values)?;
        let long = long.map(|SideMasks { enter, exit }| [("long.enter", enter), ("long.exit", exit)]);
        let short = short.map(|SideMasks { enter, exit }| [("short.enter", enter), ("short.exit", exit)]);
        Ok([long, short].into_iter().flatten().flatten().collect())
    }

    /// Computes where the rules are true and what else the simulation reads.
    fn prepare(&self, columns: &mut Columns, values: &[f64]) -> Result<Prepared, RunFailure> {
        if columns.bars().is_empty() {
            return Err(RunFailure::new("no_bars", "there are no bars in the range asked for"));
        }
        if values.len() != self.parameters.len() {
            let (name, wanted, given) = (&self.name, self.parameters.len(), values.len());
            let message = format!("{name} has {wanted} parameters, {given} values are given");
            return Err(RunFailure::new("bad_params", message));
        }
        let masks_of = |columns: &mut Columns, rules: &Option<SideRules>| {
            let Some(SideRules { enter, exit }) = rules else { return Ok(None) };
            let [enter, exit] = columns.masks([enter, exit], values)?;
            Ok(Some(SideMasks { enter, exit }))
        };
        let long = masks_of(columns, &self.long)?;
        let short = masks_of(columns, &self.short)?;
        let distances = self.execution.atr_distances();
        let atr = distances.map(|(_, distance)| Some(columns.average_true_range(distance?.period)));
        let tables = (Way::of(&self.execution) == Way::Holdings).then(|| {
            let risk_free = self.execution.risk_free_per_bar(columns.bars());
            columns.tables(risk_free)
        });
        Ok(Prepared { bars: Arc::clone(columns.bars()), long, short, atr, tables })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_bars::bars_of;

    fn strategy(execution: &Execution) -> Result<Strategy, Vec<Problem>> {
        Strategy::new(&crate::template::builtin("sma_cross").unwrap(), execution)
    }

    #[test]
    fn failures_are_those_of_the_run() {
        let bars = bars_of(&[(1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (1.0, 3.0, 0.0)]);
        let strategy = strategy(&Execution::default()).unwrap();
        let before_all: jiff::civil::Date = "1900-01-01".parse().unwrap();
        let mut no_bars = Columns::new(Arc::new(bars.between(None, Some(before_all))), 0);
        assert_eq!(strategy.run(&mut no_bars, &[2.0, 3.0]).unwrap_err().code, "no_bars");
        assert_eq!(strategy.replay(&mut no_bars, &[2.0, 3.0]).unwrap_err().code, "no_bars");

        let mut columns = Columns::new(bars, 0);
        let failure = strategy.run(&mut columns, &[2.0]).unwrap_err();
        assert_eq!(failure.to_string(), "bad_params: sma_cross has 2 parameters, 1 values are given");
        let failure = strategy.run(&mut columns, &[0.0, 3.0]).unwrap_err();
        assert_eq!(failure.to_string(), "bad_period: sma(close, fast): n is 0, must be a whole number of at least 1");
        assert!(strategy.run(&mut columns, &[2.5, 3.0]).is_err());
        assert!(strategy.run(&mut columns, &[2.0, 3.0]).is_ok());
    }

    #[test]
    fn execution_rules_are_checked() {
        let problems = strategy(&Execution { cash: 0.0, slippage: 2.0, ..Execution::default() }).unwrap_err();
        assert_eq!(
            problems.iter().map(|problem| problem.at.as_str()).collect::<Vec<_>>(),
            ["execution.cash", "execution.slippage"]
        );
    }

    #[test]
    fn parameters_keep_the_templates_order() {
        let params = strategy(&Execution::default()).unwrap().params(&[5.0, 20.0]);
        assert_eq!(params.into_iter().collect::<Vec<_>>(), [("fast".to_owned(), 5.0), ("slow".to_owned(), 20.0)]);
    }

    #[test]
    fn messages_are_cut_at_a_characters_end() {
        let failure = RunFailure::new("panic", "é".repeat(400));
        assert_eq!(failure.message.len(), RunFailure::LONGEST_MESSAGE);
    }
}
