//! A short position that loses everything: the run is over there, and every table says so.

use std::fmt::Write;

use crate::support::{State, ledger, text};

/// Sold at once and held, while the price triples.
const SPEC: &str = r#"name = "ruin"
[data]
source = "{symbol}.csv"
[universe]
symbols = ["UP", "DOWN"]
[execution]
direction = "short"
[[strategy]]
[strategy.template]
name = "sell_and_hold"
description = "Sells at once and never covers."
[strategy.template.short]
enter = "1 > 0"
exit = "1 < 0"
"#;

#[tokio::test]
async fn a_ruined_run_has_metrics_and_is_told_as_such() {
    let state = State::new();
    let spec = state.file("spec.toml", SPEC);
    let bars = state.folder().join("bars");
    std::fs::create_dir_all(&bars).unwrap();
    for (symbol, step) in [("UP", 1.0), ("DOWN", -0.2)] {
        let mut csv = "date,open,high,low,close,volume\n".to_owned();
        for day in 1..=28 {
            let price = 10.0 + step * f64::from(day);
            writeln!(csv, "2020-02-{day:02},{price},{price},{price},{price},100").unwrap();
        }
        std::fs::write(bars.join(format!("{symbol}.csv")), csv).unwrap();
    }
    let report = state.run(&spec, "ruin", &["--data", text(&bars)]).await.json();
    assert_eq!(ledger(&report), (2, [2, 0, 0, 0]), "{report}");

    let rows = state
        .query(
            "SELECT symbol, status, error_code, total_return, cagr, final_equity FROM backtest_results ORDER BY symbol",
        )
        .await;
    assert_eq!((&rows[0]["symbol"], &rows[0]["status"]), (&"DOWN".into(), &"succeeded".into()));
    assert!(rows[0]["total_return"].as_f64().unwrap() > 0.0, "{rows:?}");
    assert_eq!((&rows[1]["symbol"], &rows[1]["status"]), (&"UP".into(), &"ruined".into()));
    assert!(rows[1]["error_code"].is_null());
    assert_eq!(["total_return", "cagr", "final_equity"].map(|name| rows[1][name].as_f64().unwrap()), [-1.0, -1.0, 0.0]);
    let summary = state.query("SELECT succeeded, ruined, without_metrics FROM symbol_summary ORDER BY symbol").await;
    assert_eq!(["succeeded", "ruined", "without_metrics"].map(|name| summary[1][name].as_u64().unwrap()), [1, 1, 0]);

    // Computed again, it is ruined again.
    let args = ["replay", "ruin", "--sample", "2", "--data", text(&bars), "--output", "json"];
    assert_eq!(state.jetsweep(&args).done().await.with_code(0).json()["identical"], 2);
}
