//! A receiver of OTLP over HTTP, as Jaeger or a collector is one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use jetsweep_tests::eventually;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as otlp;
use prost::Message;
use tokio::task::JoinHandle;

pub(crate) use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

/// What a receiver does with what it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// It takes spans.
    Takes,
    /// It says that it cannot now.
    Refuses,
    /// It never answers.
    Hangs,
}

/// A span as it came.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// What the resource says of who made it.
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty of one that has none.
    pub(crate) parent: String,
    pub(crate) attributes: BTreeMap<String, String>,
    /// Spans that it links to.
    pub(crate) links: Vec<String>,
}

impl Span {
    /// The service that made it.
    pub(crate) fn service(&self) -> &str {
        &self.resource["service.name"]
    }
}

/// A running receiver.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Received>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Received {
    answers: Answers,
    spans: Mutex<Vec<Span>>,
    /// Values of the header `authorization`, one a request.
    authorization: Mutex<Vec<String>>,
}

impl Receiver {
    /// Starts one on a free port.
    pub(crate) async fn start(answers: Answers) -> Self {
        let received = Arc::new(Received { answers, spans: Mutex::default(), authorization: Mutex::default() });
        let routes = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port");
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.expect("a server") });
        Self { address, received, serving }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` says of it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What came so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.received.spans.lock().unwrap().clone()
    }

    /// The values of the header `authorization` so far.
    pub(crate) fn authorization(&self) -> Vec<String> {
        self.received.authorization.lock().unwrap().clone()
    }

    /// What came, once it fits.
    pub(crate) async fn spans_when(&self, what: &str, fits: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        eventually(what, async || Some(self.spans()).filter(|spans| fits(spans))).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(received): State<Arc<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    received.authorization.lock().unwrap().push(authorization.unwrap_or_default().to_owned());
    match received.answers {
        Answers::Takes => {}
        Answers::Refuses => return StatusCode::SERVICE_UNAVAILABLE,
        Answers::Hangs => std::future::pending().await,
    }
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    let spans = request.resource_spans.into_iter().flat_map(|of_resource| {
        let resource = texts(&of_resource.resource.unwrap_or_default().attributes);
        let spans = of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans);
        spans.map(move |span| read(span, resource.clone()))
    });
    received.spans.lock().unwrap().extend(spans);
    StatusCode::OK
}

fn read(span: otlp::Span, resource: BTreeMap<String, String>) -> Span {
    Span {
        resource,
        kind: span.kind(),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        attributes: texts(&span.attributes),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        name: span.name,
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), pair.value.as_ref().map(text).unwrap_or_default())).collect()
}
