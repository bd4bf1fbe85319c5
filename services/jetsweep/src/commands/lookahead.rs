//! `jetsweep lookahead`: whether strategies know bars that have not happened yet.

use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::lookahead::{self, LookAhead};
use jetsweep_planner::PlanOptions;
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::plan::Plan;
use jetsweep_shared::spec::{ResolvedSpec, StrategySpec};
use serde::Serialize;

use crate::app::App;
use crate::bars;
use crate::cli::LookaheadArgs;
use crate::commands::Answer;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::one_run::{self, RunError};
use crate::output::number::{counted, grouped};
use crate::output::{Align, Look, Report, Table};
use crate::sweep::{self, Sweep};

pub(crate) async fn execute(args: LookaheadArgs, app: &App) -> Answer {
    let doing = format!("check {} for look-ahead", sweep::name(&args.sweep));
    let Sweep { spec, data_root } = sweep::load(&args.sweep, app, &doing)?;
    let spec = spec.resolved;
    let options = PlanOptions { data_root: Some(data_root.clone()), ..PlanOptions::from_config(&app.config) };
    let plan = jetsweep_planner::plan(&spec, &options).map_err(|problems| Failure::problems(&doing, problems))?;
    let compiled = spec.strategies.iter().map(|strategy| Strategy::new(&strategy.template, &spec.execution));
    let compiled: Vec<Strategy> =
        compiled.collect::<Result<_, _>>().map_err(|problems| Failure::problems(&doing, problems))?;

    let loader = bars::loader(&data_root, &spec.data, app, &doing).await?;
    let looked_under = bars::looked_under(&data_root, &spec.data);
    let mut report = Checked::new(&spec);
    for (index, symbol) in spec.symbols.iter().enumerate() {
        let bars = loader.load(&spec.data, symbol).await;
        let bars = bars.map_err(|error| RunError::from(error).into_failure(&doing, &looked_under))?;
        let runs = chosen(&plan, index, args.sample.into());
        let checks = check_all(&spec, &plan, &compiled, &bars, &runs, app.config.worker.slots);
        report.add(&plan, symbol, checks).map_err(|error| Failure::bad_input(&doing, error))?;
    }
    Ok(Box::new(report))
}

/// So many runs of each strategy over a symbol, spread evenly over its grid, the first one among them.
fn chosen(plan: &Plan, symbol: usize, sample: u64) -> Vec<u64> {
    let mut first = symbol as u64 * plan.runs_per_symbol();
    let mut runs = Vec::new();
    for strategy in &plan.strategies {
        let count = sample.min(strategy.runs);
        runs.extend((0..count).map(|index| first + index * strategy.runs / count));
        first += strategy.runs;
    }
    runs
}

/// What became of a run's check.
type Check = (u64, Result<(), CheckError>);

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    LookAhead(#[from] LookAhead),
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Checks runs over the bars of one symbol on so many threads; in order of runs.
fn check_all(
    spec: &ResolvedSpec,
    plan: &Plan,
    compiled: &[Strategy],
    bars: &Bars,
    runs: &[u64],
    threads: usize,
) -> Vec<Check> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(runs.len()));
    let check_some = || {
        while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let check = check_one(spec, plan, compiled, bars, *run);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((*run, check));
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(runs.len()) {
            scope.spawn(check_some);
        }
        check_some();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(run, _)| *run);
    done
}

fn check_one(spec: &ResolvedSpec, plan: &Plan, compiled: &[Strategy], bars: &Bars, run: u64) -> Result<(), CheckError> {
    let (strategy, input) = one_run::planned(spec, plan, run)?;
    Ok(lookahead::check(&compiled[strategy], bars, &input.values)?)
}

/// What was checked, and what looks ahead.
#[derive(Debug, Serialize)]
struct Checked {
    checked: u64,
    looks_ahead: bool,
    strategies: Vec<CheckedStrategy>,
}

#[derive(Debug, Serialize)]
struct CheckedStrategy {
    strategy: String,
    checked: u64,
    found: Vec<Found>,
}

/// A run whose decisions depend on later bars.
#[derive(Debug, Serialize)]
struct Found {
    run: u64,
    symbol: Symbol,
    message: String,
}

impl Checked {
    fn new(spec: &ResolvedSpec) -> Self {
        let strategy = |strategy: &StrategySpec| CheckedStrategy {
            strategy: strategy.name.clone(),
            checked: 0,
            found: Vec::new(),
        };
        Self { checked: 0, looks_ahead: false, strategies: spec.strategies.iter().map(strategy).collect() }
    }

    /// Adds the checks of a symbol's runs; `Err` is the first run that cannot be checked.
    fn add(&mut self, plan: &Plan, symbol: &Symbol, checks: Vec<Check>) -> Result<(), CheckError> {
        for (run, check) in checks {
            let Some(shard) = plan.shard_of(run) else { continue };
            let strategy = &mut self.strategies[shard.strategy];
            strategy.checked += 1;
            self.checked += 1;
            match check {
                Ok(()) => {}
                Err(CheckError::LookAhead(found @ LookAhead::Found { .. })) => {
                    self.looks_ahead = true;
                    strategy.found.push(Found { run, symbol: symbol.clone(), message: found.to_string() });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Report for Checked {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let columns = [("strategy", Align::Left), ("runs checked", Align::Right), ("look ahead", Align::Right)];
        let mut table = Table::new(look, columns);
        for strategy in &self.strategies {
            table.row([strategy.strategy.clone(), grouped(strategy.checked), grouped(strategy.found.len() as u64)]);
        }
        writeln!(out, "{table}")?;
        for strategy in &self.strategies {
            for Found { run, symbol, message } in &strategy.found {
                writeln!(out, "{} over {symbol}, run {run}: {message}", strategy.strategy)?;
            }
        }
        let checked = counted(self.checked, "run");
        match self.looks_ahead {
            false => writeln!(out, "{}: {checked}, no decision depends on later bars", look.green("no look-ahead")),
            true => writeln!(out, "{} in {checked}", look.red("look-ahead")),
        }
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.strategies.iter().map(|strategy| strategy.found.len()).sum::<usize>())
    }

    fn exit(&self) -> Exit {
        if self.looks_ahead { Exit::Failed } else { Exit::Done }
    }
}

#[cfg(test)]
mod tests {
    use jetsweep_shared::plan::StrategyPlan;

    use super::*;

    #[test]
    fn every_strategy_is_sampled_over_its_whole_grid() {
        let strategy = |runs| StrategyPlan { runs, shard_runs: 100, cursors: vec![0] };
        let plan = Plan { strategies: vec![strategy(10), strategy(2)], symbols: 2 };
        assert_eq!(chosen(&plan, 0, 3), [0, 3, 6, 10, 11]);
        assert_eq!(chosen(&plan, 1, 1), [12, 22]);
    }
}
