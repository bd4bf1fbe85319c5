//! Commands over the database that `jetsweep run` leaves.

use std::path::Path;

use serde_json::Value;

use crate::program::{Done, jetsweep, masked};

/// A small batch that ran, and the folders it ran in.
struct Ran {
    folder: tempfile::TempDir,
}

const BATCH: &str = "small-1";

impl Ran {
    /// Runs 12 backtests over two symbols.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("bars");
        std::fs::create_dir(&data).unwrap();
        for symbol in ["AAPL", "SPY"] {
            let file = format!("{symbol}.csv");
            std::fs::copy(jetsweep_tests::sample_data().join(&file), data.join(&file)).unwrap();
        }
        let spec = folder.path().join("small.toml");
        let text = "name = \"small\"\n[data]\nsource = \"{symbol}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n\
                    [execution]\ncommission = 0.001\n[[strategy]]\ntemplate = \"sma_cross\"\nfast = [5, 10]\n\
                    slow = [30, 50]\n[[strategy]]\ntemplate = \"rsi_reversion\"\nlower = [20, 30]\n";
        std::fs::write(&spec, text).unwrap();
        let ran = Self { folder };
        let (spec, data) = (spec.to_str().unwrap(), data.to_str().unwrap());
        let batch = ran.jetsweep(&["run", spec, "--data", data, "--batch", BATCH, "--output", "quiet"]).ended(0);
        assert_eq!(batch, format!("{BATCH}\n"));
        ran
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn jetsweep(&self, args: &[&str]) -> Done {
        let state = self.path("state");
        jetsweep(&[args, &["--state", &state]].concat())
    }

    fn query(&self, sql: &str) -> Value {
        self.jetsweep(&["query", sql, "--output", "json"]).json()
    }
}

#[test]
fn results_are_asked_exported_and_replayed() {
    let ran = Ran::new();
    status(&ran);
    summary(&ran);
    query(&ran);
    export(&ran);
    replay(&ran);
    unknown(&ran);
}

fn status(ran: &Ran) {
    let json = ran.jetsweep(&["status", BATCH, "--output", "json"]).json();
    insta::assert_json_snapshot!(masked(json.clone(), &["/created_at", "/completed_at"]));
    assert_eq!(ran.jetsweep(&["status", "--output", "json"]).json(), Value::from(vec![json]));
    assert_eq!(ran.jetsweep(&["status", BATCH, "--output", "quiet"]).ended(0), "completed\n");
    assert_eq!(ran.jetsweep(&["status", "--output", "quiet"]).ended(0), format!("{BATCH}\tcompleted\n"));
}

fn summary(ran: &Ran) {
    let json = ran.jetsweep(&["summary", BATCH, "--output", "json"]).json();
    insta::assert_json_snapshot!(masked(json, &["/created_at", "/completed_at", "/wall_seconds", "/run_seconds"]));
    assert_eq!(ran.jetsweep(&["summary", BATCH, "--output", "quiet"]).ended(0), "1\n");
    let text = ran.jetsweep(&["summary", BATCH]).ended(0);
    assert!(text.contains("12 succeeded, 0 failed, 0 dead, 0 cancelled"), "{text}");
}

fn query(ran: &Ran) {
    let sql = "SELECT run, symbol, strategy, params, sharpe, trade_count, error_code FROM backtest_results ORDER BY run LIMIT 2";
    insta::assert_json_snapshot!(masked(ran.query(sql), &[]));
    insta::assert_snapshot!(ran.jetsweep(&["query", sql]).ended(0));
    let bare = ran.jetsweep(&["query", sql, "--output", "quiet"]).ended(0);
    let stored = ran.query(sql);
    let sharpes = sharpes(&stored);
    let lines = [("5,\"slow\":30}", sharpes[0], 137), ("5,\"slow\":50}", sharpes[1], 97)];
    let line = |(run, (params, sharpe, trades)): (usize, (&str, &Value, i32))| {
        format!("{run}\tAAPL\tsma_cross\t{{\"fast\":{params}\t{sharpe}\t{trades}\t\n")
    };
    assert_eq!(bare, lines.into_iter().enumerate().map(line).collect::<String>());
    assert_eq!(ran.query("SELECT 1 WHERE false"), Value::Array(vec![]));

    let many = ran.jetsweep(&["query", "SELECT * FROM range(1234)"]).ended(0);
    assert!(many.ends_with("1,234 rows, the first 100 shown; --output json has them all\n"), "{many}");
    for (sql, message) in [
        ("SELEC 1", "syntax error at or near \"SELEC\""),
        ("SELECT x FROM backtest_result", "Did you mean \"backtest_results\"?"),
        ("DROP TABLE batches", "not allowed"),
        ("SELECT * FROM 'bars/SPY.csv'", "files cannot be read here"),
        ("SELECT 1; SELECT 2", "2 statements at once"),
    ] {
        let refused = ran.jetsweep(&["query", sql]).refused(2);
        assert!(refused.starts_with("error: failed to run the query: ") && refused.contains(message), "{refused}");
    }
}

fn export(ran: &Ran) {
    let (csv, json, parquet) = (ran.path("x.csv"), ran.path("x.json"), ran.path("x.parquet"));
    for (format, file) in [("csv", &csv), ("json", &json), ("parquet", &parquet)] {
        let said = ran.jetsweep(&["export", BATCH, "--format", format, "-o", file]).ended(0);
        assert_eq!(said, format!("12 rows of {BATCH} in {file}\n"));
    }
    let lines = std::fs::read_to_string(&json).unwrap();
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stored = ran.query("SELECT * FROM backtest_results ORDER BY run");
    assert_eq!(rows.iter().map(|row| &row["sharpe"]).collect::<Vec<_>>(), sharpes(&stored));
    assert_eq!(rows[0]["params"], serde_json::json!({"fast": 5, "slow": 30}));

    let text = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(text.lines().count(), 13);
    assert!(text.starts_with("batch_id,run,generation,symbol,strategy,params,status,"), "{text}");
    assert!(std::fs::read(&parquet).unwrap().starts_with(b"PAR1"));

    let streamed = ran.jetsweep(&["export", BATCH]).ended(0);
    assert_eq!(streamed.lines().count(), 13);
    let streamed = ran.jetsweep(&["export", BATCH, "--format", "json"]).ended(0);
    assert_eq!(streamed.lines().count(), 12);
    let refused = ran.jetsweep(&["export", BATCH, "--format", "parquet"]).refused(2);
    assert!(refused.contains("name one with -o FILE"), "{refused}");
    let nowhere = ran.path("no/such/folder.csv");
    ran.jetsweep(&["export", BATCH, "-o", &nowhere]).refused(1);
    assert_eq!(leftovers(ran.folder.path()), Vec::<String>::new());
}

fn sharpes(rows: &Value) -> Vec<&Value> {
    rows.as_array().unwrap().iter().map(|row| &row["sharpe"]).collect()
}

/// Files that an export should have removed.
fn leftovers(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.')).collect()
}

fn replay(ran: &Ran) {
    let mut json = ran.jetsweep(&["replay", BATCH, "3", "--output", "json"]).json();
    assert_eq!(json["identical"], true);
    assert_eq!(json["result"]["params"], serde_json::json!({"fast": 10, "slow": 50}));
    let stored = ran.query("SELECT sharpe FROM backtest_results WHERE run = 3");
    assert_eq!(json["result"]["metrics"]["sharpe"], stored[0]["sharpe"]);
    json["result"] = Value::from("[as from backtest]");
    insta::assert_json_snapshot!(masked(
        json,
        &["/comparison/engine_version/stored", "/comparison/engine_version/computed"]
    ));

    let sample = ran.jetsweep(&["replay", BATCH, "--sample", "50", "--output", "json"]).json();
    assert_eq!((&sample["sampled"], &sample["identical"]), (&Value::from(12), &Value::from(12)));

    // Without the last bars the run is another one, and the data is told to be the reason.
    let moved = ran.path("moved");
    std::fs::create_dir(&moved).unwrap();
    let bars = std::fs::read_to_string(ran.path("bars/AAPL.csv")).unwrap();
    let fewer: String = bars.lines().take(5_000).map(|line| format!("{line}\n")).collect();
    std::fs::write(format!("{moved}/AAPL.csv"), fewer).unwrap();
    let different = ran.jetsweep(&["replay", BATCH, "0", "--data", &moved]).ended(1);
    assert!(different.contains("different from run 0 of small-1 in "), "{different}");
    assert!(different.contains("the bars are not those the row was computed from"), "{different}");

    let refused = ran.jetsweep(&["replay", BATCH, "12"]).refused(2);
    assert!(refused.contains("the batch has 12 runs, numbered from 0"), "{refused}");
}

fn unknown(ran: &Ran) {
    for command in [&["status", "nope"][..], &["summary", "nope"], &["export", "nope"], &["replay", "nope", "0"]] {
        let refused = ran.jetsweep(command).refused(2);
        assert!(refused.contains("there is no batch nope\nhint: there are small-1"), "{command:?}: {refused}");
    }
    for command in [&["watch", BATCH][..], &["cancel", BATCH]] {
        let refused = ran.jetsweep(command).refused(2);
        assert!(refused.contains("name the NATS server with --nats"), "{command:?}: {refused}");
    }
    let empty = ran.path("empty");
    let refused = jetsweep(&["query", "SELECT 1", "--state", &empty]).refused(2);
    assert!(refused.contains("there is no database at"), "{refused}");
}
