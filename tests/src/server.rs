//! A NATS server for one test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use tempfile::TempDir;

use crate::{repository, wait};

/// Where the server says which port it listens on: `nats-server_<pid>.ports` in its own folder.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// A `nats-server` with JetStream on loopback, killed when dropped.
///
/// The binary is the one named by the variable `NATS_SERVER`, else `.tools/nats-server` of the repository, else the
/// one on the path.
#[derive(Debug)]
pub struct NatsServer {
    process: Option<Child>,
    /// Where it is, if it is not a process of this value.
    elsewhere: Option<String>,
    port: u16,
    store: PathBuf,
    /// A configuration file, for a server that is not plain.
    config: Option<PathBuf>,
    /// Log, ports file and, unless the caller has one, the store.
    folder: TempDir,
}

impl NatsServer {
    /// Starts a server on a free port with an empty store of its own.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("store");
        Self::launch(folder, store, None).await
    }

    /// Starts a server whose store is the caller's, on `port` or, without one, on a free port.
    pub async fn start_on(store: &Path, port: Option<u16>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self::launch(folder, store.to_owned(), port).await
    }

    /// A server that somebody else starts and stops, or several: URLs separated by commas.
    pub fn elsewhere(urls: String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("store");
        Self { process: None, elsewhere: Some(urls), port: 0, store, config: None, folder }
    }

    /// Starts a server with this configuration file, on a free port. Its store is where the file says.
    pub async fn configured(config: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = folder.path().join("store");
        let config = Some(config.to_owned());
        let mut server = Self { process: None, elsewhere: None, port: 0, store, config, folder };
        server.spawn().await;
        server
    }

    async fn launch(folder: TempDir, store: PathBuf, port: Option<u16>) -> Self {
        let port = port.unwrap_or(0);
        let mut server = Self { process: None, elsewhere: None, port, store, config: None, folder };
        server.spawn().await;
        server
    }

    async fn spawn(&mut self) {
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(self.log_path()).expect("a log file");
        let port = if self.port == 0 { "-1".to_owned() } else { self.port.to_string() };
        let mut command = Command::new(nats_server_program());
        match &self.config {
            Some(config) => command.arg("--config").arg(config),
            None => command.arg("--jetstream").arg("--store_dir").arg(&self.store),
        };
        let process = command
            .args(["--addr", "127.0.0.1", "--port", &port])
            .arg("--ports_file_dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot start {}: {error} (set NATS_SERVER)", nats_server_program().display())
            });
        let ports_file = folder.join(format!("nats-server_{}.ports", process.id()));
        self.process = Some(process);
        // The server writes the file once it listens; there is nothing else to wait on.
        self.port = wait::eventually("the server to listen", async || {
            let process = self.process.as_mut().expect("it was started just now");
            if let Some(status) = process.try_wait().expect("the state of a child") {
                let log = std::fs::read_to_string(self.folder.path().join(LOG)).unwrap_or_default();
                panic!("nats-server ended with {status}:\n{log}");
            }
            let ports: Ports = serde_json::from_slice(&std::fs::read(&ports_file).ok()?).ok()?;
            ports.nats.first()?.rsplit(':').next()?.parse().ok()
        })
        .await;
    }

    /// Where clients connect: `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        self.elsewhere.clone().unwrap_or_else(|| format!("nats://127.0.0.1:{}", self.port))
    }

    /// The port it listens on, or did before it was killed.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Folder of its streams.
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// File of its log lines.
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join(LOG)
    }

    /// Kills it as a crash would: SIGKILL, no goodbyes. Does nothing when it is dead already.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Both fail only for a child that is gone, which is what is wanted.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Starts it again on the same port and store, after killing it if it still runs.
    pub async fn restart(&mut self) {
        self.kill();
        self.spawn().await;
    }

    /// A plain connection.
    pub async fn connect(&self) -> async_nats::Client {
        wait::within(Duration::from_secs(10), "a connection", async_nats::connect(addresses(&self.url())))
            .await
            .unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.url()))
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Addresses out of URLs separated by commas.
pub(crate) fn addresses(urls: &str) -> Vec<async_nats::ServerAddr> {
    urls.split(',').map(|url| url.parse().expect("the URL of a server")).collect()
}

const LOG: &str = "nats-server.log";

/// The `nats-server` that tests start.
pub fn nats_server_program() -> PathBuf {
    if let Some(named) = std::env::var_os("NATS_SERVER") {
        return named.into();
    }
    let installed = repository().join(".tools/nats-server");
    if installed.is_file() { installed } else { PathBuf::from("nats-server") }
}
