//! The file, read while no consolidator has it.

use std::io::Write;
use std::path::PathBuf;

use jetsweep_consolidator::store::Store;
use jetsweep_consolidator::{BatchSummary, DatabaseError, Destination, ExportError, Format, Reader, Row, summary_sql};
use jetsweep_shared::events::BatchState;
use serde_json::Value;

use crate::support::{
    RUNS, SHARDS, Setting, assert_row, batch_id, begin, begin_event, dead, resources, result, whole_batch,
    with_a_failure, write,
};

/// A file with a batch `b` that has a failed and two dead runs, and an empty one.
fn file() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.duckdb");
    let mut store = Store::open(&path, resources()).unwrap();
    let begin_b = begin("b", 0);
    let mut events = whole_batch(&begin_b);
    events[1] = crate::support::result_event(with_a_failure(&begin_b, 0));
    events[2] = crate::support::result_event(dead(&begin_b, 1));
    events.push(begin_event(&begin("empty", 0)));
    write(&mut store, events);
    (folder, path)
}

#[test]
fn a_summary_says_it_all() {
    let (_folder, path) = file();
    let reader = Reader::open(&path, resources()).unwrap();
    let summary = reader.summary(&batch_id("b")).unwrap().unwrap();
    assert_eq!((summary.name.as_str(), summary.state, summary.total_runs), ("made-up", BatchState::Completed, RUNS));
    assert_eq!((summary.succeeded, summary.failed, summary.dead, summary.workers), (27, 1, 2, 1));
    assert!(summary.wall_seconds.unwrap() > 0.0 && summary.run_seconds.unwrap() > 0.0);
    let reasons: Vec<_> = summary.failures.iter().map(|reason| (reason.code.as_str(), reason.runs)).collect();
    assert_eq!(reasons, [("killed_worker", 2), ("panic", 1)]);
    assert_eq!(summary.failures[1].first_message.as_deref(), Some("index 7 is out of bounds"));
    let strategies: Vec<_> = summary.strategies.iter().map(|medians| medians.strategy.as_str()).collect();
    assert_eq!(strategies, ["rsi_reversion", "sma_cross"]);
    assert_eq!(summary.best.len(), 10);
    assert!(summary.best.windows(2).all(|pair| pair[0].sharpe >= pair[1].sharpe));
    assert!(summary.best[0].params.values().all(Value::is_number), "{:?}", summary.best[0].params);
    let best = reader.row_of(&batch_id("b"), summary.best[0].run).unwrap().unwrap();
    assert_eq!(best["sharpe"].as_f64().unwrap().to_bits(), summary.best[0].sharpe.to_bits());

    let empty = reader.summary(&batch_id("empty")).unwrap().unwrap();
    assert_eq!((empty.state, empty.succeeded, empty.completed_at), (BatchState::Running, 0, None));
    assert!(empty.best.is_empty() && empty.failures.is_empty() && empty.strategies.is_empty());
    assert_eq!(reader.summary(&batch_id("none")).unwrap(), None);
}

#[test]
fn plans_and_rows_are_found_for_a_replay() {
    let (_folder, path) = file();
    let reader = Reader::open(&path, resources()).unwrap();
    let begin = begin("b", 0);
    assert_eq!(reader.plan_of(&batch_id("b")).unwrap(), Some(begin.clone()));
    assert_eq!(reader.plan_of(&batch_id("none")).unwrap(), None);
    let shard = begin.plan.shard_of(RUNS - 1).unwrap();
    let row = reader.row_of(&batch_id("b"), RUNS - 1).unwrap().unwrap();
    assert_row(&row, &result(&begin, shard.shard), shard.runs.count as usize - 1);
    assert_eq!(reader.row_of(&batch_id("b"), RUNS).unwrap(), None);
}

#[test]
fn queries_stream_and_are_guarded() {
    let (_folder, path) = file();
    let reader = Reader::open(&path, resources()).unwrap();
    let mut rows = reader.query("SELECT run, sharpe FROM backtest_results ORDER BY run").unwrap();
    assert!(rows.columns().eq(["run", "sharpe"]));
    assert_eq!(rows.next().unwrap().unwrap()["run"], 0);
    drop(rows);
    let many = reader.query("SELECT i FROM range(300000) t(i)").unwrap();
    assert_eq!(many.map(Result::unwrap).count(), 300_000);
    for sql in ["DROP TABLE shards", "SELECT 1; SELECT 2", "FROM read_text('/etc/hostname')"] {
        assert_eq!(reader.query(sql).unwrap_err().code(), "invalid_query", "{sql}");
    }
}

#[test]
fn exports_agree_with_the_table() {
    let (folder, path) = file();
    let reader = Reader::open(&path, resources()).unwrap();
    let stored: Vec<Row> = reader.query("FROM backtest_results ORDER BY run").unwrap().map(Result::unwrap).collect();
    assert_eq!(stored.len() as u64, RUNS);
    let to_file = |format: Format, name: &str| {
        let target = folder.path().join(name);
        let rows = reader.export(&batch_id("b"), format, Destination::File(&target)).unwrap();
        assert_eq!(rows, RUNS);
        target
    };
    let written = |format: Format| {
        let mut bytes = Vec::new();
        assert_eq!(reader.export(&batch_id("b"), format, Destination::Writer(&mut bytes)).unwrap(), RUNS);
        bytes
    };

    let json: Vec<Row> = serde_json::from_slice(&std::fs::read(to_file(Format::Json, "it's.json")).unwrap()).unwrap();
    assert_same(&json, &stored);
    assert_same(&serde_json::from_slice::<Vec<Row>>(&written(Format::Json)).unwrap(), &stored);
    for lines in [std::fs::read(to_file(Format::JsonLines, "b.jsonl")).unwrap(), written(Format::JsonLines)] {
        let lines = String::from_utf8(lines).unwrap();
        let rows: Vec<Row> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_same(&rows, &stored);
    }
    // CSV and Parquet as any DuckDB reads them.
    let connection = duckdb::Connection::open_in_memory().unwrap();
    let parquet = to_file(Format::Parquet, "b.parquet");
    let csv = to_file(Format::Csv, "b.csv");
    let csv_written = folder.path().join("written.csv");
    std::fs::File::create(&csv_written).unwrap().write_all(&written(Format::Csv)).unwrap();
    let sum = |from: String| -> (u64, f64, u64, String) {
        let sql = format!("SELECT count(*), sum(sharpe ORDER BY run), count(sharpe), min(params::VARCHAR) FROM {from}");
        connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).unwrap()
    };
    let expected: f64 = stored.iter().filter_map(|row| row["sharpe"].as_f64()).sum();
    let defined = stored.iter().filter(|row| !row["sharpe"].is_null()).count() as u64;
    for file in [&parquet, &csv, &csv_written] {
        let (count, sharpe, sharpes, params) = sum(format!("'{}'", file.display()));
        assert_eq!((count, sharpes), (RUNS, defined), "{}", file.display());
        assert!((sharpe - expected).abs() < 1e-12, "{sharpe} for {expected} in {}", file.display());
        assert!(params.starts_with("{\"fast\":"), "{params}");
    }
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{names:?}");
}

/// The same rows, with times in the form of exports.
fn assert_same(exported: &[Row], stored: &[Row]) {
    assert_eq!(exported.len(), stored.len());
    for (exported, stored) in exported.iter().zip(stored) {
        assert!(exported.keys().eq(stored.keys()));
        for (name, value) in exported {
            if name == "timestamp" {
                let parse = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
                assert_eq!(parse(value), parse(&stored[name]));
            } else {
                assert_eq!(value, &stored[name], "{name}");
            }
        }
    }
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let (folder, path) = file();
    let reader = Reader::open(&path, resources()).unwrap();
    let target = folder.path().join("b.csv");
    let error = reader.export(&batch_id("none"), Format::Csv, Destination::File(&target)).unwrap_err();
    assert!(matches!(error, ExportError::UnknownBatch(_)), "{error}");
    let error = reader.export(&batch_id("b"), Format::Parquet, Destination::Writer(&mut Vec::new())).unwrap_err();
    assert!(matches!(error, ExportError::NeedsFile), "{error}");
    let nowhere = folder.path().join("no/such/folder/b.csv");
    reader.export(&batch_id("b"), Format::Csv, Destination::File(&nowhere)).unwrap_err();
    // A folder is in the way of the name: the rows are written beside it, and removed again.
    std::fs::create_dir(&target).unwrap();
    reader.export(&batch_id("b"), Format::Csv, Destination::File(&target)).unwrap_err();
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("partial")), "{names:?}");
}

#[test]
fn no_database_is_told_from_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results.duckdb");
    let error = Reader::open(&path, resources()).unwrap_err();
    assert!(matches!(error, DatabaseError::Missing { .. }), "{error}");
    assert!(!path.exists(), "asking creates nothing");
    std::fs::write(&path, "this is no database").unwrap();
    let error = Reader::open(&path, resources()).unwrap_err();
    assert!(matches!(error, DatabaseError::Sql { .. }), "{error}");
}

#[tokio::test]
async fn the_endpoint_gives_the_same_summary() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    setting.publish_whole(&begin("b", 0)).await;
    setting.ended("b").await;
    let sql = summary_sql(&batch_id("b"));
    let reply = setting.bus.client.request("jetsweep.consolidator.query", sql.into()).await.unwrap();
    let mut rows: Vec<BatchSummary> = serde_json::from_slice(&reply.payload).unwrap();
    consolidator.stop().await;
    let reader = Reader::open(&setting.database(), resources()).unwrap();
    assert_eq!(rows.pop(), reader.summary(&batch_id("b")).unwrap());
    assert_eq!(SHARDS, 9);
}
