//! The best runs of a batch, as people see them.

use std::io::{self, Write};

use jetsweep_consolidator::BestRun;
use serde_json::Value;

use crate::output::number::{grouped, percent, ratio};
use crate::output::{Align, Look, Table};

/// Writes the runs as a table, best first; nothing when there are none.
pub(crate) fn write(best: &[BestRun], out: &mut dyn Write, look: Look) -> io::Result<()> {
    if best.is_empty() {
        return Ok(());
    }
    let columns = [
        ("run", Align::Right),
        ("symbol", Align::Left),
        ("strategy", Align::Left),
        ("parameters", Align::Left),
        ("sharpe", Align::Right),
        ("sortino", Align::Right),
        ("return", Align::Right),
        ("cagr", Align::Right),
        ("drawdown", Align::Right),
        ("wins", Align::Right),
        ("trades", Align::Right),
    ];
    let mut table = Table::new(look, columns);
    for run in best {
        let parameters: Vec<String> =
            run.params.iter().map(|(name, value)| format!("{name}={}", bare(value))).collect();
        table.row([
            grouped(run.run),
            run.symbol.clone(),
            run.strategy.clone(),
            parameters.join(" "),
            format!("{:.2}", run.sharpe),
            ratio(run.sortino_ratio),
            percent(run.total_return),
            percent(run.cagr),
            percent(run.max_drawdown),
            percent(run.win_rate),
            run.trade_count.map_or_else(|| "-".to_owned(), |count| count.to_string()),
        ]);
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
