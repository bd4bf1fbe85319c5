//! How much is queued, and whose turn it is.

use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::BatchEvent;

use crate::support::{RUNS, Stage, batch, spec};

#[tokio::test(flavor = "multi_thread")]
async fn no_more_jobs_are_queued_than_the_queue_is_meant_to_hold() {
    const DEPTH: usize = 8;
    let stage = Stage::set(DEPTH as u64).await;
    let published = stage.watch_jobs().await;
    let _planner = stage.start_planner().await;
    let batch = batch("b1");
    stage.publish_spec(&batch, &spec("s")).await;
    stage.until_jobs(DEPTH as u64).await;
    let worker = stage.worker(Priority::Normal).await;
    for finished in 0..RUNS as usize {
        let queued = published.count() - finished;
        assert!(queued <= DEPTH, "{queued} jobs are queued");
        worker.finish_one().await;
    }
    stage.event(&batch, BatchEvent::Sealed).await;
    published.until(RUNS as usize).await;
    stage.until_plans_are_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_one_priority_take_turns() {
    let stage = Stage::set(8).await;
    let _planner = stage.start_planner().await;
    let (first, second) = (batch("first"), batch("second"));
    stage.publish_spec(&first, &spec("first")).await;
    stage.until_jobs(8).await;
    stage.publish_spec(&second, &spec("second")).await;
    stage.begin(&second).await;
    let worker = stage.worker(Priority::Normal).await;
    let mut order = Vec::new();
    for _ in 0..2 * RUNS {
        order.push(worker.finish_one().await.batch_id);
    }
    // The first batch had the queue to itself for 8 jobs; from then on they take turns of 2.
    let shared = &order[8..8 + 2 * (RUNS as usize - 8)];
    for start in (0..shared.len()).step_by(8) {
        let firsts = shared[start..start + 8].iter().filter(|batch| **batch == first).count();
        assert!((2..=6).contains(&firsts), "{firsts} of 8 from {start} on: {order:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_lane_does_not_hold_up_another_priority() {
    let stage = Stage::set(4).await;
    let _planner = stage.start_planner().await;
    stage.publish_spec(&batch("normal"), &spec("s")).await;
    stage.until_jobs(4).await;
    let urgent = batch("urgent");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(jetsweep_shared::events::headers::PRIORITY, "high");
    stage.publish_spec_with(&urgent, &spec("s"), headers).await;
    let worker = stage.worker(Priority::High).await;
    for _ in 0..RUNS {
        assert_eq!(worker.finish_one().await.batch_id, urgent);
    }
    stage.event(&urgent, BatchEvent::Sealed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_of_jobs_is_waited_for() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let mut jobs = stage.bus.jetstream.get_stream(stage.bus.names.jobs_stream()).await.unwrap();
    let mut config = jobs.info().await.unwrap().config.clone();
    let roomy = config.clone();
    config.max_bytes = 10_000;
    stage.bus.jetstream.update_stream(config).await.unwrap();
    let batch = batch("b1");
    stage.publish_spec(&batch, &spec("s")).await;
    jetsweep_tests::eventually("the stream to be full", async || {
        let state = jobs.get_info().await.unwrap().state;
        (state.messages > 0 && state.bytes > 8_000).then_some(())
    })
    .await;
    assert!(stage.count_jobs().await < RUNS);
    assert_eq!(stage.count_events(&batch, BatchEvent::Sealed).await, 0);
    stage.bus.jetstream.update_stream(roomy).await.unwrap();
    stage.event(&batch, BatchEvent::Sealed).await;
    assert_eq!(stage.count_jobs().await, RUNS);
}
