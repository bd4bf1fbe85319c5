//! The steps of a batch's way from whoever submits it to its rows: one span each, all of them made here.
//!
//! | span | made by | kind | parent |
//! |---|---|---|---|
//! | `submit` | `jetsweep submit`, `jetsweep run` | producer | none: it begins a trace |
//! | `retry` | `jetsweep retry` | producer | none: it begins a trace |
//! | `accept` | planner, asked by whoever submits or retries | producer | the request's |
//! | `plan` | planner | consumer | the plan message's |
//! | `job` | worker | consumer | `plan` |
//! | `load bars`, `compute`, `acknowledge` | worker | internal, client | `job` |
//! | `publish result` | worker | producer | `job` |
//! | `commit` | consolidator | consumer | `publish result` of a result in the commit, with links to those of the others |
//! | `log runs` | MLflow bridge | consumer | `publish result` |
//!
//! Names and attributes follow OpenTelemetry's conventions for messaging
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>), with `batch`, `generation`, `shard`, `symbol`
//! and `strategy` as logs name them.
//!
//! Without traces a step is nothing but the [`Parent`] that came with a message, to be passed on.

use async_nats::HeaderMap;
use opentelemetry::Value;
use opentelemetry::trace::Status;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::parent::Parent;
use super::traces::{DISCARDED, TARGET};
use crate::ids::BatchId;
use crate::subjects::{JobSubject, PlanSubject};

/// What a span says it does, in OpenTelemetry's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Sends a message that somebody takes later.
    Producer,
    /// Asks somebody who answers.
    Client,
    /// Neither.
    Internal,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Producer => "producer",
            Kind::Client => "client",
            Kind::Internal => "internal",
        }
    }
}

/// A step on the way, which takes as long as this, its clones and its children live.
#[derive(Debug, Clone)]
pub struct Step {
    span: Span,
    from: Parent,
}

impl Default for Step {
    fn default() -> Self {
        Self::passing(Parent::default())
    }
}

// Numbers are signed where spans are made: of others the layer makes text.

/// Somebody submits a batch, by a message on `subject`.
pub fn submit(subject: &str, batch: &BatchId) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "submit", otel.kind = "producer", messaging.system = "nats",
        messaging.operation.name = "submit", messaging.operation.type = "send", messaging.destination.name = subject,
        batch = batch.as_str(),
    );
    Step::below(Parent::default(), span)
}

/// Somebody asks for a retry, by a message on `subject`.
pub fn retry(subject: &str, batch: &BatchId, generation: u32) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "retry", otel.kind = "producer", messaging.system = "nats",
        messaging.operation.name = "retry", messaging.operation.type = "send", messaging.destination.name = subject,
        batch = batch.as_str(), generation = i64::from(generation),
    );
    Step::below(Parent::default(), span)
}

/// A planner puts what it was asked for into the stream of plans, on `subject`.
pub fn accept(from: Parent, subject: &str, batch: &BatchId, generation: u32) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "accept", otel.kind = "producer", messaging.system = "nats",
        messaging.operation.name = "accept", messaging.operation.type = "send", messaging.destination.name = subject,
        batch = batch.as_str(), generation = i64::from(generation),
    );
    Step::below(from, span)
}

/// A planner plans a batch, or a retry of it, and publishes its jobs.
pub fn plan(from: Parent, subject: &str, plan: &PlanSubject) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "plan", otel.kind = "consumer", messaging.system = "nats",
        messaging.operation.name = "plan", messaging.operation.type = "process", messaging.destination.name = subject,
        batch = plan.batch.as_str(), generation = i64::from(plan.generation),
    );
    Step::below(from, span)
}

/// A worker does a job that was delivered for the `delivered`th time.
pub fn job(from: Parent, subject: &str, job: Option<&JobSubject>, delivered: i64) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "job", otel.kind = "consumer", messaging.system = "nats",
        messaging.operation.name = "job", messaging.operation.type = "process", messaging.destination.name = subject,
        batch = job.map(|job| job.batch.as_str()), generation = job.map(|job| i64::from(job.generation)),
        shard = job.map(|job| i64::from(job.shard)), delivered, redelivered = delivered > 1,
    );
    Step::below(from, span)
}

/// A consolidator commits results to its database, the first of which is of `from`.
pub fn commit(from: Parent, stream: &str, batch: &BatchId, generation: u32) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "commit", otel.kind = "consumer", messaging.system = "nats",
        messaging.operation.name = "commit", messaging.operation.type = "process", messaging.destination.name = stream,
        batch = batch.as_str(), generation = i64::from(generation),
    );
    Step::below(from, span)
}

/// An MLflow bridge logs the runs of a shard.
pub fn log_runs(from: Parent, subject: &str, batch: &BatchId, generation: u32, shard: u32) -> Step {
    let span = info_span!(
        target: TARGET, parent: None, "log runs", otel.kind = "consumer", messaging.system = "nats",
        messaging.operation.name = "log", messaging.operation.type = "process", messaging.destination.name = subject,
        batch = batch.as_str(), generation = i64::from(generation), shard = i64::from(shard),
    );
    Step::below(from, span)
}

impl Step {
    /// No span; what came with a message is passed on.
    pub fn passing(from: Parent) -> Self {
        Self { span: Span::none(), from }
    }

    fn below(from: Parent, span: Span) -> Self {
        if !span.is_disabled() {
            // Refused only if the span had begun, and without traces there is none.
            let _ = span.set_parent(from.context());
        }
        Self { span, from }
    }

    /// A part of this step.
    pub fn child(&self, name: &'static str, kind: Kind) -> Self {
        // A span without traces has nothing below it either.
        let span = match self.span.is_disabled() {
            true => Span::none(),
            false => info_span!(target: TARGET, parent: &self.span, "child", otel.name = name, otel.kind = kind.word()),
        };
        Self { span, from: self.from.clone() }
    }

    /// A part of this step that sends a message on `subject`.
    pub fn child_to(&self, name: &'static str, subject: &str) -> Self {
        let child = self.child(name, Kind::Producer);
        child.set("messaging.system", "nats");
        child.set("messaging.operation.type", "send");
        child.set("messaging.destination.name", || subject.to_owned());
        child
    }

    /// Puts this step into the headers of a message that is sent in it; without traces, what came with the message that
    /// it is done for.
    pub fn inject(&self, headers: &mut HeaderMap) {
        self.as_parent().inject(headers);
    }

    /// What came with the message that this step is done for.
    pub fn came_from(&self) -> &Parent {
        &self.from
    }

    /// The parent of whatever others do after this step.
    pub fn as_parent(&self) -> Parent {
        match self.span.is_disabled() {
            true => self.from.clone(),
            false => Parent::of(&self.span.context()),
        }
    }

    /// Says something more of this step.
    pub fn set(&self, attribute: &'static str, value: impl Attribute) {
        if !self.span.is_disabled() {
            self.span.set_attribute(attribute, value.value());
        }
    }

    /// Says that another message was part of this step.
    pub fn link(&self, other: &Parent) {
        if let (false, Some(span)) = (self.span.is_disabled(), other.span()) {
            self.span.add_link(span.clone());
        }
    }

    /// Says that the step failed, and why.
    pub fn failed(&self, reason: &str) {
        if !self.span.is_disabled() {
            self.span.set_status(Status::error(reason.to_owned()));
        }
    }

    /// Says that nothing was done in this step, so that nobody need see it. Nothing may have been sent in it.
    pub fn discard(&self) {
        self.set(DISCARDED, true);
    }
}

/// What an attribute can be. Closures make one that costs something, and are called only if it is wanted.
pub trait Attribute {
    /// The value.
    fn value(self) -> Value;
}

impl Attribute for &'static str {
    fn value(self) -> Value {
        self.into()
    }
}

impl Attribute for bool {
    fn value(self) -> Value {
        self.into()
    }
}

impl Attribute for u64 {
    fn value(self) -> Value {
        i64::try_from(self).unwrap_or(i64::MAX).into()
    }
}

impl<F: FnOnce() -> String> Attribute for F {
    fn value(self) -> Value {
        self().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::headers::TRACEPARENT;
    use crate::telemetry::parent_from;

    #[test]
    fn without_traces_a_step_passes_on_what_came_and_adds_nothing() {
        let mut came = HeaderMap::new();
        came.insert(TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let named = PlanSubject { batch: "b".parse().unwrap(), generation: 0 };
        for came in [came, HeaderMap::new()] {
            let step = plan(parent_from(Some(&came)), "plans", &named);
            step.set("runs", 1);
            step.failed("it did not go well");
            for step in [step.clone(), step.child("part", Kind::Internal), step.child_to("publish", "results")] {
                let mut sent = HeaderMap::new();
                step.inject(&mut sent);
                assert_eq!(sent, came);
            }
        }
    }
}
