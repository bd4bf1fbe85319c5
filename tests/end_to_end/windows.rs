//! Validation out of sample: rows of windows against what the bars themselves say.

use std::fs::File;
use std::ops::Range;

use jetsweep_engine::bars::Bars;
use jetsweep_tests::repository;
use serde_json::Value;

use crate::support::{Row, State, ledger};

/// Buying and holding has no parameters and is over in one trade, so that its returns can be told from the bars.
const SPEC: &str = r#"
    name = "walk"
    [data]
    source = "data/sample/{symbol}.csv"
    from = 2008-01-01
    to = 2016-12-31
    [universe]
    symbols = ["AAPL", "SPY", "IBM"]
    [execution]
    commission = 0.001
    [validation]
    walk_forward = { train = "3y", test = "1y" }
    purge = 5
    [[strategy]]
    template = "sma_cross"
    fast = [5, 10, 20]
    slow = [50, 100]
    [[strategy]]
    template = "buy_and_hold"
"#;

/// The first day of each test segment of 2008 to 2016: 3 years after the start, then each year.
const TEST_YEARS: [i16; 6] = [2011, 2012, 2013, 2014, 2015, 2016];

#[tokio::test]
async fn windows_are_scored_by_themselves_and_compared_with_holding() {
    let state = State::new();
    let spec = state.file("walk.toml", SPEC);
    let report = state.run(&spec, "walk", &["--data", text_of_repository().as_str()]).await.json();
    assert_eq!(ledger(&report), (21, [21, 0, 0, 0]), "{report}");

    for symbol in ["AAPL", "SPY", "IBM"] {
        let bars = bars(symbol);
        let held = state
            .query(&format!(
                "SELECT * FROM window_results WHERE symbol = '{symbol}' AND strategy = 'buy_and_hold'
                 ORDER BY window_number, segment DESC"
            ))
            .await;
        let segments = segments(&bars);
        assert_eq!(held.len(), segments.len(), "{symbol}");
        for (row, (name, range)) in held.iter().zip(&segments) {
            assert_eq!(row["segment"], *name);
            assert_eq!(row["bars"], range.len() as u64, "{symbol} {row:?}");
            for (column, bar) in [("segment_start", range.start), ("segment_end", range.end - 1)] {
                let date = bars.date_label(bar);
                assert!(row[column].as_str().is_some_and(|time| time.starts_with(&date)), "{column} {date} {row:?}");
            }
            // Bought at the second bar's open with the commission on top, marked at the last close.
            let bought = bars.open()[range.start + 1] * 1.001;
            assert_near(&row["total_return"], bars.close()[range.end - 1] / bought - 1.0);
        }
        // Holding is also what every strategy is compared with.
        let compared = state
            .query(&format!("SELECT * FROM benchmarks WHERE symbol = '{symbol}' AND segment <> 'full' ORDER BY window_number, segment DESC"))
            .await;
        assert_eq!(metrics(&compared), metrics(&held), "{symbol}");
        let full =
            state.query(&format!("SELECT * FROM benchmarks WHERE symbol = '{symbol}' AND segment = 'full'")).await;
        let run = state
            .query(&format!("SELECT * FROM backtest_results WHERE symbol = '{symbol}' AND strategy = 'buy_and_hold'"))
            .await;
        assert_eq!(metrics(&full), metrics(&run), "{symbol}");
    }

    // The view chooses by train and tells test, whatever test says.
    let chosen =
        state.query("SELECT * FROM walk_forward WHERE strategy = 'sma_cross' ORDER BY symbol, window_number").await;
    assert_eq!(chosen.len(), 3 * TEST_YEARS.len());
    for row in &chosen {
        let of = |name: &str| row[name].clone();
        let window = state
            .query(&format!(
                "SELECT run, segment, sharpe, total_return FROM window_results WHERE strategy = 'sma_cross'
                 AND symbol = '{}' AND window_number = {} ORDER BY sharpe DESC",
                of("symbol").as_str().unwrap(),
                of("window_number")
            ))
            .await;
        assert_eq!(window.len(), 12);
        let train = window.iter().find(|other| other["segment"] == "train").unwrap();
        assert_eq!((&train["run"], &train["sharpe"]), (&of("run"), &of("train_sharpe")));
        let test = window.iter().find(|other| other["segment"] == "test" && other["run"] == of("run")).unwrap();
        assert_eq!((&test["sharpe"], &test["total_return"]), (&of("test_sharpe"), &of("test_return")));
    }

    let sums = &report["out_of_sample"];
    assert_eq!(sums.as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(sums[1]["windows"], chosen.len());
    // Buying and holding cannot do better than itself.
    assert_eq!((&sums[0]["strategy"], &sums[0]["beats_benchmark_share"]), (&"buy_and_hold".into(), &0.0.into()));
}

#[tokio::test]
async fn windows_change_with_neither_shards_nor_replay_and_leave_rows_alone() {
    let state = State::new();
    let spec = state.file("walk.toml", SPEC);
    let data = text_of_repository();
    state.run(&spec, "walk", &["--data", &data]).await.with_code(0);
    let windows = |batch: &str| {
        format!("SELECT * EXCLUDE (batch_id) FROM window_results WHERE batch_id = '{batch}' ORDER BY ALL")
    };
    let expected = state.query(&windows("walk")).await;
    assert_eq!(expected.len(), 21 * 2 * TEST_YEARS.len());

    let args = ["run", spec.to_str().unwrap(), "--batch", "ones", "--data", &data, "--slots", "2"];
    state.jetsweep(&args).env("JETSWEEP_PLANNER__SHARD_RUNS", "1").done().await.with_code(0);
    assert_eq!(state.query(&windows("ones")).await, expected);

    let replayed =
        state.jetsweep(&["replay", "walk", "--sample", "21", "--data", &data, "--output", "json"]).done().await;
    assert_eq!(replayed.with_code(0).json()["identical"], 21);

    let without = SPEC
        .replace("[validation]", "")
        .replace("walk_forward = { train = \"3y\", test = \"1y\" }", "")
        .replace("purge = 5", "");
    let plain = state.file("plain.toml", without);
    state.run(&plain, "plain", &["--data", &data]).await.with_code(0);
    let without_digest =
        |rows: Vec<Row>| rows.into_iter().map(|mut row| (row.remove("spec_digest"), row).1).collect::<Vec<_>>();
    assert_eq!(without_digest(state.rows("plain").await), without_digest(state.rows("walk").await));
    assert_eq!(state.query("SELECT * FROM window_results WHERE batch_id = 'plain'").await.len(), 0);
}

#[tokio::test]
async fn symbols_with_too_few_bars_have_no_windows_and_too_many_windows_fail_with_a_reason() {
    let state = State::new();
    let data = text_of_repository();
    let short = state.file("short.toml", SPEC.replace("\"3y\"", "\"9y\""));
    let report = state.run(&short, "short", &["--data", &data]).await.json();
    assert_eq!(ledger(&report), (21, [21, 0, 0, 0]));
    assert_eq!(state.query("SELECT * FROM window_results").await.len(), 0);

    let many = state.file("many.toml", SPEC.replace("test = \"1y\"", "test = \"1y\", step = \"1d\""));
    let report = state.run(&many, "many", &["--data", &data]).await.with_code(3);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(ledger(&report), (21, [0, 21, 0, 0]));
    assert_eq!(report["failures"][0]["code"], "too_many_windows");
}

/// The metrics of rows, by name.
fn metrics(rows: &[Row]) -> Vec<Vec<Value>> {
    let names = jetsweep_engine::metrics::Metric::ALL;
    rows.iter().map(|row| names.iter().map(|metric| row[metric.name()].clone()).collect()).collect()
}

fn assert_near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() <= 1e-12 * expected.abs().max(1.0), "{found} is not {expected}");
}

/// The bars that the spec uses.
fn bars(symbol: &str) -> Bars {
    let file = File::open(repository().join(format!("data/sample/{symbol}.csv"))).unwrap();
    let date = |text: &str| Some(text.parse().unwrap());
    Bars::read_csv(file, symbol).unwrap().between(date("2008-01-01"), date("2016-12-31"))
}

/// The segments of the spec's windows: three years but their last five bars, then the year after them, from the first
/// bar's day on.
fn segments(bars: &Bars) -> Vec<(&'static str, Range<usize>)> {
    assert_eq!(bars.date_label(0), "2008-01-02");
    let on_or_after = |year: i16| {
        let date = format!("{year}-01-02");
        (0..bars.len()).find(|bar| bars.date_label(*bar) >= date).unwrap_or(bars.len())
    };
    let window = |year: i16| {
        let test = on_or_after(year)..on_or_after(year + 1);
        [("train", on_or_after(year - 3)..test.start - 5), ("test", test)]
    };
    TEST_YEARS.iter().flat_map(|year| window(*year)).collect()
}

fn text_of_repository() -> String {
    repository().to_str().unwrap().to_owned()
}
