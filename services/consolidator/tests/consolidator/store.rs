//! The store by itself: what one transaction holds, and what survives when it does not happen.

use std::sync::Arc;

use jetsweep_consolidator::store::{Applied, Rejection, Source, Store};
use jetsweep_consolidator::{DatabaseError, LogEvent};
use jetsweep_shared::events::BatchState;
use serde_json::Value;

use crate::support::{
    RUNS, SHARDS, assert_row, begin, begin_event, cancelled, dead, resources, result, result_event, rows, sealed,
    value, whole_batch, with_a_failure, with_windows, write,
};

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/results.duckdb");
    (folder, path)
}

fn rejected_with(applied: &Applied) -> &'static str {
    match applied {
        Applied::Rejected(Rejection { code, .. }) => code,
        other => panic!("{other:?} is no rejection"),
    }
}

#[test]
fn rows_equal_results_to_the_bit() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let applied = write(&mut store, whole_batch(&begin));
    assert!(applied.iter().all(|applied| *applied == Applied::Changed), "{applied:?}");
    drop(store);

    let stored = rows(&path, "SELECT * FROM backtest_results ORDER BY run");
    assert_eq!(stored.len() as u64, RUNS);
    let mut next = 0;
    for shard in 0..SHARDS {
        let result = result(&begin, shard);
        for index in 0..result.runs.count as usize {
            assert_row(&stored[next], &result, index);
            next += 1;
        }
    }
    let columns = jetsweep_consolidator::result_columns();
    assert!(stored[0].keys().eq(columns.iter().map(|(name, _)| *name)), "the columns are in the order of the schema");
}

#[test]
fn windows_have_rows_of_their_own_and_a_benchmark_one_a_symbol() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let failing = with_windows(with_a_failure(&begin, 0));
    let mut events = vec![begin_event(&begin), LogEvent::Sealed(sealed(&begin)), result_event(failing)];
    events.extend((1..SHARDS).map(|shard| result_event(with_windows(result(&begin, shard)))));
    write(&mut store, events);
    // Run 1 failed, so it has no rows of windows.
    let later = crate::support::begin("b", 1);
    drop(store);
    let sharpes = |path| rows(path, "SELECT run, segment, sharpe FROM window_results ORDER BY run, segment DESC");
    let found = sharpes(&path);
    assert_eq!(found.len() as u64, (RUNS - 1) * 2);
    for (index, row) in found.iter().enumerate() {
        let run = if index < 2 { 0 } else { index as u64 / 2 + 1 };
        let expected = if index % 2 == 0 { ("train", run as f64) } else { ("test", -(run as f64)) };
        assert_eq!(
            (&row["run"], &row["segment"], &row["sharpe"]),
            (&run.into(), &expected.0.into(), &expected.1.into())
        );
    }
    let benchmarks = "SELECT symbol, segment, window_number, total_return FROM benchmarks ORDER BY symbol, segment";
    let found = rows(&path, benchmarks);
    assert_eq!(found.len(), 3 * 3);
    let first: Vec<_> =
        found.iter().step_by(3).map(|row| (row["segment"].clone(), row["total_return"].clone())).collect();
    // The first run of each symbol: 10 runs a symbol.
    assert_eq!(first, [0.0, 10.0, 20.0].map(|start| ("full".into(), start.into())));

    // A retry of the first shard replaces its rows and its symbol's benchmark, and nothing else.
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, [begin_event(&later), result_event(with_windows(result(&later, 0)))]);
    drop(store);
    let found = sharpes(&path);
    assert_eq!(found.len() as u64, RUNS * 2);
    assert_eq!((&found[2]["run"], &found[2]["sharpe"], &found[8]["sharpe"]), (&1.into(), &1.01.into(), &4.0.into()));
    let found = rows(&path, benchmarks);
    assert_eq!((found.len(), &found[0]["total_return"], &found[3]["total_return"]), (9, &0.01.into(), &10.0.into()));

    let mut broken = with_windows(result(&later, 1));
    broken.windows.as_mut().unwrap().metrics.insert("trade_count".to_owned(), vec![Some(0.5); 4]);
    let mut store = Store::open(&path, resources()).unwrap();
    let applied = write(&mut store, [result_event(broken)]);
    assert_eq!(rejected_with(&applied[0]), Rejection::MALFORMED);
}

#[test]
fn order_and_duplicates_change_nothing() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let mut shards: Vec<u32> = (0..SHARDS).rev().collect();
    shards.extend(0..SHARDS);
    let mut events = vec![begin_event(&begin), LogEvent::Sealed(sealed(&begin))];
    events.extend(shards.iter().map(|shard| result_event(result(&begin, *shard))));
    let applied = write(&mut store, events.clone());
    assert!(applied[..2 + SHARDS as usize].iter().all(|applied| *applied == Applied::Changed));
    assert!(applied[2 + SHARDS as usize..].iter().all(|applied| *applied == Applied::Duplicate));
    // Everything again, after the batch was dropped from memory at its end.
    let again = write(&mut store, events);
    assert!(again.iter().all(|applied| *applied == Applied::Duplicate), "{again:?}");
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.done()), (BatchState::Completed, RUNS, RUNS));
    drop(store);
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results"), RUNS);
    assert_eq!(value(&path, "SELECT count(DISTINCT run) FROM backtest_results"), RUNS);
    assert_eq!(value(&path, "SELECT count(*) FROM shards"), SHARDS);
}

#[test]
fn ruined_runs_have_metrics_and_count_as_succeeded() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let mut ruining = with_windows(result(&begin, 0));
    ruining.metrics["final_equity"][2] = Some(0.0);
    ruining.metrics["total_return"][2] = Some(-1.0);
    write(&mut store, [begin_event(&begin), result_event(ruining)]);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.succeeded, status.done()), (4, 4));
    drop(store);

    let stored = rows(&path, "SELECT status, error_code, total_return FROM backtest_results ORDER BY run");
    let statuses: Vec<_> = stored.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["succeeded", "succeeded", "ruined", "succeeded"]);
    assert_eq!((&stored[2]["error_code"], &stored[2]["total_return"]), (&Value::Null, &(-1.0).into()));
    let summary = rows(&path, "SELECT runs, succeeded, ruined, without_metrics FROM strategy_summary");
    assert_eq!(summary.len(), 1);
    assert_eq!(
        ["runs", "succeeded", "ruined", "without_metrics"].map(|name| summary[0][name].as_u64().unwrap()),
        [4, 4, 1, 0]
    );
    assert_eq!(value(&path, "SELECT count(*) FROM versus_benchmark"), 4);
    assert_eq!(value(&path, "SELECT count(DISTINCT run) FROM window_results"), 4);
}

#[test]
fn failed_and_dead_runs_have_rows_with_reasons() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let failing = with_a_failure(&begin, 0);
    write(&mut store, [begin_event(&begin), result_event(failing.clone()), result_event(dead(&begin, 1))]);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.failed, status.dead), (BatchState::Running, 3, 1, 2));
    drop(store);

    let stored = rows(&path, "SELECT * FROM backtest_results ORDER BY run");
    assert_row(&stored[0], &failing, 0);
    assert_eq!((&stored[1]["status"], &stored[1]["error_code"]), (&"failed".into(), &"panic".into()));
    assert_eq!(stored[1]["error_message"], "index 7 is out of bounds");
    assert!(stored[1]["sharpe"].is_null() && stored[1]["block_returns"].is_null() && stored[1]["bars"].is_null());
    assert_eq!(stored[1]["params"]["slow"], 100, "a failed run says what it tried");
    for run in [4, 5] {
        assert_eq!((&stored[run]["status"], &stored[run]["error_code"]), (&"dead".into(), &"killed_worker".into()));
        assert!(stored[run]["sharpe"].is_null() && stored[run]["data_digest"].is_null());
        assert_eq!(stored[run]["params"]["fast"], 15, "the plan says what a dead run would have tried");
    }
    assert_eq!(rows(&path, "FROM failures ORDER BY status").len(), 2);
}

#[test]
fn what_was_not_committed_is_read_again() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let events = whole_batch(&begin);
    let source = Arc::new(Source { stream: "TEST".to_owned(), created: "then".to_owned() });
    // A process that dies after every event: the first half of the times before its commit, then after it.
    for (committed, event) in events.iter().enumerate() {
        for commits in [false, true] {
            let mut store = Store::open(&path, resources()).unwrap();
            let sequence = store.position("TEST").unwrap().map_or(0, |position| position.sequence);
            assert_eq!(sequence, committed as u64, "the position is that of the rows");
            assert_eq!(store.apply(event, sequence + 1).unwrap(), Applied::Changed);
            store.pass(&source, sequence + 1);
            if commits {
                store.commit().unwrap();
            }
        }
    }
    let store = Store::open(&path, resources()).unwrap();
    assert_eq!(store.statuses().unwrap()[0].state, BatchState::Completed);
    drop(store);
    assert_eq!(value(&path, "SELECT count(DISTINCT run) FROM backtest_results"), RUNS);
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results"), RUNS);
}

#[test]
fn an_older_copy_catches_up() {
    let (folder, path) = place();
    let begin = begin("b", 0);
    let events = whole_batch(&begin);
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, events[..4].to_vec());
    drop(store);
    let copy = folder.path().join("copy.duckdb");
    std::fs::copy(&path, &copy).unwrap();
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, events[4..].to_vec());
    drop(store);

    let mut store = Store::open(&copy, resources()).unwrap();
    assert_eq!(store.position("TEST").unwrap().unwrap().sequence, 4);
    let applied = write(&mut store, events[4..].to_vec());
    assert!(applied.iter().all(|applied| *applied == Applied::Changed));
    drop(store);
    let all = "SELECT * FROM backtest_results ORDER BY run";
    assert_eq!(rows(&copy, all), rows(&path, all));
}

#[test]
fn a_later_generation_replaces_rows() {
    let (_folder, path) = place();
    let (first, second) = (begin("b", 0), begin("b", 1));
    let mut store = Store::open(&path, resources()).unwrap();
    let mut events = whole_batch(&first);
    events[1] = result_event(dead(&first, 0));
    events[2] = result_event(with_a_failure(&first, 1));
    // The retry begins in the same group in which the first generation ends.
    events.push(begin_event(&second));
    events.push(result_event(result(&second, 0)));
    events.push(result_event(result(&first, 0)));
    let applied = write(&mut store, events);
    assert_eq!(applied.last(), Some(&Applied::Superseded), "a late result of the first generation");
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.failed, status.dead), (BatchState::Running, 29, 1, 0));

    let rest = (1..SHARDS).map(|shard| result_event(result(&second, shard)));
    write(&mut store, rest.chain([LogEvent::Sealed(sealed(&second))]));
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.done()), (BatchState::Completed, RUNS, RUNS));
    drop(store);
    let stored = rows(&path, "SELECT * FROM backtest_results ORDER BY run");
    assert_eq!(stored.len() as u64, RUNS);
    assert_row(&stored[0], &result(&second, 0), 0);
    assert_row(&stored[29], &result(&second, SHARDS - 1), stored.len() - 1 - 26);
}

#[test]
fn cancelling_counts_what_has_no_result() {
    let (_folder, path) = place();
    let first = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let applied = write(
        &mut store,
        [
            begin_event(&first),
            result_event(result(&first, 3)),
            LogEvent::Cancelled(cancelled(&first)),
            result_event(result(&first, 5)),
            LogEvent::Cancelled(cancelled(&first)),
        ],
    );
    assert_eq!(applied[2..], [Applied::Changed, Applied::Duplicate, Applied::Duplicate]);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.cancelled), (BatchState::Cancelled, 4, RUNS - 4));

    // A retry of a cancelled batch computes it all.
    let second = begin("b", 1);
    let results = (0..SHARDS).map(|shard| result_event(result(&second, shard)));
    let events = std::iter::once(begin_event(&second)).chain(results).chain([LogEvent::Sealed(sealed(&second))]);
    write(&mut store, events);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.cancelled), (BatchState::Completed, RUNS, 0));
    drop(store);
    assert_eq!(value(&path, "SELECT count(*) FROM shards WHERE outcome = 'cancelled'"), SHARDS - 1);
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results"), RUNS);
}

#[test]
fn cancelling_a_retry_keeps_the_rows_there_are() {
    let (_folder, path) = place();
    let (first, second) = (begin("b", 0), begin("b", 1));
    let mut store = Store::open(&path, resources()).unwrap();
    let mut events = whole_batch(&first);
    events.extend([begin_event(&second), result_event(result(&second, 0)), LogEvent::Cancelled(cancelled(&second))]);
    write(&mut store, events);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!((status.state, status.succeeded, status.cancelled), (BatchState::Completed, RUNS, 0));
}

#[test]
fn a_batch_cancelled_after_its_last_result_is_complete() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let mut events = whole_batch(&begin);
    events.pop();
    write(&mut store, events);
    assert_eq!(store.statuses().unwrap()[0].state, BatchState::Running, "more jobs may come until it is sealed");
    write(&mut store, [LogEvent::Cancelled(cancelled(&begin))]);
    assert_eq!(store.statuses().unwrap()[0].state, BatchState::Completed);
}

#[test]
fn what_contradicts_the_plan_is_rejected() {
    let (_folder, path) = place();
    let begin = begin("b", 0);
    let mut store = Store::open(&path, resources()).unwrap();
    let unknown = write(&mut store, [result_event(result(&begin, 0))]);
    assert_eq!(rejected_with(&unknown[0]), Rejection::UNKNOWN_BATCH);

    let mut other_range = result(&begin, 0);
    other_range.runs.start += 1;
    let mut other_spec = result(&begin, 1);
    other_spec.spec_digest = "another".to_owned();
    let mut other_symbol = result(&begin, 2);
    other_symbol.symbol = "MSFT".parse().unwrap();
    let mut no_such_shard = result(&begin, 3);
    no_such_shard.shard = SHARDS;
    let mut other_plan = begin.clone();
    other_plan.spec_digest = "another".to_owned();
    let mut later = result(&begin, 4);
    later.generation = 1;
    let mut no_count = result(&begin, 4);
    no_count.metrics["trade_count"][0] = Some(1.5);
    let applied = write(
        &mut store,
        [
            begin_event(&begin),
            result_event(result(&begin, 0)),
            result_event(other_range),
            result_event(other_spec),
            result_event(other_symbol),
            result_event(no_such_shard),
            begin_event(&other_plan),
            result_event(later),
            result_event(no_count),
        ],
    );
    let codes: Vec<_> = applied[2..].iter().map(rejected_with).collect();
    let (plan, unknown, malformed) = (Rejection::NOT_OF_PLAN, Rejection::UNKNOWN_BATCH, Rejection::MALFORMED);
    assert_eq!(codes, [plan, plan, plan, plan, plan, unknown, malformed]);
    let status = store.statuses().unwrap().remove(0);
    assert_eq!(status.done(), 4, "what is rejected counts for nothing");
    assert_eq!(store.position("TEST").unwrap().unwrap().sequence, 10, "the position passes what is rejected");
}

#[test]
fn many_batches_take_turns() {
    let (_folder, path) = place();
    let mut store = Store::open(&path, resources()).unwrap();
    let begins: Vec<_> = (0..40).map(|number| begin(&format!("b{number}"), 0)).collect();
    write(&mut store, begins.iter().map(begin_event));
    for shard in 0..SHARDS {
        write(&mut store, begins.iter().map(|begin| result_event(result(begin, shard))));
    }
    write(&mut store, begins.iter().map(|begin| LogEvent::Sealed(sealed(begin))));
    let statuses = store.statuses().unwrap();
    assert_eq!(statuses.len(), 40);
    assert!(statuses.iter().all(|status| status.state == BatchState::Completed && status.succeeded == RUNS));
}

#[test]
fn a_database_of_a_later_version_is_refused() {
    let (_folder, path) = place();
    drop(Store::open(&path, resources()).unwrap());
    let connection = duckdb::Connection::open(&path).unwrap();
    connection.execute_batch("UPDATE schema_version SET version = 99").unwrap();
    drop(connection);
    let error = Store::open(&path, resources()).unwrap_err();
    assert!(matches!(error, DatabaseError::Newer { found: 99, .. }), "{error}");
    assert!(error.to_string().ends_with("upgrade jetsweep"), "{error}");
}

#[test]
fn the_index_is_there_while_nothing_is_written() {
    let (_folder, path) = place();
    let index = "SELECT count(*) FROM duckdb_indexes() WHERE expressions LIKE '%symbol%strategy%timestamp%'";
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, whole_batch(&begin("one", 0)));
    store.tidy();
    drop(store);
    assert_eq!(value(&path, index), 1);
    // It goes with the next batch, also in another process, and comes back when no batch is running.
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, [begin_event(&begin("two", 0))]);
    write(&mut store, whole_batch(&begin("three", 0)));
    store.tidy();
    drop(store);
    assert_eq!(value(&path, index), 0, "batch two is running");
    let mut store = Store::open(&path, resources()).unwrap();
    write(&mut store, whole_batch(&begin("two", 0)));
    store.tidy();
    drop(store);
    assert_eq!(value(&path, index), 1);
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results WHERE symbol = 'SPY'"), RUNS);
}
