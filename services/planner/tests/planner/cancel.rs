//! Cancelling, whenever it comes.

use jetsweep_shared::events::{Cancelled, decode};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::subjects::BatchEvent;

use crate::support::{RUNS, Stage, batch, spec};

impl Stage {
    /// Waits for the batch's `cancelled`, and checks that nothing of it is queued.
    async fn until_cancelled(&self, batch: &BatchId) {
        let cancelled: Cancelled = decode(&self.event(batch, BatchEvent::Cancelled).await.payload).unwrap();
        assert_eq!((&cancelled.batch_id, cancelled.generation), (batch, 0));
        assert_eq!(cancelled.reason.as_deref(), Some("a test"));
        assert_eq!(self.count(&self.bus.names.jobs_stream(), &self.bus.names.jobs_of_batch(batch)).await, 0);
        self.until_plans_are_done().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_plan_message_there_is_begin_then_cancelled_and_no_job() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let published = stage.watch_jobs().await;
    let batch = batch("early");
    stage.ask_to_cancel(&batch).await;
    stage.publish_spec(&batch, &spec("s")).await;
    stage.until_cancelled(&batch).await;
    assert_eq!(stage.begin(&batch).await.total_runs, RUNS);
    assert_eq!(stage.count_events(&batch, BatchEvent::Sealed).await, 0);
    assert_eq!(published.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_jobs_are_published_the_queued_ones_go_and_no_more_come() {
    const DEPTH: u64 = 8;
    let stage = Stage::set(DEPTH).await;
    let _planner = stage.start_planner().await;
    let (cancelled, other) = (batch("cancelled"), batch("other"));
    stage.publish_spec(&cancelled, &spec("s")).await;
    stage.until_jobs(DEPTH).await;
    stage.publish_spec(&other, &spec("s")).await;
    stage.begin(&other).await;
    stage.ask_to_cancel(&cancelled).await;
    let event: Cancelled = decode(&stage.event(&cancelled, BatchEvent::Cancelled).await.payload).unwrap();
    assert_eq!(event.batch_id, cancelled);
    assert_eq!(stage.count_events(&cancelled, BatchEvent::Sealed).await, 0);
    // The room goes to the other batch, which is not touched.
    let worker = stage.worker(Priority::Normal).await;
    for _ in 0..RUNS {
        assert_eq!(worker.finish_one().await.batch_id, other);
    }
    stage.event(&other, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    assert_eq!(stage.count_events(&other, BatchEvent::Cancelled).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_job_the_queued_ones_go() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("sealed");
    stage.publish_spec(&batch, &spec("s")).await;
    stage.event(&batch, BatchEvent::Sealed).await;
    assert_eq!(stage.count_jobs().await, RUNS);
    stage.ask_to_cancel(&batch).await;
    stage.until_cancelled(&batch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_planner_runs_the_next_one_sees_to_it() {
    let stage = Stage::set(8).await;
    let planner = stage.start_planner().await;
    let (sealed, unfinished) = (batch("sealed"), batch("unfinished"));
    let mut low = async_nats::HeaderMap::new();
    low.insert(jetsweep_shared::events::headers::PRIORITY, "low");
    stage.publish_spec_with(&sealed, &spec("s"), low).await;
    let worker = stage.worker(Priority::Low).await;
    for _ in 0..RUNS - 8 {
        worker.finish_one().await;
    }
    stage.event(&sealed, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    stage.publish_spec(&unfinished, &spec("s")).await;
    stage.until_jobs(16).await;
    planner.stop().await;
    stage.ask_to_cancel(&sealed).await;
    stage.ask_to_cancel(&unfinished).await;

    let _planner = stage.start_planner().await;
    stage.until_cancelled(&sealed).await;
    stage.until_cancelled(&unfinished).await;
    assert_eq!(stage.count_jobs().await, 0);
    assert_eq!(stage.count_events(&unfinished, BatchEvent::Sealed).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn again_changes_nothing() {
    let stage = Stage::set(2_000).await;
    let planner = stage.start_planner().await;
    let (twice, marker) = (batch("twice"), batch("marker"));
    stage.publish_spec(&twice, &spec("s")).await;
    stage.event(&twice, BatchEvent::Sealed).await;
    stage.ask_to_cancel(&twice).await;
    stage.until_cancelled(&twice).await;
    stage.ask_to_cancel(&twice).await;
    planner.stop().await;
    let _planner = stage.start_planner().await;
    // Its plan message again, too.
    stage.publish_spec(&twice, &spec("s")).await;
    stage.until_plans_are_done().await;
    // Whatever the watch saw before this one is seen to by the time this one is.
    stage.ask_to_cancel(&marker).await;
    stage.publish_spec(&marker, &spec("s")).await;
    stage.until_cancelled(&marker).await;
    assert_eq!(stage.count_events(&twice, BatchEvent::Cancelled).await, 1);
    assert_eq!(stage.count_jobs().await, 0);
}
