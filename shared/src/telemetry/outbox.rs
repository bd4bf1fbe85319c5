//! Spans on their way to the receiver: a bounded queue and the thread that empties it.
//!
//! Whoever ends a span puts it here and goes on. When the queue is full, or the receiver does not take a batch of them
//! after a few attempts, spans are dropped. Each of the two is told once, and so is that the receiver takes spans again.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::executor::block_on;
use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanExporter, SpanProcessor};

use super::traces::DISCARDED;

/// Spans that wait, at most: some megabytes.
const MOST_WAITING: usize = 8_192;

/// Spans sent in one request, at most.
const MOST_AT_ONCE: usize = 512;

/// Longest a span waits for others to be sent with.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// Attempts to send a batch of spans.
const ATTEMPTS: u32 = 3;

/// Pause after the first failed attempt; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<SpanData>,
    /// Spans that were dropped.
    dropped: u64,
    /// Whether no more spans are taken.
    is_closing: bool,
    /// Whether the thread has ended.
    is_closed: bool,
}

impl Outbox {
    /// Starts the thread that sends to `endpoint`, which is named in logs.
    pub(super) fn open(exporter: impl SpanExporter + 'static, endpoint: String) -> io::Result<Arc<Self>> {
        let outbox = Arc::new(Self::default());
        let sender = Sender::new(Arc::clone(&outbox), exporter, endpoint);
        std::thread::Builder::new().name("traces".to_owned()).spawn(move || sender.run())?;
        Ok(outbox)
    }

    fn put(&self, span: SpanData) {
        let mut state = self.lock();
        if state.is_closing {
            return;
        }
        if state.waiting.len() >= MOST_WAITING {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(span);
        if state.waiting.len() == 1 || state.waiting.len() == MOST_AT_ONCE {
            self.changed.notify_all();
        }
    }

    /// The next spans to send, once there are enough or they have waited long enough; `None` when there will be no more.
    fn take(&self) -> Option<Vec<SpanData>> {
        let mut state = self.wait_while(self.lock(), None, |state| state.waiting.is_empty() && !state.is_closing);
        if !state.is_closing {
            state = self
                .wait_while(state, Some(SEND_EVERY), |state| state.waiting.len() < MOST_AT_ONCE && !state.is_closing);
        }
        let count = state.waiting.len().min(MOST_AT_ONCE);
        (count > 0).then(|| state.waiting.drain(..count).collect())
    }

    /// Takes no more spans, and waits until those that wait are sent, or dropped, but not longer than `limit`.
    pub(super) fn close(&self, limit: Duration) {
        let mut state = self.lock();
        state.is_closing = true;
        self.changed.notify_all();
        let state = self.wait_while(state, Some(limit), |state| !state.is_closed);
        let (is_closed, waiting, dropped) = (state.is_closed, state.waiting.len(), state.dropped);
        drop(state);
        if !is_closed {
            tracing::warn!(waiting, limit = ?limit, "the receiver of traces is slow: the last spans are not sent");
        }
        if dropped > 0 {
            tracing::info!(dropped, "spans were dropped since the start");
        }
    }

    /// Waits while a condition holds, for at most `limit`.
    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        limit: Option<Duration>,
        holds: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        match limit {
            None => self.changed.wait_while(state, holds).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(state, limit, holds);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Spans wait or do not, whatever panicked meanwhile.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes spans from the SDK as they end.
#[derive(Debug)]
pub(super) struct Collector(pub(super) Arc<Outbox>);

impl SpanProcessor for Collector {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        let is_discarded = span.attributes.iter().any(|attribute| attribute.key.as_str() == DISCARDED);
        if span.span_context.is_sampled() && !is_discarded {
            self.0.put(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, limit: Duration) -> OTelSdkResult {
        self.0.close(limit);
        Ok(())
    }

    fn set_resource(&mut self, _resource: &Resource) {
        // The exporter has it from the start.
    }
}

/// The thread's side.
struct Sender<E> {
    outbox: Arc<Outbox>,
    exporter: E,
    /// Where spans go, without credentials.
    endpoint: String,
    /// Whether it was told that the receiver takes no spans, and not yet that it takes them again.
    is_failing: bool,
    /// Spans that were dropped until the receiver last took spans again, which says nothing of how fast it is.
    dropped_in_outages: u64,
    /// Whether it was told that the queue was full.
    is_slow: bool,
}

impl<E: SpanExporter> Sender<E> {
    fn new(outbox: Arc<Outbox>, exporter: E, endpoint: String) -> Self {
        Self { outbox, exporter, endpoint, is_failing: false, dropped_in_outages: 0, is_slow: false }
    }

    fn run(mut self) {
        while let Some(spans) = self.outbox.take() {
            let count = spans.len() as u64;
            match self.send(spans) {
                Ok(()) => self.sent(),
                Err(reason) => {
                    self.outbox.lock().dropped += count;
                    self.tell(&reason);
                    self.give_up_if_closing();
                }
            }
        }
        self.outbox.lock().is_closed = true;
        self.outbox.changed.notify_all();
    }

    /// Sends spans, with a few attempts while there is time.
    fn send(&self, spans: Vec<SpanData>) -> Result<(), String> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            let Err(error) = block_on(self.exporter.export(spans.clone())) else { return Ok(()) };
            if attempt == ATTEMPTS || self.closes_within(pause) {
                return Err(error.to_string());
            }
            attempt += 1;
            pause *= 2;
        }
    }

    /// Waits, but not beyond the end.
    fn closes_within(&self, pause: Duration) -> bool {
        let outbox = &self.outbox;
        outbox.wait_while(outbox.lock(), Some(pause), |state| !state.is_closing).is_closing
    }

    /// At the end nobody waits for a receiver that has just not answered.
    fn give_up_if_closing(&self) {
        let mut state = self.outbox.lock();
        if state.is_closing {
            state.dropped += state.waiting.len() as u64;
            state.waiting.clear();
        }
    }

    fn tell(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let endpoint = self.endpoint.as_str();
            tracing::warn!(endpoint, reason, "traces cannot be sent: spans are dropped until they can, work goes on");
        }
    }

    fn sent(&mut self) {
        let (endpoint, dropped) = (self.endpoint.as_str(), self.outbox.lock().dropped);
        if std::mem::replace(&mut self.is_failing, false) {
            self.dropped_in_outages = dropped;
            tracing::info!(endpoint, dropped, "traces are sent again");
        } else if dropped > self.dropped_in_outages && !std::mem::replace(&mut self.is_slow, true) {
            tracing::warn!(endpoint, "the receiver of traces is slower than spans come: some are dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::mpsc;

    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::error::OTelSdkError;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// A receiver that counts spans, or refuses them, or does not answer.
    #[derive(Debug, Default)]
    struct Receiver {
        taken: AtomicUsize,
        attempts: AtomicUsize,
        refuses: AtomicBool,
        /// While somebody holds the other end, requests hang.
        hangs: Option<Mutex<mpsc::Receiver<()>>>,
    }

    #[derive(Debug, Clone)]
    struct ToReceiver(Arc<Receiver>);

    impl SpanExporter for ToReceiver {
        async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
            self.0.attempts.fetch_add(1, Ordering::SeqCst);
            if let Some(hangs) = &self.0.hangs {
                let _ = hangs.lock().unwrap().recv();
            }
            if self.0.refuses.load(Ordering::SeqCst) {
                return Err(OTelSdkError::InternalFailure("503".to_owned()));
            }
            self.0.taken.fetch_add(spans.len(), Ordering::SeqCst);
            Ok(())
        }
    }

    /// The outbox before a receiver, with spans put into it.
    fn filled(receiver: &Arc<Receiver>, spans: usize) -> Arc<Outbox> {
        let outbox = Outbox::open(ToReceiver(Arc::clone(receiver)), "http://receiver".to_owned()).unwrap();
        let provider = SdkTracerProvider::builder().with_span_processor(Collector(Arc::clone(&outbox))).build();
        let tracer = provider.tracer("test");
        for _ in 0..spans {
            tracer.start("span").end();
        }
        // Dropping it would close the outbox.
        std::mem::forget(provider);
        outbox
    }

    #[test]
    fn what_waits_at_the_end_is_sent() {
        let receiver = Arc::new(Receiver::default());
        let outbox = filled(&receiver, 1000);
        outbox.close(Duration::from_secs(60));
        assert_eq!(receiver.taken.load(Ordering::SeqCst), 1000);
        assert_eq!(outbox.lock().dropped, 0);
    }

    #[test]
    fn a_receiver_that_refuses_costs_spans_and_is_not_waited_for_at_the_end() {
        let receiver = Arc::new(Receiver { refuses: AtomicBool::new(true), ..Receiver::default() });
        let outbox = filled(&receiver, 2000);
        outbox.close(Duration::from_secs(60));
        let state = outbox.lock();
        assert!(state.is_closed && state.waiting.is_empty());
        assert_eq!(state.dropped, 2000);
    }

    #[test]
    fn a_receiver_that_was_away_is_not_called_slow() {
        let outbox = Arc::new(Outbox::default());
        let mut sender = Sender::new(Arc::clone(&outbox), ToReceiver(Arc::default()), "http://receiver".to_owned());
        outbox.lock().dropped = 10;
        sender.tell("503");
        sender.sent();
        sender.sent();
        assert!(!sender.is_failing && !sender.is_slow);
        outbox.lock().dropped += 1;
        sender.sent();
        assert!(sender.is_slow);
    }

    #[test]
    fn a_receiver_that_hangs_fills_the_queue_and_no_more() {
        let (hold, hangs) = mpsc::channel();
        let receiver = Arc::new(Receiver { hangs: Some(Mutex::new(hangs)), ..Receiver::default() });
        let outbox = filled(&receiver, MOST_WAITING + MOST_AT_ONCE + 100);
        outbox.close(Duration::ZERO);
        let state = outbox.lock();
        assert!(!state.is_closed);
        assert!(state.waiting.len() <= MOST_WAITING);
        assert!(state.dropped >= 100, "{}", state.dropped);
        drop(state);
        drop(hold);
    }

    #[test]
    fn spans_that_say_nothing_are_not_sent() {
        let receiver = Arc::new(Receiver::default());
        let outbox = Outbox::open(ToReceiver(Arc::clone(&receiver)), "http://receiver".to_owned()).unwrap();
        let provider = SdkTracerProvider::builder().with_span_processor(Collector(Arc::clone(&outbox))).build();
        let mut span = provider.tracer("test").start("waits");
        span.set_attribute(opentelemetry::KeyValue::new(DISCARDED, true));
        span.end();
        provider.shutdown().unwrap();
        assert_eq!(receiver.attempts.load(Ordering::SeqCst), 0);
    }
}
