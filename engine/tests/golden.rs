//! The engine against goldens which other engines agree with: see `golden/README.md`.
//!
//! Built-in templates over the sample bars: trade bars must be the same, every number within 1e-9 relative.

use std::fs::{self, File};
use std::sync::Arc;

use jetsweep_engine::backtest::{Replay, Strategy};
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::{EndPolicy, Execution};
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::simulation::Trade;
use jetsweep_engine::template;
use serde_json::Value;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const SYMBOLS: [&str; 3] = ["AAPL", "IBM", "SPY"];
const STRATEGIES: [&str; 7] = [
    "sma_cross",
    "ema_cross",
    "rsi_reversion",
    "bollinger_breakout",
    "bollinger_reversion",
    "donchian_breakout",
    "macd_cross",
];

/// Largest relative difference allowed.
const TOLERANCE: f64 = 1e-9;

/// Names of metrics in the goldens where they differ from ours.
const RENAMED: [(&str, &str); 1] = [("sortino", "sortino_ratio")];

/// What goldens have beyond our metrics: other conventions of the same, and a value that equity shows anyway.
const NOT_OURS: [&str; 4] = ["cagr_calendar", "sharpe_n_minus_1_returns", "sortino_n_minus_1_returns", "peak_equity"];

fn bars_of(symbol: &str) -> Bars {
    let path = format!("{HERE}/../data/sample/{symbol}.csv");
    Bars::read_csv(File::open(&path).unwrap(), &path).unwrap()
}

/// A built-in template's run in full, with 0.1% commission.
fn replay(columns: &mut Columns, strategy: &str, params: &Value, end: EndPolicy) -> Replay {
    let template = template::builtin(strategy).unwrap();
    let values: Vec<f64> = template.params().keys().map(|name| number(&params[name.as_str()])).collect();
    let execution = Execution { commission: 0.001, end, ..Execution::default() };
    let strategy = Strategy::new(&template, &execution).unwrap();
    let replay = strategy.replay(columns, &values).unwrap();
    assert_eq!(strategy.run(columns, &values).unwrap(), replay.metrics, "metrics of run and replay");
    replay
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn assert_close(found: f64, expected: f64, what: &str) {
    let difference = (found - expected).abs();
    assert!(difference <= TOLERANCE * expected.abs(), "{what}: {found}, expected {expected}");
}

#[test]
fn every_golden_run_agrees() {
    let mut files = 0;
    for symbol in SYMBOLS {
        let mut columns = Columns::new(Arc::new(bars_of(symbol)), 64 << 20);
        for strategy in STRATEGIES {
            let name = format!("{symbol}_{strategy}");
            let text = fs::read_to_string(format!("{HERE}/tests/golden/{name}.json")).unwrap();
            let golden: Value = serde_json::from_str(&text).unwrap();
            for (key, end) in [("mtm", EndPolicy::Mark), ("liquidate", EndPolicy::Liquidate)] {
                let found = replay(&mut columns, strategy, &golden["params"], end);
                let what = format!("{name} {key}");
                compare_trades(columns.bars(), &found.trades, &golden[key]["trades"], &what);
                compare_metrics(&found, &golden[key]["metrics"], &what);
                if end == EndPolicy::Mark {
                    compare_equity(columns.bars(), &found, &name);
                }
            }
            files += 1;
        }
    }
    assert_eq!(files, 21);
}

fn compare_trades(bars: &Bars, found: &[Trade], golden: &Value, what: &str) {
    let golden = golden.as_array().unwrap();
    assert_eq!(found.len(), golden.len(), "{what}: number of trades");
    for (index, (trade, expected)) in found.iter().zip(golden).enumerate() {
        let what = format!("{what}, trade {index}");
        let bar = |name: &str| expected[name].as_u64().unwrap() as usize;
        assert_eq!((trade.entry_bar, trade.exit_bar), (bar("entry_bar"), bar("exit_bar")), "{what}: bars");
        assert_eq!(trade.exit_bar - trade.entry_bar, bar("bars"), "{what}: bars held");
        assert_eq!(expected["entry_date"], bars.date_label(trade.entry_bar), "{what}");
        assert_eq!(expected["exit_date"], bars.date_label(trade.exit_bar), "{what}");
        assert_eq!(expected["open"], trade.open, "{what}");
        assert_eq!(trade.entry_price, number(&expected["entry_price"]), "{what}: entry price");
        assert_eq!(trade.exit_price, number(&expected["exit_price"]), "{what}: exit price");
        assert_close(trade.size, number(&expected["size"]), &format!("{what}: size"));
        assert_close(trade.entry_fee, number(&expected["entry_fee"]), &format!("{what}: entry fee"));
        assert_close(trade.exit_fee, number(&expected["exit_fee"]), &format!("{what}: exit fee"));
        assert_close(trade.pnl, number(&expected["pnl"]), &format!("{what}: pnl"));
        assert_close(trade.return_, number(&expected["return"]), &format!("{what}: return"));
    }
}

fn compare_metrics(found: &Replay, golden: &Value, what: &str) {
    for (key, expected) in golden.as_object().unwrap() {
        if NOT_OURS.contains(&key.as_str()) {
            continue;
        }
        let name = RENAMED.iter().find(|(theirs, _)| theirs == key).map_or(key.as_str(), |(_, ours)| ours);
        let metric = Metric::from_name(name).unwrap_or_else(|| panic!("no metric {name}"));
        match (found.metrics.get(metric), expected.as_f64()) {
            (Some(found), Some(expected)) => assert_close(found, expected, &format!("{what}: {name}")),
            (found, expected) => assert_eq!(found, expected, "{what}: {name}"),
        }
    }
}

fn compare_equity(bars: &Bars, found: &Replay, name: &str) {
    let mut reader = csv::Reader::from_path(format!("{HERE}/tests/golden/{name}_equity.csv")).unwrap();
    let rows: Vec<(String, f64, u8)> = reader.deserialize().map(|row| row.unwrap()).collect();
    assert_eq!(rows.len(), found.equity.len(), "{name}: bars");
    let mut held = vec![0; rows.len()];
    for trade in &found.trades {
        let end = if trade.open { trade.exit_bar + 1 } else { trade.exit_bar };
        held[trade.entry_bar..end].fill(1);
    }
    for (t, (date, equity, position)) in rows.iter().enumerate() {
        assert_eq!(*date, bars.date_label(t), "{name}: bar {t}");
        assert_close(found.equity[t], *equity, &format!("{name}: equity at {date}"));
        assert_eq!(held[t], *position, "{name}: position at {date}");
    }
}

/// Moments of returns and sums over blocks, by scipy and numpy from the equity of the golden runs.
#[test]
fn moments_of_every_golden_run_agree() {
    let mut reader = csv::Reader::from_path(format!("{HERE}/tests/golden/moments.csv")).unwrap();
    let mut runs = 0;
    for row in reader.deserialize() {
        let (name, numbers): (String, Vec<f64>) = row.unwrap();
        let (symbol, strategy) = name.split_once('_').unwrap();
        let text = fs::read_to_string(format!("{HERE}/tests/golden/{name}.json")).unwrap();
        let golden: Value = serde_json::from_str(&text).unwrap();
        let mut columns = Columns::new(Arc::new(bars_of(symbol)), 64 << 20);
        let metrics = replay(&mut columns, strategy, &golden["params"], EndPolicy::Mark).metrics;
        let moments = [Metric::Skew, Metric::Kurtosis].map(|metric| metrics.get(metric).unwrap());
        let found = moments.iter().chain(&metrics.block_returns).chain(&metrics.block_squares);
        assert_eq!(found.clone().count(), numbers.len());
        for (index, (found, expected)) in found.zip(&numbers).enumerate() {
            // A sum of returns of either sign may come near 0: it is compared relative to a return of 1%.
            let tolerance = TOLERANCE * expected.abs().max(0.01);
            assert!((found - expected).abs() <= tolerance, "{name}, column {index}: {found}, expected {expected}");
        }
        runs += 1;
    }
    assert_eq!(runs, 21);
}

/// One row of the sweep's file.
#[derive(serde::Deserialize)]
struct SweepRow {
    fast: f64,
    slow: f64,
    ret: f64,
    sharpe: f64,
    mdd: f64,
    trades: f64,
}

#[test]
fn every_run_of_the_golden_sweep_agrees() {
    let bars = last(&bars_of("SPY"), 2520);
    let mut columns = Columns::new(Arc::new(bars), 64 << 20);
    let execution = Execution { commission: 0.001, ..Execution::default() };
    let strategy = Strategy::new(&template::builtin("sma_cross").unwrap(), &execution).unwrap();
    let mut reader = csv::Reader::from_path(format!("{HERE}/tests/golden/sma_cross_sweep_SPY_last2520.csv")).unwrap();
    let mut runs = 0;
    for row in reader.deserialize() {
        let row: SweepRow = row.unwrap();
        let what = format!("fast {} slow {}", row.fast, row.slow);
        let found = strategy.replay(&mut columns, &[row.fast, row.slow]).unwrap();
        let metric = |metric: Metric| found.metrics.get(metric).unwrap();
        assert_eq!(metric(Metric::TradeCount), row.trades, "{what}: trades");
        assert_close(metric(Metric::TotalReturn), row.ret, &format!("{what}: return"));
        assert_close(-metric(Metric::MaxDrawdown), row.mdd, &format!("{what}: drawdown"));
        assert_close(sharpe_without_first_return(&found.equity), row.sharpe, &format!("{what}: sharpe"));
        runs += 1;
    }
    assert_eq!(runs, 1590);
}

/// The sweep's convention: N-1 returns, the first bar having none.
fn sharpe_without_first_return(equity: &[f64]) -> f64 {
    let returns: Vec<f64> = equity.windows(2).map(|pair| pair[1] / pair[0] - 1.0).collect();
    let count = returns.len() as f64;
    let mean = returns.iter().sum::<f64>() / count;
    let variance = returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / (count - 1.0);
    mean / variance.sqrt() * 252.0_f64.sqrt()
}

/// The last `count` of `bars`.
fn last(bars: &Bars, count: usize) -> Bars {
    let from = bars.len() - count;
    let columns = BarsColumns {
        timestamps: bars.timestamps()[from..].to_vec(),
        open: bars.open()[from..].to_vec(),
        high: bars.high()[from..].to_vec(),
        low: bars.low()[from..].to_vec(),
        close: bars.close()[from..].to_vec(),
        volume: bars.volume()[from..].to_vec(),
    };
    Bars::from_columns(columns, "SPY").unwrap()
}
