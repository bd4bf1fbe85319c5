//! Urgent jobs overtake, and the others still move.

use std::fs;

use jetsweep_shared::ids::Priority;
use jetsweep_tests::eventually;

use crate::support::{World, job, options, script};

#[tokio::test(flavor = "multi_thread")]
async fn high_overtakes_at_once_and_low_still_moves() {
    let folder = tempfile::tempdir().unwrap();
    let (started, go) = (folder.path().join("started"), folder.path().join("go"));
    let mut world = World::new().await;
    // The only slot is taken by a redelivered job whose child waits for us.
    let wait = format!("touch {}; while ! [ -e {} ]; do sleep 0.01; done", started.display(), go.display());
    world.options = options(script(&wait));
    let blocker = job(0);
    world.submit_redelivered(&blocker).await;
    let worker = world.worker();
    eventually("the slot to be taken", async || started.exists().then_some(())).await;

    const HIGH: u32 = 60;
    let mut shard = 1;
    for (priority, count) in [(Priority::Low, 5), (Priority::Normal, 5), (Priority::High, HIGH)] {
        for _ in 0..count {
            let mut job = job(shard);
            job.priority = priority;
            world.submit(&job).await;
            shard += 1;
        }
    }
    for priority in [Priority::Low, Priority::High] {
        world.held_by_workers(priority, 1).await;
    }
    fs::write(&go, "").unwrap();

    // The blocker's child answers nothing, so its dead result is among them.
    let order: Vec<u32> = world.results(11 + HIGH as usize).await.iter().map(|result| result.shard).collect();
    let is_high = |shard: &u32| *shard > 10;
    let first = order.iter().find(|shard| **shard != 0).unwrap();
    assert!(is_high(first), "{order:?}");
    let last_high = order.iter().rposition(is_high).unwrap();
    let first_low = order.iter().position(|shard| (1..=5).contains(shard)).unwrap();
    assert!(first_low < last_high, "{order:?}");
    let highs_first = order.iter().take(20).filter(|shard| is_high(shard)).count();
    assert!(highs_first >= 10, "{order:?}");
    world.queue_empty().await;
    worker.stop().await;
}
