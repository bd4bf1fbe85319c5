//! Numbers that are kept elsewhere and read when somebody asks for metrics.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Numbers of one name, told apart by labels.
#[derive(Debug, Clone)]
pub struct Numbers {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

impl Numbers {
    /// Something that only grows. The name is without `_total`, which is added.
    pub fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// Something that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// The one number of the name.
    pub fn is(self, value: impl Number) -> Self {
        self.with([], value)
    }

    /// The number of one set of labels.
    pub fn with<const N: usize>(mut self, labels: [(&'static str, &str); N], value: impl Number) -> Self {
        let labels = labels.map(|(name, value)| (name, value.to_owned())).into();
        self.samples.push((labels, value.into_f64()));
        self
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let kind = match self.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        let mut described = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        for (labels, value) in &self.samples {
            if labels.is_empty() {
                self.encode_one(*value, described)?;
                return Ok(());
            }
            self.encode_one(*value, described.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn encode_one(&self, value: f64, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self.kind {
            Kind::Counter => ConstCounter::new(value).encode(encoder),
            Kind::Gauge => ConstGauge::new(value).encode(encoder),
        }
    }
}

/// What a metric can be made of. Counts beyond 2^53 lose their last digits, as they do in Prometheus.
pub trait Number {
    /// As Prometheus keeps it.
    fn into_f64(self) -> f64;
}

impl Number for f64 {
    fn into_f64(self) -> f64 {
        self
    }
}

impl Number for u64 {
    fn into_f64(self) -> f64 {
        self as f64
    }
}

impl Number for usize {
    fn into_f64(self) -> f64 {
        self as f64
    }
}

impl Number for bool {
    fn into_f64(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// Reads numbers when somebody asks.
pub(super) struct Told<F>(pub(super) F);

impl<F> fmt::Debug for Told<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

impl<F: Fn() -> Vec<Numbers> + Send + Sync + 'static> Collector for Told<F> {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        (self.0)().iter().try_for_each(|numbers| numbers.encode(&mut encoder))
    }
}
