//! Ctrl+C: the first one keeps what is done and says how to go on, the second one leaves at once.

use std::time::Duration;

use jetsweep_tests::{Running, Signal, eventually, jetsweep};
use rustix::process::kill_process;

use crate::support::{LARGE_RUNS, State, example, ledger, status, text, undisturbed};

/// How long it may take to hand back what runs and to store what is done, on a machine with much else to do.
const PROMPTLY: Duration = Duration::from_secs(5);

/// How long leaving at once may take there.
const AT_ONCE: Duration = Duration::from_secs(1);

const BATCH: &str = "interrupted";

/// Starts a batch and waits until a part of it is done.
async fn half_way(state: &State) -> Running {
    let spec = example("large.toml");
    let command = state.jetsweep(&["run", text(&spec), "--batch", BATCH]);
    let running = command.env("JETSWEEP_PLANNER__SHARD_RUNS", "100").start();
    let client = state.server().await;
    let begun = status(&client, BATCH, |status| status.done() > 0).await;
    assert!(begun.done() < begun.total_runs, "it was over before it could be interrupted");
    running
}

/// Goes on as the command told, and checks that nothing is missing.
async fn resume_as_told(state: &State, stderr: &str) -> u64 {
    let told = stderr.rsplit_once("`jetsweep ").and_then(|(_, rest)| Some(rest.split_once('`')?.0));
    let told = told.unwrap_or_else(|| panic!("it does not say how to go on: {stderr}"));
    assert_eq!(told, format!("run --resume {BATCH} --state {}", state.path().display()));
    let report = jetsweep(told.split(' ').chain(["--output", "json"])).done().await.json();
    assert_eq!(ledger(&report), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]));
    assert_eq!(&state.fingerprint(BATCH).await, undisturbed().await);
    report["computed"].as_u64().expect("how many runs were computed")
}

#[tokio::test]
async fn an_interrupted_run_says_how_to_resume_and_keeps_what_is_done() {
    let state = State::new();
    let mut running = half_way(&state).await;
    running.signal(Signal::INT);
    let done = running.ended_within(PROMPTLY).await.expect("it ends promptly").with_code(130);
    assert_eq!(done.stdout, "");
    state.is_left_alone().await;

    let after = done.stderr.split_once("interrupted after ").and_then(|(_, rest)| rest.split_once(" of 86,175 runs"));
    let (count, _) = after.unwrap_or_else(|| panic!("it does not say what is done: {}", done.stderr));
    let kept: u64 = count.replace(',', "").parse().unwrap();
    assert!(0 < kept && kept < LARGE_RUNS, "{kept}");
    let computed = resume_as_told(&state, &done.stderr).await;
    // A result that was stored last may have been read after the end only: then it is neither.
    assert!(kept + computed <= LARGE_RUNS, "{kept} runs were done, {computed} were computed afterwards");
    state.is_left_alone().await;
}

#[tokio::test]
async fn a_second_interrupt_leaves_at_once() {
    let state = State::new();
    let mut running = half_way(&state).await;
    // With a server that does not answer, nothing can be finished in order.
    kill_process(state.server_process().expect("a server"), Signal::STOP).unwrap();

    running.signal(Signal::INT);
    eventually("it to say that it is finishing", async || {
        running.stderr().contains("Ctrl+C again leaves at once").then_some(())
    })
    .await;
    running.signal(Signal::INT);
    running.ended_within(AT_ONCE).await.expect("it leaves at once").with_code(130);
    state.is_left_alone().await;

    let report = state.jetsweep(&["run", "--resume", BATCH, "--output", "json"]).done().await.json();
    assert_eq!(ledger(&report), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]));
    assert_eq!(&state.fingerprint(BATCH).await, undisturbed().await);
}
