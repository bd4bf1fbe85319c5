//! `jetsweep backtest`: one run on this machine, without NATS and without a database.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jetsweep_engine::metrics::Metric;
use jetsweep_shared::spec::{LoadedSpec, ResolvedSpec, ShortSpec, StrategySpec, split_source};

use crate::app::App;
use crate::cli::BacktestArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::files;
use crate::one_run::{self, OneRun, Show};
use crate::output::{Look, Report};

/// Where the bars of a symbol are when the command line does not say.
const USUAL_SOURCE: &str = "{symbol}.csv";

pub(crate) fn execute(args: BacktestArgs, app: &App) -> Answer {
    let doing = format!("backtest {} with {}", args.symbol, args.strategy);
    let (root, source) = source(args.data.data.as_deref(), &app.config.data.root);
    let LoadedSpec { resolved, .. } =
        spec(&args, source).load(Path::new("")).map_err(|report| Failure::spec(&doing, report))?;
    let run = compute(&resolved, &root, &doing)?;
    if let Some(path) = &args.equity {
        write_equity(&run, path).or_broken(|| format!("write the equity to {}", path.display()))?;
    }
    Ok(Box::new(Backtest(run)))
}

/// The folder the bars are under, and the path below it: `--data` is a path with `{symbol}`, a folder or a file.
fn source(data: Option<&str>, root: &Path) -> (PathBuf, String) {
    let data = match data {
        None => USUAL_SOURCE.to_owned(),
        Some(folder) if root.join(folder).is_dir() => format!("{}/{USUAL_SOURCE}", folder.trim_end_matches('/')),
        Some(path) => path.to_owned(),
    };
    let (folder, source) = split_source(&data);
    (folder.unwrap_or_else(|| root.to_owned()), source)
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
    let given = numbers.chain(others).filter_map(|(name, value)| Some((name.to_owned(), value?)));
    ShortSpec {
        symbols: vec![args.symbol.clone()],
        strategies: vec![args.strategy.clone()],
        source,
        from: args.from.clone(),
        to: args.to.clone(),
        execution: given.collect(),
        params: args.params.clone(),
        ..ShortSpec::default()
    }
}

fn compute(spec: &ResolvedSpec, root: &Path, doing: &str) -> Result<OneRun, Failure> {
    // A short spec of one symbol and one strategy resolves to one of each, or not at all.
    let ([symbol], [strategy]) = (spec.symbols.as_slice(), spec.strategies.as_slice()) else {
        return Err(Failure::bad_input(doing, "a backtest has one symbol and one strategy"));
    };
    let values = only_values(strategy).map_err(|cause| Failure::bad_input(doing, cause))?;
    let path = one_run::bars_path(root, &spec.data.source, symbol);
    let bars = one_run::load_bars(&path, spec.data.from, spec.data.to).or_bad_input(|| doing)?;
    let (name, template) = (&strategy.name, &strategy.template);
    OneRun::compute(symbol.clone(), name, template, &spec.execution, bars, &values).or_bad_input(|| doing)
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
        match self.0.replay.metrics.get(Metric::Sharpe) {
            Some(sharpe) => writeln!(out, "{sharpe}"),
            None => writeln!(out, "null"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_a_pattern_a_folder_or_a_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("daily")).unwrap();
        let below = |data: Option<&str>| {
            let (folder, source) = source(data, root.path());
            assert_eq!(folder, root.path());
            source
        };
        assert_eq!(below(None), "{symbol}.csv");
        assert_eq!(below(Some("daily/")), "daily/{symbol}.csv");
        assert_eq!(below(Some("x/{symbol}_1h.csv")), "x/{symbol}_1h.csv");
        assert_eq!(below(Some("AAPL.csv")), "AAPL.csv");
        let elsewhere = source(Some("/bars/{symbol}/1d.csv"), root.path());
        assert_eq!(elsewhere, (PathBuf::from("/bars"), "{symbol}/1d.csv".to_owned()));
    }
}
