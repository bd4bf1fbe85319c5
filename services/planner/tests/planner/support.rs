//! A server, planners that can be stopped and crashed, and eyes on what they publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::kv;
use async_nats::{HeaderMap, Message};
use futures::StreamExt;
use jetsweep_planner::PlannerError;
use jetsweep_shared::bus::Bus;
use jetsweep_shared::config::{Config, NatsConfig};
use jetsweep_shared::events::{
    self, BatchState, BatchStatus, Begin, Control, ControlAction, Job, decode, encode, headers,
};
use jetsweep_shared::ids::{BatchId, Priority};
use jetsweep_shared::subjects::{BatchEvent, NATIVE, Names, control_key, status_key};
use jetsweep_shared::topology::{self, Tuning};
use jetsweep_tests::{NatsServer, eventually};
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Runs of [`spec`].
pub(crate) const RUNS: u64 = 40;

/// A spec of 20 runs over each of two symbols, as TOML. Other names make other digests.
pub(crate) fn spec(name: &str) -> String {
    format!(
        r#"
name = "{name}"
[data]
source = "{{symbol}}.csv"
[universe]
symbols = ["AAPL", "SPY"]
[[strategy]]
template = "sma_cross"
fast = {{ from = 2, to = 11, step = 1 }}
slow = [50, 100]
"#
    )
}

/// A server with the topology in place, and a connection to it.
pub(crate) struct Stage {
    pub(crate) server: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) config: Config,
}

impl Stage {
    /// Planners make shards of one run and keep `queue_depth` jobs queued.
    pub(crate) async fn set(queue_depth: u64) -> Self {
        let server = NatsServer::start().await;
        let mut config = Config::default();
        config.nats.url = server.url();
        config.planner.shard_runs = Some(1);
        config.planner.queue_depth = queue_depth;
        let bus = Bus::connect(&NatsConfig::at(server.url()), "test", Names::default()).await.unwrap();
        let stage = Self { server, bus, config };
        let tuning = Tuning { ack_wait: Some(stage.config.worker.ack_wait()), ..Tuning::default() };
        topology::ensure(&stage.bus.jetstream, &stage.bus.names, &tuning).await.unwrap();
        stage
    }

    /// Starts a planner, and returns once it answers requests.
    pub(crate) async fn start_planner(&self) -> RunningPlanner {
        let planner = RunningPlanner::start(self.config.clone());
        let validate = format!("{}.planner.validate", self.config.nats.namespace);
        eventually("the planner to answer", async || {
            let reply = self.bus.client.request(validate.clone(), spec("ready").into()).await.ok()?;
            reply.headers.is_none().then_some(())
        })
        .await;
        planner
    }

    /// Publishes a spec as any NATS client can.
    pub(crate) async fn publish_spec(&self, batch: &BatchId, document: &str) {
        self.publish_spec_with(batch, document, HeaderMap::new()).await;
    }

    pub(crate) async fn publish_spec_with(&self, batch: &BatchId, document: &str, headers: HeaderMap) {
        let subject = self.bus.names.plan(batch);
        let published = self.bus.jetstream.publish_with_headers(subject, headers, document.to_owned().into()).await;
        published.unwrap().await.unwrap();
    }

    /// Sends a spec to the submit endpoint.
    pub(crate) async fn submit(&self, batch: Option<&BatchId>, document: impl Into<bytes::Bytes>) -> Message {
        let mut request_headers = HeaderMap::new();
        if let Some(batch) = batch {
            request_headers.insert(headers::BATCH, batch.as_str());
        }
        let subject = "jetsweep.planner.submit";
        self.bus.client.request_with_headers(subject, request_headers, document.into()).await.unwrap()
    }

    pub(crate) async fn batches(&self) -> kv::Store {
        self.bus.batches().await.unwrap()
    }

    /// Asks for a batch to be cancelled.
    pub(crate) async fn ask_to_cancel(&self, batch: &BatchId) {
        self.ask_to_cancel_generation(batch, 0).await;
    }

    pub(crate) async fn ask_to_cancel_generation(&self, batch: &BatchId, generation: u32) {
        let control = Control {
            version: events::VERSION,
            action: ControlAction::Cancel,
            generation,
            reason: Some("a test".to_owned()),
            requested_at: Timestamp::now(),
        };
        self.batches().await.put(control_key(batch), encode(&control)).await.unwrap();
    }

    /// The status of a batch that was refused.
    pub(crate) async fn refused_status(&self, batch: &BatchId) -> BatchStatus {
        let is_refused = |value: &[u8]| decode::<BatchStatus>(value).unwrap().state == BatchState::Refused;
        let value = jetsweep_tests::key_value(&self.batches().await, &status_key(batch), is_refused).await;
        decode(&value).unwrap()
    }

    /// A batch's event, once it is logged.
    pub(crate) async fn event(&self, batch: &BatchId, event: BatchEvent) -> Message {
        let names = &self.bus.names;
        let subject = names.batch_event(batch, event);
        jetsweep_tests::message(&self.bus.jetstream, &names.results_stream(), &subject, |_| true).await
    }

    pub(crate) async fn begin(&self, batch: &BatchId) -> Begin {
        decode(&self.event(batch, BatchEvent::Begin).await.payload).unwrap()
    }

    /// How many events of a kind a batch has.
    pub(crate) async fn count_events(&self, batch: &BatchId, event: BatchEvent) -> u64 {
        self.count(&self.bus.names.results_stream(), &self.bus.names.batch_event(batch, event)).await
    }

    /// Messages of a stream on subjects that match.
    pub(crate) async fn count(&self, stream: &str, subjects: &str) -> u64 {
        let stream = self.bus.jetstream.get_stream(stream).await.unwrap();
        let mut pages = stream.info_with_subjects(subjects).await.unwrap();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += page.unwrap().1 as u64;
        }
        count
    }

    /// Jobs queued or with workers.
    pub(crate) async fn count_jobs(&self) -> u64 {
        self.count(&self.bus.names.jobs_stream(), "jetsweep.jobs.>").await
    }

    pub(crate) async fn until_jobs(&self, count: u64) {
        eventually(&format!("{count} jobs to be queued"), async || (self.count_jobs().await == count).then_some(()))
            .await;
    }

    /// Waits until every plan message is acknowledged.
    pub(crate) async fn until_plans_are_done(&self) {
        let plans = self.bus.names.plans_stream();
        eventually("the plans to be done with", async || {
            (self.count(&plans, "jetsweep.plans.>").await == 0).then_some(())
        })
        .await;
    }

    /// A worker of jobs of one priority.
    pub(crate) async fn worker(&self, priority: Priority) -> Worker {
        let names = &self.bus.names;
        let consumer = self
            .bus
            .jetstream
            .get_consumer_from_stream::<pull::Config, _, _>(names.jobs_consumer(NATIVE, priority), names.jobs_stream())
            .await
            .unwrap();
        Worker { bus: self.bus.clone(), consumer }
    }

    /// Counts jobs as they are published, those too that the stream takes for repetitions and does not store.
    pub(crate) async fn watch_jobs(&self) -> Published {
        let count = Arc::new(AtomicUsize::new(0));
        let client = self.server.connect().await;
        let mut jobs = client.subscribe("jetsweep.jobs.>").await.unwrap();
        client.flush().await.unwrap();
        let counted = count.clone();
        let counting = tokio::spawn(async move {
            while jobs.next().await.is_some() {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Published { count, counting }
    }
}

/// Jobs published since it was made.
pub(crate) struct Published {
    count: Arc<AtomicUsize>,
    counting: JoinHandle<()>,
}

impl Published {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    pub(crate) async fn until(&self, count: usize) {
        eventually(&format!("{count} jobs to be published"), async || (self.count() >= count).then_some(())).await;
        assert_eq!(self.count(), count);
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        self.counting.abort();
    }
}

/// Takes jobs, as a worker does.
pub(crate) struct Worker {
    bus: Bus,
    consumer: PullConsumer,
}

impl Worker {
    /// Takes the next job, stores a result for it, and acknowledges it.
    pub(crate) async fn finish_one(&self) -> Job {
        let message = eventually("a job", async || {
            let request = self.consumer.batch().max_messages(1).expires(Duration::from_secs(5)).messages();
            request.await.unwrap().next().await
        })
        .await
        .unwrap();
        let job: Job = decode(&message.payload).unwrap();
        // The planner goes by the subjects of results; what they say is the consolidator's.
        let subject = self.bus.names.result(&job.batch_id, job.generation, job.shard);
        self.bus.publish(&subject, &job.id(), "{}".into()).await.unwrap();
        self.bus.ack(message.reply.as_ref().unwrap()).await.unwrap();
        job
    }
}

/// A planner on a runtime of its own, so that it can be crashed.
pub(crate) struct RunningPlanner {
    runtime: Option<Runtime>,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), PlannerError>>>,
}

impl RunningPlanner {
    fn start(config: Config) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shutdown = CancellationToken::new();
        let until = shutdown.clone();
        let running = runtime.spawn(async move { jetsweep_planner::run(&config, until).await });
        Self { runtime: Some(runtime), shutdown, running: Some(running) }
    }

    /// Shuts it down in order.
    pub(crate) async fn stop(mut self) {
        self.shutdown.cancel();
        let running = self.running.take().unwrap();
        jetsweep_tests::within(Duration::from_secs(10), "the planner to stop", running).await.unwrap().unwrap();
    }

    /// Stops everything it does, wherever it is.
    pub(crate) fn crash(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for RunningPlanner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn batch(name: &str) -> BatchId {
    name.parse().unwrap()
}
