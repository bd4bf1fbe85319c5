//! Jobs that misbehave in the process of their worker, and jobs that take longer than anybody waits for a sign of life.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use jetsweep_shared::events::{self, Job, headers};
use jetsweep_tests::{Direction, Passing, Signal, Wire, messages};

use crate::cluster::Cluster;
use crate::ledger::{SETTINGS, Sweep};

/// Memory that the worker may have, in bytes: enough for its work, too little for a hog.
const WORKER_BYTES: f64 = (4_u64 << 30) as f64;

/// Shards that misbehave, with the code of their dead letter.
const POISON: [(&str, &str); 4] =
    [("39=panic", "panic"), ("5=abort", "child_died"), ("40=loop", "timeout"), ("11=hog", "child_died")];

/// The share of this machine's memory that `WORKER_BYTES` are.
fn share() -> String {
    let info = rustix::system::sysinfo();
    let machine = info.totalram as f64 * f64::from(info.mem_unit.max(1));
    format!("{:.6}", (WORKER_BYTES / machine).min(0.9))
}

#[tokio::test]
async fn jobs_that_panic_abort_loop_or_hog_are_dead_once_and_harm_nobody() {
    let share: &'static str = share().leak();
    let more = [
        ("JETSWEEP_WORKER__JOB_DEADLINE_SECONDS", "2"),
        ("JETSWEEP_WORKER__CHILD_MEMORY_BYTES", "1073741824"),
        ("JETSWEEP_WORKER__MAX_MEMORY", share),
    ];
    let mut cluster = Cluster::new(&[SETTINGS.as_slice(), &more].concat()).await;
    let url = cluster.server.url();
    let poison = POISON.map(|(poison, _)| poison).join(",");
    cluster.serve("planner", "planner");
    cluster.serve("consolidator", "consolidator");
    cluster.serve_poisoned("worker", &url, &poison);
    cluster.answers("consolidator").await;
    cluster.submit(Sweep::Small, "b", &[]).await;

    // The abort and the hog take their worker along. Whoever runs it starts it again.
    let mut logs = String::new();
    for _ in 0..2 {
        let died = cluster.ended("worker").await;
        assert_eq!(died.code, None, "{}", died.stderr);
        logs += &died.stderr;
        cluster.serve_poisoned("worker", &url, &poison);
    }
    let ended = cluster.ends("b").await;
    let jetstream = jetstream::new(cluster.server.connect().await);
    let letters = messages(&jetstream, "JETSWEEP_DEAD", "jetsweep.dead.v1.>", POISON.len()).await;
    let mut found = Vec::new();
    let mut dead_runs = 0;
    for letter in &letters {
        let job: Job = events::decode(&letter.payload).expect("a dead letter has the job as payload");
        let headers = letter.headers.as_ref().expect("a dead letter says why");
        found.push((job.shard, headers.get(headers::ERROR_CODE).expect("in a header").as_str().to_owned()));
        dead_runs += u64::from(job.runs.count);
    }
    found.sort();
    let expected = [(5, "child_died"), (11, "child_died"), (39, "panic"), (40, "timeout")];
    assert_eq!(found, expected.map(|(shard, code)| (shard, code.to_owned())));
    let mut dead = jetstream.get_stream("JETSWEEP_DEAD").await.unwrap();
    assert_eq!(dead.info().await.unwrap().state.messages, 4, "one letter each");
    assert_eq!((ended.dead, ended.succeeded, ended.failed), (dead_runs, Sweep::Small.runs() - dead_runs, 0));
    cluster.is_balanced().await;
    logs += &cluster.service("worker").stderr();
    assert!(logs.contains("a slot hangs and is replaced"), "{logs}");

    // What is dead is run again by a worker to whom it does no harm, and the rows are as if nothing had been.
    cluster.kill("worker").await;
    cluster.serve("worker", "worker");
    cluster.jetsweep(&["retry", "b", "--dead", "--wait"]).done().await.with_code(0);
    cluster.is_whole(Sweep::Small, "b").await;
}

/// How often jobs were delivered, and how many there were.
async fn deliveries(cluster: &Cluster) -> (u64, u64) {
    let jetstream = jetstream::new(cluster.server.connect().await);
    let stream = jetstream.get_stream("JETSWEEP_JOBS").await.unwrap();
    let mut consumer: PullConsumer = stream.get_consumer("native-normal").await.unwrap();
    let delivered = consumer.info().await.unwrap().delivered;
    (delivered.consumer_sequence, delivered.stream_sequence)
}

#[tokio::test]
async fn a_job_longer_than_the_ack_wait_is_delivered_once_as_long_as_its_worker_shows_signs_of_life() {
    for shows_signs in [true, false] {
        let mut cluster = Cluster::new(&SETTINGS).await;
        cluster.serve("planner", "planner");
        cluster.serve("consolidator", "consolidator");
        let mut wires = Vec::new();
        for name in ["one", "two"] {
            let wire = Wire::to(cluster.server.port()).await;
            if !shows_signs {
                let is_sign = |message: &Passing| message.content.ends_with(b"+WPI");
                wire.lose(move |message| message.direction == Direction::ToServer && is_sign(message));
            }
            cluster.serve_poisoned(name, &wire.url(), "3=slow");
            wires.push(wire);
        }
        cluster.submit(Sweep::Small, "b", &[]).await;
        cluster.is_whole(Sweep::Small, "b").await;
        let (deliveries, jobs) = deliveries(&cluster).await;
        assert_eq!(deliveries == jobs, shows_signs, "{jobs} jobs, {deliveries} deliveries");
        let dead = cluster.jetsweep(&["dead", "list", "--output", "json"]).done().await.json();
        assert_eq!(dead, serde_json::json!([]));
    }
}

#[tokio::test]
async fn slots_are_taken_away_and_given_back_while_a_worker_runs() {
    let settings = [SETTINGS.as_slice(), &[("JETSWEEP_WORKER__SLOTS", "2")]].concat();
    let cluster = Cluster::with(&settings).await;
    let worker = cluster.service("worker");
    for (signal, slots) in [(Signal::TTOU, 1), (Signal::TTOU, 1), (Signal::TTIN, 2), (Signal::TTOU, 1)] {
        let lines = worker.stderr().lines().count();
        worker.signal(signal);
        jetsweep_tests::eventually("the worker to say how many slots it uses", async || {
            let log = worker.stderr();
            log.lines().skip(lines).any(|line| line.contains(&format!("slots={slots}"))).then_some(())
        })
        .await;
    }
    cluster.submit(Sweep::Large, "b", &[]).await;
    cluster.is_whole(Sweep::Large, "b").await;
}
