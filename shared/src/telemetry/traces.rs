//! Traces: spans of a batch's way, sent to a receiver of OpenTelemetry's protocol (OTLP) over HTTP.
//!
//! Without `traces.endpoint` there are none: the subscriber has no layer for them, so that the spans of
//! [`steps`](super::steps) are disabled where they would be made.
//!
//! A batch is traced whole or not at all: whoever begins its trace decides (`traces.sample`), and everybody after goes by
//! what its messages say. A receiver that is away costs spans and nothing else: they wait in a bounded queue, are dropped when it is full, and that is told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, SpanExporter as _};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};

use super::outbox::{Collector, Outbox};
use super::{AnyLayer, TelemetryError};
use crate::config::{Config, redact_url};

/// Spans of this target are exported, and no others; logs leave them out.
pub(super) const TARGET: &str = "jetsweep::traces";

/// Attribute of spans that are not exported.
pub(super) const DISCARDED: &str = "jetsweep.discarded";

/// Links of one span, at most. A commit may be of thousands of results; these say enough of where they came from.
pub const MOST_LINKS: usize = 128;

/// Longest a request to the receiver may take.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Longest the end of the process waits for the last spans to be sent.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Names the service in place of ours.
const ENV_SERVICE_NAME: &str = "OTEL_SERVICE_NAME";

/// Whether this process traces.
static ON: AtomicBool = AtomicBool::new(false);

/// Whether this process traces. Who would collect something only for traces asks first.
pub fn are_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// The traces of this process.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
    outbox: Arc<Outbox>,
}

impl Traces {
    /// Starts what sends spans, if the configuration names a receiver. `role` is who traces: `worker`.
    ///
    /// `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_EXPORTER_OTLP_TRACES_HEADERS` are headers of its requests;
    /// `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say who traces, over what is said here.
    ///
    /// # Errors
    ///
    /// When nothing can be sent, whether the receiver is there or not.
    pub fn start(config: &Config, role: &str, version: &str) -> Result<Option<Self>, TelemetryError> {
        let Some(url) = config.traces.url() else { return Ok(None) };
        let resource = resource(role, version, &config.worker.name);
        let endpoint = redact_url(&url);
        let failed = |reason: String| TelemetryError::Traces { endpoint: endpoint.clone(), reason };
        let mut exporter = exporter(&url).map_err(failed)?;
        exporter.set_resource(&resource);
        let outbox = Outbox::open(exporter, endpoint.clone()).map_err(|error| failed(error.to_string()))?;
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Collector(Arc::clone(&outbox)))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.traces.sample))))
            .with_max_links_per_span(MOST_LINKS as u32)
            .with_resource(resource)
            .build();
        ON.store(true, Ordering::Relaxed);
        Ok(Some(Self { provider, outbox }))
    }

    /// The part of the subscriber that makes spans of a batch's way.
    pub(super) fn layer(&self) -> AnyLayer {
        let ours = |metadata: &tracing::Metadata<'_>| metadata.is_span() && metadata.target() == TARGET;
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("jetsweep"))
            .with_context_activation(false)
            .with_tracked_inactivity(false)
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_filter(filter_fn(ours).with_max_level_hint(LevelFilter::INFO))
            .boxed()
    }

    /// Sends what is left, waiting for a short time only. What is traced afterwards is lost.
    pub fn stop(self) {
        self.outbox.close(FLUSH_TIME);
    }
}

/// What sends spans to `url`.
fn exporter(url: &str) -> Result<SpanExporter, String> {
    // TLS has one way of computing in this process; whoever was first has decided.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = url.to_owned();
    let build = move || {
        // Headers may be secrets, so they go where they were meant to go and not where that sends them on to.
        let client = reqwest::blocking::Client::builder()
            .timeout(REQUEST_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(url)
            .with_protocol(Protocol::HttpBinary)
            // The outbox tries again by itself, as it knows when there is no time left for that.
            .with_retry_policy(RetryPolicy::disabled())
            .with_timeout(REQUEST_TIME)
            .build()
            .map_err(|error| error.to_string())
    };
    // The client has a runtime of its own, which must not be made within another one.
    let built = std::thread::spawn(build).join();
    built.unwrap_or_else(|_| Err("the HTTP client cannot be made".to_owned()))
}

/// Who traces. What the environment says of it, in OpenTelemetry's variables, wins.
fn resource(role: &str, version: &str, instance: &str) -> Resource {
    let ours = [
        KeyValue::new("service.name", format!("jetsweep-{role}")),
        KeyValue::new("service.version", version.to_owned()),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ];
    let said = Resource::builder_empty()
        .with_attributes(ours)
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())]);
    match std::env::var(ENV_SERVICE_NAME) {
        Ok(name) if !name.trim().is_empty() => said.with_service_name(name).build(),
        _ => said.build(),
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::subjects::PlanSubject;
    use crate::telemetry::steps::{self, Kind};
    use crate::telemetry::{Parent, Step, parent_from};

    /// The parent that a message has which is sent in a step.
    fn sent(step: &Step) -> Parent {
        let mut headers = HeaderMap::new();
        step.inject(&mut headers);
        parent_from(Some(&headers))
    }

    #[test]
    fn steps_are_of_one_trace_whether_or_not_anybody_receives_it() {
        let mut config = Config::default();
        assert!(Traces::start(&config, "worker", "0.1.0").unwrap().is_none(), "off unless asked for");
        // Nobody listens there.
        config.traces.endpoint = Some("http://127.0.0.1:9".to_owned());
        let traces = Traces::start(&config, "worker", "0.1.0").unwrap().expect("a receiver is named");
        let subscriber = tracing_subscriber::registry().with(vec![traces.layer()]);
        tracing::subscriber::with_default(subscriber, || {
            let batch = "b".parse().unwrap();
            let submitted = sent(&steps::submit("plans", &batch));
            let trace = submitted.trace().expect("it begins a trace");
            let accepted = sent(&steps::accept(submitted, "plans", &batch, 0));
            let planned = sent(&steps::plan(accepted, "plans", &PlanSubject { batch: batch.clone(), generation: 0 }));
            let job = steps::job(planned, "jobs", None, 2);
            job.set("runs", 7);
            let published = sent(&job.child_to("publish result", "results"));
            let computed = job.child("compute", Kind::Internal);
            computed.failed("it did not go well");
            let committed = steps::commit(published.clone(), "results", &batch, 0);
            committed.link(&sent(&job));
            let logged = steps::log_runs(published.clone(), "results", &batch, 0, 3);
            for step in [&job, &computed, &committed, &logged] {
                assert_eq!(sent(step).trace(), Some(trace));
                assert_ne!(sent(step), published, "each is a span of its own");
            }
            assert_ne!(sent(&steps::retry("plans", &batch, 1)).trace(), Some(trace), "a retry begins another");
        });
        traces.stop();
    }
}
