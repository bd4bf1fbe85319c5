//! What `jetsweep doctor` finds in a deployment that is not as it should be.

use std::time::Duration;

use async_nats::jetstream::{self, consumer::pull};
use jetsweep_tests::Done;
use serde_json::Value;

use crate::cluster::Cluster;
use crate::secured::{ROLES, Secured};

/// All findings, whatever the exit code.
fn findings(done: &Done) -> Value {
    serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", done.stdout, done.stderr))
}

/// What was found by a check, as `bad: found; advice` and the like.
fn found<'a>(findings: &'a Value, check: &str) -> Vec<(&'a str, String)> {
    let of_check = findings.as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let told = of_check.map(|finding| {
        let text =
            format!("{}; {}", finding["found"].as_str().unwrap(), finding["advice"].as_str().unwrap_or_default());
        (finding["verdict"].as_str().unwrap(), text)
    });
    told.collect()
}

#[tokio::test]
async fn settings_that_are_not_ours_are_told() {
    let cluster = Cluster::start().await;
    cluster.answers("worker").await;
    let doctor = async || cluster.jetsweep(&["doctor", "--output", "json"]).done().await;
    let healthy = doctor().await.with_code(0).json();
    for stream in ["JETSWEEP_PLANS", "JETSWEEP_JOBS", "JETSWEEP_RESULTS", "JETSWEEP_DEAD", "KV_jetsweep-batches"] {
        let told = found(&healthy, stream);
        assert!(told.len() == 1 && told[0].0 == "good", "{stream}: {told:?}");
    }
    assert_eq!(found(&healthy, "permissions"), [], "nobody signs in");

    let jetstream = jetstream::new(cluster.server.connect().await);
    let edit = async |name: &str, edit: fn(&mut jetstream::stream::Config)| {
        let mut config = jetstream.get_stream(name).await.unwrap().cached_info().config.clone();
        edit(&mut config);
        jetstream.update_stream(config).await.unwrap();
    };
    edit("JETSWEEP_RESULTS", |config| config.max_bytes = 1 << 30).await;
    edit("JETSWEEP_DEAD", |config| config.max_age = Duration::from_secs(3600)).await;
    edit("JETSWEEP_PLANS", |config| config.subjects = vec!["jetsweep.plans.v1.*".to_owned()]).await;
    let jobs = jetstream.get_stream("JETSWEEP_JOBS").await.unwrap();
    let low: jetstream::consumer::Consumer<pull::Config> = jobs.get_consumer("native-low").await.unwrap();
    let config = pull::Config {
        durable_name: Some("native-low".to_owned()),
        filter_subject: low.cached_info().config.filter_subject.clone(),
        description: low.cached_info().config.description.clone(),
        ack_wait: Duration::from_secs(3),
        max_ack_pending: 7,
        ..Default::default()
    };
    jobs.update_consumer(config).await.unwrap();

    let told = findings(&doctor().await.with_code(1));
    for (check, verdict, words) in [
        ("JETSWEEP_RESULTS", "warning", &["max_bytes is 1073741824, and not 8589934592", "restart a planner"] as &[_]),
        ("JETSWEEP_DEAD", "bad", &["it may drop messages: max_age is 3600s, and not 0ns"]),
        ("JETSWEEP_PLANS", "bad", &["subjects is", "jetsweep.plans.v1.*.*"]),
        (
            "JETSWEEP_JOBS > native-low",
            "warning",
            &["ack_wait is 3s, and not 30s", "max_ack_pending is 7, and not 4096"],
        ),
    ] {
        let told = found(&told, check);
        let [(found, text)] = told.as_slice() else { panic!("{check}: {told:?}") };
        assert_eq!(*found, verdict, "{check}: {text}");
        assert!(words.iter().all(|words| text.contains(words)), "{check}: {text}");
    }
    // With the number of copies that a cluster has, a stream with one is told.
    let copies = cluster.jetsweep(&["doctor", "--output", "json"]).env("JETSWEEP_NATS__REPLICAS", "3");
    let told = findings(&copies.done().await.with_code(1));
    let jobs = found(&told, "JETSWEEP_JOBS");
    assert!(jobs[0].1.contains("num_replicas is 1, and not 3") && jobs[0].1.contains("nats.replicas"), "{jobs:?}");
}

#[tokio::test]
async fn what_a_role_may_not_is_told() {
    let taken = [
        "\"jetsweep.api.STREAM.MSG.GET.JETSWEEP_RESULTS\", \"jetsweep.api.STREAM.MSG.GET.JETSWEEP_PLANS\"",
        "\"jetsweep.results.v1.*.*.*\"",
    ];
    let poor =
        Secured::edited("secure.conf", |text| taken.iter().fold(text, |text, taken| text.replacen(taken, "", 1)));
    let (poor, secured) = tokio::join!(poor, Secured::start("secure.conf"));
    let told = async |secured: &Secured, role: &str| {
        let done = secured.jetsweep(role, &["doctor", "--output", "json"]).done().await;
        assert!(!done.stderr.contains("Permissions Violation for Publish to \"jetsweep."), "{}", done.stderr);
        let findings = findings(&done);
        let told = found(&findings, "permissions").into_iter().map(|(verdict, text)| (verdict.to_owned(), text));
        let [told] = told.collect::<Vec<_>>().try_into().expect("one finding");
        told
    };
    for role in ROLES.into_iter().chain(["operator"]) {
        let (verdict, text) = told(&secured, role).await;
        assert_eq!(verdict, "good", "{role}: {text}");
    }
    let (verdict, text) = told(&poor, "client").await;
    assert_eq!(verdict, "bad");
    assert!(text.contains("read plans of batches (jetsweep.api.STREAM.MSG.GET.JETSWEEP_RESULTS)"), "{text}");
    assert!(text.contains("nats/roles.conf") && !text.contains("submit sweeps"), "{text}");
    let (verdict, text) = told(&poor, "worker").await;
    assert!(verdict == "bad" && text.contains("publish results (jetsweep.results.v1.doctor.0.0)"), "{text}");
}
