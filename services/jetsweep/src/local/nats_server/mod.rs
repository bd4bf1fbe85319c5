//! The NATS server that `jetsweep run` starts, watches and stops.
//!
//! One thread starts the server, waits for its end and starts it again, on the same port, until it is told to stop.

mod binary;
mod leftover;
mod process;
mod settings;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jetsweep_shared::hex;
use rustix::process::{Pid, Signal};
use tokio::sync::{oneshot, watch};

pub(crate) use binary::{OLDEST, find};
pub(crate) use process::StartError;

use process::Process;
use settings::Settings;

/// Files of the server's folder.
const SETTINGS: &str = "server.conf";
const LOG: &str = "server.log";
const COMPLAINTS: &str = "server.err";
const PID: &str = "server.pid";
const PORTS: &str = "ports";
const STORE: &str = "store";

/// User that the services sign in as.
const USER: &str = "jetsweep";

/// Bytes of a generated password.
const PASSWORD_BYTES: usize = 16;

/// How long the server may take to end when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A server that lives no longer than this died quickly.
const QUICK: Duration = Duration::from_secs(10);

/// Quick deaths in a row after which it is given up on.
const MOST_QUICK_DEATHS: u32 = 5;

/// Pause before it is started again; doubles with each quick death.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A server that cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It starts and dies again and again.
    #[error("nats-server died {deaths} times in a row, each time within {} s (log: {})", QUICK.as_secs(), log.display())]
    Dying {
        /// How often.
        deaths: u32,
        /// Its log.
        log: PathBuf,
    },
    /// The thread that looks after it cannot be started.
    #[error("no thread for nats-server: {0}")]
    Thread(std::io::Error),
    /// The thread that looks after it is gone.
    #[error("the thread that looks after nats-server is gone")]
    ThreadGone,
}

/// A running server. Dropping it kills it; [`NatsServer::stop`] is the way to end it.
#[derive(Debug)]
pub(crate) struct NatsServer {
    port: u16,
    password: String,
    shared: Arc<Shared>,
    ended: Option<oneshot::Receiver<()>>,
    given_up: watch::Receiver<Option<Arc<ServerError>>>,
}

/// What the thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The process that runs now; `None` while there is none, so that nobody signals a stranger.
    pid: Option<Pid>,
    stopping: bool,
    /// Largest memory of all processes so far, in bytes.
    peak_memory: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is whole at every moment anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NatsServer {
    /// Starts `program`, as [`find`] found it, with all its files in `folder`, and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub(crate) async fn start(folder: &Path, program: &Path) -> Result<Self, ServerError> {
        let keeper = Keeper {
            folder: folder.to_owned(),
            program: program.to_owned(),
            password: random_password(),
            shared: Arc::default(),
        };
        let (password, shared) = (keeper.password.clone(), keeper.shared.clone());
        let (started, start) = oneshot::channel();
        let (told, given_up) = watch::channel(None);
        let (ending, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name("nats-server".to_owned()).spawn(move || {
            keeper.keep(started, &told);
            // Nobody waits any more when the owner is gone.
            let _ = ending.send(());
        });
        // The thread is left to itself: `ended` says when it is done.
        drop(thread.map_err(ServerError::Thread)?);
        let port = start.await.map_err(|_| ServerError::ThreadGone)??;
        Ok(Self { port, password, shared, ended: Some(ended), given_up })
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// User to sign in with.
    pub(crate) fn user(&self) -> &str {
        USER
    }

    /// Password of the user.
    pub(crate) fn password(&self) -> &str {
        &self.password
    }

    /// Largest memory its processes had so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let mut state = self.shared.state();
        state.note_memory();
        state.peak_memory
    }

    /// Completes when the server died so often that it is not started again.
    pub(crate) async fn given_up(&self) -> Arc<ServerError> {
        let mut given_up = self.given_up.clone();
        match given_up.wait_for(Option::is_some).await.map(|error| error.clone()) {
            Ok(Some(error)) => error,
            Ok(None) | Err(_) => Arc::new(ServerError::ThreadGone),
        }
    }

    /// Asks the server to end, waits until it has, and kills it if that takes too long.
    pub(crate) async fn stop(mut self) {
        self.shared.signal(Signal::TERM);
        let Some(mut ended) = self.ended.take() else { return };
        if tokio::time::timeout(STOP_LIMIT, &mut ended).await.is_err() {
            tracing::warn!("nats-server does not end, killing it");
            self.shared.signal(Signal::KILL);
            let _ = ended.await;
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.shared.signal(Signal::KILL);
    }
}

impl Shared {
    /// Ends the process that runs, and lets no other be started.
    fn signal(&self, signal: Signal) {
        let mut state = self.state();
        state.stopping = true;
        state.note_memory();
        if let Some(pid) = state.pid {
            // Fails only for a process that is gone, which is what is wanted.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

impl State {
    fn note_memory(&mut self) {
        let memory = self.pid.and_then(|pid| crate::memory::peak_of(pid.as_raw_nonzero().get()));
        self.peak_memory = self.peak_memory.max(memory.unwrap_or(0));
    }
}

/// What the thread works with.
struct Keeper {
    folder: PathBuf,
    program: PathBuf,
    password: String,
    shared: Arc<Shared>,
}

impl Keeper {
    /// Starts the server and starts it again whenever it dies, until it is told to stop or gives up.
    fn keep(
        self,
        started: oneshot::Sender<Result<u16, ServerError>>,
        given_up: &watch::Sender<Option<Arc<ServerError>>>,
    ) {
        leftover::stop(&self.folder);
        let mut process = match self.start(None) {
            Ok(process) => process,
            Err(error) => {
                // The owner waits for nothing else.
                let _ = started.send(Err(error.into()));
                return;
            }
        };
        let port = process.port;
        if started.send(Ok(port)).is_err() {
            self.shared.signal(Signal::KILL);
        }
        let mut quick_deaths = 0;
        loop {
            let since = Instant::now();
            self.wait_for_end(process);
            if self.shared.state().stopping {
                return;
            }
            quick_deaths = if since.elapsed() < QUICK { quick_deaths + 1 } else { 1 };
            if quick_deaths >= MOST_QUICK_DEATHS {
                let log = self.folder.join(LOG);
                given_up.send_replace(Some(Arc::new(ServerError::Dying { deaths: quick_deaths, log })));
                return;
            }
            tracing::warn!("nats-server died, starting it again");
            std::thread::sleep(FIRST_PAUSE * (1 << (quick_deaths - 1)));
            process = match self.start(Some(port)) {
                Ok(process) => process,
                Err(error) => {
                    given_up.send_replace(Some(Arc::new(error.into())));
                    return;
                }
            };
        }
    }

    fn start(&self, port: Option<u16>) -> Result<Process, StartError> {
        let settings = Settings { folder: &self.folder, port, user: USER, password: &self.password };
        let process = Process::start(&self.program, &settings)?;
        let pid = process.pid();
        let file = self.folder.join(PID);
        // Without the file a left-over server is not found, which it only is where Linux does not end it with us.
        if let Err(error) = std::fs::write(&file, pid.as_raw_nonzero().to_string()) {
            tracing::warn!(file = %file.display(), %error, "the process id of nats-server is not recorded");
        }
        let mut state = self.shared.state();
        state.pid = Some(pid);
        if state.stopping {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        drop(state);
        Ok(process)
    }

    fn wait_for_end(&self, process: Process) {
        Process::wait_for_end(process.pid());
        // From here on the id may be given to another process.
        self.shared.state().pid = None;
        let _ = process.reap();
    }
}

fn random_password() -> String {
    hex::encode(rand::random::<[u8; PASSWORD_BYTES]>())
}

#[cfg(test)]
mod tests {
    use jetsweep_tests::{eventually, within};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    async fn start(folder: &Path) -> NatsServer {
        NatsServer::start(folder, &find(Some(&jetsweep_tests::nats_server_program())).unwrap()).await.unwrap()
    }

    async fn connect(server: &NatsServer) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_user_and_password(USER.to_owned(), server.password().to_owned());
        within(LIMIT, "a connection", options.connect(server.url())).await.unwrap()
    }

    fn pid(folder: &Path) -> Pid {
        let text = std::fs::read_to_string(folder.join(PID)).unwrap();
        Pid::from_raw(text.parse().unwrap()).unwrap()
    }

    fn is_running(pid: Pid) -> bool {
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn a_server_that_dies_is_started_again_on_the_same_port() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path()).await;
        drop(connect(&server).await);
        let first = pid(folder.path());
        rustix::process::kill_process(first, Signal::KILL).unwrap();
        eventually("another server", async || (pid(folder.path()) != first).then_some(())).await;
        drop(connect(&server).await);
        let second = pid(folder.path());
        assert!(server.peak_memory() > 1_000_000);
        within(LIMIT, "the server to stop", server.stop()).await;
        assert!(!is_running(first) && !is_running(second));
    }

    #[tokio::test]
    async fn a_server_without_its_password_lets_nobody_in() {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path()).await;
        assert!(async_nats::connect(server.url()).await.is_err());
        server.stop().await;
    }

    #[tokio::test]
    async fn a_server_left_over_on_the_same_store_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let left_over = start(folder.path()).await;
        let old = pid(folder.path());
        // As if its owner had been killed: nobody starts it again.
        left_over.shared.state().stopping = true;
        let server = start(folder.path()).await;
        assert!(!is_running(old));
        assert_ne!(pid(folder.path()), old);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_server_that_cannot_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        // A file where the store should be.
        std::fs::write(folder.path().join(STORE), "").unwrap();
        let program = find(Some(&jetsweep_tests::nats_server_program())).unwrap();
        let error = NatsServer::start(folder.path(), &program).await.unwrap_err().to_string();
        assert!(error.starts_with("nats-server ended with exit status: 1 before it was ready: "), "{error}");
        assert!(error.contains("server.log"), "{error}");
    }
}
