//! Jobs that can never run are kept in DEAD, and their batch ends.

use jetsweep_shared::events::{self, Begin, Job, Outcome, headers};
use jetsweep_shared::ids::Priority;
use jetsweep_shared::plan::{Plan, StrategyPlan};
use jetsweep_shared::spec::ResolvedSpec;
use jetsweep_shared::subjects::BatchEvent;
use jetsweep_tests::message;
use jiff::Timestamp;

use crate::support::{RUNS, World, job};

fn header(letter: &async_nats::Message, name: &str) -> String {
    letter.headers.as_ref().unwrap().get(name).unwrap().as_str().to_owned()
}

async fn check_dead(world: &World, job: &Job, payload: &[u8], code: &str, words: &str) {
    let letter = world.dead_letter(job).await;
    assert_eq!(letter.payload, payload, "byte for byte");
    assert_eq!(header(&letter, headers::ERROR_CODE), code);
    assert!(header(&letter, headers::ERROR).contains(words), "{}", header(&letter, headers::ERROR));
    assert_eq!(header(&letter, headers::ORIGIN), format!("jetsweep.jobs.v1.native.normal.batch.0.{}", job.shard));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_job_is_buried_and_the_others_go_on() {
    let world = World::new().await;
    let worker = world.worker();
    let mut bad_template = serde_json::to_value(job(1)).unwrap();
    bad_template["strategy"]["template"]["long"]["enter"] = "sma(close, nope) > 1".into();
    let mut too_many = job(2);
    too_many.runs.count = RUNS + 1;
    let mut bad_rules = job(3);
    bad_rules.execution.cash = -1.0;
    let other_shard = job(7);
    let cases: [(u32, Vec<u8>, &str, &str); 5] = [
        (0, b"{\"batch".to_vec(), "malformed", "does not parse"),
        (1, bad_template.to_string().into_bytes(), "malformed", "nope"),
        (2, events::encode(&too_many).to_vec(), "invalid_grid", "24 points, not 25"),
        (3, events::encode(&bad_rules).to_vec(), "invalid_strategy", "execution.cash"),
        (4, events::encode(&other_shard).to_vec(), "subject_mismatch", "batch.0.7"),
    ];
    for (shard, payload, ..) in &cases {
        world.submit_payload(&job(*shard), payload.clone().into()).await;
    }
    world.submit(&job(5)).await;
    for (shard, payload, code, words) in &cases {
        check_dead(&world, &job(*shard), payload, code, words).await;
    }
    // Payloads that say which runs they are of have a terminal result.
    for (shard, count) in [(1, RUNS), (2, RUNS + 1), (3, RUNS)] {
        let result = world.result(&job(shard)).await;
        let code = cases[shard as usize].2;
        assert!(matches!(&result.outcome, Outcome::Dead { code: found, .. } if found == code), "{:?}", result.outcome);
        assert_eq!((result.runs.start, result.runs.count), (u64::from(shard * RUNS), count));
        assert_eq!((result.strategy.as_str(), result.symbol.as_str()), ("sma_cross", "AAPL"));
    }
    assert_eq!(world.result(&job(5)).await.outcome, Outcome::Computed);
    world.queue_empty().await;
    assert_eq!(world.stored(world.bus.names.results_stream()).await, 4, "nothing says which runs shards 0 and 4 have");
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_dead, summary.jobs_completed), (5, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_says_which_runs_are_dead_when_the_payload_does_not() {
    let world = World::new().await;
    let model = job(0);
    let plan =
        Plan { strategies: vec![StrategyPlan { runs: 24, shard_runs: 10, cursors: vec![0, 10, 20] }], symbols: 2 };
    let begin = Begin {
        version: events::VERSION,
        batch_id: model.batch_id.clone(),
        generation: 0,
        priority: Priority::Normal,
        total_runs: plan.total_runs(),
        total_shards: plan.total_shards(),
        spec: ResolvedSpec {
            name: "test".to_owned(),
            data: model.data.clone(),
            symbols: vec!["AAPL".parse().unwrap(), "SPY".parse().unwrap()],
            asset_class: None,
            strategies: vec![model.strategy.clone()],
            execution: model.execution.clone(),
            validation: None,
        },
        spec_digest: "feed".to_owned(),
        plan,
        retry: None,
        planner_version: "0".to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let subject = world.bus.names.batch_event(&model.batch_id, BatchEvent::Begin);
    world.bus.publish(&subject, "begin", events::encode(&begin)).await.unwrap();
    let worker = world.worker();
    let broken = job(5);
    world.submit_payload(&broken, "nothing readable".into()).await;
    let result = world.result(&broken).await;
    assert!(matches!(result.outcome, Outcome::Dead { .. }));
    assert_eq!((result.runs.start, result.runs.count), (44, 4));
    assert_eq!((result.symbol.as_str(), result.spec_digest.as_str()), ("SPY", "feed"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subject_that_is_none_of_ours_is_kept_by_its_sequence() {
    let world = World::new().await;
    let worker = world.worker();
    let stored = world.bus.publish("jetsweep.jobs.v1.native.normal.batch.x.y", "odd", "odd".into()).await.unwrap();
    let subject = world.bus.names.dead_message(&world.bus.names.jobs_stream(), stored.sequence);
    let letter = message(&world.bus.jetstream, &world.bus.names.dead_stream(), &subject, |_| true).await;
    assert_eq!(letter.payload, "odd");
    world.queue_empty().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_no_stream_takes_kills_its_job_only() {
    let world = World::new().await;
    // About 1.5 MB of result, above the server's max_payload.
    let mut large = crate::support::endless_job(0);
    large.runs.count = 1500;
    let worker = world.worker();
    world.submit(&large).await;
    let letter = world.dead_letter(&large).await;
    assert_eq!(header(&letter, headers::ERROR_CODE), "result_refused");
    assert!(matches!(world.result(&large).await.outcome, Outcome::Dead { .. }));
    world.queue_empty().await;
    worker.stop().await;
}
