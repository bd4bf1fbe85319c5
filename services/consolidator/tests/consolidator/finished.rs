//! What becomes of batches that have ended: retried, deleted, purged from the log, rebuilt from it.

use std::path::Path;
use std::time::Duration;

use jetsweep_consolidator::{ConsolidatorError, DatabaseError, rebuild};
use jetsweep_shared::events::{self, BatchState, Begin, Deleted};
use jetsweep_shared::plan::{RetryPlan, RunRange};
use jetsweep_shared::subjects::{BatchEvent, data_key, status_key};
use jetsweep_tests::eventually;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::query::answer;
use crate::support::{RUNS, Setting, batch_id, begin, cancelled, dead, result, rows, sealed, value, with_a_failure};

/// Every table, as text, whatever the order of rows in the file.
fn contents(path: &Path) -> Vec<String> {
    ["backtest_results", "shards", "batches", "deleted_batches", "position"]
        .iter()
        .flat_map(|table| rows(path, &format!("SELECT '{table}' AS t, x.* FROM {table} x ORDER BY ALL")))
        .map(|row| serde_json::to_string(&row).unwrap())
        .collect()
}

/// The generation that retries these runs.
fn retry(begin: &Begin, runs: &[(u64, u64)]) -> Begin {
    let mut retry = RetryPlan::default();
    for (start, count) in runs {
        let shard = begin.plan.shard_of(*start).unwrap();
        let strategy = &begin.spec.strategies[shard.strategy];
        let points = strategy.grid.points(&strategy.template).unwrap();
        let mut walk = points.walk(shard.cursor, shard.first_point);
        let cursor = (shard.runs.start..=*start).map(|_| walk.next_point().unwrap().0).last().unwrap();
        retry.push(&begin.plan, *start, *count, cursor).unwrap();
    }
    let generation = begin.generation + 1;
    let total_shards = retry.check(&begin.plan).unwrap();
    Begin { generation, total_shards, retry: Some(retry), ..begin.clone() }
}

impl Setting {
    async fn delete(&self, batch: &str) {
        let deleted = Deleted {
            version: events::VERSION,
            batch_id: batch_id(batch),
            generation: 0,
            deleted_at: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        self.publish_event(&deleted.batch_id, BatchEvent::Deleted, &deleted).await;
    }

    /// Messages of the log whose subject begins so.
    async fn logged(&self, batch: &str) -> usize {
        use futures::TryStreamExt;
        let names = &self.bus.names;
        let stream = self.bus.jetstream.get_stream(names.results_stream()).await.unwrap();
        let subjects = stream.info_with_subjects(names.results_of_batch(&batch_id(batch))).await.unwrap();
        subjects.map_ok(|(_, count)| count).try_fold(0, |sum, count| async move { Ok(sum + count) }).await.unwrap()
    }
}

#[tokio::test]
async fn a_retry_replaces_exactly_its_runs() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let first = begin("b", 0);
    setting.publish_begin(&first).await;
    setting.publish_result(&with_a_failure(&first, 0)).await;
    for shard in 1..first.total_shards {
        let result = if shard == 2 { dead(&first, shard) } else { result(&first, shard) };
        setting.publish_result(&result).await;
    }
    setting.publish_event(&first.batch_id, BatchEvent::Sealed, &sealed(&first)).await;
    let ended = setting.ended("b").await;
    let dead_runs = first.plan.shard(2).unwrap().runs;
    let count = u64::from(dead_runs.count);
    assert_eq!((ended.failed, ended.dead, ended.succeeded), (1, count, RUNS - 1 - count));

    // The failed run and all but one of the dead ones.
    let again = retry(&first, &[(1, 1), (dead_runs.start, count - 1)]);
    setting.publish_begin(&again).await;
    let running = setting.status("b", |status| status.generation == 1).await;
    assert_eq!((running.state, running.failed, running.dead), (BatchState::Running, 1, count), "rows stay meanwhile");
    for shard in 0..again.total_shards {
        setting.publish_result(&result(&again, shard)).await;
        // A second copy, and a late one of the generation before, change nothing.
        setting.publish_result(&result(&again, shard)).await;
        setting.publish_result(&dead(&first, 2)).await;
    }
    setting.publish_event(&again.batch_id, BatchEvent::Sealed, &sealed(&again)).await;
    let ended = setting.status("b", |status| status.generation == 1 && status.state.is_terminal()).await;
    assert_eq!((ended.failed, ended.dead, ended.succeeded), (0, 1, RUNS - 1));
    consolidator.stop().await;
    let path = setting.database();
    let generations = rows(&path, "SELECT run, generation, status FROM backtest_results ORDER BY run");
    assert_eq!(generations.len() as u64, RUNS);
    let retried = RunRange { start: dead_runs.start, count: dead_runs.count - 1 };
    for (run, row) in generations.iter().enumerate() {
        let is_retried = run == 1 || retried.numbers().contains(&(run as u64));
        let is_dead = run as u64 == dead_runs.end() - 1;
        assert_eq!(row["generation"], u64::from(is_retried), "{row:?}");
        assert_eq!(row["status"], if is_dead { "dead" } else { "succeeded" }, "{row:?}");
    }
}

#[tokio::test]
async fn a_retry_that_is_cancelled_leaves_runs_as_they_stood() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let first = begin("b", 0);
    setting.publish_begin(&first).await;
    setting.publish_result(&dead(&first, 0)).await;
    setting.publish_event(&first.batch_id, BatchEvent::Cancelled, &cancelled(&first)).await;
    let dead_runs = u64::from(first.plan.shard(0).unwrap().runs.count);
    let ended = setting.ended("b").await;
    assert_eq!((ended.dead, ended.cancelled), (dead_runs, RUNS - dead_runs));

    let again = retry(&first, &[(0, RUNS)]);
    setting.publish_begin(&again).await;
    setting.publish_result(&result(&again, again.total_shards - 1)).await;
    setting.publish_event(&again.batch_id, BatchEvent::Cancelled, &cancelled(&again)).await;
    let ended = setting.status("b", |status| status.generation == 1 && status.state.is_terminal()).await;
    let done = u64::from(again.shard(again.total_shards - 1).unwrap().runs.count);
    assert_eq!((ended.succeeded, ended.dead, ended.cancelled), (done, dead_runs, RUNS - dead_runs - done));
    consolidator.stop().await;
}

#[tokio::test]
async fn a_deleted_batch_is_gone_everywhere() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let (gone, stays) = (begin("gone", 0), begin("stays", 0));
    setting.publish_whole(&gone).await;
    setting.publish_whole(&stays).await;
    setting.ended("gone").await;
    setting.ended("stays").await;
    let bucket = setting.bus.batches().await.unwrap();
    let pin = data_key(&gone.batch_id, &"AAPL".parse().unwrap());
    bucket.put(&pin, "{}".into()).await.unwrap();
    let letter = setting.bus.names.dead_job(&gone.batch_id, 0, 0);
    setting.publish_bytes(&letter, "a job".into()).await;

    setting.delete("gone").await;
    eventually("its view to go", async || {
        bucket.get(status_key(&gone.batch_id)).await.unwrap().is_none().then_some(())
    })
    .await;
    eventually("the log to shrink", async || (setting.logged("gone").await == 1).then_some(())).await;
    eventually("its pins to go", async || bucket.get(&pin).await.unwrap().is_none().then_some(())).await;
    // What comes late of it is neither counted nor a surprise.
    setting.publish_result(&result(&gone, 0)).await;
    setting.publish_whole(&begin("after", 0)).await;
    setting.ended("after").await;
    consolidator.stop().await;
    let path = setting.database();
    for table in ["backtest_results", "shards", "batches"] {
        assert_eq!(value(&path, &format!("SELECT count(*) FROM {table} WHERE batch_id = 'gone'")), 0, "{table}");
    }
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results"), 2 * RUNS);
    let mut dead = setting.bus.jetstream.get_stream(setting.bus.names.dead_stream()).await.unwrap();
    assert_eq!(dead.info().await.unwrap().state.messages, 0);
}

#[tokio::test]
async fn a_rebuilt_database_equals_the_old_one() {
    let setting = Setting::new().await;
    let consolidator = setting.consolidator();
    let retried = begin("retried", 0);
    setting.publish_begin(&retried).await;
    for shard in 0..retried.total_shards {
        setting.publish_result(&dead(&retried, shard)).await;
        setting.publish_result(&result(&retried, shard)).await;
    }
    setting.publish_event(&retried.batch_id, BatchEvent::Sealed, &sealed(&retried)).await;
    setting.ended("retried").await;
    let again = retry(&retried, &[(1, 3)]);
    setting.publish_whole(&again).await;
    let stopped = begin("cancelled", 0);
    setting.publish_begin(&stopped).await;
    setting.publish_result(&with_a_failure(&stopped, 1)).await;
    setting.publish_event(&stopped.batch_id, BatchEvent::Cancelled, &cancelled(&stopped)).await;
    setting.publish_whole(&begin("deleted", 0)).await;
    setting.ended("deleted").await;
    setting.delete("deleted").await;
    setting.publish_bytes(&setting.bus.names.result(&batch_id("nobody"), 0, 0), "{".into()).await;
    let running = begin("running", 0);
    setting.publish_begin(&running).await;
    setting.publish_result(&result(&running, 3)).await;
    setting.status("running", |status| status.done() > 0).await;
    setting.status("retried", |status| status.generation == 1 && status.state.is_terminal()).await;

    let held = rebuild(&setting.config(), CancellationToken::new()).await.unwrap_err();
    let is_held =
        matches!(held, ConsolidatorError::Database(DatabaseError::HeldHere { .. } | DatabaseError::Held { .. }));
    assert!(is_held, "{held}");
    consolidator.stop().await;
    let path = setting.database();
    let before = contents(&path);
    let mut dead = setting.bus.jetstream.get_stream(setting.bus.names.dead_stream()).await.unwrap();
    let letters = dead.info().await.unwrap().state.messages;

    let rebuilt = rebuild(&setting.config(), CancellationToken::new()).await.unwrap();
    assert_eq!(contents(&path), before);
    assert_eq!((rebuilt.batches, rebuilt.kept.len()), (3, 0));
    assert_eq!(rebuilt.rows, value(&path, "SELECT count(*) FROM backtest_results").as_u64().unwrap());
    assert_eq!(contents(rebuilt.old.as_deref().unwrap()), before, "the old one is kept");
    assert_eq!(dead.info().await.unwrap().state.messages, letters, "nothing is given up on twice");

    // It goes on from where the log was read to.
    let consolidator = setting.consolidator();
    for shard in 0..running.total_shards {
        setting.publish_result(&result(&running, shard)).await;
    }
    setting.publish_event(&running.batch_id, BatchEvent::Sealed, &sealed(&running)).await;
    setting.ended("running").await;
    consolidator.stop().await;
}

#[tokio::test]
async fn results_leave_the_log_when_they_may_and_rows_stay() {
    let setting = Setting::new().await;
    let mut config = setting.config();
    config.consolidator.results_retention_seconds = 1;
    let (old, running) = (begin("old", 0), begin("running", 0));
    // A bridge that has seen nothing yet.
    let names = &setting.bus.names;
    let results = setting.bus.jetstream.get_stream(names.results_stream()).await.unwrap();
    let bridge = async_nats::jetstream::consumer::pull::Config {
        durable_name: Some("bridge".to_owned()),
        ack_policy: async_nats::jetstream::consumer::AckPolicy::All,
        ..Default::default()
    };
    let bridge = results.create_consumer(bridge).await.unwrap();
    let consolidator = crate::support::Running::start(config.clone());
    setting.publish_whole(&old).await;
    setting.publish_begin(&running).await;
    setting.publish_result(&result(&running, 0)).await;
    setting.ended("old").await;
    setting.status("running", |status| status.done() > 0).await;
    let all = setting.logged("old").await;
    // Not for anything to happen: the retention passes, and the bridge has still seen nothing.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(setting.logged("old").await, all);

    use futures::StreamExt;
    let mut seen = bridge.fetch().max_messages(all + 2).messages().await.unwrap();
    let mut last = None;
    while let Some(message) = seen.next().await {
        last = Some(message.unwrap());
    }
    last.unwrap().double_ack().await.unwrap();
    eventually("its results to leave", async || (setting.logged("old").await == 1).then_some(())).await;
    assert_eq!(setting.logged("running").await, 2, "a batch that runs stays whole");
    let end = results.get_info().await.unwrap().state.last_sequence;
    eventually("the `purged` event to be read back", async || {
        let position = answer(&setting, "SELECT sequence FROM position").await;
        (position[0]["sequence"] == end).then_some(())
    })
    .await;
    consolidator.stop().await;

    let path = setting.database();
    let before = contents(&path);
    let rebuilt = rebuild(&config, CancellationToken::new()).await.unwrap();
    assert_eq!((rebuilt.kept, rebuilt.batches), (vec!["old".to_owned()], 1));
    assert_eq!(contents(&path), before);
    // Without the old database its rows are lost, and the batch that runs is not.
    std::fs::remove_file(&path).unwrap();
    let consolidator = crate::support::Running::start(config);
    for shard in 1..running.total_shards {
        setting.publish_result(&result(&running, shard)).await;
    }
    setting.publish_event(&running.batch_id, BatchEvent::Sealed, &sealed(&running)).await;
    setting.status("running", |status| status.state.is_terminal()).await;
    consolidator.stop().await;
    assert_eq!(value(&path, "SELECT count(*) FROM backtest_results"), RUNS);
}
