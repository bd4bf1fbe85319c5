//! A NATS cluster of three servers for one test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::addresses;
use crate::{nats_server_program, wait};

/// Servers of a cluster: the fewest of which one can be lost.
pub const NODES: usize = 3;

/// Three `nats-server` on loopback that replicate streams, killed when dropped.
#[derive(Debug)]
pub struct Nodes {
    folder: TempDir,
    clients: [u16; NODES],
    processes: [Option<Child>; NODES],
}

/// Ports nobody uses now. All are held until all are chosen, so that they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = std::array::from_fn::<_, N, _>(|_| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("its port").port())
}

impl Nodes {
    /// Starts all of them, with empty stores, and waits until they have a leader.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (clients, routes) = (free_ports::<NODES>(), free_ports::<NODES>());
        let routes_to = routes.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
        for node in 0..NODES {
            let (client, route) = (clients[node], routes[node]);
            let store = folder.path().join(format!("store-{node}"));
            let config = format!(
                "listen: \"127.0.0.1:{client}\"\nserver_name: \"node-{node}\"\nmax_payload: 1MB\n\
                 cluster {{ name: \"test\", listen: \"127.0.0.1:{route}\", routes: [{routes_to}], \
                 ping_interval: \"2s\", ping_max: 2 }}\n\
                 jetstream {{ store_dir: {store:?}, sync_interval: always }}\n"
            );
            std::fs::write(folder.path().join(format!("node-{node}.conf")), config).expect("a configuration file");
        }
        let mut nodes = Self { folder, clients, processes: [const { None }; NODES] };
        for node in 0..NODES {
            nodes.start_node(node);
        }
        nodes.is_ready().await;
        nodes
    }

    /// Where clients connect: all of them, separated by commas.
    pub fn urls(&self) -> String {
        self.clients.map(|port| format!("nats://127.0.0.1:{port}")).join(",")
    }

    /// Starts a node that does not run.
    pub fn start_node(&mut self, node: usize) {
        assert!(self.processes[node].is_none(), "node {node} runs already");
        let path = self.folder.path().join(format!("node-{node}.log"));
        let log = std::fs::File::options().create(true).append(true).open(path).expect("a log file");
        let process = Command::new(nats_server_program())
            .arg("-c")
            .arg(self.folder.path().join(format!("node-{node}.conf")))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log"))
            .stderr(log)
            .spawn();
        self.processes[node] = Some(process.expect("nats-server starts (set NATS_SERVER)"));
    }

    /// Kills a node as a crash would.
    pub fn kill(&mut self, node: usize) {
        if let Some(mut process) = self.processes[node].take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a node a signal: stopped, it is cut off from the others and from clients.
    pub fn signal(&self, node: usize, signal: Signal) {
        let process = self.processes[node].as_ref().expect("it runs");
        let pid = Pid::from_raw(process.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    /// Waits until the nodes that run agree on a leader.
    pub async fn is_ready(&self) {
        wait::eventually("the cluster to have a leader", async || {
            let client = async_nats::connect(addresses(&self.urls())).await.ok()?;
            let info = client.request("$JS.API.INFO", Default::default()).await.ok()?;
            let info: Value = serde_json::from_slice(&info.payload).ok()?;
            info.get("error").is_none().then_some(())
        })
        .await;
    }

    /// Waits until every stream has a leader and each of its copies has all that the leader has.
    pub async fn are_caught_up(&self) {
        wait::eventually("every copy of every stream to catch up", async || {
            let client = async_nats::connect(addresses(&self.urls())).await.ok()?;
            let ask = async |subject: String| {
                let answer = client.request(subject, Default::default()).await.ok()?;
                serde_json::from_slice::<Value>(&answer.payload).ok()
            };
            let names = ask("$JS.API.STREAM.NAMES".to_owned()).await?;
            for name in names["streams"].as_array()? {
                let info = ask(format!("$JS.API.STREAM.INFO.{}", name.as_str()?)).await?;
                let cluster = &info["cluster"];
                cluster["leader"].as_str()?;
                let copies = cluster["replicas"].as_array()?;
                let is_current = |copy: &Value| copy["current"] == true && copy["offline"] != true;
                if copies.len() + 1 != NODES || !copies.iter().all(is_current) {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// The node that leads a stream.
    pub async fn leader(&self, stream: &str) -> usize {
        wait::eventually(&format!("{stream} to have a leader"), async || {
            let client = async_nats::connect(addresses(&self.urls())).await.ok()?;
            let info = client.request(format!("$JS.API.STREAM.INFO.{stream}"), Default::default()).await.ok()?;
            let info: Value = serde_json::from_slice(&info.payload).ok()?;
            info["cluster"]["leader"].as_str()?.strip_prefix("node-")?.parse().ok()
        })
        .await
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        (0..NODES).for_each(|node| self.kill(node));
    }
}
