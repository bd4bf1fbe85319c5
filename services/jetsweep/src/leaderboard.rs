//! The best runs of a batch, as people see them.

use std::io::{self, Write};

use jetsweep_consolidator::BestRun;
use serde_json::Value;

use crate::output::number::{percent, ratio};
use crate::output::{Align, Look, Table};

/// Characters from which on a terminal has room for all columns.
const WIDE: u16 = 120;

/// A column of the table.
struct Column {
    name: &'static str,
    align: Align,
    /// Whether it is for wide terminals only.
    wide: bool,
    text: fn(&BestRun) -> String,
}

const COLUMNS: [Column; 12] = [
    // As `jetsweep replay` takes it.
    Column::new("run", Align::Right, |run| run.run.to_string()),
    Column::new("symbol", Align::Left, |run| run.symbol.clone()),
    Column::new("strategy", Align::Left, |run| run.strategy.clone()),
    Column::new("parameters", Align::Left, parameters),
    Column::new("sharpe", Align::Right, |run| format!("{:.2}", run.sharpe)),
    Column::new("sortino", Align::Right, |run| ratio(run.sortino_ratio)).wide(),
    Column::new("return", Align::Right, |run| percent(run.total_return)).wide(),
    Column::new("buy and hold", Align::Right, |run| percent(run.benchmark_return)).wide(),
    Column::new("cagr", Align::Right, |run| percent(run.cagr)),
    Column::new("drawdown", Align::Right, |run| percent(run.max_drawdown)),
    Column::new("wins", Align::Right, |run| percent(run.win_rate)).wide(),
    Column::new("trades", Align::Right, |run| {
        run.trade_count.map_or_else(|| "-".to_owned(), |count| count.to_string())
    }),
];

impl Column {
    const fn new(name: &'static str, align: Align, text: fn(&BestRun) -> String) -> Self {
        Self { name, align, wide: false, text }
    }

    const fn wide(self) -> Self {
        Self { wide: true, ..self }
    }
}

/// `fast=10 slow=30`.
fn parameters(run: &BestRun) -> String {
    run.params.iter().map(|(name, value)| format!("{name}={}", bare(value))).collect::<Vec<_>>().join(" ")
}

/// Writes the runs as a table, best first; nothing when there are none.
pub(crate) fn write(best: &[BestRun], out: &mut dyn Write, look: Look) -> io::Result<()> {
    if best.is_empty() {
        return Ok(());
    }
    let is_narrow = look.width.is_some_and(|width| width < WIDE);
    let columns: Vec<&Column> = COLUMNS.iter().filter(|column| !(column.wide && is_narrow)).collect();
    let mut table = Table::new(look, columns.iter().map(|column| (column.name, column.align)));
    for run in best {
        table.row(columns.iter().map(|column| (column.text)(run)));
    }
    let title =
        if best.len() == 1 { "the best by Sharpe".to_owned() } else { format!("the {} best by Sharpe", best.len()) };
    writeln!(out)?;
    writeln!(out, "{}", look.bold(&title))?;
    writeln!(out, "{table}")
}

/// A number as short as it can be: `10` rather than `10.0`.
fn bare(value: &Value) -> String {
    match value.as_f64() {
        Some(number) => number.to_string(),
        None => value.to_string(),
    }
}
