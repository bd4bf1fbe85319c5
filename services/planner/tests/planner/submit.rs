//! From a spec to begin, jobs and sealed.

use async_nats::HeaderMap;
use jetsweep_shared::events::{Job, Sealed, SubmitReply, decode, headers};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::subjects::BatchEvent;

use crate::support::{RUNS, Stage, batch, spec};

#[tokio::test(flavor = "multi_thread")]
async fn a_submitted_spec_becomes_begin_then_jobs_then_sealed() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let batch = batch("b1");
    let reply = stage.submit(Some(&batch), spec("s")).await;
    let reply: SubmitReply = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!((&reply.batch_id, reply.total_runs, reply.known), (&batch, RUNS, false));

    let sealed: Sealed = decode(&stage.event(&batch, BatchEvent::Sealed).await.payload).unwrap();
    assert_eq!((sealed.total_runs, u64::from(sealed.total_shards)), (RUNS, RUNS));
    let begin = stage.begin(&batch).await;
    assert_eq!((begin.total_runs, begin.priority, begin.generation), (RUNS, Priority::Normal, 0));
    assert_eq!(begin.spec_digest, reply.spec_digest);

    let names = &stage.bus.names;
    let subjects = "jetsweep.jobs.v1.native.normal.b1.0.*";
    assert_eq!(stage.count_jobs().await, RUNS);
    let worker = stage.worker(Priority::Normal).await;
    let mut jobs: Vec<Job> = Vec::new();
    for _ in 0..RUNS {
        jobs.push(worker.finish_one().await);
    }
    assert_eq!(stage.count(&names.jobs_stream(), subjects).await, 0);
    jobs.sort_by_key(|job| job.shard);
    for (job, shard) in jobs.iter().zip(begin.plan.shards()) {
        assert_eq!((job.shard, job.cursor, job.first_point), (shard.shard, shard.cursor, shard.first_point));
        assert_eq!(job.runs, shard.runs);
        assert_eq!(job.symbol, begin.spec.symbols[shard.symbol]);
        assert_eq!(job.strategy, begin.spec.strategies[shard.strategy]);
        assert_eq!((&job.data, &job.execution), (&begin.spec.data, &begin.spec.execution));
        assert_eq!((&job.batch_id, &job.spec_digest), (&batch, &begin.spec_digest));
    }
    stage.until_plans_are_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_published_before_any_planner_runs_is_planned_with_its_priority() {
    let stage = Stage::set(2_000).await;
    let batch = batch("raw");
    let mut plan_headers = HeaderMap::new();
    plan_headers.insert(headers::PRIORITY, "high");
    stage.publish_spec_with(&batch, &spec("s"), plan_headers).await;
    let _planner = stage.start_planner().await;
    stage.event(&batch, BatchEvent::Sealed).await;
    assert_eq!(stage.begin(&batch).await.priority, Priority::High);
    let high = "jetsweep.jobs.v1.native.high.raw.0.*";
    assert_eq!(stage.count(&stage.bus.names.jobs_stream(), high).await, RUNS);
    assert_eq!(stage.count_jobs().await, RUNS);
    stage.until_plans_are_done().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_the_same_as_toml() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let json = serde_json::json!({
        "name": "s",
        "data": { "source": "{symbol}.csv" },
        "universe": { "symbols": ["AAPL", "SPY"] },
        "strategy": [{ "template": "sma_cross", "fast": { "from": 2, "to": 11, "step": 1 }, "slow": [50, 100] }],
    });
    let as_json = stage.submit(None, json.to_string()).await;
    let as_json: SubmitReply = serde_json::from_slice(&as_json.payload).unwrap();
    let as_toml = stage.submit(None, spec("s")).await;
    let as_toml: SubmitReply = serde_json::from_slice(&as_toml.payload).unwrap();
    assert_eq!(as_json.spec_digest, as_toml.spec_digest);
    assert_eq!(as_json.batch_id, as_toml.batch_id, "without an id, a batch is named after its spec");
    assert!(as_json.batch_id.as_str().starts_with("s-"), "{}", as_json.batch_id);
    assert!(as_toml.known);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_spec_under_the_same_id_gives_the_same_answer() {
    // A queue that stays full, so that the plan message is still there at the second request.
    let mut stage = Stage::set(4).await;
    let planner = stage.start_planner().await;
    let batch = batch("b1");
    let first = stage.submit(Some(&batch), spec("s")).await;
    let first: SubmitReply = serde_json::from_slice(&first.payload).unwrap();
    let again = SubmitReply { known: true, ..first };
    stage.begin(&batch).await;
    let while_planned = stage.submit(Some(&batch), spec("s")).await;
    assert_eq!(serde_json::from_slice::<SubmitReply>(&while_planned.payload).unwrap(), again);

    planner.stop().await;
    stage.config.planner.queue_depth = 2_000;
    let _planner = stage.start_planner().await;
    stage.event(&batch, BatchEvent::Sealed).await;
    stage.until_plans_are_done().await;
    let when_sealed = stage.submit(Some(&batch), spec("s")).await;
    assert_eq!(serde_json::from_slice::<SubmitReply>(&when_sealed.payload).unwrap(), again);
    assert_eq!(stage.count_events(&batch, BatchEvent::Begin).await, 1);
}
