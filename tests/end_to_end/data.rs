//! Data files that are missing or bad: told before the start, or each run of theirs fails with that reason.

use std::path::PathBuf;

use jetsweep_tests::{processes_naming, sample_data};

use crate::support::{State, ledger, text};

const SPEC: &str = r#"name = "gaps"
[data]
source = "{symbol}.csv"
[universe]
symbols = ["GOOD", "BAD", "MISSING", "ALSO"]
[[strategy]]
template = "sma_cross"
fast = [5, 10, 20]
slow = [50, 100]
"#;

/// Runs of one symbol.
const RUNS: u64 = 6;

/// A folder with bars for GOOD and ALSO, none for MISSING, and for BAD bars of which one line is this one.
fn bars(state: &State, bad_line: &str) -> PathBuf {
    let folder = state.folder().join("bars");
    std::fs::create_dir_all(&folder).unwrap();
    let good = std::fs::read_to_string(sample_data().join("SPY.csv")).unwrap();
    for symbol in ["GOOD", "ALSO"] {
        std::fs::write(folder.join(format!("{symbol}.csv")), &good).unwrap();
    }
    let mut lines: Vec<&str> = good.lines().collect();
    lines[4] = bad_line;
    std::fs::write(folder.join("BAD.csv"), lines.join("\n")).unwrap();
    folder
}

#[tokio::test]
async fn missing_and_bad_files_are_told_before_the_start() {
    let state = State::new();
    let spec = state.file("spec.toml", SPEC);
    for (line, field) in [
        ("1990-01-01,1,1,1,1,1", "date"),
        ("1998-01-07,ten,11,9,10,1", "open"),
        ("1998-01-07,10,9,8,9,1", "high"),
        ("1998-01-07,10,11,10.5,11,1", "low"),
        ("1998-01-07,10,11,-1,10,1", "low"),
        ("1998-01-07,10,11,9,NaN,1", "close"),
        ("1998-01-07,10,11,9", "4 fields"),
    ] {
        let bars = bars(&state, line);
        let report = state.jetsweep(&["run", text(&spec), "--data", text(&bars)]).done().await.refused();
        for told in [format!("BAD.csv:5: {field}"), "no data file MISSING.csv".to_owned(), "2 problems".to_owned()] {
            assert!(report.contains(&told), "{line}: no {told:?} in {report}");
        }
        assert!(report.contains("--skip-invalid") && !report.contains("GOOD"), "{report}");
        assert!(!state.path().exists(), "the state folder was made");
        assert_eq!(processes_naming(state.folder()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn runs_without_data_fail_with_the_reason_and_the_others_succeed() {
    let state = State::new();
    let spec = state.file("spec.toml", SPEC);
    let bars = bars(&state, "1998-01-07,10,9,8,9,1");
    let report = state.run(&spec, "gaps", &["--data", text(&bars), "--skip-invalid"]).await.json();
    assert_eq!(ledger(&report), (4 * RUNS, [2 * RUNS, 2 * RUNS, 0, 0]));
    assert_eq!(report["success_rate"], 1.0, "of the valid runs");

    let sql = "SELECT symbol, status, error_code, min(error_message) AS message, count(*) AS runs, count(sharpe) AS \
               sharpes FROM backtest_results GROUP BY ALL ORDER BY symbol";
    let rows = state.query(sql).await;
    let told: Vec<_> =
        rows.iter().map(|row| ["symbol", "status", "error_code"].map(|column| row[column].as_str())).collect();
    let expected = [
        ["ALSO", "succeeded", ""],
        ["BAD", "failed", "data_invalid"],
        ["GOOD", "succeeded", ""],
        ["MISSING", "failed", "data_missing"],
    ];
    assert_eq!(told, expected.map(|row| row.map(|text| (!text.is_empty()).then_some(text))));
    for row in &rows {
        let sharpes = if row["status"] == "succeeded" { RUNS } else { 0 };
        assert_eq!((&row["runs"], &row["sharpes"]), (&RUNS.into(), &sharpes.into()), "{row:?}");
    }
    let message = |index: usize| rows[index]["message"].as_str().unwrap_or_default();
    assert!(message(1).contains("BAD.csv:5: high") && message(3).contains("MISSING.csv"), "{rows:?}");
    // The same bars under two names give the same rows.
    let twins = "SELECT count(*) AS runs FROM backtest_results a JOIN backtest_results b ON a.symbol = 'ALSO' AND \
                 b.symbol = 'GOOD' AND a.params = b.params AND a.sharpe = b.sharpe AND a.data_digest = b.data_digest";
    assert_eq!(state.query(twins).await[0]["runs"], RUNS);
}
