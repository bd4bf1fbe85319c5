//! `backtest`: the numbers of the goldens, in the shape that `docs/json.md` gives.

use serde_json::Value;

use crate::program::{jetsweep, masked};

const AAPL: [&str; 9] = [
    "backtest",
    "--symbol",
    "AAPL",
    "--strategy",
    "sma_cross",
    "--commission",
    "0.001",
    "--data",
    "data/sample/{symbol}.csv",
];

fn golden() -> Value {
    let path = jetsweep_tests::repository().join("engine/tests/golden/AAPL_sma_cross.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn close(found: &Value, expected: &Value) -> bool {
    let (found, expected) = (found.as_f64().unwrap(), expected.as_f64().unwrap());
    (found - expected).abs() <= 1e-9 * expected.abs()
}

#[test]
fn metrics_and_trades_are_the_goldens() {
    let found = jetsweep(&[&AAPL[..], &["--output", "json"]].concat()).json();
    let golden = &golden()["mtm"];
    for (ours, theirs) in [("sharpe", "sharpe"), ("sortino_ratio", "sortino"), ("cagr", "cagr"), ("calmar", "calmar")] {
        assert!(close(&found["metrics"][ours], &golden["metrics"][theirs]), "{ours}");
    }
    assert_eq!(found["metrics"]["trade_count"], 105);

    let (trades, expected) = (found["trades"].as_array().unwrap(), golden["trades"].as_array().unwrap());
    assert_eq!(trades.len(), expected.len());
    for (trade, expected) in trades.iter().zip(expected) {
        for key in ["entry_date", "entry_bar", "exit_date", "exit_bar", "open"] {
            assert_eq!(trade[key], expected[key], "{key} of {trade}");
        }
        for key in ["entry_price", "exit_price", "size", "entry_fee", "exit_fee", "pnl", "return"] {
            assert!(close(&trade[key], &expected[key]), "{key} of {trade}");
        }
        assert_eq!(trade["bars_held"], expected["bars"], "{trade}");
    }
}

#[test]
fn the_json_is_as_documented() {
    let mut found = jetsweep(&[&AAPL[..], &["--output", "json"]].concat()).json();
    // One trade shows their shape; their numbers are checked with the goldens.
    found["trades"].as_array_mut().unwrap().truncate(1);
    insta::assert_json_snapshot!(masked(found, &["/engine_version"]));
}

#[test]
fn what_is_undefined_is_null() {
    let never = [&AAPL[..], &["--from", "2021-03-01", "--output", "json"]].concat();
    let found = jetsweep(&never).json();
    assert_eq!(found["metrics"]["trade_count"], 0);
    assert_eq!(found["metrics"]["sharpe"], Value::Null);
    assert_eq!(found["metrics"]["win_rate"], Value::Null);
    assert_eq!((&found["first_date"], &found["bars"]), (&Value::from("2021-03-01"), &Value::from(23)));
    assert_eq!(jetsweep(&[&AAPL[..], &["--from", "2021-03-01", "--output", "quiet"]].concat()).ended(0), "null\n");
}

#[test]
fn people_see_metrics_and_trades() {
    insta::assert_snapshot!(jetsweep(&AAPL).ended(0));
}

#[test]
fn equity_is_written_for_every_bar() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("equity.csv");
    jetsweep(&[&AAPL[..], &["--equity", file.to_str().unwrap()]].concat()).ended(0);
    let equity = std::fs::read_to_string(&file).unwrap();
    let expected = jetsweep_tests::repository().join("engine/tests/golden/AAPL_sma_cross_equity.csv");
    let expected = std::fs::read_to_string(expected).unwrap();
    assert_eq!(equity.lines().count(), expected.lines().count());
    for (line, expected) in equity.lines().zip(expected.lines()).skip(1) {
        let [date, value]: [&str; 2] = line.split(',').collect::<Vec<_>>().try_into().unwrap();
        let mut fields = expected.split(',');
        assert_eq!(Some(date), fields.next());
        let (value, expected): (f64, f64) = (value.parse().unwrap(), fields.next().unwrap().parse().unwrap());
        assert!((value - expected).abs() <= 1e-9 * expected, "{line}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let wrong = [
        "backtest",
        "--symbol",
        "BRK/B",
        "--strategy",
        "sma_cros",
        "--commission",
        "2",
        "--fill",
        "open",
        "--from",
        "2020-01-01",
        "--to",
        "2019-01-01",
    ];
    let told = jetsweep(&wrong).refused(2);
    assert!(told.starts_with("error: failed to backtest BRK/B with sma_cros: 5 problems\n"), "{told}");
    for part in [
        "  --symbols: \"BRK/B\" is not a symbol (",
        "  --from: 2020-01-01 is after data.to, 2019-01-01: no date is left\n",
        "  --fill: must be \"next_open\" or \"close\", is \"open\"\n",
        "  --commission: must be a fraction from 0 to below 1 (0.001 is 0.1%), is 2\n",
        "  --strategies: \"sma_cros\" is not a built-in template (did you mean \"sma_cross\"?)",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let many = [&AAPL[..], &["-p", "fast=5,10"]].concat();
    insta::assert_snapshot!(jetsweep(&many).refused(2));
    let missing = ["backtest", "--symbol", "ZZZ", "--strategy", "sma_cross", "--data", "data/sample"];
    insta::assert_snapshot!(jetsweep(&missing).refused(2));
}
