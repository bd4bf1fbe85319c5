//! `jetsweep bench`: sweeps end to end against the engine alone, on the same cores, in the same call.
//!
//! Measurements come in pairs, one of each kind after the other, so that whatever else the machine does hits both.
//! End to end is `jetsweep run` itself, as a process of its own with a state folder of its own: NATS server, jobs,
//! results, committed rows. The engine alone is a plain loop over the same runs on as many threads as there are slots.

mod alone;
mod end_to_end;
mod hourly;
mod report;
mod workload;

use std::path::{Path, PathBuf};

use jetsweep_engine::problem::Problem;
use tempfile::TempDir;

use crate::app::App;
use crate::cli::BenchArgs;
use crate::commands::Answer;
use crate::failure::{Failure, OrFail};
use crate::output::Format;
use crate::sweep;

use report::{BenchReport, Measured};
use workload::Workload;

const DOING: &str = "measure";

/// Where the sample's bars are, from the root of the repository.
const SAMPLE: &str = "data/sample";

pub(crate) fn execute(args: &BenchArgs, app: &App) -> Answer {
    let daily = PathBuf::from(args.data.data.as_deref().unwrap_or(SAMPLE));
    let symbols = symbols(&daily)?;
    // On the same disk as a real state folder, whose writes are waited for.
    let state = &app.config.state_dir;
    std::fs::create_dir_all(state).or_broken(|| format!("make the state folder {}", state.display()))?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(state).or_broken(|| DOING)?;

    let mut workloads = Vec::new();
    if args.light > 0 {
        workloads.push(Workload::light(args.light, &symbols, &daily));
    }
    if args.heavy > 0 {
        say(app, "making hourly bars from the daily ones");
        let hourly = folder.path().join("hourly");
        hourly::make(&daily, &symbols, &hourly).or_broken(|| "make hourly bars")?;
        workloads.push(Workload::heavy(args.heavy, &symbols, &hourly));
    }
    let measured = workloads.iter().map(|workload| measure(workload, args, app, &folder)).collect::<Result<_, _>>()?;
    Ok(Box::new(BenchReport::new(app.config.worker.slots, symbols.len(), measured)))
}

fn measure(workload: &Workload, args: &BenchArgs, app: &App, folder: &TempDir) -> Result<Measured, Failure> {
    let spec_file = folder.path().join(format!("{}.toml", workload.name));
    std::fs::write(&spec_file, workload.spec()).or_broken(|| DOING)?;
    let sweep =
        sweep::load_spec(&spec_file, None, &workload.data_root, &[]).map_err(|report| Failure::spec(DOING, report))?;
    let slots = app.config.worker.slots;
    let mut measured = Measured::new(workload);
    for pair in 1..=args.pairs.max(1) {
        say(app, &format!("{}: pair {pair} of {}", workload.name, args.pairs.max(1)));
        measured.alone.push(alone::run(&sweep.spec.resolved, &workload.data_root, slots)?);
        let state = folder.path().join(format!("{}-{pair}", workload.name));
        measured.end_to_end.push(end_to_end::run(&spec_file, workload, &state, app)?);
    }
    Ok(measured)
}

/// Symbols of a folder of CSV files: the first few by name.
fn symbols(daily: &Path) -> Result<Vec<String>, Failure> {
    let entries = std::fs::read_dir(daily).map_err(|error| {
        let cause = format!("{}: {error}", daily.display());
        Failure::bad_input(DOING, cause).hint("--data names the folder of daily bars, data/sample of the repository")
    })?;
    let names = entries.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        Some(name.strip_suffix(".csv")?.to_owned())
    });
    let mut symbols: Vec<String> = names.collect();
    symbols.sort_unstable();
    symbols.truncate(workload::SYMBOLS);
    if symbols.is_empty() {
        return Err(Failure::problems(DOING, vec![Problem::new(daily.display().to_string(), "has no CSV files")]));
    }
    Ok(symbols)
}

fn say(app: &App, text: &str) {
    if app.format != Format::Quiet {
        // Standard error may be closed; progress is no reason to fail.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{text}\n"));
    }
}
