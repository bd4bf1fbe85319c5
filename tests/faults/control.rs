//! Cancel, pause, resume, retry and delete, across kills of whoever carries them out.

use futures::StreamExt;
use jetsweep_shared::events::{self, BatchState, BatchStatus, Job};
use jetsweep_tests::Signal;

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};
use crate::support::text;

#[tokio::test]
async fn paused_cancelled_and_retried_across_kills_every_run_ends_once() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    cluster.submit(Sweep::Large, "b", &[]).await;
    cluster.reaches("b", "have results", |status| status.done() > 0).await;
    cluster.jetsweep(&["pause", "b"]).done().await.with_code(0);
    assert_eq!(cluster.jetsweep(&["status", "b", "--output", "quiet"]).done().await.stdout, "paused\n");
    for role in ["planner", "worker"] {
        cluster.kill(role).await;
        cluster.serve(role, role);
    }
    cluster.server.restart().await;
    cluster.answers("planner").await;
    cluster.answers("worker").await;
    cluster.is_idle().await;
    let before = cluster.now("b").await.done();

    cluster.jetsweep(&["resume", "b"]).done().await.with_code(0);
    cluster.reaches("b", "go on after the pause", |status| status.done() > before).await;
    // With work queued, running and, by the kill, to be delivered again.
    cluster.kill("worker").await;
    cluster.serve("worker", "worker");
    let cancelled = cluster.jetsweep(&["cancel", "b", "--output", "quiet"]).done().await.with_code(0);
    assert_eq!(cancelled.stdout, "cancelled\n");
    cluster.is_balanced().await;
    let stopped = cluster.now("b").await;
    assert_eq!(stopped.state, BatchState::Cancelled, "{stopped:?}");
    assert!(stopped.cancelled > 0 && stopped.succeeded > 0, "{stopped:?}");

    // Exactly the cancelled runs are run, and the batch is then as if nothing had been.
    let retried = cluster.jetsweep(&["retry", "b", "--cancelled", "--output", "json"]).done().await.json();
    assert_eq!((&retried["generation"], &retried["runs"]), (&1.into(), &stopped.cancelled.into()));
    cluster.reaches("b", "be retried", |status| status.generation == 1).await;
    for role in ["planner", "consolidator", "worker"] {
        cluster.kill(role).await;
        cluster.serve(role, role);
    }
    cluster.reaches("b", "complete", |status| status.state == BatchState::Completed).await;
    cluster.is_whole(Sweep::Large, "b").await;
    let generations = cluster
        .rows("SELECT generation, count(*) AS runs FROM backtest_results GROUP BY generation ORDER BY generation")
        .await;
    assert_eq!(generations[1]["runs"], stopped.cancelled, "{generations:?}");
    let none = cluster.jetsweep(&["retry", "b"]).done().await.refused();
    assert!(none.contains("no run of b is failed or dead or cancelled"), "{none}");

    cluster.jetsweep(&["delete", "b"]).done().await.with_code(0);
    assert_eq!(cluster.rows("SELECT 1 FROM backtest_results").await.len(), 0);
    cluster.jetsweep(&["status", "b"]).done().await.with_code(2);
}

#[tokio::test]
async fn all_work_is_paused_and_goes_on() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    cluster.jetsweep(&["pause", "--all"]).done().await.with_code(0);
    cluster.kill("worker").await;
    cluster.serve("worker", "worker");
    cluster.submit(Sweep::Small, "b", &[]).await;
    let running = cluster.reaches("b", "run", |status| status.state == BatchState::Running).await;
    cluster.shows_signs_of_life(9).await;
    assert!(cluster.now("b").await.done() <= 40, "{running:?}");
    cluster.jetsweep(&["resume", "--all"]).done().await.with_code(0);
    cluster.is_whole(Sweep::Small, "b").await;
}

#[tokio::test]
async fn fifty_terms_put_nothing_into_dead_letters() {
    let mut cluster = Cluster::with(&SETTINGS).await;
    cluster.submit(Sweep::Large, "b", &[]).await;
    for _ in 0..50 {
        cluster.service("worker").signal(Signal::TERM);
        cluster.stop("worker").await;
        cluster.serve("worker", "worker");
        jetsweep_tests::eventually("the worker to be ready", async || {
            cluster.service("worker").stderr().contains("worker ready").then_some(())
        })
        .await;
    }
    cluster.is_whole(Sweep::Large, "b").await;
    let dead = cluster.jetsweep(&["dead", "list", "--output", "json"]).done().await.json();
    assert_eq!(dead, serde_json::json!([]));
}

#[tokio::test]
async fn a_poison_job_is_dead_once_and_can_be_retried() {
    // A child that may not even hold the program's own code: whatever is delivered twice dies.
    let settings = [SETTINGS.as_slice(), &[("JETSWEEP_WORKER__CHILD_MEMORY_BYTES", "67108864")]].concat();
    let mut cluster = Cluster::new(&settings).await;
    cluster.serve("planner", "planner");
    cluster.serve("consolidator", "consolidator");
    cluster.answers("planner").await;
    cluster.submit(Sweep::Small, "b", &[]).await;
    let client = cluster.server.connect().await;
    let jetstream = async_nats::jetstream::new(client.clone());
    let jobs = jetstream.get_stream("JETSWEEP_JOBS").await.unwrap();
    // A fetch takes what there is and does not wait for more.
    jetsweep_tests::eventually("two jobs to be queued", async || {
        (jobs.get_info().await.ok()?.state.messages >= 2).then_some(())
    })
    .await;
    let consumer: async_nats::jetstream::consumer::PullConsumer = jobs.get_consumer("native-normal").await.unwrap();
    let mut taken = consumer.fetch().max_messages(2).expires(jetsweep_tests::LIMIT).messages().await.unwrap();
    let mut taken_runs = Vec::new();
    while let Some(message) = taken.next().await {
        let message = message.unwrap();
        let job: Job = events::decode(&message.payload).unwrap();
        taken_runs.push(u64::from(job.runs.count));
        message.ack_with(async_nats::jetstream::AckKind::Nak(None)).await.unwrap();
    }
    client.flush().await.unwrap();
    cluster.serve("worker", "worker");
    let ended = cluster.ends("b").await;
    let letters = cluster.jetsweep(&["dead", "list", "b", "--output", "json"]).done().await.json();
    let letters = letters.as_array().unwrap();
    assert_eq!(letters.len(), 2, "{letters:?}");
    let dead = ended.dead;
    // The two shards that were handed back, and nothing else.
    assert_eq!((taken_runs.len(), taken_runs.iter().sum()), (2, dead), "{ended:?}");
    assert_eq!(ended.succeeded, Sweep::Small.runs() - dead, "{ended:?}");
    cluster.is_balanced().await;
    let number = letters[0]["number"].to_string();
    let shown = cluster.jetsweep(&["dead", "show", &number, "--output", "json"]).done().await.json();
    assert!(shown["payload"].as_str().unwrap().contains("\"batch_id\":\"b\""), "{shown}");

    // With a worker that has room, what is dead is run again.
    cluster.stop("worker").await;
    let (url, state) = (cluster.server.url(), cluster.state.path());
    let healthy = ["worker", "--nats", &url, "--state", text(&state), "--slots", "1"];
    let _healthy = jetsweep_tests::jetsweep(healthy).start();
    cluster.jetsweep(&["dead", "retry", &number]).done().await.with_code(0);
    let is_retried = |status: &BatchStatus| status.generation == 1 && status.state.is_terminal();
    let ended = cluster.reaches("b", "end its retry", is_retried).await;
    assert!(0 < ended.dead && ended.dead < dead && ended.succeeded == Sweep::Small.runs() - ended.dead, "{ended:?}");
    cluster.jetsweep(&["retry", "b", "--dead", "--wait"]).done().await.with_code(0);
    cluster.is_whole(Sweep::Small, "b").await;
    cluster.jetsweep(&["dead", "drop", "--all"]).done().await.with_code(0);
    let left = cluster.jetsweep(&["dead", "list", "--output", "json"]).done().await.json();
    assert_eq!(left, serde_json::json!([]));
}

impl Cluster {
    /// Waits until workers have shown so many signs of life for jobs that they hold: three in an ack wait for each job.
    async fn shows_signs_of_life(&self, count: usize) {
        let client = self.server.connect().await;
        let signs = client.subscribe("$JS.ACK.JETSWEEP_JOBS.>").await.expect("a subscription");
        let signs = signs.filter(|message| std::future::ready(&*message.payload == b"+WPI")).take(count);
        jetsweep_tests::within(jetsweep_tests::LIMIT, "signs of life", signs.count()).await;
    }

    /// Waits until no job is queued, and stays so.
    async fn is_idle(&self) {
        let jetstream = async_nats::jetstream::new(self.server.connect().await);
        jetsweep_tests::eventually("the queue to be empty", async || {
            let mut jobs = jetstream.get_stream("JETSWEEP_JOBS").await.ok()?;
            (jobs.info().await.ok()?.state.messages == 0).then_some(())
        })
        .await;
    }
}
