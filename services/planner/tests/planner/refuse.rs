//! Specs that cannot be run, and ids that are taken.

use async_nats::HeaderMap;
use jetsweep_shared::events::{BatchState, BatchStatus, decode, headers};
use jetsweep_shared::ids::BatchId;
use jetsweep_shared::subjects::{BatchEvent, status_key};

use crate::support::{RUNS, Stage, batch, spec};

impl Stage {
    /// What DEAD keeps of a batch's plan message.
    async fn dead_plan(&self, batch: &BatchId) -> async_nats::Message {
        let names = &self.bus.names;
        jetsweep_tests::message(&self.bus.jetstream, &names.dead_stream(), &names.dead_plan(batch), |_| true).await
    }
}

fn header<'a>(message: &'a async_nats::Message, name: &str) -> &'a str {
    message.headers.as_ref().unwrap().get(name).unwrap().as_str()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_spec_is_refused_with_all_its_problems_and_kept() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("bad");
    let document = spec("s").replace("fast =", "fsat =").replace("\"SPY\"", "\"S/PY\"");
    let mut plan_headers = HeaderMap::new();
    plan_headers.insert(headers::PRIORITY, "urgent");
    stage.publish_spec_with(&batch, &document, plan_headers).await;

    let status = stage.refused_status(&batch).await;
    for part in ["fsat", "S/PY", "Jetsweep-Priority"] {
        assert!(status.problems.iter().any(|problem| problem.to_string().contains(part)), "{part}: {status:?}");
    }
    let dead = stage.dead_plan(&batch).await;
    assert_eq!(dead.payload, document.as_bytes());
    assert_eq!(header(&dead, headers::ERROR_CODE), "invalid_spec");
    assert!(header(&dead, headers::ERROR).contains("fsat"));
    assert_eq!(header(&dead, headers::ORIGIN), "jetsweep.plans.v1.bad");
    assert_eq!(header(&dead, headers::PRIORITY), "urgent", "its own headers are kept");
    stage.until_plans_are_done().await;
    assert_eq!(stage.count_events(&batch, BatchEvent::Begin).await, 0);
    assert_eq!(stage.count_jobs().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mended_spec_takes_the_id_of_a_refused_one() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("mended");
    stage.publish_spec(&batch, "not a spec").await;
    stage.refused_status(&batch).await;
    stage.until_plans_are_done().await;
    stage.publish_spec(&batch, &spec("s")).await;
    stage.event(&batch, BatchEvent::Sealed).await;
    let status = stage.batches().await.get(status_key(&batch)).await.unwrap();
    assert_eq!(status, None, "nobody takes the old refusal for the end of the batch");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_that_is_not_text_is_refused() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("bytes");
    let bytes: &[u8] = &[0xff, 0xfe, 0x00, 0x41];
    let published = stage.bus.jetstream.publish(stage.bus.names.plan(&batch), bytes.into()).await;
    published.unwrap().await.unwrap();
    assert!(!stage.refused_status(&batch).await.problems.is_empty());
    assert_eq!(stage.dead_plan(&batch).await.payload, bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_that_plans_takes_can_be_refused() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("large");
    let plans = stage.bus.jetstream.get_stream(stage.bus.names.plans_stream()).await.unwrap();
    let largest = plans.cached_info().config.max_message_size as usize;
    let document = "x".repeat(largest);
    stage.publish_spec(&batch, &document).await;
    stage.refused_status(&batch).await;
    assert_eq!(stage.dead_plan(&batch).await.payload.len(), largest);
    stage.until_plans_are_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_without_a_batch_id_goes_to_dead() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let published = stage.bus.jetstream.publish("jetsweep.plans.v1.a$b", spec("s").into()).await;
    published.unwrap().await.unwrap();
    let names = &stage.bus.names;
    let subject = names.dead_message(&names.plans_stream(), 1);
    let dead = jetsweep_tests::message(&stage.bus.jetstream, &names.dead_stream(), &subject, |_| true).await;
    assert_eq!(header(&dead, headers::ERROR_CODE), "invalid_batch_id");
    stage.until_plans_are_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spec_under_a_planned_id_is_refused_and_the_batch_goes_on() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("b1");
    stage.publish_spec(&batch, &spec("one")).await;
    stage.event(&batch, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    let begin = stage.begin(&batch).await;
    let status = running_status(&batch);
    let revision =
        stage.batches().await.put(status_key(&batch), jetsweep_shared::events::encode(&status)).await.unwrap();

    stage.publish_spec(&batch, &spec("two")).await;
    let dead = stage.dead_plan(&batch).await;
    assert_eq!(header(&dead, headers::ERROR_CODE), "batch_exists");
    assert_eq!(dead.payload, spec("two").as_bytes());
    stage.until_plans_are_done().await;
    // So is one that cannot even be read.
    stage.publish_spec(&batch, "not a spec").await;
    stage.until_plans_are_done().await;
    assert_eq!(stage.count(&stage.bus.names.dead_stream(), &stage.bus.names.dead_plan(&batch)).await, 2);

    let entry = stage.batches().await.entry(status_key(&batch)).await.unwrap().unwrap();
    assert_eq!(entry.revision, revision, "the status is untouched");
    assert_eq!(decode::<BatchStatus>(&entry.value).unwrap().state, BatchState::Running);
    assert_eq!(stage.begin(&batch).await, begin);
    assert_eq!(stage.count_jobs().await, RUNS);
}

fn running_status(batch: &BatchId) -> BatchStatus {
    BatchStatus {
        version: jetsweep_shared::events::VERSION,
        batch_id: batch.clone(),
        state: BatchState::Running,
        generation: 0,
        total_runs: RUNS,
        succeeded: 0,
        failed: 0,
        dead: 0,
        cancelled: 0,
        created_at: None,
        completed_at: None,
        updated_at: jiff::Timestamp::now(),
        problems: Vec::new(),
    }
}
