//! A worker's claim on a delivered job: the one type that decides a job's fate.
//!
//! A claim shows the server signs of life from the moment of delivery on, and is consumed by exactly one of
//! [`Claim::complete`], [`Claim::dead_letter`], [`Claim::skip`] and [`Claim::give_back`]. Whatever else happens to it
//! (an early return, a panic, a task dropped half-way) hands the job back, so no path can forget to.
//!
//! ```text
//! delivered ──> +WPI, +WPI, ... ──┬─ complete:     result stored ───────────────────────────> acknowledged
//!                                 ├─ dead_letter:  payload in DEAD, `dead` result stored ───> acknowledged
//!                                 ├─ skip:         (batch cancelled) ───────────────────────> acknowledged
//!                                 └─ give_back or drop ─────────────────────────────────────> handed back
//! ```

use std::time::Duration;

use bytes::Bytes;
use jetsweep_shared::bus::{Bus, BusError, Stored, headers_with_id};
use jetsweep_shared::events::headers;
use jetsweep_shared::telemetry::Step;
use jetsweep_shared::telemetry::steps::Kind;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

/// Signs of life within one ack wait: two may be lost before the job is given to another worker.
const SIGNS_PER_ACK_WAIT: u32 = 3;

/// Longest wait for the server to confirm that a job is handed back. It is redelivered after the ack wait anyhow.
const HAND_BACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest error header, in bytes.
const LONGEST_HEADER: usize = 500;

/// A message on its way into a stream, with the id that keeps the stream from storing it twice.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) payload: Bytes,
}

/// A job given up on, as it goes to DEAD.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    /// The job's payload, byte for byte, on its subject of DEAD.
    pub(crate) letter: Outgoing,
    /// The subject the job had.
    pub(crate) origin: String,
    /// Stable word for why.
    pub(crate) code: String,
    /// Why, in words.
    pub(crate) message: String,
    /// The terminal `dead` result, unless nothing readable says which runs it is of.
    pub(crate) result: Option<Outgoing>,
}

/// A message that no stream will ever take, and the claim, with which something else must be done.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) claim: Claim,
    pub(crate) error: BusError,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Claim {
    bus: Bus,
    /// Where acks, signs of life and naks are sent; the server made it for this one delivery.
    reply: String,
    ticker: AbortHandle,
    /// Hand-backs on their way, for a shutdown to wait on.
    hand_backs: TaskTracker,
    runtime: Handle,
    is_settled: bool,
    step: Step,
}

impl Claim {
    /// Claims a job just delivered, given its reply subject. Hand-backs of claims that are dropped run on `hand_backs`.
    ///
    /// Must be called within a runtime, which outlives the claim.
    pub(crate) fn new(bus: Bus, reply: String, ack_wait: Duration, hand_backs: TaskTracker) -> Self {
        let ticker = tokio::spawn(show_signs_of_life(bus.clone(), reply.clone(), ack_wait / SIGNS_PER_ACK_WAIT));
        let runtime = Handle::current();
        Self {
            bus,
            reply,
            ticker: ticker.abort_handle(),
            hand_backs,
            runtime,
            is_settled: false,
            step: Step::default(),
        }
    }

    /// Whatever is done with it is part of a step of doing the job.
    pub(crate) fn is_part_of(&mut self, step: &Step) {
        self.step = step.clone();
    }

    /// The step that it is part of.
    pub(crate) fn step(&self) -> &Step {
        &self.step
    }

    /// Stores the job's result, waits until it is stored, then acknowledges the job. Dropping the future hands the
    /// job back; the result may then be stored twice and counts once.
    ///
    /// # Errors
    /// When the server refuses the result for good, such as for its size.
    pub(crate) async fn complete(self, result: Outgoing) -> Result<(), Refused> {
        match self.publish(result).await {
            Ok(_) => {
                self.acknowledge().await;
                Ok(())
            }
            Err(error) => Err(Refused { claim: self, error }),
        }
    }

    /// Gives the job up: its payload goes to DEAD, the terminal result to RESULTS, and only then is it acknowledged.
    ///
    /// # Errors
    /// When the server refuses one of the two for good.
    pub(crate) async fn dead_letter(self, dead: DeadLetter) -> Result<(), Refused> {
        let mut error_headers = headers_with_id(&dead.letter.id);
        // As they came with the job: who tries it again goes on from there.
        self.step.came_from().inject(&mut error_headers);
        error_headers.insert(headers::ERROR_CODE, one_line(&dead.code).as_str());
        error_headers.insert(headers::ERROR, one_line(&dead.message).as_str());
        error_headers.insert(headers::ORIGIN, one_line(&dead.origin).as_str());
        let letter = dead.letter;
        if let Err(error) = self.bus.publish_with_headers(&letter.subject, error_headers, letter.payload).await {
            return Err(Refused { claim: self, error });
        }
        if let Some(result) = dead.result
            && let Err(error) = self.publish(result).await
        {
            return Err(Refused { claim: self, error });
        }
        self.acknowledge().await;
        Ok(())
    }

    async fn publish(&self, result: Outgoing) -> Result<Stored, BusError> {
        let step = self.step.child_to("publish result", &result.subject);
        let mut headers = headers_with_id(&result.id);
        step.inject(&mut headers);
        let published = self.bus.publish_with_headers(&result.subject, headers, result.payload).await;
        if let Err(error) = &published {
            step.failed(&error.to_string());
        }
        published
    }

    /// Acknowledges the job without a result, because its batch is cancelled.
    pub(crate) async fn skip(self) {
        self.acknowledge().await;
    }

    /// Hands the job back; another delivery follows after `delay`.
    pub(crate) async fn give_back(mut self, delay: Duration) {
        self.settle();
        hand_back(&self.bus, &self.reply, delay).await;
    }

    /// Acknowledges and waits for the server's word. What had to be stored is stored by now, so an ack that is not
    /// confirmed costs a repetition and nothing else.
    async fn acknowledge(mut self) {
        self.settle();
        let step = self.step.child("acknowledge", Kind::Client);
        if let Err(error) = self.bus.ack(&self.reply).await {
            step.failed(&error.to_string());
            tracing::warn!(%error, "job done, but it may be delivered once more");
        }
    }

    fn settle(&mut self) {
        self.ticker.abort();
        self.is_settled = true;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        self.ticker.abort();
        let (bus, reply) = (self.bus.clone(), std::mem::take(&mut self.reply));
        let hand_back = async move { hand_back(&bus, &reply, Duration::ZERO).await };
        self.hand_backs.spawn_on(hand_back, &self.runtime);
    }
}

async fn show_signs_of_life(bus: Bus, reply: String, every: Duration) {
    let start = tokio::time::Instant::now() + every;
    let mut ticks = tokio::time::interval_at(start, every);
    // After a stall one sign is as good as many.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = bus.client.publish(reply.clone(), Bytes::from_static(b"+WPI")).await {
            tracing::debug!(%error, "cannot show a sign of life");
        }
    }
}

/// Hands a job back; with the server's word, this process may end.
async fn hand_back(bus: &Bus, reply: &str, delay: Duration) {
    if let Err(error) = bus.hand_back(reply, delay, HAND_BACK_TIMEOUT).await {
        tracing::debug!(%error, "handing a job back is not confirmed: it is delivered again after the ack wait");
    }
}

/// Text as a header takes it: no control characters, at most [`LONGEST_HEADER`] bytes.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    line.truncate(line.floor_char_boundary(LONGEST_HEADER));
    line
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::AckKind;
    use async_nats::jetstream::consumer::PullConsumer;
    use futures::{FutureExt, StreamExt};
    use jetsweep_shared::config::NatsConfig;
    use jetsweep_shared::ids::Priority;
    use jetsweep_shared::subjects::{NATIVE, Names};
    use jetsweep_shared::telemetry::parent_from;
    use jetsweep_shared::topology::{self, Tuning};
    use jetsweep_tests::{NatsServer, eventually, message, messages};

    use super::*;

    /// So long that nothing here can pass by waiting for it.
    const NEVER: Duration = Duration::from_secs(3600);

    struct World {
        _server: NatsServer,
        bus: Bus,
        consumer: PullConsumer,
        hand_backs: TaskTracker,
    }

    impl World {
        /// A server with one job queued.
        async fn new(ack_wait: Duration) -> Self {
            let server = NatsServer::start().await;
            let bus = Bus::connect(&NatsConfig::at(server.url()), "test", Names::default()).await.unwrap();
            let tuning = Tuning { ack_wait: Some(ack_wait), ..Tuning::default() };
            topology::ensure(&bus.jetstream, &bus.names, &tuning).await.unwrap();
            let subject = bus.names.job(NATIVE, Priority::Normal, &"b".parse().unwrap(), 0, 0);
            bus.publish(&subject, "b.0.0", "a job".into()).await.unwrap();
            let name = bus.names.jobs_consumer(NATIVE, Priority::Normal);
            let consumer = bus.jetstream.get_consumer_from_stream(name, bus.names.jobs_stream()).await.unwrap();
            Self { _server: server, bus, consumer, hand_backs: TaskTracker::new() }
        }

        async fn deliver(&self) -> async_nats::jetstream::Message {
            let mut batch =
                self.consumer.fetch().max_messages(1).expires(jetsweep_tests::LIMIT).messages().await.unwrap();
            batch.next().await.expect("a job").unwrap()
        }

        fn claim(&self, delivery: &async_nats::jetstream::Message, ack_wait: Duration) -> Claim {
            let reply = delivery.reply.as_ref().unwrap().to_string();
            Claim::new(self.bus.clone(), reply, ack_wait, self.hand_backs.clone())
        }

        /// Jobs in the queue, delivered or not.
        async fn queued(&self) -> u64 {
            let mut stream = self.bus.jetstream.get_stream(self.bus.names.jobs_stream()).await.unwrap();
            stream.info().await.unwrap().state.messages
        }

        fn result(&self) -> Outgoing {
            let subject = self.bus.names.result(&"b".parse().unwrap(), 0, 0);
            Outgoing { subject, id: "b.0.0".to_owned(), payload: "a result".into() }
        }
    }

    #[tokio::test]
    async fn a_dropped_claim_hands_the_job_back_at_once() {
        let world = World::new(NEVER).await;
        drop(world.claim(&world.deliver().await, NEVER));
        world.hand_backs.close();
        world.hand_backs.wait().await;
        assert_eq!(world.deliver().await.info().unwrap().delivered, 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_panic_hands_the_job_back_also_on_a_foreign_thread() {
        let world = World::new(NEVER).await;
        let claim = world.claim(&world.deliver().await, NEVER);
        let thread = std::thread::spawn(move || {
            let _claim = claim;
            panic!("a panic with a claim in hand");
        });
        assert!(thread.join().is_err());
        assert_eq!(world.deliver().await.info().unwrap().delivered, 2);
    }

    #[tokio::test]
    async fn a_job_is_acknowledged_after_its_result_is_stored_and_not_before() {
        let world = World::new(NEVER).await;
        let results = world.bus.names.results_stream();
        world.bus.jetstream.delete_stream(&results).await.unwrap();
        let claim = world.claim(&world.deliver().await, NEVER);
        let mut completion = Box::pin(claim.complete(world.result()));
        // The first attempt is answered by nobody; then it waits before the next.
        for _ in 0..20 {
            assert!((&mut completion).now_or_never().is_none(), "nobody stores the result");
            assert_eq!(world.queued().await, 1);
        }
        topology::ensure(&world.bus.jetstream, &world.bus.names, &Tuning::default()).await.unwrap();
        completion.await.unwrap();
        assert_eq!(world.queued().await, 0);
        let stored = message(&world.bus.jetstream, &results, &world.result().subject, |_| true).await;
        assert_eq!(stored.payload, "a result");
    }

    #[tokio::test]
    async fn a_completion_given_up_half_way_hands_the_job_back() {
        let world = World::new(NEVER).await;
        world.bus.jetstream.delete_stream(world.bus.names.results_stream()).await.unwrap();
        let claim = world.claim(&world.deliver().await, NEVER);
        assert!(claim.complete(world.result()).now_or_never().is_none());
        assert_eq!(world.deliver().await.info().unwrap().delivered, 2);
    }

    #[tokio::test]
    async fn a_dead_letter_is_payload_headers_and_result_before_the_ack() {
        let world = World::new(NEVER).await;
        let mut claim = world.claim(&world.deliver().await, NEVER);
        let sent_in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let mut came = async_nats::HeaderMap::new();
        came.insert(headers::TRACEPARENT, sent_in);
        claim.is_part_of(&Step::passing(parent_from(Some(&came))));
        let subject = world.bus.names.dead_job(&"b".parse().unwrap(), 0, 0);
        let letter = Outgoing { subject: subject.clone(), id: "b.0.0".to_owned(), payload: "a job".into() };
        let dead = DeadLetter {
            letter,
            origin: "where.it.was".to_owned(),
            code: "why".to_owned(),
            message: format!("two\nlines and {}", "more ".repeat(200)),
            result: Some(world.result()),
        };
        claim.dead_letter(dead).await.unwrap();
        assert_eq!(world.queued().await, 0);
        let jetstream = &world.bus.jetstream;
        let letter = &messages(jetstream, &world.bus.names.dead_stream(), &subject, 1).await[0];
        let header = |name| letter.headers.as_ref().unwrap().get(name).unwrap().as_str().to_owned();
        assert_eq!(letter.payload, "a job");
        assert_eq!((header(headers::ERROR_CODE), header(headers::ORIGIN)), ("why".into(), "where.it.was".into()));
        assert!(header(headers::ERROR).starts_with("two lines and more"));
        assert_eq!(header(headers::TRACEPARENT), sent_in);
        let result = &messages(jetstream, &world.bus.names.results_stream(), &world.result().subject, 1).await[0];
        let result_headers = result.headers.as_ref().unwrap();
        assert_eq!(result_headers.get(headers::TRACEPARENT).unwrap().as_str(), sent_in);
    }

    #[tokio::test]
    async fn signs_of_life_keep_a_long_job() {
        let ack_wait = Duration::from_millis(600);
        let world = World::new(ack_wait).await;
        let delivery = world.deliver().await;
        let claim = world.claim(&delivery, ack_wait);
        let until = tokio::time::Instant::now() + 4 * ack_wait;
        while tokio::time::Instant::now() < until {
            let mut again = world.consumer.fetch().max_messages(1).messages().await.unwrap();
            assert!(again.next().await.is_none(), "the job is still ours");
        }
        claim.skip().await;
        assert_eq!(world.queued().await, 0);
    }

    #[tokio::test]
    async fn a_job_given_back_comes_after_its_delay() {
        let world = World::new(NEVER).await;
        let delay = Duration::from_millis(300);
        let start = tokio::time::Instant::now();
        world.claim(&world.deliver().await, NEVER).give_back(delay).await;
        assert_eq!(world.deliver().await.info().unwrap().delivered, 2);
        assert!(start.elapsed() >= delay);
    }

    #[tokio::test]
    async fn an_ack_that_nobody_confirms_is_no_failure() {
        let world = World::new(NEVER).await;
        let delivery = world.deliver().await;
        delivery.ack_with(AckKind::Ack).await.unwrap();
        eventually("the ack", async || (world.queued().await == 0).then_some(())).await;
        let claim = world.claim(&delivery, NEVER);
        world.bus.jetstream.delete_stream(world.bus.names.jobs_stream()).await.unwrap();
        claim.complete(world.result()).await.unwrap();
    }
}
