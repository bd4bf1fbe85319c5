//! SQL over results: while they are written, from other processes, and without a way out of the tables.

use std::path::Path;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{LARGE_RUNS, State, example, ledger, rows, status, text};

/// Runs of the quickstart.
const RUNS: u64 = 459;

/// Statements that write, leave the tables, or change how the next one is answered. `OUT` is a folder that must stay
/// as it is, and has a file.csv and a file.parquet.
const ESCAPES: &[&str] = &[
    "DROP TABLE backtest_results",
    "DELETE FROM backtest_results",
    "TRUNCATE backtest_results",
    "UPDATE backtest_results SET sharpe = 99",
    "INSERT INTO batches SELECT * FROM batches",
    "ALTER TABLE batches ADD COLUMN x INTEGER",
    "CREATE TABLE x AS SELECT 1",
    "CREATE OR REPLACE VIEW leaderboard AS SELECT 1",
    "CREATE TEMP TABLE backtest_results AS SELECT 1",
    "CREATE MACRO abs(x) AS 0",
    "CREATE SECRET s (TYPE s3)",
    "SELECT 1; DROP TABLE backtest_results",
    "COMMIT; DROP TABLE backtest_results",
    "ROLLBACK",
    "BEGIN",
    "WITH x AS (DELETE FROM batches RETURNING *) SELECT * FROM x",
    "EXPLAIN ANALYZE DELETE FROM batches",
    "PREPARE x AS DELETE FROM batches",
    "COPY backtest_results TO 'OUT/stolen.csv'",
    "COPY (SELECT 1) TO 'OUT/stolen.parquet' (FORMAT parquet)",
    "EXPORT DATABASE 'OUT/stolen'",
    "ATTACH 'OUT/stolen.duckdb'",
    "DETACH results",
    "USE memory",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '1GB'",
    "SET enable_external_access = true",
    "RESET memory_limit",
    "PRAGMA threads = 8",
    "PRAGMA enable_profiling",
    "CHECKPOINT",
    "VACUUM",
    "CALL force_checkpoint()",
    "FROM checkpoint()",
    "FROM force_checkpoint()",
    "FROM enable_logging()",
    "SELECT write_log('x')",
    "SELECT setseed(0.5)",
    "SELECT * FROM 'OUT/file.csv'",
    "SELECT * FROM \"OUT/file.csv\"",
    "SELECT * FROM 'OUT/file.parquet'",
    "SELECT * FROM read_csv('OUT/file.csv')",
    "SELECT * FROM read_csv_auto('OUT/file.csv')",
    "SELECT * FROM read_text('OUT/file.csv')",
    "SELECT * FROM read_blob('OUT/file.csv')",
    "SELECT * FROM read_json('OUT/file.csv')",
    "SELECT * FROM read_parquet('OUT/file.parquet')",
    "SELECT * FROM parquet_metadata('OUT/file.parquet')",
    "SELECT * FROM sniff_csv('OUT/file.csv')",
    "SELECT * FROM glob('OUT/*')",
    "SELECT * FROM query('SELECT * FROM read_text(''OUT/file.csv'')')",
    "SELECT * FROM query_table('OUT/file.csv')",
    "SELECT (SELECT count(*) FROM read_text('OUT/file.csv'))",
    "SELECT 1 UNION ALL SELECT size FROM read_text('OUT/file.csv')",
    "SELECT * FROM batches WHERE EXISTS (FROM read_text('OUT/file.csv'))",
    "DESCRIBE SELECT * FROM 'OUT/file.csv'",
    "DESCRIBE 'OUT/file.csv'",
    "SUMMARIZE 'OUT/file.csv'",
    "WITH f AS (FROM 'OUT/file.csv') FROM f",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_settings()",
    "SELECT getenv('HOME')",
    "",
    ";",
];

#[tokio::test]
async fn queries_read_the_tables_and_nothing_else() {
    let mut cluster = Cluster::start().await;
    let spec = example("quickstart.toml");
    let submitted = ["submit", text(&spec), "--batch", "b", "--wait", "--output", "json"];
    assert_eq!(ledger(&cluster.jetsweep(&submitted).done().await.json()), (RUNS, [RUNS, 0, 0, 0]));

    let out = cluster.state.folder().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("file.csv"), "secret,size\nhunter2,1\n").unwrap();
    let parquet = out.join("file.parquet");
    let export = ["export", "b", "--format", "parquet", "-o", text(&parquet)];
    cluster.jetsweep(&export).done().await.with_code(0);
    let everything = "SELECT (SELECT count(*) FROM backtest_results) AS results, (SELECT count(*) FROM batches) AS \
                      batches, (SELECT count(*) FROM shards) AS shards, (SELECT max(sharpe) FROM backtest_results) AS \
                      best, (SELECT count(*) FROM duckdb_tables()) AS tables";
    let before = cluster.jetsweep(&["query", everything, "--output", "json"]).done().await.json();

    // First by the service, then by the program itself, when nobody else has the file.
    for statement in ESCAPES {
        let sql = statement.replace("OUT", text(&out));
        refused(statement, cluster.jetsweep(&["query", &sql]).done().await.refused(), &out);
    }
    let after = cluster.jetsweep(&["query", everything, "--output", "json"]).done().await.json();
    assert_eq!(after, before);
    cluster.stop("consolidator").await.with_code(0);
    for statement in ESCAPES {
        let sql = statement.replace("OUT", text(&out));
        refused(statement, cluster.state.jetsweep(&["query", &sql]).done().await.refused(), &out);
    }
    assert_eq!(cluster.state.jetsweep(&["query", everything, "--output", "json"]).done().await.json(), before);
}

/// Checks a refusal: it is one of SQL, it gives nothing away, and nothing was written.
fn refused(statement: &str, report: String, out: &Path) {
    assert!(report.starts_with("error: failed to run the query: "), "{statement}: {report}");
    assert!(!report.contains("hunter2"), "{statement}: {report}");
    let mut files: Vec<_> = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["file.csv", "file.parquet"], "{statement}");
}

#[tokio::test]
async fn a_running_batch_is_queried_followed_and_exported_from_other_processes() {
    let state = State::new();
    let spec = example("large.toml");
    let command = state.jetsweep(&["run", text(&spec), "--batch", "large", "--output", "json"]);
    let running = command.env("JETSWEEP_PLANNER__SHARD_RUNS", "100").start();
    let client = state.server().await;
    let begun = status(&client, "large", |status| status.done() > 0).await;

    // Rows and markers are of one moment, and none is half a shard.
    let sql = "SELECT count(*) AS rows, count(DISTINCT run) AS runs, (SELECT sum(run_count)::BIGINT FROM shards) AS \
               marked FROM backtest_results";
    let counts = rows(state.jetsweep(&["query", sql, "--output", "json"]).done().await);
    let [found, runs, marked] = ["rows", "runs", "marked"].map(|count| counts[0][count].as_u64().unwrap());
    assert!(found == runs && found == marked, "{counts:?}");
    assert!((begun.done()..=LARGE_RUNS).contains(&found), "{counts:?} after {begun:?}");
    let now = state.jetsweep(&["status", "large", "--output", "json"]).done().await.json();
    let (total, done) = ledger(&now);
    assert!(total == LARGE_RUNS && done.iter().sum::<u64>() <= total, "{now}");
    let watched = state.jetsweep(&["watch", "large", "--output", "quiet"]).start();

    assert_eq!(ledger(&running.ended().await.json()), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]));
    let watched = watched.ended().await;
    assert!(watched.code == Some(0) && watched.stdout == "completed\n", "{watched:?}");

    for format in ["csv", "json", "parquet"] {
        let file = state.folder().join(format!("large.{format}"));
        let args = ["export", "large", "--format", format, "-o", text(&file), "--output", "json"];
        let exported = state.jetsweep(&args).done().await.json();
        assert_eq!(exported["rows"], LARGE_RUNS, "{format}");
        check_export(format, &std::fs::read(&file).unwrap());
    }
    state.is_left_alone().await;
}

/// Checks that a file holds every run, as far as it can be told without a reader of Parquet.
fn check_export(format: &str, bytes: &[u8]) {
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
    match format {
        "csv" => assert_eq!(lines, LARGE_RUNS + 1),
        "json" => {
            assert_eq!(lines, LARGE_RUNS);
            let runs = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let run = |line: &[u8]| serde_json::from_slice::<Value>(line).unwrap()["run"].as_u64();
            assert!(runs.map(run).eq((0..LARGE_RUNS).map(Some)), "runs are in order, each once");
        }
        _ => assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1")),
    }
}
