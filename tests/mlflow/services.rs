//! Planner, worker and consolidator as processes, a database to compare with, and a bridge to start and kill.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jetsweep_engine::metrics::Metric;
use jetsweep_tests::{NatsServer, Running, answers, jetsweep, repository};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::server::Run;

pub(crate) type Row = Map<String, Value>;

/// The services without a bridge.
pub(crate) struct Services {
    pub(crate) nats: NatsServer,
    folder: TempDir,
    _running: Vec<Running>,
}

impl Services {
    pub(crate) async fn start() -> Self {
        Self::start_over(&repository()).await
    }

    /// The same, with bars in a folder.
    pub(crate) async fn start_over(data: &Path) -> Self {
        let nats = NatsServer::start().await;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let state = folder.path().join("state");
        let url = nats.url();
        let role = |role: &str| {
            jetsweep([role, "--nats", &url, "--state", text(&state)]).env("JETSWEEP_DATA__ROOT", text(data)).start()
        };
        let running = ["planner", "worker", "consolidator"].map(role).into();
        let services = Self { nats, folder, _running: running };
        let client = services.nats.connect().await;
        for role in ["planner", "worker", "consolidator"] {
            answers(&client, role).await;
        }
        services
    }

    /// A file of the test.
    pub(crate) fn file(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, contents).expect("a file of the test");
        path
    }

    /// Submits a spec and waits until the batch ends.
    pub(crate) async fn run_batch(&self, spec: &Path, batch: &str) {
        let url = self.nats.url();
        let args = ["submit", text(spec), "--batch", batch, "--nats", &url, "--wait", "--output", "json"];
        let done = jetsweep(args).done().await;
        assert!(matches!(done.code, Some(0 | 3)), "{done:?}");
    }

    /// A bridge to the server at a URL. `settings` are variables of its.
    pub(crate) fn bridge(&self, mlflow: &str, settings: &[(&str, &str)]) -> Running {
        let mut bridge = jetsweep(["mlflow-bridge", "--nats", &self.nats.url(), "--mlflow", mlflow]);
        for (name, value) in settings {
            bridge = bridge.env(name, value);
        }
        bridge.start()
    }

    /// The answer of a command that talks to these services.
    pub(crate) async fn ask(&self, args: &[&str]) -> Value {
        let url = self.nats.url();
        jetsweep(args.iter().chain(&["--nats", url.as_str(), "--output", "json"])).done().await.json()
    }

    /// The rows of a batch by run.
    pub(crate) async fn rows(&self, batch: &str) -> BTreeMap<u64, Row> {
        let sql = format!("SELECT * FROM backtest_results WHERE batch_id = '{batch}' ORDER BY run");
        by_run(self.ask(&["query", &sql]).await)
    }
}

/// Rows of a query by run.
pub(crate) fn by_run(rows: Value) -> BTreeMap<u64, Row> {
    let rows: Vec<Row> = serde_json::from_value(rows).expect("rows");
    rows.into_iter().map(|row| (row["run"].as_u64().expect("a number"), row)).collect()
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// A spec of the repository.
pub(crate) fn example(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

/// What MLflow has of a run is what its row says: every metric to the bit, every parameter, how it ended.
pub(crate) fn assert_is_row(run: &Run, row: &Row) {
    let number = &row["run"];
    let mut metrics = run.metrics.clone();
    let mut undefined = Vec::new();
    let has_metrics = row["error_code"].is_null();
    for metric in Metric::ALL {
        let logged = metrics.iter().find(|(name, _)| name.rsplit('/').next() == Some(metric.name()));
        let logged = logged.map(|(name, value)| (name.clone(), *value));
        let stored = row[metric.name()].as_f64();
        assert_eq!(logged.as_ref().map(|(_, value)| value.to_bits()), stored.map(f64::to_bits), "{number}: {metric:?}");
        match logged {
            Some((name, _)) => drop(metrics.remove(&name)),
            None => undefined.push(metric.name()),
        }
    }
    let runtime = metrics.remove("runtime/runtime_us");
    assert_eq!(runtime.map(f64::to_bits), row["runtime_us"].as_f64().map(f64::to_bits));
    assert!(metrics.is_empty(), "metrics that no row has: {metrics:?}");

    let params: BTreeMap<String, String> = row["params"]
        .as_object()
        .expect("parameters")
        .iter()
        .map(|(name, value)| (name.clone(), value.to_string()))
        .collect();
    assert_eq!(run.params, params, "{number}");
    for name in ["symbol", "strategy", "worker", "engine_version", "spec_digest", "batch_id"] {
        assert_eq!(run.tag(name), row[name].as_str().expect("text"), "{number}: {name}");
    }
    assert_eq!(run.tag("data_digest"), row["data_digest"].as_str().unwrap_or_default());
    assert!(run.tag("mlflow.note.content").contains(&format!("jetsweep replay {} {number}", run.tag("batch_id"))));
    if has_metrics {
        assert_eq!((run.status.as_str(), run.tag("undefined_metrics")), ("FINISHED", undefined.join(", ").as_str()));
    } else {
        assert_eq!(run.status, "FAILED");
        assert_eq!(run.tag("error_code"), row["error_code"].as_str().expect("a code"));
        assert_eq!(run.tag("error_message"), row["error_message"].as_str().expect("a message"));
    }
}
