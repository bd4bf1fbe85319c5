//! A job that was delivered before runs in a child process, whatever it did to its worker.

use jetsweep_shared::events::{Job, Outcome, headers};
use jetsweep_tests::eventually;

use crate::support::{World, counted, job, options, script, timeless};

async fn last_words(world: &World, job: &Job) -> (String, String) {
    let letter = world.dead_letter(job).await;
    let headers_found = letter.headers.as_ref().unwrap();
    let header = |name| headers_found.get(name).unwrap().as_str().to_owned();
    let result = world.result(job).await;
    let Outcome::Dead { code, message } = result.outcome else { panic!("{:?}", result.outcome) };
    assert_eq!((&code, &message), (&header(headers::ERROR_CODE), &header(headers::ERROR)));
    assert_eq!(result.runs, job.runs);
    world.queue_empty().await;
    (code, message)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_innocent_job_has_the_same_result_in_a_child() {
    let (in_process, in_child) = (World::new().await, World::new().await);
    let (first, second) = (in_process.worker(), in_child.worker());
    in_process.submit(&job(0)).await;
    in_child.submit_redelivered(&job(0)).await;
    let (plain, child) = (in_process.result(&job(0)).await, in_child.result(&job(0)).await);
    assert!(child.timing.load_us > 0 && child.timing.compute_us > 0);
    assert_eq!(serde_json::to_string(&timeless(plain)).unwrap(), serde_json::to_string(&timeless(child)).unwrap());
    in_child.queue_empty().await;
    assert_eq!(first.stop().await.jobs_in_child, 0);
    assert_eq!(second.stop().await.jobs_in_child, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_between_result_and_ack_costs_nothing() {
    let mut world = World::new().await;
    world.config.worker.ack_wait_seconds = 1;
    world.ensure().await;
    world.submit(&job(0)).await;
    // A worker that stores the result and dies before it acknowledges.
    drop(world.deliver(job(0).priority).await);
    let subject = world.bus.names.result(&job(0).batch_id, 0, 0);
    world.bus.publish(&subject, &job(0).id(), "the first worker's result".into()).await.unwrap();
    let worker = world.worker();
    world.queue_empty().await;
    assert_eq!(world.stored(world.bus.names.results_stream()).await, 1, "the same message id");
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_in_child, summary.jobs_completed), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_killed_is_a_dead_letter_and_the_worker_lives() {
    let mut world = World::new().await;
    world.options = options(script("echo 'about to go' >&2; kill -9 $$"));
    world.submit_redelivered(&job(0)).await;
    let worker = world.worker();
    let (code, message) = last_words(&world, &job(0)).await;
    assert_eq!(code, "child_died");
    assert!(message.contains("signal: 9") && message.ends_with("about to go"), "{message}");
    world.submit(&job(1)).await;
    assert_eq!(world.result(&job(1)).await.outcome, Outcome::Computed);
    assert_eq!(worker.stop().await.jobs_dead, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_fails_or_answers_nonsense_is_a_dead_letter() {
    for (child, words) in [("cat >/dev/null; exit 3", "exit status: 3"), ("cat >/dev/null; echo nonsense", "nonsense")]
    {
        let mut world = World::new().await;
        world.options = options(script(child));
        world.submit_redelivered(&job(0)).await;
        let worker = world.worker();
        let (code, message) = last_words(&world, &job(0)).await;
        assert_eq!(code, "child_died");
        assert!(message.contains(words), "{message}");
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_takes_too_much_memory_dies_alone() {
    let mut world = World::new().await;
    // Less than the program itself takes.
    world.config.worker.child_memory_bytes = 1 << 20;
    world.submit_redelivered(&job(0)).await;
    let worker = world.worker();
    let (code, message) = last_words(&world, &job(0)).await;
    assert_eq!(code, "child_died");
    assert!(message.contains("memory allocation of"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_does_not_end_is_killed_at_its_deadline() {
    let mut world = World::new().await;
    world.config.worker.job_deadline_seconds = 1;
    world.options = options(script("exec sleep 600"));
    world.submit_redelivered(&job(0)).await;
    let worker = world.worker();
    let (code, message) = last_words(&world, &job(0)).await;
    assert_eq!(code, "timeout");
    assert!(message.contains("was killed"), "{message}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_asked_to_end_says_nothing_about_its_job() {
    let mut world = World::new().await;
    world.options = options(script("kill -TERM $$"));
    world.submit_redelivered(&job(0)).await;
    let worker = world.worker();
    counted(&worker, "the job to be put off", |summary| summary.jobs_retried > 0).await;
    let summary = worker.stop().await;
    assert_eq!(summary.jobs_dead, 0);
    assert_eq!(world.stored(world.bus.names.jobs_stream()).await, 1);
    assert_eq!(world.stored(world.bus.names.dead_stream()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_kills_the_child_and_hands_the_job_back() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let mut world = World::new().await;
    world.options = options(script(&format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", pid_file.display())));
    world.config.worker.drain_seconds = 0;
    world.submit_redelivered(&job(0)).await;
    let worker = world.worker();
    let pid = eventually("the child to start", async || std::fs::read_to_string(&pid_file).ok()).await;
    let summary = worker.stop().await;
    assert_eq!((summary.jobs_given_back, summary.jobs_dead), (1, 0));
    assert_eq!(world.deliver(job(0).priority).await.info().unwrap().delivered, 3);
    let process = std::path::PathBuf::from(format!("/proc/{}", pid.trim()));
    eventually("the child to be gone", async || (!process.exists()).then_some(())).await;
}
