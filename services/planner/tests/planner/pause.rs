//! Pausing: the queue is empty of a paused batch, and nothing is missing when it is resumed.

use std::collections::BTreeSet;

use jetsweep_shared::events::{self, Control, ControlAction, encode};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::subjects::{BatchEvent, control_key};
use jiff::Timestamp;

use crate::support::{RUNS, Stage, batch, spec};

const DEPTH: u64 = 8;

impl Stage {
    async fn ask_for(&self, batch: &BatchId, action: ControlAction) {
        let control =
            Control { version: events::VERSION, action, generation: 0, reason: None, requested_at: Timestamp::now() };
        self.batches().await.put(control_key(batch), encode(&control)).await.unwrap();
    }

    /// Runs what is left of a batch; returns the shards.
    async fn finish(&self, count: u64) -> BTreeSet<u32> {
        let worker = self.worker(Priority::Normal).await;
        let mut shards = BTreeSet::new();
        for _ in 0..count {
            shards.insert(worker.finish_one().await.shard);
        }
        shards
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_jobs_are_published_and_across_a_restart() {
    let stage = Stage::set(DEPTH).await;
    let planner = stage.start_planner().await;
    let (paused, other) = (batch("paused"), batch("other"));
    stage.publish_spec(&paused, &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    let mut done = stage.finish(4).await;
    stage.until_jobs(DEPTH).await;
    stage.ask_for(&paused, ControlAction::Pause).await;
    stage.until_jobs(0).await;

    // Its room goes to others.
    stage.publish_spec(&other, &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    assert_eq!(stage.finish(RUNS).await.len() as u64, RUNS);
    stage.event(&other, BatchEvent::Sealed).await;
    planner.stop().await;
    let _planner = stage.start_planner().await;
    assert_eq!(stage.count_jobs().await, 0);

    stage.ask_for(&paused, ControlAction::Resume).await;
    // Within the window in which the stream remembers ids: each job it had is published again all the same.
    done.append(&mut stage.finish(RUNS - 4).await);
    assert_eq!(done, (0..RUNS as u32).collect());
    stage.event(&paused, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    assert_eq!(stage.count_jobs().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_job_and_while_no_planner_runs() {
    let stage = Stage::set(2_000).await;
    let planner = stage.start_planner().await;
    let id = batch("b1");
    stage.publish_spec(&id, &spec("s")).await;
    stage.event(&id, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    let mut done = stage.finish(3).await;
    for _ in 0..2 {
        stage.ask_for(&id, ControlAction::Pause).await;
        stage.until_jobs(0).await;
        stage.ask_for(&id, ControlAction::Resume).await;
        stage.until_jobs(RUNS - 3).await;
    }
    stage.ask_for(&id, ControlAction::Pause).await;
    stage.until_jobs(0).await;
    planner.stop().await;
    stage.ask_for(&id, ControlAction::Resume).await;
    let planner = stage.start_planner().await;
    stage.until_jobs(RUNS - 3).await;
    done.append(&mut stage.finish(RUNS - 3).await);
    assert_eq!(done, (0..RUNS as u32).collect());

    // Asked again at the next start, it changes nothing.
    planner.stop().await;
    let published = stage.watch_jobs().await;
    let _planner = stage.start_planner().await;
    stage.publish_spec(&batch("marker"), &spec("s")).await;
    stage.event(&batch("marker"), BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    published.until(RUNS as usize).await;
}
