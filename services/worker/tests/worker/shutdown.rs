//! A shutdown loses no job, and keeps none from others.

use std::time::Duration;

use jetsweep_shared::events::Outcome;
use jetsweep_shared::ids::Priority;

use crate::support::{RUNS, World, endless_job, job};

#[tokio::test(flavor = "multi_thread")]
async fn jobs_at_hand_and_running_come_back_at_once() {
    let mut world = World::new().await;
    world.config.worker.drain_seconds = 0;
    let worker = world.worker();
    world.submit(&endless_job(0)).await;
    world.held_by_workers(Priority::Normal, 1).await;
    for shard in 1..4 {
        world.submit(&job(shard)).await;
    }
    // One computes, one is at hand; with an ack wait of an hour nothing comes back by itself.
    world.held_by_workers(Priority::Normal, 2).await;
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_given_back, summary.jobs_completed), (2, 0));
    assert!(summary.jobs_held_peak <= 2, "{summary:?}");
    let mut delivered: Vec<(String, i64)> = Vec::new();
    for _ in 0..4 {
        let job = world.deliver(Priority::Normal).await;
        delivered.push((job.subject.to_string(), job.info().unwrap().delivered));
    }
    delivered.sort();
    let counts: Vec<i64> = delivered.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts.iter().filter(|count| **count == 1).count(), 2, "{delivered:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn running_jobs_may_finish() {
    let world = World::new().await;
    let worker = world.worker();
    let mut long = endless_job(0);
    // Some tens of milliseconds, and little enough to publish.
    long.runs.count = 20 * RUNS;
    world.submit(&long).await;
    world.held_by_workers(Priority::Normal, 1).await;
    let summary = worker.stop().await;
    // It was computing, or it was still waiting for its bars and came back; lost it is not.
    if summary.jobs_completed == 1 {
        assert_eq!(world.result(&long).await.outcome, Outcome::Computed);
        assert_eq!(world.stored(world.bus.names.jobs_stream()).await, 0);
    } else {
        assert_eq!(summary.jobs_given_back, 1);
        world.deliver(Priority::Normal).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_ends_at_once() {
    let world = World::new().await;
    let worker = world.worker();
    world.submit(&job(0)).await;
    world.result(&job(0)).await;
    world.queue_empty().await;
    let start = std::time::Instant::now();
    worker.stop().await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(world.stored(world.bus.names.jobs_stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_it_ends_too() {
    let mut world = World::new().await;
    let worker = world.worker();
    world.submit(&job(0)).await;
    world.result(&job(0)).await;
    world.queue_empty().await;
    world.server.kill();
    worker.stop().await;
}
