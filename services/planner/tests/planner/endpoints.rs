//! What the service endpoints refuse, and how the service shows itself.

use std::time::Duration;

use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use jetsweep_shared::events::{ErrorReply, ValidateReply, headers};
use jetsweep_shared::subjects::BatchEvent;

use crate::support::{RUNS, Stage, batch, spec};

/// The code and body of an error reply.
fn error(reply: &Message) -> (u16, ErrorReply) {
    let headers = reply.headers.as_ref().expect("an error reply has headers");
    let code = headers.get("Nats-Service-Error-Code").expect("its code").as_str().parse().unwrap();
    let body: ErrorReply = serde_json::from_slice(&reply.payload).unwrap();
    let short = headers.get("Nats-Service-Error").expect("its text").as_str();
    assert!(short.starts_with(&format!("{}: ", body.code)), "{short}");
    (code, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn validate_tells_what_a_spec_would_come_to() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let reply = stage.bus.client.request("jetsweep.planner.validate", spec("s").into()).await.unwrap();
    let reply: ValidateReply = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!((reply.name.as_str(), reply.symbols, reply.strategies), ("s", 2, 1));
    assert_eq!((reply.total_runs, u64::from(reply.total_shards)), (RUNS, RUNS));
    assert_eq!(stage.count_jobs().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_spec_is_answered_with_all_its_problems() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let document = spec("s").replace("fast =", "fsat =").replace("\"SPY\"", "\"S/PY\"");
    for subject in ["jetsweep.planner.submit", "jetsweep.planner.validate"] {
        let reply = stage.bus.client.request(subject, document.clone().into()).await.unwrap();
        let (code, body) = error(&reply);
        assert_eq!((code, body.code.as_str()), (400, "invalid_spec"));
        assert!(body.problems.len() >= 2, "{body:?}");
        assert!(body.problems.iter().any(|problem| problem.to_string().contains("fsat")), "{body:?}");
        assert!(body.problems.iter().any(|problem| problem.to_string().contains("S/PY")), "{body:?}");
    }
    assert_eq!(stage.count(&stage.bus.names.plans_stream(), "jetsweep.plans.>").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grid_without_a_point_is_answered_at_once() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let document = format!("{}where = \"fast > slow\"\n", spec("s"));
    let (code, body) = error(&stage.submit(Some(&batch("b1")), document).await);
    assert_eq!((code, body.code.as_str()), (400, "invalid_spec"));
    assert_eq!(body.problems.len(), 1);
    assert!(body.problems[0].at.starts_with("strategy[0]"), "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_are_checked_like_the_spec() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let mut wrong = HeaderMap::new();
    wrong.insert(headers::BATCH, "a.b");
    let request = stage.bus.client.request_with_headers("jetsweep.planner.submit", wrong, spec("s").into());
    let (code, body) = error(&request.await.unwrap());
    assert_eq!((code, body.problems[0].at.as_str()), (400, "header Jetsweep-Batch"));

    let mut wrong = HeaderMap::new();
    wrong.insert(headers::PRIORITY, "urgent");
    let request = stage.bus.client.request_with_headers("jetsweep.planner.submit", wrong, spec("s").into());
    let (code, body) = error(&request.await.unwrap());
    assert_eq!((code, body.problems[0].at.as_str()), (400, "header Jetsweep-Priority"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_spec_under_a_known_id_is_refused() {
    let stage = Stage::set(4).await;
    let _planner = stage.start_planner().await;
    let batch = batch("b1");
    stage.submit(Some(&batch), spec("one")).await;
    let (code, body) = error(&stage.submit(Some(&batch), spec("two")).await);
    assert_eq!((code, body.code.as_str()), (409, "batch_exists"));
    assert_eq!(stage.begin(&batch).await.spec.name, "one");
    // The same once the batch is planned.
    let (code, body) = error(&stage.submit(Some(&batch), spec("two")).await);
    assert_eq!((code, body.code.as_str()), (409, "batch_exists"));
    assert_eq!(stage.count_events(&batch, BatchEvent::Begin).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_large_is_refused() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let document = format!("{}# {}", spec("s"), "x".repeat(1024 * 1024 - 10 * 1024));
    let (code, body) = error(&stage.submit(None, document).await);
    assert_eq!((code, body.code.as_str()), (413, "too_large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_plans_is_unavailable() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let mut plans = stage.bus.jetstream.get_stream(stage.bus.names.plans_stream()).await.unwrap();
    let mut config = plans.info().await.unwrap().config.clone();
    config.max_bytes = 10;
    stage.bus.jetstream.update_stream(config).await.unwrap();
    let (code, body) = error(&stage.submit(None, spec("s")).await);
    assert_eq!((code, body.code.as_str()), (503, "unavailable"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_shows_itself_with_its_exact_subjects() {
    let mut stage = Stage::set(2_000).await;
    stage.config.nats.namespace = "team-a".to_owned();
    let _planner = stage.start_planner().await;
    let inbox = stage.bus.client.new_inbox();
    let mut replies = stage.bus.client.subscribe(inbox.clone()).await.unwrap();
    stage.bus.client.publish_with_reply("$SRV.INFO.planner", inbox, "".into()).await.unwrap();
    let info = jetsweep_tests::within(Duration::from_secs(10), "service info", replies.next()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!((&info["name"], &info["version"]), (&"planner".into(), &env!("CARGO_PKG_VERSION").into()));
    let mut subjects: Vec<&str> =
        info["endpoints"].as_array().unwrap().iter().map(|endpoint| endpoint["subject"].as_str().unwrap()).collect();
    subjects.sort_unstable();
    assert_eq!(
        subjects,
        ["team-a.planner.delete", "team-a.planner.retry", "team-a.planner.submit", "team-a.planner.validate"]
    );
}
