//! Whether streams and consumers have the settings of the files under `nats/`.

use std::time::Duration;

use jetsweep_shared::topology::Difference;
use serde_json::Value;

use super::Findings;

/// Settings with which a stream that differs loses messages.
const LOSE_MESSAGES: [&str; 7] =
    ["discard", "retention", "max_age", "max_msgs", "max_msgs_per_subject", "subjects", "storage"];
/// Settings with which a consumer that differs loses messages.
const LOSE_DELIVERIES: [&str; 4] = ["ack_policy", "max_deliver", "deliver_policy", "filter_subject"];

/// Settings in nanoseconds.
const DURATIONS: [&str; 3] = ["ack_wait", "max_age", "duplicate_window"];

/// Settings that say nothing of how it works.
const WORDS: [&str; 2] = ["description", "metadata"];

/// Keys of the configuration that set a setting, for whoever runs the planner.
const CONFIGURED: [(&str, &str); 2] = [("num_replicas", "nats.replicas"), ("ack_wait", "worker.ack_wait_seconds")];

/// Tells what differs of a stream or consumer, if anything does, and whether something does.
pub(super) fn tell(check: &str, differences: Vec<Difference>, findings: &mut Findings) -> bool {
    let differences: Vec<Difference> =
        differences.into_iter().filter(|difference| !WORDS.contains(&difference.setting.as_str())).collect();
    if differences.is_empty() {
        return false;
    }
    let found = differences.iter().map(|Difference { setting, found, wanted }| {
        format!("{setting} is {}, and not {}", shown(setting, found), shown(setting, wanted))
    });
    let found = found.collect::<Vec<_>>().join("; ");
    let is_any = |of: &[&str]| differences.iter().any(|difference| of.contains(&difference.setting.as_str()));
    let mut advice =
        "restart a planner, which sets it back, or do so with `nats stream edit` or `nats consumer edit` and the \
                      files under nats/"
            .to_owned();
    for (setting, key) in CONFIGURED {
        if is_any(&[setting]) {
            advice = format!("{advice}; {key} must be the same here as at the planner");
        }
    }
    if is_any(&LOSE_MESSAGES) || is_any(&LOSE_DELIVERIES) {
        findings.bad(check, format!("it may drop messages: {found}"), advice);
    } else {
        findings.warning(check, found, advice);
    }
    true
}

fn shown(setting: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(nanoseconds) if DURATIONS.contains(&setting) => format!("{:?}", Duration::from_nanos(nanoseconds)),
        _ if value.is_null() => "not set".to_owned(),
        _ => value.to_string(),
    }
}
