//! The worker outlives its server, its consumers and its streams.

use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::NATIVE;

use crate::support::{World, job};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_waited_for() {
    let mut world = World::new().await;
    let worker = world.worker();
    world.submit(&job(0)).await;
    world.result(&job(0)).await;
    world.server.restart().await;
    world.submit(&job(1)).await;
    world.result(&job(1)).await;
    world.queue_empty().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn consumers_and_streams_that_are_deleted_come_back() {
    let world = World::new().await;
    let worker = world.worker();
    world.submit(&job(0)).await;
    world.result(&job(0)).await;
    world.queue_empty().await;

    let jobs = world.bus.names.jobs_stream();
    let consumer = world.bus.names.jobs_consumer(NATIVE, Priority::Normal);
    world.bus.jetstream.delete_consumer_from_stream(&consumer, &jobs).await.unwrap();
    world.submit(&job(1)).await;
    world.result(&job(1)).await;
    world.queue_empty().await;

    world.bus.jetstream.delete_stream(&jobs).await.unwrap();
    // Publishing waits for the stream that the worker puts back.
    world.submit(&job(2)).await;
    world.result(&job(2)).await;
    world.queue_empty().await;
    worker.stop().await;
}
