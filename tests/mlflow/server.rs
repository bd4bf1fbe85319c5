//! A tracking server for one test.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jetsweep_tests::{repository, within};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// How long a server may take to start: it imports for many seconds.
const START: Duration = Duration::from_secs(180);

/// A server on sqlite, on loopback, killed when dropped.
pub(crate) struct MlflowServer {
    folder: TempDir,
    port: u16,
    workers: u32,
    /// Its key and certificates, if it talks TLS.
    tls: Option<Tls>,
    /// Whether it asks for a password.
    asks: bool,
    process: Option<Child>,
    client: reqwest::Client,
}

/// Who may sign in to a server that asks.
pub(crate) const USER: &str = "researcher";
/// Their password: MLflow wants twelve characters.
pub(crate) const PASSWORD: &str = "hunter2-hunter2";
/// Both as a header.
const AUTHORIZATION: &str = "Basic cmVzZWFyY2hlcjpodW50ZXIyLWh1bnRlcjI=";

/// Files of a server's key and certificates.
#[derive(Debug)]
struct Tls {
    key: PathBuf,
    certificate: PathBuf,
    /// Of the authority that signed it.
    authority: PathBuf,
}

/// Makes `ca.pem`, `server.pem` and `server.key` for 127.0.0.1 in the folder it is given.
const MAKE_CERTIFICATES: &str = r#"
import datetime, ipaddress, pathlib, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

def made(name, issuer, issuer_key, is_authority):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer or subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True))
    if not is_authority:
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return key, builder.sign(issuer_key or key, hashes.SHA256())

folder = pathlib.Path(sys.argv[1])
pem = serialization.Encoding.PEM
authority_key, authority = made("test authority", None, None, True)
key, certificate = made("test server", authority.subject, authority_key, False)
(folder / "ca.pem").write_bytes(authority.public_bytes(pem))
(folder / "server.pem").write_bytes(certificate.public_bytes(pem))
(folder / "server.key").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
"#;

/// An HTTP client that keeps at most so many connections.
pub(crate) fn http_client(kept: usize) -> reqwest::Client {
    // Fails when there is one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().pool_max_idle_per_host(kept).build().expect("an HTTP client")
}

/// A run as the server tells it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) experiment_id: String,
    pub(crate) status: String,
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    /// Names and digests of its datasets.
    pub(crate) datasets: Vec<(String, String)>,
}

impl Run {
    pub(crate) fn tag(&self, name: &str) -> &str {
        self.tags.get(name).map_or("", String::as_str)
    }
}

impl MlflowServer {
    pub(crate) async fn start() -> Self {
        Self::start_with_workers(1).await
    }

    pub(crate) async fn start_with_workers(workers: u32) -> Self {
        let mut server = Self::new(workers);
        server.restart().await;
        server
    }

    /// One that talks TLS, with a certificate of an authority that nobody knows: [`Self::authority`].
    pub(crate) async fn start_with_tls() -> Self {
        let mut server = Self::new(1);
        let folder = server.folder.path();
        python(MAKE_CERTIFICATES, folder);
        let file = |name: &str| folder.join(name);
        let tls = Tls { key: file("server.key"), certificate: file("server.pem"), authority: file("ca.pem") };
        let pem = std::fs::read(&tls.authority).expect("a certificate");
        let authority = reqwest::Certificate::from_pem(&pem).expect("a certificate");
        let builder = reqwest::Client::builder().pool_max_idle_per_host(0).tls_certs_merge([authority]);
        server.client = builder.build().expect("an HTTP client");
        server.tls = Some(tls);
        server.restart().await;
        server
    }

    /// One with MLflow's own `basic-auth`, which lets in [`USER`] with [`PASSWORD`] and nobody else.
    pub(crate) async fn start_with_sign_in() -> Self {
        let mut server = Self::new(1);
        let database = server.folder.path().join("users.db");
        let config = format!(
            "[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{}\nadmin_username = {USER}\n\
             admin_password = {PASSWORD}\nauthorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
            database.display()
        );
        std::fs::write(server.sign_in_path(), config).expect("a configuration file");
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("Authorization", AUTHORIZATION.parse().expect("a header"));
        let builder = reqwest::Client::builder().pool_max_idle_per_host(0).default_headers(headers);
        server.client = builder.build().expect("an HTTP client");
        server.asks = true;
        server.restart().await;
        server
    }

    fn sign_in_path(&self) -> PathBuf {
        self.folder.path().join("basic_auth.ini")
    }

    fn new(workers: u32) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Free now, and nobody else on this machine asks for it by number.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        Self { folder, port, workers, tls: None, asks: false, process: None, client: http_client(0) }
    }

    /// Certificate of the authority that signed the server's.
    pub(crate) fn authority(&self) -> &Path {
        &self.tls.as_ref().expect("a server with TLS").authority
    }

    /// Starts it again on the same port and database, after killing it if it still runs.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let folder = self.folder.path();
        let options = self.tls.as_ref().map(|Tls { key, certificate, .. }| {
            format!("--ssl-keyfile={} --ssl-certfile={}", key.display(), certificate.display())
        });
        let path = self.sign_in_path().into_os_string();
        // Any server reads the file that the variable names: without one it may not be set.
        let sign_in = self
            .asks
            .then(|| [("MLFLOW_AUTH_CONFIG_PATH", path), ("MLFLOW_FLASK_SERVER_SECRET_KEY", "of a test".into())]);
        let process = Command::new(program())
            .args(["server", "--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--workers", &self.workers.to_string()])
            .arg("--backend-store-uri")
            .arg(format!("sqlite:///{}", folder.join("mlflow.db").display()))
            .arg("--artifacts-destination")
            .arg(folder.join("artifacts"))
            .args(options.iter().flat_map(|options| ["--uvicorn-opts", options.as_str()]))
            .args(if self.asks { ["--app-name", "basic-auth"].as_slice() } else { &[] })
            .envs(sign_in.into_iter().flatten())
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .env("MLFLOW_DISABLE_TELEMETRY", "true")
            .env_remove("MLFLOW_TRACKING_URI")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            // Its workers are processes of their own; they are killed together.
            .process_group(0)
            .spawn();
        self.process = Some(process.unwrap_or_else(|error| panic!("cannot start {}: {error}", program().display())));
        within(START, "MLflow to answer", async {
            while self.client.get(format!("{}/health", self.url())).send().await.is_err() {
                if let Ok(Some(status)) = self.process.as_mut().expect("it was started just now").try_wait() {
                    let log = std::fs::read_to_string(self.log_path()).unwrap_or_default();
                    panic!("MLflow ended with {status}:\n{log}");
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    /// Kills it and its workers as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let group = Pid::from_raw(process.id().cast_signed()).expect("a process has a number");
            // Both fail only for processes that are gone, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
            let _ = process.wait();
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The answer to a request of the API.
    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/api/2.0/mlflow{path}", self.url()));
        let response = request.header("Content-Type", "application/json").body(body.to_string()).send().await;
        let text = response.expect("an answer").text().await.expect("a whole answer");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}: {text}"))
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}/api/2.0/mlflow{path}", self.url())).send().await.expect("an answer");
        serde_json::from_str(&response.text().await.expect("a whole answer")).expect("JSON")
    }

    /// Ids of all experiments by name.
    pub(crate) async fn experiments(&self) -> BTreeMap<String, String> {
        let found = self.post("/experiments/search", json!({ "max_results": 5000 })).await;
        let text = |of: &Value, name: &str| of[name].as_str().expect("text").to_owned();
        let experiments = found["experiments"].as_array().expect("experiments");
        experiments.iter().map(|experiment| (text(experiment, "name"), text(experiment, "experiment_id"))).collect()
    }

    /// All runs of a batch that are not deleted, its batch run among them.
    pub(crate) async fn runs(&self, batch: &str) -> Vec<Run> {
        let experiments: Vec<String> = self.experiments().await.into_values().collect();
        let mut runs = Vec::new();
        let mut token = Value::Null;
        loop {
            let filter = format!("tags.batch_id = '{batch}'");
            let page = self
                .post(
                    "/runs/search",
                    json!({ "experiment_ids": experiments, "filter": filter, "max_results": 1000, "page_token": token }),
                )
                .await;
            runs.extend(page["runs"].as_array().into_iter().flatten().map(run));
            token = page["next_page_token"].clone();
            if token.as_str().is_none_or(str::is_empty) {
                return runs;
            }
        }
    }

    /// Paths of a run's artifacts, folders gone through.
    pub(crate) async fn artifacts(&self, run: &str) -> Vec<String> {
        let mut paths = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let query = if folder.is_empty() { String::new() } else { format!("&path={folder}") };
            let listed = self.get(&format!("/artifacts/list?run_id={run}{query}")).await;
            for file in listed["files"].as_array().into_iter().flatten() {
                let path = file["path"].as_str().expect("a path").to_owned();
                if file["is_dir"] == true { folders.push(path) } else { paths.push(path) }
            }
        }
        paths.sort();
        paths
    }

    /// What an artifact of a run holds, as its page downloads it.
    pub(crate) async fn artifact(&self, run: &str, path: &str) -> Vec<u8> {
        let url = format!("{}/get-artifact?run_uuid={run}&path={path}", self.url());
        let response = self.client.get(url).send().await.expect("an answer");
        assert!(response.status().is_success(), "{path} of {run}: {}", response.status());
        response.bytes().await.expect("a whole file").to_vec()
    }
}

impl Drop for MlflowServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn run(run: &Value) -> Run {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| -> Vec<Map<String, Value>> {
        value.as_array().into_iter().flatten().filter_map(Value::as_object).cloned().collect()
    };
    let (info, data) = (&run["info"], &run["data"]);
    let texts = |of: &Value| list(of).iter().map(|item| (text(&item["key"]), text(&item["value"]))).collect();
    let datasets = list(&run["inputs"]["dataset_inputs"]);
    Run {
        id: text(&info["run_id"]),
        name: text(&info["run_name"]),
        experiment_id: text(&info["experiment_id"]),
        status: text(&info["status"]),
        metrics: list(&data["metrics"])
            .iter()
            .map(|item| (text(&item["key"]), item["value"].as_f64().expect("a number")))
            .collect(),
        params: texts(&data["params"]),
        tags: texts(&data["tags"]),
        datasets: datasets
            .iter()
            .map(|input| (text(&input["dataset"]["name"]), text(&input["dataset"]["digest"])))
            .collect(),
    }
}

fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("MLFLOW") {
        return named.into();
    }
    let installed = repository().join(".tools/mlflow/bin/mlflow");
    assert!(installed.is_file(), "{} is missing: run scripts/setup-mlflow", installed.display());
    installed
}

/// The runs of a batch by number, each of them there once and ended.
pub(crate) fn by_number(runs: &[Run]) -> BTreeMap<u64, Run> {
    let mut found = BTreeMap::new();
    for run in runs.iter().filter(|run| run.tags.contains_key("run")) {
        let number: u64 = run.tag("run").parse().expect("a number");
        assert_eq!(run.tag("job_id"), format!("{}:{number}", run.tag("batch_id")));
        assert!(found.insert(number, run.clone()).is_none(), "run {number} is there twice");
        assert!(["FINISHED", "FAILED"].contains(&run.status.as_str()), "run {number} is {}", run.status);
    }
    found
}

/// The one batch run of a batch.
pub(crate) fn batch_run(runs: &[Run]) -> &Run {
    let found: Vec<&Run> = runs.iter().filter(|run| !run.tags.contains_key("run")).collect();
    assert_eq!(found.len(), 1, "batch runs: {found:?}");
    assert!(found[0].tag("job_id").ends_with(":batch"));
    found[0]
}

/// Waits until a batch is completed in MLflow: its batch run has ended.
pub(crate) async fn completed(server: &MlflowServer, batch: &str) -> Vec<Run> {
    within(Duration::from_secs(200), "the batch run to end", async { eventually_slowly(server, batch).await }).await
}

async fn eventually_slowly(server: &MlflowServer, batch: &str) -> Vec<Run> {
    loop {
        let runs = server.runs(batch).await;
        if runs.iter().any(|run| !run.tags.contains_key("run") && run.status == "FINISHED") {
            return runs;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Rows of a Parquet file, as another implementation counts them: pyarrow, which came with the server.
pub(crate) fn parquet_rows(bytes: &[u8]) -> u64 {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a file of the test");
    let script = "import sys, pyarrow.parquet as p; print(p.read_table(sys.argv[1]).num_rows)";
    python(script, file.path()).trim().parse().expect("a number")
}

/// What a script of the server's Python prints, given a path.
fn python(script: &str, path: &Path) -> String {
    let python = program().with_file_name("python");
    let output = Command::new(python).args(["-c", script]).arg(path).output().expect("Python beside mlflow");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

/// Waits until the server has so many runs of a batch, ended or not.
pub(crate) async fn has_runs(server: &MlflowServer, batch: &str, count: usize) {
    let waiting = async {
        while server.runs(batch).await.len() < count {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(Duration::from_secs(60), "runs in MLflow", waiting).await;
}
