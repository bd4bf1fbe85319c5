//! Health and metrics of services as an operator's tools meet them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use jetsweep_shared::monitor::ask;
use jetsweep_tests::{Signal, eventually, repository};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::support::{example, ledger, text};

const ROLES: [&str; 3] = ["planner", "worker", "consolidator"];

/// Where no MLflow is.
const NO_MLFLOW: &str = "http://127.0.0.1:1";

/// Services that show their health on free ports, among them a bridge to an MLflow that is away.
async fn monitored() -> Cluster {
    let settings =
        [("JETSWEEP_HTTP__LISTEN", "0"), ("JETSWEEP_LOG__FORMAT", "json"), ("JETSWEEP_MLFLOW__URL", NO_MLFLOW)];
    let mut cluster = Cluster::new(&settings).await;
    for role in ROLES.into_iter().chain(["mlflow-bridge"]) {
        cluster.serve(role, role);
    }
    cluster
}

/// Where a service shows its health: its log says so.
async fn address(cluster: &Cluster, name: &str) -> SocketAddr {
    eventually(&format!("the {name} to say where it shows its health"), async || {
        let log = cluster.service(name).stderr();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter_map(|line| line["bound"].as_str()?.parse().ok()).next()
    })
    .await
}

async fn is_ready(address: SocketAddr) -> (bool, String) {
    let (status, text) = ask(address, "/readyz").await.unwrap();
    (status == 200, text)
}

#[tokio::test]
async fn services_are_ready_while_they_can_work_and_say_what_is_wrong_when_they_cannot() {
    let mut cluster = monitored().await;
    for role in ROLES {
        let address = address(&cluster, role).await;
        eventually(&format!("the {role} to be ready"), async || is_ready(address).await.0.then_some(())).await;
        let listen = address.port().to_string();
        let health = || jetsweep_tests::jetsweep(["health", "--http", listen.as_str(), "--output", "quiet"]);
        health().done().await.with_code(0);
        cluster.server.kill();
        let told = eventually(&format!("the {role} to miss NATS"), async || {
            let (ready, told) = is_ready(address).await;
            (!ready && told.contains("\"nats\"")).then_some(told)
        })
        .await;
        assert!(told.contains("the connection is lost"), "{told}");
        let said = health().done().await.with_code(1).stderr;
        assert!(said.contains("not ready") && said.contains("the connection is lost"), "{said}");
        assert_eq!(ask(address, "/livez").await.unwrap().0, 200);
        cluster.server.restart().await;
        eventually(&format!("the {role} to be ready again"), async || is_ready(address).await.0.then_some(())).await;
    }
}

/// A worker that cannot hand in what it holds drains for a while, and can be asked meanwhile.
#[tokio::test]
async fn a_service_that_stops_says_so_until_it_has_stopped() {
    let mut cluster = monitored().await;
    cluster.answers("planner").await;
    let address = address(&cluster, "worker").await;
    // More than it can have done by then.
    for batch in ["a", "b", "c", "d", "e", "f"] {
        cluster.jetsweep(&["submit", text(&example("large.toml")), "--batch", batch]).done().await.with_code(0);
    }
    eventually("the worker to do runs", async || {
        let metrics = ask(address, "/metrics").await.unwrap().1;
        metrics.contains("jetsweep_worker_jobs_total{outcome=\"completed\"} ").then_some(())
    })
    .await;
    cluster.server.kill();
    cluster.service("worker").signal(Signal::TERM);
    eventually("the worker to say that it stops", async || {
        let (ready, told) = is_ready(address).await;
        (!ready && told.contains("\"service\":\"it is stopping\"")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bridge_is_not_ready_while_mlflow_is_away() {
    let cluster = monitored().await;
    let address = address(&cluster, "mlflow-bridge").await;
    eventually("the bridge to miss MLflow", async || {
        let (ready, told) = is_ready(address).await;
        (!ready && told.contains("\"mlflow\":\"it has not answered yet\"")).then_some(())
    })
    .await;
    let metrics = ask(address, "/metrics").await.unwrap().1;
    assert!(metrics.contains("\njetsweep_bridge_mlflow_up 0.0\n"), "{metrics}");
}

#[tokio::test]
async fn metrics_count_what_was_done_and_dashboards_and_alerts_name_no_others() {
    let cluster = monitored().await;
    let spec = example("quickstart.toml");
    let submit = ["submit", text(&spec), "--batch", "b", "--wait", "--output", "json"];
    cluster.answers("planner").await;
    cluster.answers("consolidator").await;
    assert_eq!(ledger(&cluster.jetsweep(&submit).done().await.json()), (459, [459, 0, 0, 0]));
    cluster.jetsweep(&["query", "SELECT 1"]).done().await.with_code(0);

    let mut all = String::new();
    for role in ROLES.into_iter().chain(["mlflow-bridge"]) {
        let metrics = ask(address(&cluster, role).await, "/metrics").await.unwrap().1;
        promtool(&["check", "metrics"], &metrics);
        all.push_str(&metrics);
    }
    let value = |sample: &str| -> f64 {
        let line = all.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {all}")).parse().unwrap()
    };
    assert_eq!(value("jetsweep_worker_runs_total{status=\"succeeded\"}"), 459.0);
    assert_eq!(value("jetsweep_worker_run_duration_seconds_count"), 459.0);
    let jobs = value("jetsweep_planner_jobs_published_total");
    assert!(jobs >= 9.0, "{jobs} jobs for nine symbols");
    assert_eq!(value("jetsweep_worker_jobs_total{outcome=\"completed\"}"), jobs);
    assert_eq!(value("jetsweep_worker_job_duration_seconds_count"), jobs);
    assert_eq!(value("jetsweep_planner_batches_total{outcome=\"sealed\"}"), 1.0);
    // Each run, and holding each of nine symbols.
    assert_eq!(value("jetsweep_consolidator_rows_total"), 459.0 + 9.0);
    // Each result, begin and sealed.
    assert_eq!(value("jetsweep_consolidator_messages_total{outcome=\"changed\"}"), jobs + 2.0);
    assert_eq!(value("jetsweep_consolidator_position"), jobs + 2.0);
    assert_eq!(value("jetsweep_consolidator_query_duration_seconds_count"), 1.0);
    assert!(value("jetsweep_consolidator_database_bytes") > 100_000.0);
    assert!(value("jetsweep_worker_cache_lookups_total{result=\"miss\"}") == 9.0);

    // The data bucket is a stream as well, and has no limit that it could come near.
    assert_eq!(value("jetsweep_stream_bytes{stream=\"OBJ_jetsweep-data\"}"), 0.0);
    assert!(value("jetsweep_stream_limit_bytes{stream=\"JETSWEEP_RESULTS\"}") > 0.0);
    assert!(!all.contains("jetsweep_stream_limit_bytes{stream=\"OBJ_jetsweep-data\"}"), "{all}");

    // Samples, and families such as histograms.
    let name = |line: &'_ str| line.strip_prefix("# TYPE ").unwrap_or(line).split(['{', ' ']).next().map(str::to_owned);
    let known: BTreeSet<String> = all.lines().filter_map(name).collect();
    for file in ["deploy/grafana/dashboards/jetsweep.json", "deploy/prometheus/alerts.yaml", "docs/operations.md"] {
        let text = std::fs::read_to_string(repository().join(file)).unwrap();
        let named = names(&text);
        let unknown: Vec<_> = named.iter().filter(|name| !known.contains(*name)).collect();
        assert!(!named.is_empty() && unknown.is_empty(), "{file} names metrics that no service has: {unknown:?}");
    }
}

#[tokio::test]
async fn the_doctor_looks_at_the_cache_of_bars_and_knows_streams_without_a_limit() {
    let cluster = Cluster::start().await;
    let findings = async |cache: &std::path::Path| {
        let doctor = cluster.jetsweep(&["doctor", "--output", "json"]).env("JETSWEEP_DATA__CACHE_DIR", cache);
        serde_json::from_str::<Value>(&doctor.done().await.stdout).unwrap()
    };
    let of = |findings: &Value, check: &str| {
        let found = findings.as_array().unwrap().iter().find(|finding| finding["check"] == check);
        let found = found.unwrap_or_else(|| panic!("no {check} in {findings}"));
        (found["verdict"].as_str().unwrap().to_owned(), found["found"].as_str().unwrap().to_owned())
    };
    let found = findings(&cluster.state.path().join("bars")).await;
    let (verdict, told) = of(&found, "OBJ_jetsweep-data");
    assert_eq!((verdict.as_str(), told.as_str()), ("good", "0 messages, 0 B; it has no limit"));
    assert!(of(&found, "JETSWEEP_RESULTS").1.ends_with("0% of its limit"), "{found}");
    assert!(of(&found, "cache").1.contains("bars"), "{found}");

    let file = cluster.state.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let (verdict, told) = of(&findings(&file).await, "cache");
    assert_eq!(verdict, "warning");
    assert!(told.contains("cannot be written to"), "{told}");
}

#[test]
fn alerts_fire_when_they_should() {
    let folder = repository().join("deploy/prometheus");
    let test = folder.join("alerts.test.yaml");
    promtool(&["check", "config", "--syntax-only", text(&folder.join("prometheus.yaml"))], "");
    promtool(&["test", "rules", text(&test)], "");
    // Every alert has a test.
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let tested = read("alerts.test.yaml");
    let alerts = read("alerts.yaml");
    let mut alerts = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).peekable();
    assert!(alerts.peek().is_some());
    for alert in alerts {
        assert!(tested.contains(&format!("- name: {alert}\n")), "no test of {alert}");
    }
}

/// Words of a text that are names of metrics of ours: they end like metrics do.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = |word: &&str| (word.starts_with("jetsweep_") || word.starts_with("process_")) && !word.ends_with('_');
    text.split(|c| !is_part(c)).filter(ours).map(str::to_owned).collect()
}

/// Runs Prometheus' own tool, which must be content. Without it, this says so and checks nothing.
fn promtool(args: &[&str], stdin: &str) {
    let program = std::env::var_os("PROMTOOL").map_or_else(|| PathBuf::from("promtool"), PathBuf::from);
    let spawned =
        Command::new(&program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            eprintln!("not checked: cannot start {}: {error} (Debian: apt-get install prometheus)", program.display());
            return;
        }
    };
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "promtool {args:?}: {said}");
    assert!(args[..2] != ["check", "metrics"] || said.trim().is_empty(), "promtool {args:?}: {said}");
}
