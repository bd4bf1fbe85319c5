//! What stands before the real server: a proxy that makes trouble (answers that are errors, halves, late or lost), and a
//! gate that asks for a password.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the proxy may do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// 500, and the server never hears of it.
    Error,
    /// 429 with a Retry-After.
    TooMany,
    /// 400 as sqlite's pool of connections says it.
    Pool,
    /// The server does it, and nobody learns that it did.
    LostAnswer,
    /// The server does it, and half of the answer comes.
    HalfAnswer,
    /// The server does it, and the answer comes after the client's patience.
    Late,
}

const FAULTS: [Fault; 6] =
    [Fault::Error, Fault::TooMany, Fault::Pool, Fault::LostAnswer, Fault::HalfAnswer, Fault::Late];

/// The proxy. Ends when dropped.
pub(crate) struct Proxy {
    port: u16,
    faults: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens in front of the server at a port. One request in `every` meets a fault; `patience` is the client's.
    pub(crate) async fn start(server: u16, every: u32, patience: Duration, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let faults = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&faults);
        let task = tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(seed);
            while let Ok((client, _)) = listener.accept().await {
                let is_faulty = random.random_range(0..every) == 0;
                let fault = is_faulty.then(|| FAULTS[random.next_u64() as usize % FAULTS.len()]);
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    // A client or server that is gone is trouble enough.
                    if serve(client, server, fault, patience).await.is_ok() && fault.is_some() {
                        counter.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        Self { port, faults, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Faults so far.
    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A gate before the real server: whoever does not show the password is sent away, and everybody while it is closed.
pub(crate) struct Gate {
    port: u16,
    is_open: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Gate {
    /// An open gate before the server at a port. `authorization` is what a request must have in that header.
    pub(crate) async fn start(server: u16, authorization: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let is_open = Arc::new(AtomicBool::new(true));
        let open = Arc::clone(&is_open);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let open = Arc::clone(&open);
                tokio::spawn(async move { admit(client, server, authorization, open.load(Ordering::Relaxed)).await });
            }
        });
        Self { port, is_open, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn admit(mut client: TcpStream, server: u16, authorization: &str, is_open: bool) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let head = String::from_utf8_lossy(&request);
    let shown = head.lines().take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization").then(|| value.trim().to_owned())
    });
    if !is_open || shown.as_deref() != Some(authorization) {
        return client
            .write_all(answer("401 Unauthorized", "", "<html>You are not authenticated</html>").as_bytes())
            .await;
    }
    let response = forward(&request, server).await?;
    client.write_all(&response).await
}

async fn forward(request: &[u8], server: u16) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(("127.0.0.1", server)).await?;
    upstream.write_all(request).await?;
    let mut response = Vec::new();
    upstream.read_to_end(&mut response).await?;
    Ok(response)
}

async fn serve(mut client: TcpStream, server: u16, fault: Option<Fault>, patience: Duration) -> std::io::Result<()> {
    let request = read_request(&mut client).await?;
    let canned = match fault {
        Some(Fault::Error) => Some(answer("500 Internal Server Error", "", "{\"error_code\":\"INTERNAL_ERROR\"}")),
        Some(Fault::TooMany) => Some(answer("429 Too Many Requests", "Retry-After: 1\r\n", "slow down")),
        Some(Fault::Pool) => Some(answer(
            "400 Bad Request",
            "",
            "{\"error_code\":\"BAD_REQUEST\",\"message\":\"QueuePool limit of size 5 overflow 10 reached, connection timed out\"}",
        )),
        _ => None,
    };
    if let Some(canned) = canned {
        return client.write_all(canned.as_bytes()).await;
    }
    let response = forward(&request, server).await?;
    match fault {
        Some(Fault::LostAnswer) => Ok(()),
        Some(Fault::HalfAnswer) => client.write_all(&response[..response.len() - response.len().min(12)]).await,
        Some(Fault::Late) => {
            tokio::time::sleep(patience * 2).await;
            // Nobody is there any more, or somebody is still.
            let _ = client.write_all(&response).await;
            Ok(())
        }
        _ => client.write_all(&response).await,
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// One whole request, made to ask for its connection to be closed after the answer.
async fn read_request(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        match client.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let length: usize = length.unwrap_or(0);
    while bytes.len() < end + 4 + length {
        match client.read(&mut buffer).await? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => bytes.extend_from_slice(&buffer[..read]),
        }
    }
    let mut request = format!("{head}\r\nConnection: close\r\n\r\n").into_bytes();
    request.extend_from_slice(&bytes[end + 4..]);
    Ok(request)
}
