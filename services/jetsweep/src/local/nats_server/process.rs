//! One start of the server: the process, and how it becomes ready.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::Deserialize;

use super::settings::Settings;

/// Longest wait for a server to listen. Recovering a store of gigabytes takes seconds.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks whether it listens; nothing announces it.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Longest wait for the first line of a connection.
const GREETING_LIMIT: Duration = Duration::from_secs(5);

/// Lines of the log that are quoted when a start fails.
const QUOTED_LINES: usize = 3;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A file of its folder cannot be written or read.
    #[error("{}: {error}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program cannot be started.
    #[error("{} cannot be started: {error}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It ended before it listened.
    #[error("nats-server ended with {status} before it was ready: {said} (log: {})", log.display())]
    Ended {
        /// How.
        status: ExitStatus,
        /// The end of its log.
        said: String,
        /// Its log.
        log: PathBuf,
    },
    /// It did not listen in time.
    #[error("nats-server was not ready after {} s (log: {})", START_LIMIT.as_secs(), log.display())]
    Slow {
        /// Its log.
        log: PathBuf,
    },
}

/// `nats-server_<pid>.ports`.
#[derive(Deserialize)]
struct Ports {
    nats: Vec<String>,
}

/// A running server.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Its port on loopback.
    pub(super) port: u16,
}

impl Process {
    /// Starts the program with these settings and waits until it takes connections.
    ///
    /// Must be called on a thread that lives as long as the server is wanted: Linux kills the server when the thread
    /// that started it ends.
    pub(super) fn start(program: &Path, settings: &Settings<'_>) -> Result<Self, StartError> {
        let folder = settings.folder;
        prepare(folder, &settings.text())?;
        let mut command = Command::new(program);
        command.arg("-c").arg(folder.join(super::SETTINGS));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        // What it cannot write to its log, it says here: a configuration that it refuses.
        let complaints = folder.join(super::COMPLAINTS);
        let stderr = std::fs::File::create(&complaints);
        command.stderr(stderr.map_err(|error| StartError::Folder { path: complaints, error })?);
        // Ctrl+C in a terminal is for us. We stop the server once everything is stored.
        command.process_group(0);
        die_with_parent(&mut command);
        let spawned = command.spawn();
        let child = spawned.map_err(|error| StartError::Spawn { path: program.to_owned(), error })?;
        let mut process = Self { child, port: 0 };
        match process.become_ready(folder) {
            Ok(port) => Ok(Self { port, ..process }),
            Err(error) => {
                process.kill();
                Err(error)
            }
        }
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until the process ended, and leaves its id taken, so that nobody signals a process that is not it.
    pub(super) fn wait_for_end(pid: Pid) {
        // Fails only for a process that is not our child.
        let _ = rustix::process::waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
    }

    /// Frees the id of a process that ended.
    pub(super) fn reap(mut self) -> Option<ExitStatus> {
        self.child.wait().ok()
    }

    fn kill(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn become_ready(&mut self, folder: &Path) -> Result<u16, StartError> {
        let log = folder.join(super::LOG);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Some(port) = listening_port(&folder.join(super::PORTS))
                && greets(port)
            {
                return Ok(port);
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(StartError::Ended { status, said: last_words(folder), log });
            }
            if Instant::now() > deadline {
                return Err(StartError::Slow { log });
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// Has Linux kill the process when the thread that starts it ends, however it ends: a server nobody talks to would
/// keep the store.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let ask = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before it was asked for; then nobody is left to send the signal.
        if rustix::process::getppid() != Some(parent) {
            return Err(io::Error::other("the process that starts the server is gone"));
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are allowed. It makes two
    // system calls, prctl and getppid, takes no lock, and allocates nothing except on the way to an error, on which
    // the child ends without running anything else.
    #[expect(unsafe_code, reason = "the only way to act between fork and exec")]
    unsafe {
        command.pre_exec(ask);
    }
}

/// Elsewhere a server that is left over is stopped at the next start.
#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

/// Makes the server's folder, with its settings and without what an earlier server left in it about itself.
fn prepare(folder: &Path, settings: &str) -> Result<(), StartError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| StartError::Folder { path, error }
    };
    let ports = folder.join(super::PORTS);
    match std::fs::remove_dir_all(&ports) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&ports)(error)),
        _ => {}
    }
    std::fs::create_dir_all(&ports).map_err(failed(&ports))?;
    let file = folder.join(super::SETTINGS);
    // The password is its owner's alone.
    let opened = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&file);
    opened.and_then(|mut opened| io::Write::write_all(&mut opened, settings.as_bytes())).map_err(failed(&file))
}

/// The port in the ports file, once it is there in full.
fn listening_port(ports: &Path) -> Option<u16> {
    let file = std::fs::read_dir(ports).ok()?.next()?.ok()?.path();
    let ports: Ports = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports.nats.first()?.rsplit(':').next()?.parse().ok()
}

/// Whether a server takes connections on a port: it speaks first.
fn greets(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(stream) = TcpStream::connect_timeout(&address, GREETING_LIMIT) else { return false };
    if stream.set_read_timeout(Some(GREETING_LIMIT)).is_err() {
        return false;
    }
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("INFO ")
}

/// What the server said last, where it could not start.
fn last_words(folder: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    let complaints = read(super::COMPLAINTS);
    let text = if complaints.trim().is_empty() { read(super::LOG) } else { complaints };
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    if last.is_empty() { "it said nothing".to_owned() } else { last.join("; ") }
}
