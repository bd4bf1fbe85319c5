//! A wire between one program and its server that can be cut at a chosen message: the windows around each publish and
//! acknowledgement are found on it, so that nothing about them has to be built into the program.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the program.
    ToServer,
    /// To the program.
    FromServer,
}

/// Whether the message that a cut waits for still passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// It does not.
    Before,
    /// It does, and nothing after it.
    After,
}

/// A message on the wire.
#[derive(Debug, Clone)]
pub struct Passing {
    /// Where it goes.
    pub direction: Direction,
    /// Its subject.
    pub subject: String,
    /// Headers, if it has any, and payload.
    pub content: Vec<u8>,
}

type Fits = Box<dyn FnMut(&Passing) -> bool + Send>;

#[derive(Default)]
struct Shared {
    cut: Mutex<Option<(Cut, Fits)>>,
    lost: Mutex<Option<Fits>>,
    is_cut: Mutex<bool>,
    happened: Notify,
}

/// The wire. Once it is cut, nothing passes it any more in either direction, and connections stay open.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Wire {
    /// A wire to the server on this port of this machine.
    pub async fn to(server_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("the port").port();
        let shared = Arc::new(Shared::default());
        let of_connections = shared.clone();
        let accepting = tokio::spawn(async move {
            // Ended with the wire: a server must not wait for a program that is gone.
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = of_connections.clone();
                connections.spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        _ = pass(Direction::ToServer, from_client, to_server, &shared) => {}
                        _ = pass(Direction::FromServer, from_server, to_client, &shared) => {}
                    }
                });
            }
        });
        Self { port, shared, accepting }
    }

    /// Where the program connects.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Cuts the wire at the first message that fits.
    pub fn cut_at(&self, cut: Cut, fits: impl FnMut(&Passing) -> bool + Send + 'static) {
        *lock(&self.shared.cut) = Some((cut, Box::new(fits)));
    }

    /// Loses every message that fits, and passes the others on.
    pub fn lose(&self, fits: impl FnMut(&Passing) -> bool + Send + 'static) {
        *lock(&self.shared.lost) = Some(Box::new(fits));
    }

    /// Waits until it is cut.
    pub async fn is_cut(&self) {
        crate::within(crate::LIMIT, "the message at which the wire is cut", async {
            loop {
                let happened = self.shared.happened.notified();
                if *lock(&self.shared.is_cut) {
                    return;
                }
                happened.await;
            }
        })
        .await;
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes messages on until one side is gone; after a cut, waits for ever.
async fn pass(
    direction: Direction,
    from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    shared: &Shared,
) -> std::io::Result<()> {
    let mut from = BufReader::new(from);
    loop {
        let Some((bytes, message)) = read(direction, &mut from).await? else { return Ok(()) };
        let is_lost = |message: &Passing| lock(&shared.lost).as_mut().is_some_and(|fits| fits(message));
        if message.as_ref().is_some_and(is_lost) {
            continue;
        }
        let cut = match message {
            _ if *lock(&shared.is_cut) => Some(Cut::Before),
            Some(message) => {
                let mut waiting = lock(&shared.cut);
                let fits = waiting.as_mut().is_some_and(|(_, fits)| fits(&message));
                if fits { waiting.take().map(|(cut, _)| cut) } else { None }
            }
            None => None,
        };
        let Some(cut) = cut else {
            to.write_all(&bytes).await?;
            continue;
        };
        if !std::mem::replace(&mut *lock(&shared.is_cut), true) && cut == Cut::After {
            to.write_all(&bytes).await?;
            to.flush().await?;
        }
        shared.happened.notify_waiters();
        std::future::pending::<()>().await;
    }
}

/// The next thing on the wire with the message it is, if it is one; `None` at the end.
async fn read(
    direction: Direction,
    from: &mut (impl AsyncBufRead + Unpin),
) -> std::io::Result<Option<(Vec<u8>, Option<Passing>)>> {
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
    let mut words = line.split_ascii_whitespace();
    let is_message = matches!(words.next(), Some("PUB" | "HPUB" | "MSG" | "HMSG"));
    let (Some(subject), Some(size)) = (words.next(), line.rsplit(' ').next().and_then(|size| size.parse().ok())) else {
        return Ok(Some((bytes, None)));
    };
    if !is_message {
        return Ok(Some((bytes, None)));
    }
    let subject = subject.to_owned();
    let head = bytes.len();
    let size: usize = size;
    // With the line's end.
    bytes.resize(head + size + 2, 0);
    from.read_exact(&mut bytes[head..]).await?;
    let content = bytes[head..head + size].to_vec();
    Ok(Some((bytes, Some(Passing { direction, subject, content }))))
}
