//! kill -9 of `jetsweep run`, or of its server, at random moments: resuming leaves every run exactly once.

use std::time::Duration;

use jetsweep_tests::{Done, Running, Signal};
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::kill_process;

use crate::support::{LARGE_RUNS, State, example, ledger, random, text, undisturbed};

/// Kills in all.
const KILLS: usize = 10;

/// Longest time between two kills: a start takes a part of it, so that starts are hit as well.
const LONGEST_PEACE_MS: u64 = 900;

/// Who is killed next.
#[derive(Debug)]
enum Victim {
    /// The process that is everything but the server.
    Program,
    /// Its server.
    Server,
}

/// A batch whose processes are killed.
struct Tormented<'a> {
    state: &'a State,
    batch: String,
}

#[tokio::test]
async fn a_run_killed_ten_times_has_every_run_once() {
    let mut random = random();
    let expected = undisturbed().await;
    let state = State::new();
    let mut kills = 0;
    let mut batches = 0;
    while kills < KILLS {
        batches += 1;
        let batch = format!("killed-{batches}");
        let report = Tormented { state: &state, batch: batch.clone() }.run(&mut random, &mut kills).await.json();
        assert_eq!(ledger(&report), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]), "{batch}");
        assert_eq!(&state.fingerprint(&batch).await, expected, "{batch}");
        let markers =
            format!("SELECT count(*) AS shards, sum(run_count) AS runs FROM shards WHERE batch_id = '{batch}'");
        let planned =
            format!("SELECT (plan->>'total_shards')::BIGINT AS shards FROM batches WHERE batch_id = '{batch}'");
        let (markers, planned) = (&state.query(&markers).await[0], &state.query(&planned).await[0]);
        assert_eq!((&markers["shards"], &markers["runs"]), (&planned["shards"], &LARGE_RUNS.into()), "{batch}");
    }
    state.is_left_alone().await;
}

#[tokio::test]
async fn a_server_that_dies_again_and_again_is_given_up_on_and_resumed() {
    let state = State::new();
    let batch = Tormented { state: &state, batch: "dying".to_owned() };
    let mut running = batch.start();
    let given_up = loop {
        batch.kill_server();
        if let Some(done) = running.ended_within(Duration::from_millis(20)).await {
            break done.with_code(1);
        }
    };
    assert!(given_up.stderr.contains("nats-server"), "{}", given_up.stderr);
    assert!(given_up.stderr.contains("jetsweep run --resume dying"), "{}", given_up.stderr);
    let report = batch.start().ended().await.json();
    assert_eq!(ledger(&report), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]));
    assert_eq!(&state.fingerprint("dying").await, undisturbed().await);
    state.is_left_alone().await;
}

impl Tormented<'_> {
    /// Runs the batch to its end, with kills until there were enough.
    async fn run(&self, random: &mut StdRng, kills: &mut usize) -> Done {
        let mut running = self.start();
        loop {
            let peace = match *kills {
                KILLS => Duration::MAX,
                _ => Duration::from_millis(random.random_range(0..LONGEST_PEACE_MS)),
            };
            running = match running.ended_within(peace).await {
                Some(done) if done.code == Some(0) => return done,
                // A server that dies again and again is given up on; then resuming is what is left.
                Some(done) => {
                    let done = done.with_code(1);
                    assert!(done.stderr.contains(&format!("jetsweep run --resume {}", self.batch)), "{}", done.stderr);
                    self.start()
                }
                None => {
                    *kills += 1;
                    let victim = if random.random_bool(0.7) { Victim::Program } else { Victim::Server };
                    println!("kill {kills}, in {}, after {peace:?}: {victim:?}", self.batch);
                    self.kill(&victim, running).await
                }
            };
        }
    }

    /// Starts the batch, or goes on with it if it was started before.
    fn start(&self) -> Running {
        let record = self.state.path().join("batches").join(&self.batch).join("batch.json");
        let spec = example("large.toml");
        let args = match record.exists() {
            true => vec!["run", "--resume", &self.batch, "--output", "json"],
            false => vec!["run", text(&spec), "--batch", &self.batch, "--output", "json"],
        };
        // Many small shards, few of them queued: the planner has something to do all the time.
        let command = self.state.jetsweep(&args);
        command.env("JETSWEEP_PLANNER__SHARD_RUNS", "100").env("JETSWEEP_PLANNER__QUEUE_DEPTH", "100").start()
    }

    /// Kills the victim and returns what runs then.
    async fn kill(&self, victim: &Victim, running: Running) -> Running {
        match victim {
            Victim::Program => {
                running.kill().await;
                // At once: what the program left behind may still be about to end.
                self.start()
            }
            Victim::Server => {
                self.kill_server();
                running
            }
        }
    }

    /// Kills the server. Without one, it is about to start, and nothing is hit.
    fn kill_server(&self) {
        if let Some(server) = self.state.server_process() {
            // Fails for one that has just ended by itself.
            let _ = kill_process(server, Signal::KILL);
        }
    }
}
