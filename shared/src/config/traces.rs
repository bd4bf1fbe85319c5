//! The traces' part of the configuration.

use serde::{Deserialize, Serialize};

use super::secret::redact_url;

/// Where receivers of OTLP over HTTP take spans, unless an address has a path of its own.
const PATH: &str = "/v1/traces";

/// Spans of what becomes of a batch, sent to a receiver of OpenTelemetry's protocol (OTLP) over HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The receiver: `http://collector:4318`. Nothing is traced when absent.
    pub endpoint: Option<String>,
    /// Share of the batches that are traced, each as a whole.
    pub sample: f64,
}

impl Default for TracesConfig {
    fn default() -> Self {
        Self { endpoint: None, sample: 1.0 }
    }
}

impl TracesConfig {
    /// The address that spans are sent to, if they are. One without a path gets the usual one.
    pub fn url(&self) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?.trim();
        let path = path(endpoint)?;
        Some(if path.is_empty() { with_path(endpoint) } else { endpoint.to_owned() })
    }

    /// What no key's kind can tell: each with the key.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        match &self.endpoint {
            Some(endpoint) if self.url().is_none() => {
                let message = format!(
                    "{:?} is no address of a receiver of OTLP over HTTP: write http://HOST:4318, or all of it with its \
                     path, as in https://HOST/v1/traces; what it asks to be let in goes into OTEL_EXPORTER_OTLP_HEADERS",
                    redact_url(endpoint.split('?').next().unwrap_or_default())
                );
                vec![("traces.endpoint", message)]
            }
            _ => Vec::new(),
        }
    }
}

/// A receiver's address with the path at which it takes spans: what `OTEL_EXPORTER_OTLP_ENDPOINT` stands for, which is
/// for signals of all kinds.
pub(super) fn with_path(endpoint: &str) -> String {
    format!("{}{PATH}", endpoint.trim().trim_end_matches('/'))
}

/// The path of an address, without the slash at its end; `None` for what is no address of this kind.
fn path(endpoint: &str) -> Option<String> {
    let uri: hyper::Uri = endpoint.parse().ok()?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    // Keys belong into headers, which are not shown as addresses are.
    let signs_in = uri.query().is_some() || uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    (is_http && has_host && !signs_in).then(|| uri.path().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(endpoint: &str) -> TracesConfig {
        TracesConfig { endpoint: Some(endpoint.to_owned()), ..TracesConfig::default() }
    }

    #[test]
    fn an_address_without_a_path_gets_the_usual_one() {
        for (endpoint, url) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("https://host/otlp/v1/traces", "https://host/otlp/v1/traces"),
        ] {
            assert_eq!(at(endpoint).url().as_deref(), Some(url));
            assert_eq!(at(endpoint).problems(), []);
        }
        assert_eq!(TracesConfig::default().url(), None);
        assert_eq!(TracesConfig::default().problems(), []);
    }

    #[test]
    fn what_is_no_address_is_told_without_its_secrets() {
        for bad in [
            "collector:4318",
            "grpc://collector:4317",
            "http://",
            "/v1/traces",
            "http://u:secret@collector",
            "https://collector/v1/traces?api-key=secret",
            "https://collector?api-key=secret/v1/traces",
        ] {
            let problems = at(bad).problems();
            assert_eq!(problems.len(), 1, "{bad}");
            assert!(problems[0].1.contains("http://HOST:4318"), "{problems:?}");
            assert!(!problems[0].1.contains("secret"), "{problems:?}");
        }
    }
}
