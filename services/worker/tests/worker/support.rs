//! A server, a queue and workers on it.

use std::path::PathBuf;
use std::sync::Arc;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use futures::StreamExt;
use indexmap::IndexMap;
use jetsweep_engine::execution::Execution;
use jetsweep_engine::grid::{Axis, Grid};
use jetsweep_engine::template::builtin;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::{Config, NatsConfig};
use jetsweep_shared::events::{self, Job, ShardResult};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::plan::RunRange;
use jetsweep_shared::spec::{DataRef, StrategySpec};
use jetsweep_shared::subjects::{NATIVE, Names};
use jetsweep_shared::topology::{self, Tuning};
use jetsweep_tests::{LIMIT, NatsServer, eventually, message, messages, sample_data, within};
use jetsweep_worker::{ChildCommand, Options, WorkerError, WorkerStats, WorkerSummary, run_with};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Runs of every job made by [`job`]: enough points for its grid.
pub(crate) const RUNS: u32 = 24;

pub(crate) struct World {
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    /// Of the workers: one slot, sample bars, and an ack wait longer than any test.
    pub(crate) config: Config,
    pub(crate) options: Options,
}

pub(crate) struct Worker {
    pub(crate) shutdown: CancellationToken,
    task: JoinHandle<Result<(), WorkerError>>,
    stats: Arc<WorkerStats>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let server = NatsServer::start().await;
        let mut config = Config::default();
        config.nats.url = server.url();
        config.data.root = sample_data();
        config.worker.slots = 1;
        config.worker.name = "worker-1".to_owned();
        config.worker.ack_wait_seconds = 3600;
        let bus = Bus::connect(&NatsConfig::at(server.url()), "test", Names::default()).await.unwrap();
        let world = Self { server, bus, config, options: options(example()) };
        world.ensure().await;
        world
    }

    /// Puts streams and consumers in place, as every service does at its start.
    pub(crate) async fn ensure(&self) {
        let tuning = Tuning { ack_wait: Some(self.config.worker.ack_wait()), ..Tuning::default() };
        topology::ensure(&self.bus.jetstream, &self.bus.names, &tuning).await.unwrap();
    }

    pub(crate) async fn submit(&self, job: &Job) {
        self.submit_payload(job, events::encode(job)).await;
    }

    /// Queues any payload where the job would be.
    pub(crate) async fn submit_payload(&self, job: &Job, payload: bytes::Bytes) {
        let subject = self.bus.names.job(NATIVE, job.priority, &job.batch_id, job.generation, job.shard);
        self.bus.publish(&subject, &job.id(), payload).await.unwrap();
    }

    /// Takes the next job of a priority from the queue, as a worker that dies with it in hand.
    pub(crate) async fn deliver(&self, priority: Priority) -> Message {
        let name = self.bus.names.jobs_consumer(NATIVE, priority);
        let stream = self.bus.names.jobs_stream();
        let consumer: PullConsumer = self.bus.jetstream.get_consumer_from_stream(name, stream).await.unwrap();
        let mut batch = consumer.fetch().max_messages(1).expires(LIMIT).messages().await.unwrap();
        batch.next().await.expect("a job").unwrap()
    }

    /// Queues a job that was delivered once and handed back, so that workers take it for a poisonous one. No worker may run
    /// yet: it could be the first to take the job.
    pub(crate) async fn submit_redelivered(&self, job: &Job) {
        self.submit(job).await;
        self.deliver(job.priority).await.ack_with(AckKind::Nak(None)).await.unwrap();
        self.bus.client.flush().await.unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        let (shutdown, stats) = (CancellationToken::new(), Arc::new(WorkerStats::default()));
        let (config, options) = (self.config.clone(), self.options.clone());
        let (token, counters) = (shutdown.clone(), Arc::clone(&stats));
        let task = tokio::spawn(async move { run_with(&config, options, token, counters).await });
        Worker { shutdown, task, stats }
    }

    pub(crate) async fn result(&self, job: &Job) -> ShardResult {
        let subject = self.bus.names.result(&job.batch_id, job.generation, job.shard);
        let message = message(&self.bus.jetstream, &self.bus.names.results_stream(), &subject, |_| true).await;
        events::decode(&message.payload).unwrap()
    }

    /// The first `count` results in the order in which they were stored.
    pub(crate) async fn results(&self, count: usize) -> Vec<ShardResult> {
        let subject = format!("{}.results.>", self.bus.names.namespace());
        let found = messages(&self.bus.jetstream, &self.bus.names.results_stream(), &subject, count).await;
        found.iter().map(|message| events::decode(&message.payload).unwrap()).collect()
    }

    /// The dead letter of a job.
    pub(crate) async fn dead_letter(&self, job: &Job) -> async_nats::Message {
        let subject = self.bus.names.dead_job(&job.batch_id, job.generation, job.shard);
        message(&self.bus.jetstream, &self.bus.names.dead_stream(), &subject, |_| true).await
    }

    pub(crate) async fn stored(&self, stream: String) -> u64 {
        let mut stream = self.bus.jetstream.get_stream(stream).await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    /// Waits until every job is acknowledged.
    pub(crate) async fn queue_empty(&self) {
        let jobs = || self.bus.names.jobs_stream();
        eventually("the queue to be empty", async || (self.stored(jobs()).await == 0).then_some(())).await;
    }

    /// Waits until `count` jobs of a priority are with workers.
    pub(crate) async fn held_by_workers(&self, priority: Priority, count: usize) {
        let name = self.bus.names.jobs_consumer(NATIVE, priority);
        let consumer: PullConsumer =
            self.bus.jetstream.get_consumer_from_stream(name, self.bus.names.jobs_stream()).await.unwrap();
        let mut consumer = consumer;
        eventually("jobs to be with workers", async || {
            (consumer.info().await.unwrap().num_ack_pending == count).then_some(())
        })
        .await;
    }
}

impl Worker {
    /// Shuts it down and waits for its end.
    pub(crate) async fn stop(self) -> WorkerSummary {
        self.shutdown.cancel();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> WorkerSummary {
        within(LIMIT, "the worker to end", self.task).await.unwrap().unwrap();
        self.stats.summary()
    }

    pub(crate) fn summary(&self) -> WorkerSummary {
        self.stats.summary()
    }
}

pub(crate) fn options(child_command: ChildCommand) -> Options {
    Options { child_command: Some(child_command), ..Options::default() }
}

/// The real child, built by cargo beside the tests.
pub(crate) fn example() -> ChildCommand {
    let tests = std::env::current_exe().unwrap();
    let program: PathBuf = tests.ancestors().nth(2).unwrap().join("examples/run_job");
    assert!(program.is_file(), "{} is missing: run `cargo test -p jetsweep-worker`", program.display());
    ChildCommand { program, arguments: Vec::new() }
}

/// A child that is a shell script.
pub(crate) fn script(script: &str) -> ChildCommand {
    ChildCommand { program: "sh".into(), arguments: vec!["-c".into(), script.into()] }
}

pub(crate) fn batch() -> BatchId {
    "batch".parse().unwrap()
}

/// One of a batch's shards: 24 points of `sma_cross` over AAPL.
pub(crate) fn job(shard: u32) -> Job {
    let axes = [("fast", Axis::List(vec![5.0, 10.0, 15.0, 20.0])), ("slow", range(30.0, 80.0, 10.0))];
    Job {
        version: events::VERSION,
        batch_id: batch(),
        generation: 0,
        shard,
        priority: Priority::Normal,
        symbol: "AAPL".parse().unwrap(),
        strategy: strategy("sma_cross", axes),
        cursor: 0,
        first_point: 0,
        runs: RunRange { start: u64::from(shard) * u64::from(RUNS), count: RUNS },
        execution: Execution { commission: 0.001, ..Execution::default() },
        validation: None,
        data: DataRef { source: "{symbol}.csv".to_owned(), from: None, to: None },
        spec_digest: "0123".to_owned(),
    }
}

/// A shard of so many runs that no test waits for its end.
pub(crate) fn endless_job(shard: u32) -> Job {
    let axes = [("fast", range(2.0, 101.0, 1.0)), ("slow", range(120.0, 499.0, 1.0))];
    let mut job = job(shard);
    job.strategy = strategy("sma_cross", axes);
    job.runs = RunRange { start: 0, count: 100 * 380 };
    job.execution.cash = 1e5;
    job
}

pub(crate) fn strategy<const N: usize>(template: &str, axes: [(&str, Axis); N]) -> StrategySpec {
    let template = builtin(template).unwrap();
    let axes: IndexMap<String, Axis> = axes.into_iter().map(|(name, axis)| (name.to_owned(), axis)).collect();
    let grid = Grid::new(&template, axes);
    StrategySpec { name: template.name().to_owned(), template, grid }
}

pub(crate) fn range(from: f64, to: f64, step: f64) -> Axis {
    Axis::Range { from, to, step }
}

/// The result without what tells where and when it was computed.
pub(crate) fn timeless(mut result: ShardResult) -> ShardResult {
    result.worker.clear();
    result.finished_at = jiff::Timestamp::UNIX_EPOCH;
    result.timing = Default::default();
    result.runtime_us.fill(0.0);
    result
}

/// Waits until a counter of the worker's is what is wanted.
pub(crate) async fn counted(worker: &Worker, what: &str, fits: impl Fn(&WorkerSummary) -> bool) {
    eventually(what, async || fits(&worker.summary()).then_some(())).await;
}
