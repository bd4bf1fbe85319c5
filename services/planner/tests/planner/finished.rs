//! What is asked of batches that have ended: retry and delete.

use async_nats::service::NATS_SERVICE_ERROR;
use bytes::Bytes;
use jetsweep_shared::events::{
    self, BatchState, BatchStatus, Begin, DeleteRequest, ErrorReply, Job, Retry, RetryReply, Sealed, decode, encode,
};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::plan::RunRange;
use jetsweep_shared::subjects::{BatchEvent, status_key};
use jiff::Timestamp;

use crate::support::{RUNS, Stage, batch, spec};

fn runs(ranges: &[(u64, u32)]) -> Vec<RunRange> {
    ranges.iter().map(|&(start, count)| RunRange { start, count }).collect()
}

fn retry(batch: &BatchId, generation: u32, runs: Vec<RunRange>) -> Retry {
    Retry { version: events::VERSION, batch_id: batch.clone(), generation, runs, requested_at: Timestamp::now() }
}

impl Stage {
    /// Asks a planner; the error's code and words if it refuses.
    async fn ask(&self, endpoint: &str, request: Bytes) -> Result<Bytes, (String, String)> {
        let reply = self.bus.client.request(self.bus.names.endpoint("planner", endpoint), request).await.unwrap();
        let is_refused = reply.headers.is_some_and(|headers| headers.get(NATS_SERVICE_ERROR).is_some());
        if !is_refused {
            return Ok(reply.payload);
        }
        let error: ErrorReply = serde_json::from_slice(&reply.payload).unwrap();
        Err((error.code, error.message))
    }

    async fn retry(&self, asked: &Retry) -> Result<RetryReply, (String, String)> {
        self.ask("retry", encode(asked)).await.map(|reply| serde_json::from_slice(&reply).unwrap())
    }

    async fn delete(&self, batch: &BatchId) -> Result<Bytes, (String, String)> {
        self.ask("delete", serde_json::to_vec(&DeleteRequest { batch_id: batch.clone() }).unwrap().into()).await
    }

    /// Says, as a consolidator does, that a generation has ended.
    async fn end(&self, batch: &BatchId, generation: u32) {
        let status = BatchStatus {
            version: events::VERSION,
            batch_id: batch.clone(),
            state: BatchState::Completed,
            generation,
            total_runs: RUNS,
            succeeded: RUNS,
            failed: 0,
            dead: 0,
            cancelled: 0,
            created_at: None,
            completed_at: Some(Timestamp::now()),
            updated_at: Timestamp::now(),
            problems: Vec::new(),
        };
        self.batches().await.put(status_key(batch), encode(&status)).await.unwrap();
    }

    async fn generation_event(&self, batch: &BatchId, generation: u32, event: BatchEvent) -> Bytes {
        let names = &self.bus.names;
        let subject = names.generation_event(batch, generation, event);
        jetsweep_tests::message(&self.bus.jetstream, &names.results_stream(), &subject, |_| true).await.payload
    }

    /// Submits a batch and runs it.
    async fn run(&self, batch: &BatchId) -> Begin {
        self.publish_spec(batch, &spec("s")).await;
        let worker = self.worker(Priority::Normal).await;
        for _ in 0..RUNS {
            worker.finish_one().await;
        }
        self.until_plans_are_done().await;
        self.begin(batch).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_a_generation_of_exactly_those_runs() {
    let mut stage = Stage::set(2_000).await;
    stage.config.planner.shard_runs = Some(7);
    let _planner = stage.start_planner().await;
    let id = batch("b1");
    stage.publish_spec(&id, &spec("s")).await;
    let begin = stage.begin(&id).await;
    let whole = begin.plan.shard(0).unwrap();
    assert_eq!((whole.runs.count, begin.plan.shard(1).unwrap().runs.start), (7, 7));

    // Not while it runs.
    let asked = retry(&id, 1, runs(&[(3, 2), (6, 3)]));
    assert_eq!(stage.retry(&asked).await.unwrap_err().0, "not_over");
    stage.event(&id, BatchEvent::Sealed).await;
    let worker = stage.worker(Priority::Normal).await;
    for _ in 0..begin.total_shards {
        worker.finish_one().await;
    }
    stage.until_plans_are_done().await;
    stage.end(&id, 0).await;

    let reply = stage.retry(&asked).await.unwrap();
    assert_eq!((reply.generation, reply.runs), (1, 5));
    let again = decode::<Begin>(&stage.generation_event(&id, 1, BatchEvent::Begin).await).unwrap();
    assert_eq!((again.generation, again.total_runs, again.total_shards), (1, begin.total_runs, 3));
    assert_eq!((&again.plan, &again.spec_digest), (&begin.plan, &begin.spec_digest));
    let sealed = decode::<Sealed>(&stage.generation_event(&id, 1, BatchEvent::Sealed).await).unwrap();
    assert_eq!((sealed.generation, sealed.total_shards), (1, 3));

    // Each job walks the grid from where its first run lies.
    let strategy = &begin.spec.strategies[0];
    let points = strategy.grid.points(&strategy.template).unwrap();
    let mut walk = points.walk(0, 0);
    let cursors: Vec<u64> = std::iter::from_fn(|| walk.next_point().map(|(cursor, _)| cursor)).collect();
    let mut jobs: Vec<Job> = Vec::new();
    for _ in 0..3 {
        jobs.push(worker.finish_one().await);
    }
    // Several are on their way at a time.
    jobs.sort_by_key(|job| job.shard);
    for (job, (shard, start, count)) in jobs.iter().zip([(0, 3_u64, 2), (1, 6, 1), (2, 7, 2)]) {
        assert_eq!((job.generation, job.shard, job.runs), (1, shard, RunRange { start, count }));
        assert_eq!((job.cursor, job.first_point), (cursors[start as usize], start));
    }
    stage.until_plans_are_done().await;
    assert_eq!(stage.count_jobs().await, 0);

    // The same again is the same; other runs under that number are not taken.
    assert_eq!(stage.retry(&asked).await.unwrap(), reply);
    let (code, words) = stage.retry(&retry(&id, 1, runs(&[(0, 1)]))).await.unwrap_err();
    assert_eq!((code.as_str(), words.contains("retries other runs")), ("invalid_retry", true), "{words}");
    assert_eq!(stage.retry(&retry(&id, 2, runs(&[(0, 1)]))).await.unwrap_err().0, "not_over");
    stage.end(&id, 1).await;
    let beyond = stage.retry(&retry(&id, 2, runs(&[(RUNS, 1)]))).await.unwrap_err();
    assert!(beyond.0 == "invalid_retry" && beyond.1.contains("not of the plan"), "{beyond:?}");
    assert_eq!(stage.retry(&retry(&id, 7, runs(&[(0, 1)]))).await.unwrap_err().0, "invalid_retry");
    assert_eq!(stage.retry(&retry(&batch("none"), 1, runs(&[(0, 1)]))).await.unwrap_err().0, "unknown_batch");
    stage.retry(&retry(&id, 2, runs(&[(0, 1)]))).await.unwrap();
    assert_eq!(worker.finish_one().await.generation, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_survives_its_planner_and_can_be_cancelled() {
    const DEPTH: u64 = 8;
    let mut stage = Stage::set(DEPTH).await;
    stage.config.worker.ack_wait_seconds = 1;
    let planner = stage.start_planner().await;
    let id = batch("b1");
    stage.run(&id).await;
    stage.end(&id, 0).await;
    stage.retry(&retry(&id, 1, runs(&[(0, RUNS as u32)]))).await.unwrap();
    stage.until_jobs(DEPTH).await;
    planner.crash();

    let _planner = stage.start_planner().await;
    let worker = stage.worker(Priority::Normal).await;
    for _ in 0..DEPTH {
        assert_eq!(worker.finish_one().await.generation, 1);
    }
    stage.until_jobs(DEPTH).await;
    // A cancel of the first plan means the first plan.
    stage.ask_to_cancel(&id).await;
    worker.finish_one().await;
    let subject = stage.bus.names.generation_event(&id, 1, BatchEvent::Cancelled);
    assert_eq!(stage.count(&stage.bus.names.results_stream(), &subject).await, 0);
    stage.ask_to_cancel_generation(&id, 1).await;
    stage.generation_event(&id, 1, BatchEvent::Cancelled).await;
    stage.until_plans_are_done().await;
    assert_eq!(stage.count_jobs().await, 0);
    assert_eq!(stage.count_events(&id, BatchEvent::Cancelled).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_batch_keeps_its_id() {
    let stage = Stage::set(2_000).await;
    let _planner = stage.start_planner().await;
    let id = batch("b1");
    stage.run(&id).await;
    assert_eq!(stage.delete(&id).await.unwrap_err().0, "not_over");
    assert_eq!(stage.delete(&batch("none")).await.unwrap_err().0, "unknown_batch");
    stage.end(&id, 0).await;
    stage.delete(&id).await.unwrap();
    stage.delete(&id).await.unwrap();
    assert_eq!(stage.count_events(&id, BatchEvent::Deleted).await, 1);

    // The consolidator removes the rest; from then on the id is as it was.
    let results = stage.bus.jetstream.get_stream(stage.bus.names.results_stream()).await.unwrap();
    let deleted = stage.event(&id, BatchEvent::Deleted).await;
    let last = results.get_last_raw_message_by_subject(&deleted.subject).await.unwrap().sequence;
    results.purge().filter(stage.bus.names.results_of_batch(&id)).sequence(last).await.unwrap();
    let reply = stage.submit(Some(&id), spec("s")).await;
    let error: ErrorReply = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(error.code, "batch_deleted");
    stage.publish_spec(&id, &spec("s")).await;
    let status = stage.refused_status(&id).await;
    assert!(status.problems[0].message.contains("was deleted"), "{:?}", status.problems);
    assert_eq!(stage.retry(&retry(&id, 1, runs(&[(0, 1)]))).await.unwrap_err().0, "unknown_batch");
}
