//! One run: a strategy with its parameters over the bars of one symbol.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::columns::{Column, Columns};
use crate::execution::{Direction, Execution};
use crate::expr::{Parameter, Rule, Rules};
use crate::mask::Mask;
use crate::metrics::Metrics;
use crate::params::Params;
use crate::problem::Problem;
use crate::simulation::{self, Run, Score, Signals, Trade, TrueRanges, Way};
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
    /// The code of a run that took too long.
    pub const TIMEOUT: &str = "timeout";
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
    rules: Arc<Rules>,
    /// The rules of each side that may be taken.
    long: Option<SideRules>,
    short: Option<SideRules>,
    execution: Execution,
}

/// The rules of one side, by their positions among all rules of the strategy.
#[derive(Debug, Clone, Copy)]
struct SideRules {
    enter: usize,
    exit: usize,
}

/// The compiled rules of one side, to enter and to exit.
fn compile(side: &str, rules: &template::SideRules, parameters: &[Parameter]) -> Result<[Rule; 2], Vec<Problem>> {
    let enter = Rule::new(&format!("{side}.enter"), &rules.enter, parameters);
    let exit = Rule::new(&format!("{side}.exit"), &rules.exit, parameters);
    match (enter, exit) {
        (Ok(enter), Ok(exit)) => Ok([enter, exit]),
        (enter, exit) => Err(enter.err().into_iter().chain(exit.err()).flatten().collect()),
    }
}

/// The rules of a strategy evaluated for one run, and what else that reads.
struct Prepared<'a> {
    strategy: &'a Strategy,
    columns: &'a Columns,
    atr: [Option<Column>; 3],
}

impl Prepared<'_> {
    fn run(&self, range: Range<usize>) -> Run<'_> {
        let Self { strategy, columns, atr } = self;
        let masks = |SideRules { enter, exit }: SideRules| simulation::Rules {
            enter: columns.mask(enter),
            exit: columns.mask(exit),
        };
        Run {
            bars: columns.bars(),
            signals: Signals { long: strategy.long.map(masks), short: strategy.short.map(masks) },
            execution: &strategy.execution,
            atr: TrueRanges(atr.each_ref().map(|column| column.as_deref())),
            tables: columns.tables(),
            range,
            pace: Some(columns.pace()),
        }
    }

    /// What `simulate` makes of the run over a range of bars.
    ///
    /// # Errors
    /// `timeout` if it was to stop before its end.
    fn over<T>(&self, range: Range<usize>, simulate: impl FnOnce(&Run<'_>) -> T) -> Result<T, RunFailure> {
        let bars = range.len();
        let outcome = simulate(&self.run(range));
        self.columns.pace().go_on(bars).map(|()| outcome)
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
        let mut rules: Vec<Rule> = Vec::new();
        let mut side = |side: &str, wanted: bool, of_side: Option<&template::SideRules>| {
            if !wanted {
                return None;
            }
            let Some(of_side) = of_side else {
                let message = format!("needs [{side}] rules, which the template {} does not have", template.name());
                problems.push(Problem::new("execution.direction", message));
                return None;
            };
            let compiled = compile(side, of_side, &parameters).map_err(|found| problems.extend(found)).ok()?;
            let enter = rules.len();
            rules.extend(compiled);
            Some(SideRules { enter, exit: enter + 1 })
        };
        let direction = execution.direction;
        let long = side("long", direction != Direction::Short, template.long());
        let short = side("short", direction != Direction::Long, template.short());
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            name: template.name().to_owned(),
            parameters: template.params().keys().cloned().collect(),
            rules: Arc::new(Rules::join(&rules)),
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
    /// indicator's period comes out below its minimum; `timeout` as [`Columns::wait_with`] says.
    pub fn run(&self, columns: &mut Columns, values: &[f64]) -> Result<Metrics, RunFailure> {
        let whole = 0..columns.bars().len();
        self.prepare(columns, values)?.over(whole, |run| run.metrics())
    }

    /// A few metrics of one run, the same bits as those of [`Strategy::run`], at a fraction of the cost.
    ///
    /// # Errors
    /// Those of [`Strategy::run`].
    pub fn score(&self, columns: &mut Columns, values: &[f64]) -> Result<Score, RunFailure> {
        let whole = 0..columns.bars().len();
        self.prepare(columns, values)?.over(whole, |run| run.score())
    }

    /// The same run with its trades and equity.
    ///
    /// # Errors
    /// Those of [`Strategy::run`].
    pub fn replay(&self, columns: &mut Columns, values: &[f64]) -> Result<Replay, RunFailure> {
        let whole = 0..columns.bars().len();
        self.prepare(columns, values)?.over(whole, |run| run.replay())
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
        self.prepare(columns, values)?.over(window, |run| run.metrics())
    }

    /// One run, and the same over each window by itself: [`Strategy::run`] and [`Strategy::run_window`] at the cost of
    /// looking at the rules once.
    ///
    /// # Errors
    /// Those of both.
    pub fn run_with_windows(
        &self,
        columns: &mut Columns,
        values: &[f64],
        windows: &[Range<usize>],
    ) -> Result<(Metrics, Vec<Metrics>), RunFailure> {
        let all = 0..columns.bars().len();
        let windows = windows.iter().map(|window| self.window(columns, window.clone()));
        let windows = windows.collect::<Result<Vec<_>, RunFailure>>()?;
        let prepared = self.prepare(columns, values)?;
        let whole = prepared.over(all, |run| run.metrics())?;
        let each = windows.into_iter().map(|window| prepared.over(window, |run| run.metrics()));
        Ok((whole, each.collect::<Result<_, RunFailure>>()?))
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
        self.prepare(columns, values)?.over(window, |run| run.replay())
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
        self.prepare(columns, values)?;
        let rules = |side: Option<SideRules>, [enter, exit]: [&'static str; 2]| {
            side.map(|rules| [(enter, rules.enter), (exit, rules.exit)])
        };
        let sides = [rules(self.long, ["long.enter", "long.exit"]), rules(self.short, ["short.enter", "short.exit"])];
        let named = sides.into_iter().flatten().flatten();
        Ok(named.map(|(name, rule)| (name, Arc::new(columns.mask(rule).clone()))).collect())
    }

    /// Computes where the rules are true and what else the simulation reads.
    fn prepare<'a>(&'a self, columns: &'a mut Columns, values: &[f64]) -> Result<Prepared<'a>, RunFailure> {
        if columns.bars().is_empty() {
            return Err(RunFailure::new("no_bars", "there are no bars in the range asked for"));
        }
        if values.len() != self.parameters.len() {
            let (name, wanted, given) = (&self.name, self.parameters.len(), values.len());
            let message = format!("{name} has {wanted} parameters, {given} values are given");
            return Err(RunFailure::new("bad_params", message));
        }
        columns.pace().start();
        columns.bind(&self.rules, values)?;
        let distances = self.execution.atr_distances();
        let [stop, target, trail] = distances
            .map(|(_, distance)| distance.map(|distance| columns.average_true_range(distance.period)).transpose());
        let atr = [stop?, target?, trail?];
        if Way::of(&self.execution) == Way::Holdings {
            let risk_free = self.execution.risk_free_per_bar(columns.bars());
            columns.make_tables(risk_free);
        }
        Ok(Prepared { strategy: self, columns, atr })
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
