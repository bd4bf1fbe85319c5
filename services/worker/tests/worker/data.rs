//! Bars that cannot be used fail the runs that need them; bars that cannot be read now are waited for.

use std::fs;

use jetsweep_shared::events::{self, DataPin, Outcome, ShardResult};
use jetsweep_shared::ids::Symbol;
use jetsweep_shared::subjects::data_key;
use jetsweep_tests::{key_value, sample_data};

use crate::support::{RUNS, World, batch, counted, job};

fn assert_all_failed(result: &ShardResult, code: &str, words: &str) {
    assert_eq!(result.outcome, Outcome::Computed);
    let [failed] = &result.failed[..] else { panic!("{:?}", result.failed) };
    assert_eq!((failed.runs, failed.code.as_str()), (result.runs, code));
    assert!(failed.message.contains(words), "{}", failed.message);
    assert_eq!(result.params["fast"].len(), RUNS as usize, "rows of failed runs say what they tried");
    assert!(result.metrics["sharpe"].iter().all(Option::is_none));
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_and_invalid_files_fail_their_runs_only() {
    let root = tempfile::tempdir().unwrap();
    fs::copy(sample_data().join("AAPL.csv"), root.path().join("AAPL.csv")).unwrap();
    fs::write(root.path().join("BAD.csv"), "date,open,high,low,close,volume\n2024-01-02,10,11,9,-1,5\n").unwrap();
    let mut world = World::new().await;
    world.config.data.root = root.path().to_owned();
    let worker = world.worker();
    let cases = [
        ("NONE", "{symbol}.csv", "data_missing", "NONE.csv"),
        ("BAD", "{symbol}.csv", "data_invalid", "BAD.csv:2: "),
        ("AAPL", "../{symbol}.csv", "data_refused", "\"..\""),
    ];
    for (shard, (symbol, source, code, words)) in cases.into_iter().enumerate() {
        let mut job = job(shard as u32);
        job.symbol = symbol.parse().unwrap();
        job.data.source = source.to_owned();
        world.submit(&job).await;
        assert_all_failed(&world.result(&job).await, code, words);
    }
    world.submit(&job(9)).await;
    assert_eq!(world.result(&job(9)).await.failed, []);
    world.queue_empty().await;
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_dead, summary.runs_failed), (0, 3 * u64::from(RUNS)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_reports_bad_data_as_its_worker_does() {
    let world = World::new().await;
    let mut missing = job(0);
    missing.symbol = "NONE".parse().unwrap();
    world.submit_redelivered(&missing).await;
    let worker = world.worker();
    assert_all_failed(&world.result(&missing).await, "data_missing", "NONE.csv");
    assert_eq!(worker.stop().await.jobs_in_child, 1);
}

async fn pin(world: &World, symbol: &Symbol, digest: &str) {
    let pin = DataPin { version: events::VERSION, digest: digest.to_owned(), worker: "another".to_owned() };
    let bucket = world.bus.batches().await.unwrap();
    bucket.create(data_key(&batch(), symbol), events::encode(&pin)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_worker_pins_and_all_others_must_match() {
    let world = World::new().await;
    let worker = world.worker();
    world.submit(&job(0)).await;
    let digest = world.result(&job(0)).await.data_digest.unwrap();
    let bucket = world.bus.batches().await.unwrap();
    let value = key_value(&bucket, &data_key(&batch(), &job(0).symbol), |_| true).await;
    let pinned: DataPin = events::decode(&value).unwrap();
    assert_eq!((pinned.digest, pinned.worker), (digest.clone(), "worker-1".to_owned()));

    let mut other = job(1);
    other.symbol = "SPY".parse().unwrap();
    pin(&world, &other.symbol, "beef").await;
    world.submit(&other).await;
    let result = world.result(&other).await;
    assert_all_failed(&result, "data_changed", "beef");
    let found = result.data_digest.as_ref().unwrap();
    assert!(result.failed[0].message.contains(found.as_str()), "names both digests");

    let mut in_child = job(2);
    in_child.symbol = "IBM".parse().unwrap();
    pin(&world, &in_child.symbol, "cafe").await;
    worker.stop().await;
    world.submit_redelivered(&in_child).await;
    let worker = world.worker();
    assert_all_failed(&world.result(&in_child).await, "data_changed", "cafe");
    assert_eq!(worker.stop().await.jobs_in_child, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_under_a_running_batch_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("AAPL.csv");
    fs::copy(sample_data().join("AAPL.csv"), &file).unwrap();
    let mut world = World::new().await;
    world.config.data.root = root.path().to_owned();
    let worker = world.worker();
    world.submit(&job(0)).await;
    assert_eq!(world.result(&job(0)).await.failed, []);
    let csv = fs::read_to_string(&file).unwrap();
    let shorter = csv.trim_end().rsplit_once('\n').unwrap().0;
    fs::write(&file, shorter).unwrap();
    world.submit(&job(1)).await;
    assert_all_failed(&world.result(&job(1)).await, "data_changed", "changed");
    let mut another_batch = job(2);
    another_batch.batch_id = "another".parse().unwrap();
    world.submit(&another_batch).await;
    assert_eq!(world.result(&another_batch).await.failed, [], "a new batch starts with the new bars");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_is_not_mounted_is_waited_for() {
    let parent = tempfile::tempdir().unwrap();
    let root = parent.path().join("volume");
    let mut world = World::new().await;
    world.config.data.root = root.clone();
    let worker = world.worker();
    world.submit(&job(0)).await;
    counted(&worker, "the job to be put off", |summary| summary.jobs_retried > 0).await;
    std::os::unix::fs::symlink(sample_data(), &root).unwrap();
    assert_eq!(world.result(&job(0)).await.failed, []);
    world.queue_empty().await;
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_dead, summary.jobs_completed), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_not_reached_before_the_deadline_time_out() {
    let mut world = World::new().await;
    world.config.worker.job_deadline_seconds = 0;
    let worker = world.worker();
    world.submit(&job(0)).await;
    let result = world.result(&job(0)).await;
    let [failed] = &result.failed[..] else { panic!("{:?}", result.failed) };
    assert_eq!((failed.code.as_str(), failed.runs), ("timeout", job(0).runs));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_fails_and_the_others_go_on() {
    let mut world = World::new().await;
    // Asked for the first time after more bars than one column of this symbol has: what finds its columns is done by then.
    world.config.worker.run_deadline_seconds = 0;
    // In a child first: it must be there, delivered once, before the worker is.
    world.submit_redelivered(&job(1)).await;
    world.submit(&job(0)).await;
    let worker = world.worker();
    for job in [job(0), job(1)] {
        let result = world.result(&job).await;
        let failed: u32 = result.failed.iter().map(|failed| failed.runs.count).sum();
        assert!(0 < failed && failed < job.runs.count, "{:?}", result.failed);
        for failure in &result.failed {
            assert_eq!(failure.code, "timeout");
            assert!(failure.message.contains("worker.run_deadline_seconds"), "{}", failure.message);
        }
    }
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_completed, summary.jobs_in_child, summary.jobs_dead), (2, 1, 0));
}
