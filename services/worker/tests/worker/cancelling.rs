//! Jobs of a cancelled batch are acknowledged without a result.

use jetsweep_shared::events::{self, Control, ControlAction};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::control_key;
use jiff::Timestamp;

use crate::support::{World, batch, endless_job, job};

async fn cancel(world: &World) {
    let control = Control {
        version: events::VERSION,
        action: ControlAction::Cancel,
        generation: 0,
        reason: None,
        requested_at: Timestamp::now(),
    };
    world.bus.batches().await.unwrap().put(control_key(&batch()), events::encode(&control)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_batch_cancelled_before_are_skipped() {
    let world = World::new().await;
    cancel(&world).await;
    for shard in 0..5 {
        world.submit(&job(shard)).await;
    }
    let mut other = job(0);
    other.batch_id = "other".parse().unwrap();
    world.submit(&other).await;
    let worker = world.worker();
    world.queue_empty().await;
    world.result(&other).await;
    assert_eq!(world.stored(world.bus.names.results_stream()).await, 1);
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_skipped, summary.jobs_completed), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_shard_of_a_cancelled_batch_stops() {
    let world = World::new().await;
    let worker = world.worker();
    world.submit(&endless_job(0)).await;
    world.held_by_workers(Priority::Normal, 1).await;
    cancel(&world).await;
    world.queue_empty().await;
    assert_eq!(world.stored(world.bus.names.results_stream()).await, 0);
    assert_eq!(world.stored(world.bus.names.dead_stream()).await, 0);
    assert_eq!(worker.stop().await.jobs_skipped, 1);
}
