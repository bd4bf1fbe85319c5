//! What a run is logged with beside its metrics: files of its row, trades and equity, and charts.

use bytes::Bytes;
use jetsweep_charts::{Fill, LineChart, drawdown};
use jetsweep_shared::events::{ReplayReply, TradeRow};

use crate::names;
use crate::row::RunRow;

/// Colour of equity.
const BLUE: &str = "#1d4ed8";
/// Colour of losses.
const RED: &str = "#c81e1e";

/// Path of the chart that a run's page shows.
pub(crate) const EQUITY_CHART: &str = "equity.svg";

/// A file of a run: its path below the run's artifacts, and what it holds.
pub(crate) type File = (&'static str, Bytes);

/// The run's row as JSON.
pub(crate) fn row_file(row: &RunRow) -> File {
    // Numbers are finite and keys are text.
    ("row.json", serde_json::to_vec_pretty(&row.to_json()).unwrap_or_default().into())
}

/// Trades, equity and charts of a run in full. `cash` is what it started with.
pub(crate) fn replay_files(row: &RunRow, replay: &ReplayReply, cash: f64) -> Vec<File> {
    let title = names::run_name(&row.symbol, &row.strategy, &row.params);
    let span = match (replay.dates.first(), replay.dates.last()) {
        (Some(first), Some(last)) => format!("{title}, {first} to {last}"),
        _ => title,
    };
    let depths = drawdown(&replay.equity, cash);
    let equity_chart = LineChart {
        title: "Equity at the close",
        subtitle: &span,
        dates: &replay.dates,
        values: &replay.equity,
        colour: BLUE,
        fill: Fill::None,
        percent: false,
    };
    let drawdown_chart = LineChart {
        title: "Drawdown",
        subtitle: &span,
        dates: &replay.dates,
        values: &depths,
        colour: RED,
        fill: Fill::FromTop,
        percent: true,
    };
    vec![
        ("trades.csv", trades_csv(&replay.trades)),
        ("equity.csv", equity_csv(replay)),
        (EQUITY_CHART, equity_chart.svg().into()),
        ("drawdown.svg", drawdown_chart.svg().into()),
    ]
}

fn trades_csv(trades: &[TradeRow]) -> Bytes {
    let mut csv = csv::Writer::from_writer(Vec::new());
    // Memory takes everything, and rows are flat.
    for trade in trades {
        csv.serialize(trade).expect("a trade is a row");
    }
    let bytes = csv.into_inner().expect("memory takes everything");
    if bytes.is_empty() { TRADE_COLUMNS.into() } else { bytes.into() }
}

/// The header of a file without trades.
const TRADE_COLUMNS: &str = "side,entry_date,entry_bar,entry_price,exit_date,exit_bar,exit_price,size,entry_fee,exit_fee,\
                             borrow_cost,pnl,return,bars_held,exit_reason,open\n";

fn equity_csv(replay: &ReplayReply) -> Bytes {
    let rows = replay.dates.iter().zip(&replay.equity).map(|(date, equity)| format!("{date},{equity}\n"));
    std::iter::once("date,equity\n".to_owned()).chain(rows).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use jetsweep_engine::simulation::{ExitReason, Side};

    use super::*;

    #[test]
    fn the_header_is_the_same_with_and_without_trades() {
        let trade = TradeRow {
            side: Side::Short,
            entry_date: "2024-01-03".to_owned(),
            entry_bar: 1,
            entry_price: 10.0,
            exit_date: "2024-01-04".to_owned(),
            exit_bar: 2,
            exit_price: 11.0,
            size: 99.9,
            entry_fee: 1.0,
            exit_fee: 1.1,
            borrow_cost: 0.0,
            pnl: 97.8,
            return_: 0.1 + 0.2,
            bars_held: 1,
            exit_reason: ExitReason::MaxBars,
            open: false,
        };
        let csv = trades_csv(&[trade]);
        let text = std::str::from_utf8(&csv).unwrap();
        assert_eq!(text.lines().next(), TRADE_COLUMNS.lines().next());
        assert_eq!(
            text.lines().nth(1).unwrap(),
            "short,2024-01-03,1,10.0,2024-01-04,2,11.0,99.9,1.0,1.1,0.0,97.8,0.30000000000000004,1,max_bars,false"
        );
        assert_eq!(trades_csv(&[]), TRADE_COLUMNS);
    }
}
