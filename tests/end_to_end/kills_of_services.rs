//! kill -9 of services and server at random moments, each started again at once: every run ends exactly once.

use std::time::Duration;

use jetsweep_shared::events::BatchState;
use jetsweep_tests::{Signal, eventually};
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::cluster::Cluster;
use crate::support::{LARGE_RUNS, example, fingerprint, random, rows, status, text, undisturbed};

/// Services with their roles.
const SERVICES: [(&str, &str); 5] = [
    ("planner-1", "planner"),
    ("planner-2", "planner"),
    ("worker-1", "worker"),
    ("worker-2", "worker"),
    ("consolidator", "consolidator"),
];

/// The server, as a victim.
const SERVER: &str = "nats-server";

/// How often each one is killed.
const KILLS_EACH: usize = 2;

/// Longest time between two kills.
const LONGEST_PEACE_MS: u64 = 700;

#[tokio::test]
async fn killed_services_lose_and_repeat_nothing() {
    let mut random = random();
    let mut cluster = start().await;
    let mut victims = SERVICES.map(|(name, _)| name).into_iter().chain([SERVER]).collect::<Vec<_>>().repeat(KILLS_EACH);
    victims.shuffle(&mut random);
    let mut batches = Vec::new();
    for victim in victims {
        keep_busy(&cluster, &mut batches).await;
        let peace = Duration::from_millis(random.random_range(0..LONGEST_PEACE_MS));
        println!("after {peace:?}: {victim}");
        tokio::time::sleep(peace).await;
        kill_and_restart(&mut cluster, victim).await;
    }

    for batch in &batches {
        check(&cluster, batch).await;
    }
    for (name, _) in SERVICES {
        cluster.stop(name).await.with_code(0);
    }
    cluster.state.is_left_alone().await;
}

#[tokio::test]
async fn a_worker_that_comes_back_too_late_changes_nothing() {
    let cluster = start().await;
    submit(&cluster, "paused").await;
    let client = cluster.server.connect().await;
    status(&client, "paused", |status| status.done() > 0).await;
    // It holds jobs, shows no sign of life, and others get them.
    cluster.service("worker-1").signal(Signal::STOP);
    check(&cluster, "paused").await;

    // Now it publishes results that are known, and acknowledges jobs that are no longer its own.
    cluster.service("worker-1").signal(Signal::CONT);
    submit(&cluster, "after").await;
    for batch in ["after", "paused"] {
        check(&cluster, batch).await;
    }
}

#[tokio::test]
async fn services_wait_for_a_server_that_starts_after_them() {
    let mut cluster = Cluster::new(&[]).await;
    cluster.server.kill();
    for (name, role) in SERVICES {
        cluster.serve(name, role);
    }
    for (name, _) in SERVICES {
        let service = cluster.service(name);
        eventually("the service to say that it waits", async || {
            service.stderr().contains("cannot connect to NATS now, waiting").then_some(())
        })
        .await;
    }
    // One that is told to end does, and the others go on once the server is there.
    cluster.stop("planner-2").await.with_code(0);
    cluster.server.restart().await;
    cluster.answers("planner").await;
    submit(&cluster, "patient").await;
    check(&cluster, "patient").await;
}

/// All services, ready to answer.
async fn start() -> Cluster {
    // Many small shards, few of them queued: the planner has something to do all the time. What a worker holds that
    // shows no sign of life is given to another one soon.
    let settings = [
        ("JETSWEEP_PLANNER__SHARD_RUNS", "100"),
        ("JETSWEEP_PLANNER__QUEUE_DEPTH", "100"),
        ("JETSWEEP_WORKER__SLOTS", "1"),
        ("JETSWEEP_WORKER__ACK_WAIT_SECONDS", "2"),
    ];
    let mut cluster = Cluster::new(&settings).await;
    for (name, role) in SERVICES {
        cluster.serve(name, role);
    }
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    cluster
}

async fn submit(cluster: &Cluster, batch: &str) {
    let spec = example("large.toml");
    cluster.jetsweep(&["submit", text(&spec), "--batch", batch]).done().await.with_code(0);
}

/// Waits for the end of a batch, and checks that it has every run once, with the values of an undisturbed run.
async fn check(cluster: &Cluster, batch: &str) {
    let ended = cluster.ends(batch).await;
    let counts = [ended.succeeded, ended.failed, ended.dead, ended.cancelled];
    let found = (ended.state, ended.total_runs, counts);
    let expected = (BatchState::Completed, LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]);
    assert_eq!(found, expected, "{batch}: {}", cluster.logs());
    // A server that was just started again does not know it yet.
    cluster.answers("consolidator").await;
    let query = cluster.jetsweep(&["query", &fingerprint(batch), "--output", "json"]);
    assert_eq!(&rows(query.done().await)[0], undisturbed().await, "{batch}");
}

/// Submits another batch when all that were submitted are done.
async fn keep_busy(cluster: &Cluster, batches: &mut Vec<String>) {
    if let Some(last) = batches.last() {
        let state = cluster.jetsweep(&["status", last, "--output", "quiet"]).done().await.with_code(0).stdout;
        if state.trim() != "completed" {
            return;
        }
    }
    let batch = format!("batch-{}", batches.len() + 1);
    submit(cluster, &batch).await;
    batches.push(batch);
}

async fn kill_and_restart(cluster: &mut Cluster, victim: &str) {
    if victim == SERVER {
        cluster.server.restart().await;
        return;
    }
    let role = SERVICES.iter().find(|(name, _)| *name == victim).map(|(_, role)| *role);
    let killed = cluster.kill(victim).await;
    assert_eq!(killed.code, None, "{victim} had ended by itself: {}", killed.stderr);
    cluster.serve(victim, role.expect("victims are services"));
}
