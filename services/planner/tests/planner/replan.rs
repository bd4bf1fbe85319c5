//! What another planner makes of what one left behind.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::BatchEvent;

use crate::support::{RUNS, Stage, batch, spec};

const DEPTH: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_exactly_the_missing_jobs_are_published() {
    let mut stage = Stage::set(DEPTH).await;
    // The crashed planner's plan message comes back after the ack wait.
    stage.config.worker.ack_wait_seconds = 1;
    let planner = stage.start_planner().await;
    let batch = batch("b1");
    let published = stage.watch_jobs().await;
    stage.publish_spec(&batch, &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    let worker = stage.worker(Priority::Normal).await;
    // Two turns, so that two more follow.
    for _ in 0..4 {
        worker.finish_one().await;
    }
    stage.until_jobs(DEPTH).await;
    let before = 4 + DEPTH as usize;
    assert_eq!(published.count(), before);
    planner.crash();
    let begin = stage.begin(&batch).await;

    stage.config.planner.queue_depth = 2_000;
    // Would plan otherwise now, if it planned again.
    stage.config.planner.shard_runs = Some(5);
    let _planner = stage.start_planner().await;
    stage.event(&batch, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    published.until(RUNS as usize).await;
    assert_eq!(stage.count_jobs().await, RUNS - 4);
    assert_eq!(stage.begin(&batch).await, begin);
    assert_eq!(stage.count_events(&batch, BatchEvent::Begin).await, 1);
    assert_eq!(stage.count_events(&batch, BatchEvent::Sealed).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_another_planner_goes_on_at_once() {
    let mut stage = Stage::set(DEPTH).await;
    let planner = stage.start_planner().await;
    let batch = batch("b1");
    let published = stage.watch_jobs().await;
    stage.publish_spec(&batch, &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    let stopped = Instant::now();
    planner.stop().await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "{:?}", stopped.elapsed());

    stage.config.planner.queue_depth = 2_000;
    let _planner = stage.start_planner().await;
    stage.event(&batch, BatchEvent::Sealed).await;
    let waited = stopped.elapsed();
    assert!(waited < stage.config.worker.ack_wait() / 2, "went on after {waited:?}");
    published.until(RUNS as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_waits_for_room_is_not_given_away() {
    let mut stage = Stage::set(DEPTH).await;
    stage.config.worker.ack_wait_seconds = 1;
    let _planner = stage.start_planner().await;
    stage.publish_spec(&batch("b1"), &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    // Not for anything to happen: for several ack waits to pass without a redelivery.
    tokio::time::sleep(stage.config.worker.ack_wait() * 3).await;
    let names = &stage.bus.names;
    let plans = stage.bus.jetstream.get_stream(names.plans_stream()).await.unwrap();
    let consumer = plans.consumer_info(names.planner_consumer()).await.unwrap();
    assert_eq!((consumer.delivered.consumer_sequence, consumer.num_ack_pending), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_batch_is_left_as_it_is() {
    let stage = Stage::set(2_000).await;
    let planner = stage.start_planner().await;
    let batch = batch("b1");
    stage.publish_spec(&batch, &spec("s")).await;
    stage.event(&batch, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    planner.stop().await;

    let published = stage.watch_jobs().await;
    let results = stage.bus.jetstream.get_stream(stage.bus.names.results_stream()).await.unwrap();
    let before = results.get_info().await.unwrap().state;
    let _planner = stage.start_planner().await;
    // As if the first planner had crashed between sealed and ack.
    stage.publish_spec(&batch, &spec("s")).await;
    stage.until_plans_are_done().await;
    assert_eq!(results.get_info().await.unwrap().state, before);
    assert_eq!(published.count(), 0);
    assert_eq!(stage.count_jobs().await, RUNS);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_beyond_one_page_of_subjects_are_seen() {
    const MISSING: u32 = 100;
    let mut stage = Stage::set(DEPTH).await;
    let planner = stage.start_planner().await;
    let batch = batch("many");
    // 199 x 300 points over two symbols.
    let document = spec("many")
        .replace("fast = { from = 2, to = 11, step = 1 }", "fast = { from = 2, to = 200, step = 1 }")
        .replace("slow = [50, 100]", "slow = { from = 201, to = 500, step = 1 }");
    stage.publish_spec(&batch, &document).await;
    stage.until_jobs(DEPTH).await;
    planner.stop().await;
    let begin = stage.begin(&batch).await;
    assert_eq!(begin.total_shards, 2 * 199 * 300);
    let finished = begin.total_shards - MISSING;
    let publishes = stream::iter(0..finished).map(|shard| {
        let subject = stage.bus.names.result(&batch, 0, shard);
        let jetstream = &stage.bus.jetstream;
        async move { jetstream.publish(subject, "{}".into()).await.unwrap().await.unwrap() }
    });
    publishes.buffer_unordered(500).for_each(async |_| ()).await;

    stage.config.planner.queue_depth = 2_000;
    let published = stage.watch_jobs().await;
    let _planner = stage.start_planner().await;
    stage.event(&batch, BatchEvent::Sealed).await;
    published.until(MISSING as usize).await;
}
