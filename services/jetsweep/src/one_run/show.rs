//! A run as people read it.

use std::io::{self, Write};

use jetsweep_engine::metrics::{Kind, Metric};
use jetsweep_engine::simulation::{ExitReason, Side};
use jetsweep_shared::events::TradeRow;
use serde::Serialize;
use serde_json::Value;

use super::OneRun;
use crate::output::number::{counted, grouped};
use crate::output::{Align, Look, Table};

/// Trades shown at the start and at the end of a long list.
const TRADES_AT_EACH_END: usize = 5;

/// Shows a run: what it is, its metrics, its trades.
pub(crate) struct Show<'a>(pub(crate) &'a OneRun);

impl Show<'_> {
    /// Writes all of it.
    pub(crate) fn write(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let Show(run) = self;
        writeln!(out, "{}", look.bold(&self.title()))?;
        let dates = &run.reply.dates;
        if let (Some(first), Some(last)) = (dates.first(), dates.last()) {
            writeln!(out, "{first} to {last}, {}\n", counted(dates.len() as u64, "bar"))?;
        }
        writeln!(out, "{}\n", self.metrics(look))?;
        self.trades(out, look)
    }

    /// `AAPL sma_cross fast=10 slow=30`.
    fn title(&self) -> String {
        let Show(run) = self;
        let params = run.reply.params.iter().map(|(name, value)| format!(" {name}={value}"));
        params.fold(format!("{} {}", run.reply.symbol, run.reply.strategy), |title, param| title + &param)
    }

    /// All metrics, in two columns read downwards.
    fn metrics(&self, look: Look) -> Table {
        let Show(run) = self;
        let columns = [("metric", Align::Left), ("value", Align::Right)];
        let mut table = Table::new(look, columns.into_iter().chain(columns));
        let text = |metric: &Metric| [metric.name().to_owned(), metric_text(*metric, run.metric(*metric))];
        let half = Metric::ALL.len().div_ceil(2);
        let (left, right) = Metric::ALL.split_at(half);
        for (index, metric) in left.iter().enumerate() {
            let beside = right.get(index).map_or([String::new(), String::new()], text);
            table.row(text(metric).into_iter().chain(beside));
        }
        table
    }

    fn trades(&self, out: &mut dyn Write, look: Look) -> io::Result<()> {
        let Show(run) = self;
        let trades = &run.reply.trades;
        if trades.is_empty() {
            return writeln!(out, "no trades");
        }
        let columns: Vec<&TradeColumn> = TRADE_COLUMNS.iter().filter(|column| (column.is_shown)(trades)).collect();
        let mut table = Table::new(look, columns.iter().map(|column| (column.name, column.align)));
        let is_long = trades.len() > 2 * TRADES_AT_EACH_END + 1;
        let first_of_the_last = trades.len() - TRADES_AT_EACH_END.min(trades.len());
        for (index, trade) in trades.iter().enumerate() {
            let is_shown = !is_long || index < TRADES_AT_EACH_END || index >= first_of_the_last;
            if is_shown {
                table.row(columns.iter().map(|column| (column.text)(index, trade)));
            } else if index == TRADES_AT_EACH_END {
                table.row(columns.iter().map(|_| "..."));
            }
        }
        writeln!(out, "{table}")?;
        let open = trades.iter().filter(|trade| trade.open).count();
        let closed = counted((trades.len() - open) as u64, "closed trade");
        match open {
            0 => writeln!(out, "{closed}"),
            open => writeln!(out, "{closed}, {open} open at the end"),
        }
    }
}

/// A column of the table of trades.
struct TradeColumn {
    name: &'static str,
    align: Align,
    /// Whether it says anything about these trades.
    is_shown: fn(&[TradeRow]) -> bool,
    text: fn(usize, &TradeRow) -> String,
}

impl TradeColumn {
    const fn new(name: &'static str, align: Align, text: fn(usize, &TradeRow) -> String) -> Self {
        Self { name, align, is_shown: |_| true, text }
    }
}

const TRADE_COLUMNS: [TradeColumn; 11] = [
    TradeColumn::new("trade", Align::Right, |index, _| (index + 1).to_string()),
    TradeColumn {
        is_shown: |trades| trades.iter().any(|trade| trade.side == Side::Short),
        ..TradeColumn::new("side", Align::Left, |_, trade| word(&trade.side))
    },
    TradeColumn::new("entry", Align::Left, |_, trade| trade.entry_date.clone()),
    TradeColumn::new("price", Align::Right, |_, trade| price(trade.entry_price)),
    TradeColumn::new("exit", Align::Left, |_, trade| match trade.open {
        true => "open".to_owned(),
        false => trade.exit_date.clone(),
    }),
    TradeColumn::new("price", Align::Right, |_, trade| price(trade.exit_price)),
    TradeColumn {
        is_shown: |trades| trades.iter().any(|trade| !matches!(trade.exit_reason, ExitReason::Rule | ExitReason::End)),
        ..TradeColumn::new("by", Align::Left, |_, trade| word(&trade.exit_reason))
    },
    TradeColumn::new("size", Align::Right, |_, trade| size(trade.size)),
    TradeColumn::new("pnl", Align::Right, |_, trade| money(trade.pnl)),
    TradeColumn::new("return", Align::Right, |_, trade| percent(trade.return_)),
    TradeColumn::new("bars", Align::Right, |_, trade| trade.bars_held.to_string()),
];

/// The word that JSON has for it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A metric's value, in its unit; `-` where it is undefined.
pub(crate) fn metric_text(metric: Metric, value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match metric.kind() {
        Kind::Count => count(value),
        Kind::Money => money(value),
        Kind::Ratio if is_fraction(metric) => percent(value),
        Kind::Ratio => format!("{value:.4}"),
    }
}

/// Whether a ratio is a part of a whole or a change, which reads best as a percentage.
fn is_fraction(metric: Metric) -> bool {
    use Metric::*;
    matches!(
        metric,
        MaxDrawdown
            | WinRate
            | AvgTradeReturn
            | TotalReturn
            | Cagr
            | Volatility
            | Exposure
            | BestTradeReturn
            | WorstTradeReturn
            | AvgWinReturn
            | AvgLossReturn
    )
}

fn count(value: f64) -> String {
    grouped(value as u64)
}

/// `-1,234.50`.
fn money(value: f64) -> String {
    let cents = (value.abs() * 100.0).round();
    // Beyond 2^53 cents the digits after the point say nothing.
    let sign = if value < 0.0 && cents > 0.0 { "-" } else { "" };
    let whole = (cents / 100.0).floor();
    format!("{sign}{}.{:02}", grouped(whole as u64), (cents - whole * 100.0) as u64)
}

fn percent(value: f64) -> String {
    format!("{:.2}%", value * 100.0)
}

/// A price with the digits that matter: bars adjusted for splits start at cents.
fn price(value: f64) -> String {
    if value.abs() < 10.0 { format!("{value:.4}") } else { format!("{value:.2}") }
}

fn size(value: f64) -> String {
    if value >= 1000.0 { grouped(value.round() as u64) } else { format!("{value:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_in_their_unit() {
        assert_eq!(metric_text(Metric::Sharpe, Some(0.768_274)), "0.7683");
        assert_eq!(metric_text(Metric::MaxDrawdown, Some(-0.543)), "-54.30%");
        assert_eq!(metric_text(Metric::TradeCount, Some(1105.0)), "1,105");
        assert_eq!(metric_text(Metric::FinalEquity, Some(7_313_065.666)), "7,313,065.67");
        assert_eq!(metric_text(Metric::ProfitFactor, None), "-");
        assert_eq!([money(-0.001), money(-12.345), money(999.999)], ["0.00", "-12.35", "1,000.00"]);
        assert_eq!([price(0.10372), price(121.25)], ["0.1037", "121.25"]);
        assert_eq!([size(12.345), size(963_213.9)], ["12.35", "963,214"]);
    }
}
