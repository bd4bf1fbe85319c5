//! What these tests share: a state folder of their own, and what its database says.

use std::path::{Path, PathBuf};

use async_nats::jetstream::{self, kv};
use jetsweep_shared::events::{self, BatchStatus};
use jetsweep_tests::{Done, Jetsweep, eventually, jetsweep, key_value, nobody_names, processes_naming, repository};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::process::Pid;
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// A row of a table, by column.
pub(crate) type Row = Map<String, Value>;

/// A temporary folder with the state folder of `jetsweep run` in it.
#[derive(Debug)]
pub(crate) struct State {
    folder: TempDir,
}

/// What `jetsweep run` tells other commands about its server.
#[derive(Deserialize)]
struct Connection {
    url: String,
    user: String,
    password: String,
}

impl State {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// The temporary folder, for a test's own files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state folder, which need not exist yet.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join("state")
    }

    /// Writes a file beside the state folder.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder().join(name);
        std::fs::write(&path, contents).expect("a file of the test");
        path
    }

    /// A command over this state folder.
    pub(crate) fn jetsweep(&self, args: &[&str]) -> Jetsweep {
        let state = self.path();
        let state = ["--state", state.to_str().expect("paths of tests are UTF-8")];
        jetsweep(args.iter().chain(&state))
    }

    /// Runs a spec to its end as a batch of this name.
    pub(crate) async fn run(&self, spec: &Path, batch: &str, args: &[&str]) -> Done {
        self.jetsweep(&[&["run", text(spec), "--batch", batch, "--output", "json"], args].concat()).done().await
    }

    /// The rows of a query.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Row> {
        rows(self.jetsweep(&["query", sql, "--output", "json"]).done().await)
    }

    /// All that a batch's rows say and another computation of the same runs must say too, in order of runs.
    pub(crate) async fn rows(&self, batch: &str) -> Vec<Row> {
        self.query(&format!("SELECT * FROM ({}) ORDER BY run", comparable(batch))).await
    }

    /// The same of a large batch, in one row.
    pub(crate) async fn fingerprint(&self, batch: &str) -> Row {
        self.query(&fingerprint(batch)).await.remove(0)
    }

    /// A connection to the server of the `jetsweep run` that uses the state folder, once there is one.
    pub(crate) async fn server(&self) -> async_nats::Client {
        let file = self.path().join("connection.json");
        let connection: Connection = eventually("jetsweep run to say where its server is", async || {
            serde_json::from_slice(&std::fs::read(&file).ok()?).ok()
        })
        .await;
        let options = async_nats::ConnectOptions::with_user_and_password(connection.user, connection.password);
        options.connect(connection.url).await.expect("a connection to the server of jetsweep run")
    }

    /// The process of that server, if there is one now.
    pub(crate) fn server_process(&self) -> Option<Pid> {
        let processes = processes_naming(&self.path());
        let server = processes.iter().find(|process| process.contains("server.conf"))?;
        server.split(' ').next().and_then(|pid| Pid::from_raw(pid.parse().ok()?))
    }

    /// Waits until no process of this folder runs any more.
    pub(crate) async fn is_left_alone(&self) {
        nobody_names(self.folder()).await;
    }
}

/// What must be the same wherever and however often a run is computed.
fn comparable(batch: &str) -> String {
    format!(
        "SELECT * EXCLUDE (batch_id, generation, worker, runtime_us, timestamp) FROM backtest_results WHERE batch_id = '{batch}'"
    )
}

/// A query for how many rows a batch has, of how many runs, up to which, and a hash of what they say.
pub(crate) fn fingerprint(batch: &str) -> String {
    format!(
        "SELECT count(*) AS rows, count(DISTINCT t.run) AS runs, max(t.run) AS last, \
         sum(hash(t)::HUGEINT)::VARCHAR AS hash FROM ({}) t",
        comparable(batch)
    )
}

/// The rows of a query that was answered.
pub(crate) fn rows(answer: Done) -> Vec<Row> {
    serde_json::from_value(answer.json()).expect("a query is answered with an array of objects")
}

/// The bucket of batch statuses.
pub(crate) async fn batches(client: &async_nats::Client) -> kv::Store {
    eventually("the bucket of batches", async || {
        jetstream::new(client.clone()).get_key_value("jetsweep-batches").await.ok()
    })
    .await
}

/// The status of a batch once it fits.
pub(crate) async fn status(
    client: &async_nats::Client,
    batch: &str,
    mut fits: impl FnMut(&BatchStatus) -> bool,
) -> BatchStatus {
    let bucket = batches(client).await;
    let read = |value: &[u8]| events::decode::<BatchStatus>(value).expect("a status");
    read(&key_value(&bucket, &format!("{batch}.status"), |value| fits(&read(value))).await)
}

/// An example of the repository.
pub(crate) fn example(name: &str) -> PathBuf {
    repository().join("examples").join(name)
}

/// A path as an argument.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// The numbers of a batch's runs in a summary: total, and succeeded, failed, dead, cancelled.
pub(crate) fn ledger(answer: &Value) -> (u64, [u64; 4]) {
    let count = |name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("no {name} in {answer}"));
    (count("total"), ["succeeded", "failed", "dead", "cancelled"].map(count))
}

/// Random numbers of which a failed test tells the seed; `JETSWEEP_TEST_SEED` repeats it.
pub(crate) fn random() -> StdRng {
    let given = std::env::var("JETSWEEP_TEST_SEED").ok().map(|seed| seed.parse().expect("JETSWEEP_TEST_SEED"));
    let seed = given.unwrap_or_else(rand::random);
    println!("JETSWEEP_TEST_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Runs of the small example.
#[allow(dead_code, reason = "for the faults, which share this file")]
pub(crate) const SMALL_RUNS: u64 = 459;

/// The fingerprint of the small example run in peace, computed once for all tests.
#[allow(dead_code, reason = "for the faults, which share this file")]
pub(crate) async fn undisturbed_small() -> &'static Row {
    static FINGERPRINT: OnceCell<Row> = OnceCell::const_new();
    let run = async || {
        let state = State::new();
        let report = state.run(&example("quickstart.toml"), "small", &[]).await.json();
        assert_eq!(ledger(&report), (SMALL_RUNS, [SMALL_RUNS, 0, 0, 0]));
        state.fingerprint("small").await
    };
    FINGERPRINT.get_or_init(run).await
}

/// Runs of the large example.
pub(crate) const LARGE_RUNS: u64 = 86_175;

/// The fingerprint of the large example run in peace, computed once for all tests.
pub(crate) async fn undisturbed() -> &'static Row {
    static FINGERPRINT: OnceCell<Row> = OnceCell::const_new();
    let run = async || {
        let state = State::new();
        let report = state.run(&example("large.toml"), "large", &[]).await.json();
        assert_eq!(ledger(&report), (LARGE_RUNS, [LARGE_RUNS, 0, 0, 0]));
        let fingerprint = state.fingerprint("large").await;
        assert_eq!(fingerprint["runs"], LARGE_RUNS);
        fingerprint
    };
    FINGERPRINT.get_or_init(run).await
}
