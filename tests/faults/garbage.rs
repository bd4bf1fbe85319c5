//! Malformed, truncated, duplicated and reordered messages on every subject, and messages of a later version.

use async_nats::HeaderMap;
use async_nats::jetstream;
use jetsweep_tests::{Signal, eventually};
use rand::RngExt;

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};
use crate::support::random;

async fn publish(jetstream: &jetstream::Context, subject: &str, payload: Vec<u8>) {
    // No message id, so that nothing is taken for a repetition.
    let stored = jetstream.publish_with_headers(subject.to_owned(), HeaderMap::new(), payload.into()).await.unwrap();
    stored.await.unwrap_or_else(|error| panic!("{subject}: {error}"));
}

#[tokio::test]
async fn is_given_up_on_and_never_fatal() {
    let mut random = random();
    let cluster = Cluster::with(&SETTINGS).await;
    let jetstream = jetstream::new(cluster.server.connect().await);
    cluster.submit(Sweep::Small, "first", &[]).await;
    cluster.is_whole(Sweep::Small, "first").await;

    // Everything of the first batch again, in another order, whole and cut.
    let results = jetstream.get_stream("JETSWEEP_RESULTS").await.unwrap();
    let last = results.cached_info().state.last_sequence;
    let mut messages = Vec::new();
    for sequence in 1..=last {
        messages.push(results.get_raw_message(sequence).await.unwrap());
    }
    cluster.submit(Sweep::Small, "second", &[]).await;
    let mut odd = 0;
    for _ in 0..messages.len() {
        let message = &messages[random.random_range(0..messages.len())];
        publish(&jetstream, &message.subject, message.payload.to_vec()).await;
        let cut = random.random_range(0..message.payload.len());
        publish(&jetstream, &message.subject, message.payload[..cut].to_vec()).await;
        odd += 1;
    }
    let noise: Vec<u8> = (0..500).map(|_| random.random()).collect();
    for subject in [
        "jetsweep.results.v1.first.7.7",
        "jetsweep.results.v1.first.1.begin",
        "jetsweep.results.v1.first.nonsense",
        "jetsweep.results.v1.nobody.sealed",
        "jetsweep.jobs.v1.native.high.nobody.0.0",
        "jetsweep.jobs.v1.native.low.second.0.x",
        "jetsweep.plans.v1.noise",
        "jetsweep.plans.v1.first.1",
        "jetsweep.plans.v1.first.0",
        "$KV.jetsweep-batches.second.control",
        "$KV.jetsweep-batches.first.status",
    ] {
        publish(&jetstream, subject, noise.clone()).await;
        odd += usize::from(!subject.starts_with("$KV"));
    }
    // A worker's own result that says it is of a later version: those are on subjects of their own.
    publish(&jetstream, "jetsweep.results.v1.second.0.1", br#"{"version": 2}"#.to_vec()).await;
    odd += 1;
    cluster.is_whole(Sweep::Small, "second").await;
    cluster.submit(Sweep::Small, "third", &[]).await;
    cluster.is_whole(Sweep::Small, "third").await;
    eventually("all of it to be given up on", async || {
        let mut dead = jetstream.get_stream("JETSWEEP_DEAD").await.ok()?;
        (dead.info().await.ok()?.state.messages as usize >= odd).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_a_later_version_stops_an_old_consolidator_and_nobody_else() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    let jetstream = jetstream::new(cluster.server.connect().await);
    // A job of another major version is of another subject, which no consumer of these workers has.
    let refused = jetstream.publish("jetsweep.jobs.v2.native.normal.b.0.0", "{}".into()).await.unwrap().await;
    assert!(refused.is_err(), "no stream of this version takes it");
    publish(&jetstream, "jetsweep.results.v1.later.begin", br#"{"version": 2, "all": "new"}"#.to_vec()).await;
    let stopped = cluster.ended("consolidator").await.with_code(1);
    assert!(stopped.stderr.contains("upgrade jetsweep"), "{}", stopped.stderr);
    // Nothing is lost meanwhile: what takes the message away lets it go on.
    cluster.submit(Sweep::Small, "b", &[]).await;
    let results = jetstream.get_stream("JETSWEEP_RESULTS").await.unwrap();
    let odd = results.get_last_raw_message_by_subject("jetsweep.results.v1.later.begin").await.unwrap().sequence;
    results.delete_message(odd).await.unwrap();
    cluster.serve("consolidator", "consolidator");
    cluster.is_whole(Sweep::Small, "b").await;
    cluster.service("worker").signal(Signal::TERM);
}
