//! Metrics as text.
//!
//! The library writes OpenMetrics. Prometheus' own format 0.0.4 is what every reader takes, `promtool check metrics` among
//! them; the two differ in how families of counters and infos are announced, and in lines that the older one has not.

use prometheus_client::encoding::text::encode_registry;
use prometheus_client::registry::Registry;

/// Content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a registry in Prometheus' text format 0.0.4.
pub(super) fn text(registry: &Registry) -> String {
    let mut open_metrics = String::new();
    // Writing to a string does not fail; a collector that does leaves its metric out.
    if let Err(error) = encode_registry(&mut open_metrics, registry) {
        tracing::warn!(%error, "metrics are not complete");
    }
    let kinds = open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let suffix = |family: &str| match kinds.clone().find(|(name, _)| *name == family) {
        Some((_, "counter")) => "_total",
        Some((_, "info")) => "_info",
        _ => "",
    };
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let announced = line.strip_prefix("# ").and_then(|rest| {
            let (keyword, rest) = rest.split_once(' ')?;
            let (family, said) = rest.split_once(' ')?;
            Some((keyword, family, said))
        });
        match announced {
            Some(("UNIT", ..)) => continue,
            Some((keyword, family, said)) => {
                let said = match said {
                    "info" => "gauge",
                    "unknown" => "untyped",
                    said => said,
                };
                text.push_str(&format!("# {keyword} {family}{} {said}\n", suffix(family)));
            }
            None => text.extend([line, "\n"]),
        }
    }
    text
}
