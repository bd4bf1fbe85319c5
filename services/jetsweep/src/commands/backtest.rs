//! `jetsweep backtest`: one run on this machine, without NATS and without a database.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jetsweep_engine::metrics::Metric;
use jetsweep_shared::events::ReplayInput;
use jetsweep_shared::spec::{LoadedSpec, ResolvedSpec, ShortSpec, Source, StrategySpec};

use crate::app::App;
use crate::bars;
use crate::cli::BacktestArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::files;
use crate::one_run::{self, OneRun, RunError, Show};
use crate::output::{Look, Report};
use crate::sweep;

/// The batch of a run that is of none.
const BATCH: &str = "backtest";

pub(crate) async fn execute(args: BacktestArgs, app: &App) -> Answer {
    let doing = format!("backtest {} with {}", args.symbol, args.strategy);
    let (root, source) = place(args.data.data.as_deref(), &app.config.data.root);
    let LoadedSpec { resolved, .. } =
        spec(&args, source).load(Path::new("")).map_err(|report| Failure::spec(&doing, report))?;
    let run = compute(&resolved, &root, app, &doing).await?;
    if let Some(path) = &args.equity {
        write_equity(&run, path).or_broken(|| format!("write the equity to {}", path.display()))?;
    }
    Ok(Box::new(Backtest(run)))
}

/// The folder the bars lie in, and the path below it. All that is fixed belongs to the folder, which may be reached
/// through links: whoever names it on a command line means what is there. What is elsewhere has no folder.
fn place(data: Option<&str>, root: &Path) -> (PathBuf, String) {
    let (root, source) = sweep::source(data, root);
    if !Source::is_file(&source) {
        return (root, source);
    }
    let before_symbol = &source[..source.find("{symbol}").unwrap_or(source.len())];
    match before_symbol.rfind('/') {
        Some(slash) => (root.join(&source[..slash]), source[slash + 1..].to_owned()),
        None => (root, source),
    }
}

/// The sweep of one run that the flags stand for, so that they mean and are checked as in a sweep.
fn spec(args: &BacktestArgs, source: String) -> ShortSpec {
    let numbers = args.execution.given().map(|(name, value)| (name, Some(value.to_string())));
    let others = [
        ("fill", args.fill.clone()),
        ("end", args.end.clone()),
        ("commission_per_share", args.commission_per_share.map(|value| value.to_string())),
        ("commission_min", args.commission_min.map(|value| value.to_string())),
        ("risk_free_rate", args.risk_free_rate.map(|value| value.to_string())),
        ("bars_per_year", args.bars_per_year.map(|value| value.to_string())),
    ];
    let flags = numbers.chain(others).filter_map(|(name, value)| Some((name.to_owned(), value?)));
    ShortSpec {
        symbols: vec![args.symbol.clone()],
        strategies: vec![args.strategy.clone()],
        source,
        from: args.from.clone(),
        to: args.to.clone(),
        execution: flags.chain(args.rules.iter().cloned()).collect(),
        params: args.params.clone(),
        ..ShortSpec::default()
    }
}

async fn compute(spec: &ResolvedSpec, root: &Path, app: &App, doing: &str) -> Result<OneRun, Failure> {
    // A short spec of one symbol and one strategy resolves to one of each, or not at all.
    let ([symbol], [strategy]) = (spec.symbols.as_slice(), spec.strategies.as_slice()) else {
        return Err(Failure::bad_input(doing, "a backtest has one symbol and one strategy"));
    };
    let values = only_values(strategy).map_err(|cause| Failure::bad_input(doing, cause))?;
    let input = ReplayInput {
        symbol: symbol.clone(),
        strategy: strategy.name.clone(),
        template: strategy.template.clone(),
        values,
        execution: spec.execution.clone(),
        data: spec.data.clone(),
        validation: None,
    };
    let batch = BATCH.parse().or_broken(|| doing)?;
    let loader = bars::loader(root, &spec.data, app, doing).await?;
    let loaded = loader.load(&spec.data, symbol).await;
    let computed = loaded.map_err(RunError::from).and_then(|bars| {
        let digest = bars.digest();
        OneRun::compute(&Arc::new(bars), &digest, &batch, 0, &input)
    });
    computed.map_err(|error| error.into_failure(doing, &bars::looked_under(root, &spec.data)))
}

/// The parameter values of the one run, in the template's order.
fn only_values(strategy: &StrategySpec) -> Result<Vec<f64>, String> {
    let points = strategy.grid.points(&strategy.template).map_err(one_run::list)?;
    let mut walk = points.walk(0, 0);
    let first = walk.next_point().map(|(_, values)| values.to_vec());
    match (first, walk.next_point()) {
        (Some(values), None) => Ok(values),
        _ => Err("a backtest is one run: give each parameter one value (`jetsweep run` runs many)".to_owned()),
    }
}

fn write_equity(run: &OneRun, path: &Path) -> anyhow::Result<()> {
    let mut file = files::beside(path)?;
    file.write_all(run.equity_csv().as_bytes())?;
    file.persist(path)?;
    Ok(())
}

/// The run, as the answer.
struct Backtest(OneRun);

impl Report for Backtest {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        Show(&self.0).write(out, look)
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, &self.0.document())?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        match self.0.metric(Metric::Sharpe) {
            Some(sharpe) => writeln!(out, "{sharpe}"),
            None => writeln!(out, "null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fixed_belongs_to_the_folder() {
        let split = |data: &str| {
            let (folder, source) = place(Some(data), Path::new("root"));
            (folder.to_str().unwrap().to_owned(), source)
        };
        assert_eq!(split("a/b/{symbol}.csv"), ("root/a/b".into(), "{symbol}.csv".into()));
        assert_eq!(split("a/{symbol}/1d.csv"), ("root/a".into(), "{symbol}/1d.csv".into()));
        assert_eq!(split("{symbol}.csv"), ("root".into(), "{symbol}.csv".into()));
        assert_eq!(split("store://a/{symbol}.csv"), ("root".into(), "store://a/{symbol}.csv".into()));
        assert_eq!(split("/bars/AAPL.csv"), ("/bars".into(), "AAPL.csv".into()));
    }
}
