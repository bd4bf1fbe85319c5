//! Commands against running services: a server, and planner, worker and consolidator as processes of their own.

use std::path::Path;

use jetsweep_tests::NatsServer;
use serde_json::Value;

use crate::program::{Done, Running, jetsweep, masked};

/// A server and the folder of its services.
struct Cluster {
    server: NatsServer,
    folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        Self { server: NatsServer::start().await, folder: tempfile::tempdir().unwrap() }
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn state(&self) -> String {
        self.folder().join("state").to_str().unwrap().to_owned()
    }

    /// Starts a service.
    fn serve(&self, role: &str, args: &[&str]) -> Running {
        let (url, state) = (self.server.url(), self.state());
        let args = [&[role, "--nats", &url, "--state", &state], args].concat();
        Running::start(&args, &self.folder().join(format!("{role}.log")))
    }

    fn jetsweep(&self, args: &[&str]) -> Done {
        let url = self.server.url();
        jetsweep(&[args, &["--nats", &url]].concat())
    }

    fn spec(&self, name: &str, fast: &str) -> String {
        let path = self.folder().join(format!("{name}.toml"));
        let text = format!(
            "name = \"{name}\"\n[data]\nsource = \"{{symbol}}.csv\"\n[universe]\nsymbols = [\"AAPL\", \"SPY\"]\n\
             [[strategy]]\ntemplate = \"sma_cross\"\nfast = {fast}\nslow = 100\n"
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_sweep_is_submitted_followed_and_asked_for() {
    let cluster = Cluster::start().await;
    let data = jetsweep_tests::sample_data();
    let spec = cluster.spec("queued", "{ from = 5, to = 50 }");

    // Nobody is there yet, and the spec is taken all the same, once.
    let submitted = cluster.jetsweep(&["submit", &spec, "--batch", "b1", "--output", "json"]).json();
    insta::assert_json_snapshot!(masked(submitted, &["/spec_digest"]));
    let again = cluster.jetsweep(&["submit", &spec, "--batch", "b1", "--output", "json"]).json();
    assert_eq!((&again["known"], &again["queued"]), (&Value::Bool(true), &Value::Bool(true)));
    let other = cluster.spec("other", "[5, 6]");
    let refused = cluster.jetsweep(&["submit", &other, "--batch", "b1"]).refused(2);
    assert!(refused.contains("b1 is a batch of another spec"), "{refused}");
    assert_eq!(cluster.jetsweep(&["status", "b1", "--output", "quiet"]).ended(0), "queued\n");

    let _planner = cluster.serve("planner", &[]);
    let _worker = cluster.serve("worker", &["--data", data.to_str().unwrap(), "--slots", "1"]);
    let consolidator = cluster.serve("consolidator", &[]);
    let ended = cluster.jetsweep(&["watch", "b1", "--output", "json"]).json();
    insta::assert_json_snapshot!(masked(ended, &["/created_at", "/completed_at"]));

    // A planner answers by itself now.
    let known = cluster.jetsweep(&["submit", &spec, "--batch", "b1", "--output", "json"]).json();
    assert_eq!((&known["known"], &known["queued"]), (&Value::Bool(true), &Value::Bool(false)));
    let refused = cluster.jetsweep(&["submit", &other, "--batch", "b1"]).refused(2);
    assert!(refused.contains("belongs to another spec"), "{refused}");
    let waited = cluster.jetsweep(&["submit", &other, "--wait", "--priority", "high", "--output", "quiet"]).ended(0);
    assert_eq!(waited, "completed\n");

    let asked = exports(&cluster, &["--nats", &cluster.server.url()], "asked");
    let refused = cluster.jetsweep(&["query", "SELECT x FROM backtest_results"]).refused(2);
    assert!(refused.contains("Referenced column \"x\" not found"), "{refused}");
    let args = ["replay", "b1", "--sample", "10", "--data", data.to_str().unwrap(), "--output", "quiet"];
    assert_eq!(cluster.jetsweep(&args).ended(0), "10\n");
    // Whoever has no bars leaves it to a worker.
    assert_eq!(cluster.jetsweep(&["replay", "b1", "--sample", "10", "--output", "quiet"]).ended(0), "10\n");
    let replayed = cluster.jetsweep(&["replay", "b1", "3", "--output", "json"]).json();
    assert_eq!((&replayed["identical"], replayed["worker"].is_string()), (&Value::Bool(true), true), "{replayed}");
    let summary = cluster.jetsweep(&["summary", "b1", "--output", "json"]).json();

    // The file says the same as the service did.
    consolidator.stop();
    let state = cluster.state();
    assert_eq!(exports(&cluster, &["--state", &state], "read"), asked);
    assert_eq!(jetsweep(&["summary", "b1", "--output", "json", "--state", &state]).json(), summary);
    let refused = cluster.jetsweep(&["query", "SELECT 1"]).refused(1);
    assert!(refused.contains("no consolidator answers"), "{refused}");
}

/// All rows of b1 as JSON and CSV, and whether Parquet could be written.
fn exports(cluster: &Cluster, place: &[&str], name: &str) -> [String; 2] {
    let file = |format: &str| cluster.folder().join(format!("{name}.{format}")).to_str().unwrap().to_owned();
    for format in ["csv", "json", "parquet"] {
        let args = ["export", "b1", "--format", format, "-o", &file(format), "--output", "json"];
        let exported = jetsweep(&[&args, place].concat()).json();
        assert_eq!(exported["rows"], 92);
    }
    assert!(std::fs::read(file("parquet")).unwrap().starts_with(b"PAR1"));
    [file("json"), file("csv")].map(|file| std::fs::read_to_string(file).unwrap())
}

#[tokio::test]
async fn a_batch_is_cancelled() {
    let cluster = Cluster::start().await;
    let spec = cluster.spec("endless", "{ from = 2, to = 99 }");
    let _planner = cluster.serve("planner", &[]);
    let _consolidator = cluster.serve("consolidator", &[]);
    cluster.jetsweep(&["submit", &spec, "--batch", "b2"]).ended(0);

    let refused = cluster.jetsweep(&["cancel", "b3"]).refused(2);
    assert!(refused.contains("there is no batch b3"), "{refused}");
    let cancelled = cluster.jetsweep(&["cancel", "b2", "--reason", "a mistake", "--output", "json"]).json();
    assert_eq!((&cancelled["state"], &cancelled["cancelled"]), (&Value::from("cancelled"), &Value::from(196)));
    // Following it says that not all runs succeeded; cancelling it again changes nothing.
    assert_eq!(cluster.jetsweep(&["watch", "b2", "--output", "quiet"]).ended(3), "cancelled\n");
    assert_eq!(cluster.jetsweep(&["cancel", "b2", "--output", "quiet"]).ended(0), "cancelled\n");
}
