//! What is run.

use std::path::{Path, PathBuf};

/// Most symbols of a workload. Eight divide the runs asked for evenly.
pub(super) const SYMBOLS: usize = 8;

/// Values of the light workload's `fast`.
const FASTS: u64 = 50;

/// Values of each but the last parameter of the heavy workload.
const STEPS: u64 = 5;

/// A sweep to measure.
#[derive(Debug)]
pub(super) struct Workload {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// Folder of the bars, one file a symbol.
    pub(super) data_root: PathBuf,
    symbols: Vec<String>,
    /// Execution rules beside the commission.
    execution: &'static str,
    strategy: String,
}

impl Workload {
    /// SMA crossings over daily bars: at least `runs` of them.
    pub(super) fn light(runs: u64, symbols: &[String], daily: &Path) -> Self {
        let each = runs.div_ceil(symbols.len() as u64);
        let fasts = each.min(FASTS);
        let slows = each.div_ceil(fasts);
        let (last_fast, last_slow) = (4 + fasts, 4 + fasts + slows);
        let first_slow = last_fast + 1;
        Self {
            name: "light",
            description: "SMA crossings over daily bars",
            data_root: daily.to_owned(),
            symbols: symbols.to_vec(),
            execution: "",
            strategy: format!(
                "[[strategy]]\ntemplate = \"sma_cross\"\n\
                 fast = {{ from = 5, to = {last_fast} }}\nslow = {{ from = {first_slow}, to = {last_slow} }}\n"
            ),
        }
    }

    /// Eight indicators and two stops over hourly bars: at least `runs` of them.
    pub(super) fn heavy(runs: u64, symbols: &[String], hourly: &Path) -> Self {
        let each = runs.div_ceil(symbols.len() as u64);
        let last_width = 20 + each.div_ceil(STEPS.pow(3)).max(1) - 1;
        Self {
            name: "heavy",
            description: "eight indicators and two stops over hourly bars made from the daily ones",
            data_root: hourly.to_owned(),
            symbols: symbols.to_vec(),
            execution: HEAVY_EXECUTION,
            strategy: format!(
                "[[strategy]]\n\
                 fast = {{ from = 8, to = 24, step = 4 }}\n\
                 slow = {{ from = 40, to = 120, step = 20 }}\n\
                 period = {{ from = 10, to = 30, step = 5 }}\n\
                 width = {{ from = 20, to = {last_width} }}\n\
                 {HEAVY_TEMPLATE}"
            ),
        }
    }

    /// The sweep spec.
    pub(super) fn spec(&self) -> String {
        let symbols: Vec<String> = self.symbols.iter().map(|symbol| format!("{symbol:?}")).collect();
        format!(
            "name = \"bench-{}\"\n[data]\nsource = \"{{symbol}}.csv\"\n[universe]\nsymbols = [{}]\n\
             [execution]\ncommission = 0.001\n{}{}",
            self.name,
            symbols.join(", "),
            self.execution,
            self.strategy
        )
    }
}

/// Stops depend on the way prices take, so that every bar of a holding must be looked at.
const HEAVY_EXECUTION: &str = "stop_loss = 0.1\ntrailing_stop = 0.15\n";

const HEAVY_TEMPLATE: &str = r#"
[strategy.template]
name = "trend_with_filters"
description = "Buys a rising market that is neither weak nor far above its mean."

[strategy.template.params]
fast = { default = 12, min = 2, max = 500 }
slow = { default = 60, min = 2, max = 500 }
period = { default = 14, min = 2, max = 500 }
width = { default = 20, min = 2, max = 500 }

[strategy.template.long]
enter = """
ema(close, fast) > ema(close, slow) and rsi(close, period) > 50 and adx(width) > 15
and close < bbands_upper(close, width, 2) and zscore(volume, period) > -2"""
exit = "macd_hist(close, fast, slow, 9) < 0 and (close < lag(lowest(low, width), 1) or roc(close, period) < -5)"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_are_as_large_as_asked_for() {
        let symbols: Vec<String> = ["A", "B", "C", "D", "E", "F", "G", "H"].map(str::to_owned).to_vec();
        let runs = |workload: &Workload| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("spec.toml");
            std::fs::write(&file, workload.spec()).unwrap();
            let sweep = crate::sweep::load_spec(&file, None, folder.path(), &[]).unwrap();
            let strategy = &sweep.spec.resolved.strategies[0];
            strategy.grid.points(&strategy.template).unwrap().count() * symbols.len() as u64
        };
        for (asked, made) in [(100_000, 100_000), (400, 400), (9, 16)] {
            assert_eq!(runs(&Workload::light(asked, &symbols, Path::new("."))), made);
        }
        for (asked, made) in [(5_000, 5_000), (1, 1_000)] {
            assert_eq!(runs(&Workload::heavy(asked, &symbols, Path::new("."))), made);
        }
    }
}
