//! `jetsweep validate`: checks a sweep spec and says what it would run.

use std::io::{self, Write};

use jetsweep_planner::PlanOptions;
use jetsweep_shared::spec::ResolvedSpec;
use serde::Serialize;

use crate::app::App;
use crate::bars;
use crate::cli::ValidateArgs;
use crate::commands::Answer;
use crate::commands::run::data;
use crate::failure::Failure;
use crate::output::number::{counted, grouped};
use crate::output::{Align, Look, Report, Table};
use crate::sweep::{self, Sweep};

pub(crate) async fn execute(args: ValidateArgs, app: &App) -> Answer {
    let doing = format!("validate {}", sweep::spec_name(&args.spec));
    let loaded = sweep::load_spec(&args.spec, args.data.data.as_deref(), &app.config.data.root, &[]);
    let Sweep { spec, data_root } = loaded.map_err(|report| Failure::spec(&doing, report))?;
    let spec = spec.resolved;
    let options = PlanOptions { data_root: Some(data_root.clone()), ..PlanOptions::from_config(&app.config) };
    let plan = jetsweep_planner::plan(&spec, &options).map_err(|problems| Failure::problems(&doing, problems))?;
    if !args.no_data {
        let hint = || format!("{}; --no-data leaves the data alone", bars::looked_under(&data_root, &spec.data));
        let loader = bars::loader(&data_root, &spec.data, app, &doing).await?;
        let found = data::check(&loader, &spec, app.config.worker.slots).await;
        let found = found.map_err(|error| Failure::bad_input(&doing, error).hint(hint()))?;
        if !found.is_empty() {
            return Err(Failure::problems(&doing, data::told(found)).hint(hint()));
        }
    }
    let runs_per_symbol = plan.strategies.iter().map(|strategy| strategy.runs);
    let strategies = spec.strategies.iter().zip(runs_per_symbol).map(|(strategy, runs)| Strategy {
        strategy: strategy.name.clone(),
        template: strategy.template.name().to_owned(),
        runs_per_symbol: runs,
    });
    Ok(Box::new(Valid {
        name: spec.name.clone(),
        spec_digest: spec.digest(),
        total: plan.total_runs(),
        shards: plan.total_shards(),
        strategies: strategies.collect(),
        symbols: symbols(&spec),
        data_checked: !args.no_data,
    }))
}

fn symbols(spec: &ResolvedSpec) -> Vec<String> {
    spec.symbols.iter().map(ToString::to_string).collect()
}

/// What a valid spec would run.
#[derive(Debug, Serialize)]
struct Valid {
    name: String,
    spec_digest: String,
    total: u64,
    shards: u32,
    symbols: Vec<String>,
    strategies: Vec<Strategy>,
    data_checked: bool,
}

#[derive(Debug, Serialize)]
struct Strategy {
    strategy: String,
    template: String,
    runs_per_symbol: u64,
}

impl Report for Valid {
    fn human(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let symbols = counted(self.symbols.len() as u64, "symbol");
        let shards = counted(u64::from(self.shards), "shard");
        let runs = counted(self.total, "run");
        let data = if self.data_checked { "" } else { "; data not checked" };
        writeln!(out, "{}: {}: {runs} over {symbols}, {shards}{data}", look.bold(&self.name), look.green("ok"))?;
        let columns = [("strategy", Align::Left), ("template", Align::Left), ("runs a symbol", Align::Right)];
        let mut table = Table::new(look, columns);
        for strategy in &self.strategies {
            table.row([strategy.strategy.as_str(), &strategy.template, &grouped(strategy.runs_per_symbol)]);
        }
        writeln!(out, "{table}")
    }

    fn json(&self, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(out, self)?;
        Ok(())
    }

    fn quiet(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.total)
    }
}
