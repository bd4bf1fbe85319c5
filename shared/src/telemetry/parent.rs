//! The trace that a message is part of, in its headers: W3C trace context (<https://www.w3.org/TR/trace-context/>).

use async_nats::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use crate::events::headers::{TRACEPARENT, TRACESTATE};

/// Longest `tracestate` that is passed on, in characters: as many as W3C asks for at least. A longer one is left out.
const LONGEST_STATE: usize = 512;

/// The span that a message was sent in, if it says so: the parent of whatever is done for it.
///
/// It is passed on by services that trace nothing, too, so that a trace survives them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parent(Option<SpanContext>);

/// The parent in a message's headers. What cannot be read is as good as absent.
pub fn parent_from(headers: Option<&HeaderMap>) -> Parent {
    match headers {
        Some(headers) if headers.get(TRACEPARENT).is_some() => {
            let read = TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(headers));
            Parent::of(&read)
        }
        _ => Parent::default(),
    }
}

impl Parent {
    /// The span of a context, if it has one.
    pub(super) fn of(context: &Context) -> Self {
        let span_context = context.span().span_context().clone();
        Self(span_context.is_valid().then_some(span_context))
    }

    /// Puts it into headers as it is.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(span) = &self.0 {
            let context = Context::new().with_remote_span_context(span.clone());
            TraceContextPropagator::new().inject_context(&context, &mut Write(headers));
        }
    }

    /// The trace, if there is one and it is recorded.
    pub fn trace(&self) -> Option<TraceId> {
        self.0.as_ref().filter(|span| span.is_sampled()).map(SpanContext::trace_id)
    }

    /// As a parent for spans.
    pub(super) fn context(&self) -> Context {
        match &self.0 {
            Some(span) => Context::new().with_remote_span_context(span.clone()),
            None => Context::new(),
        }
    }

    pub(super) fn span(&self) -> Option<&SpanContext> {
        self.0.as_ref()
    }
}

/// Headers to read from.
struct Read<'a>(&'a HeaderMap);

impl Extractor for Read<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.get(key)?.as_str();
        (key != TRACESTATE || value.len() <= LONGEST_STATE).then_some(value)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}

/// Headers to write to.
struct Write<'a>(&'a mut HeaderMap);

impl Injector for Write<'_> {
    fn set(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.insert(*name, *value);
        }
        map
    }

    #[test]
    fn what_comes_with_a_message_is_passed_on() {
        let came = headers(&[(TRACEPARENT, SAMPLED), (TRACESTATE, "vendor=1,other=2"), ("Nats-Msg-Id", "b.0.0")]);
        let parent = parent_from(Some(&came));
        assert_eq!(parent.trace().map(|id| id.to_string()).as_deref(), Some("0af7651916cd43dd8448eb211c80319c"));
        let mut sent = HeaderMap::new();
        parent.inject(&mut sent);
        assert_eq!(sent, headers(&[(TRACEPARENT, SAMPLED), (TRACESTATE, "vendor=1,other=2")]));
    }

    #[test]
    fn a_trace_that_is_not_recorded_is_passed_on_and_is_none_of_ours() {
        let came = headers(&[(TRACEPARENT, &SAMPLED.replace("-01", "-00"))]);
        let parent = parent_from(Some(&came));
        assert_eq!(parent.trace(), None);
        let mut sent = HeaderMap::new();
        parent.inject(&mut sent);
        assert_eq!(sent, came);
    }

    #[test]
    fn without_a_parent_no_header_is_added() {
        let zeros = "00-00000000000000000000000000000000-b7ad6b7169203331-01";
        for bad in ["", "nonsense", zeros, "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-1-2-3-4"] {
            let parent = parent_from(Some(&headers(&[(TRACEPARENT, bad), (TRACESTATE, "vendor=1")])));
            assert_eq!(parent, Parent::default(), "{bad}");
        }
        assert_eq!(parent_from(None), Parent::default());
        let mut sent = HeaderMap::new();
        Parent::default().inject(&mut sent);
        assert!(sent.is_empty());
    }

    #[test]
    fn a_state_that_is_too_long_is_left_out() {
        let long = format!("vendor={}", "x".repeat(LONGEST_STATE));
        let parent = parent_from(Some(&headers(&[(TRACEPARENT, SAMPLED), (TRACESTATE, &long)])));
        let mut sent = HeaderMap::new();
        parent.inject(&mut sent);
        assert_eq!(sent, headers(&[(TRACEPARENT, SAMPLED)]));
    }
}
