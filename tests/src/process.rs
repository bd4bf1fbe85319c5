//! The program under test, as processes: started, signalled, killed, waited for.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use crate::{nats_server_program, repository, wait};

/// Longest a command may take. Far more than it does, for machines with more to do than this test.
const LIMIT: Duration = Duration::from_secs(120);

/// Prefixes of the variables that configure the program.
const CONFIGURATION: [&str; 3] = ["JETSWEEP_", "MLFLOW_", "OTEL_"];

/// The program that was built with these tests: `jetsweep`, beside the folder of the test binaries.
///
/// # Panics
///
/// If it was not built.
pub fn program() -> PathBuf {
    built("jetsweep")
}

/// The worker some of whose jobs misbehave, as the variable `JETSWEEP_TEST_POISON` says. It takes no arguments.
///
/// # Panics
///
/// If it was not built.
pub fn poisoned_worker() -> PathBuf {
    built("jetsweep-poisoned-worker")
}

fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of the test binary");
    let folder = test.parent().and_then(Path::parent).expect("test binaries lie in target/<profile>/deps");
    let program = folder.join(name);
    assert!(program.is_file(), "{} is missing, build it first: cargo build --release --workspace", program.display());
    program
}

/// A command of the program, to be started in the root of the repository unless it says where else.
#[derive(Debug)]
pub struct Jetsweep {
    command: Command,
    text: String,
}

/// The program with these arguments. It gets nothing of the configuration of whoever runs the tests, and starts the
/// `nats-server` that tests use.
pub fn jetsweep(args: impl IntoIterator<Item: AsRef<OsStr>>) -> Jetsweep {
    Jetsweep::of(&program(), args)
}

impl Jetsweep {
    /// A copy of the program, elsewhere.
    pub fn of(program: &Path, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Self {
        let mut command = Command::new(program);
        command.args(args).current_dir(repository()).stdin(Stdio::null()).kill_on_drop(true);
        let is_ours = |name: &str| CONFIGURATION.iter().any(|prefix| name.starts_with(prefix));
        for (name, _) in std::env::vars().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command.env("JETSWEEP_NATS__SERVER_BINARY", nats_server_program());
        let words = command.as_std().get_args().map(|arg| arg.to_string_lossy().into_owned());
        let text = std::iter::once("jetsweep".to_owned()).chain(words).collect::<Vec<_>>().join(" ");
        Self { command, text }
    }

    /// The same with an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same without an environment variable.
    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The same, started in another folder.
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let file = || NamedTempFile::new().expect("a temporary file");
        let (stdout, stderr) = (file(), file());
        let handle = |file: &NamedTempFile| file.reopen().expect("a second handle of a temporary file");
        let spawned = self.command.stdout(handle(&stdout)).stderr(handle(&stderr)).spawn();
        let child = spawned.unwrap_or_else(|error| panic!("cannot start `{}`: {error}", self.text));
        Running { child, text: self.text, stdout, stderr, since: Instant::now() }
    }

    /// Runs it to its end.
    pub async fn done(self) -> Done {
        self.start().ended().await
    }
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    text: String,
    stdout: NamedTempFile,
    stderr: NamedTempFile,
    since: Instant,
}

impl Running {
    /// Sends it a signal. Does nothing when it has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It is our child and not reaped, so it is there, if only as a zombie.
            kill_process(pid, signal).unwrap_or_else(|error| panic!("{signal:?} to `{}`: {error}", self.text));
        }
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub async fn kill(mut self) -> Done {
        self.signal(Signal::KILL);
        self.wait().await
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self) -> Done {
        self.wait().await
    }

    /// Waits until it ends, at most for a time; `None` when it goes on.
    pub async fn ended_within(&mut self, time: Duration) -> Option<Done> {
        tokio::time::timeout(time, self.wait()).await.ok()
    }

    /// Its process, while it is not known to have ended.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    async fn wait(&mut self) -> Done {
        let what = format!("`{}` to end", self.text);
        let status = tokio::time::timeout(LIMIT, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("waited {LIMIT:?} for {what}, in vain:\n{}", self.stderr()));
        Done {
            text: self.text.clone(),
            code: status.expect("the state of a child").code(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            time: self.since.elapsed(),
        }
    }
}

fn text(file: &NamedTempFile) -> String {
    let bytes = std::fs::read(file.path()).expect("what the program wrote");
    String::from_utf8(bytes).expect("the program writes UTF-8")
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    text: String,
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
    /// How long it ran.
    pub time: Duration,
}

impl Done {
    /// Checks the exit code.
    ///
    /// # Panics
    ///
    /// If it is another one, with everything the program said.
    pub fn with_code(self, code: i32) -> Self {
        let Self { text, stdout, stderr, .. } = &self;
        // A long answer would hide what went wrong.
        let stdout: String = stdout.chars().take(2000).collect();
        assert_eq!(self.code, Some(code), "exit code of `{text}`\nstdout: {stdout}\nstderr: {stderr}");
        self
    }

    /// Standard output of a command that ended well, as JSON.
    ///
    /// # Panics
    ///
    /// If it did not, or if that is no JSON.
    pub fn json(self) -> Value {
        let Self { text, stdout, .. } = self.with_code(0);
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("`{text}` answers no JSON: {error}"))
    }

    /// The report of a command that was refused with exit code 2, on standard error alone.
    ///
    /// # Panics
    ///
    /// If it ended otherwise.
    pub fn refused(self) -> String {
        let Self { text, stdout, stderr, .. } = self.with_code(2);
        assert_eq!(stdout, "", "standard output of `{text}`");
        stderr
    }
}

/// Processes whose command line names `path`, as `<process id> <command line>`.
pub fn processes_naming(path: &Path) -> Vec<String> {
    let path = path.to_str().expect("paths of tests are UTF-8");
    let processes = std::fs::read_dir("/proc").expect("Linux, where processes are listed under /proc");
    let command_line = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        // Fails for what is no process, and for one that has just ended.
        let line = std::fs::read(format!("/proc/{name}/cmdline")).ok()?;
        Some(format!("{name} {}", String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    processes.filter_map(command_line).filter(|line| line.contains(path)).collect()
}

/// Waits until no process names `path` any more: a process that was killed takes others with it, but not at once.
///
/// # Panics
///
/// If one stays.
pub async fn nobody_names(path: &Path) {
    wait::eventually(&format!("every process of {} to end", path.display()), async || {
        processes_naming(path).is_empty().then_some(())
    })
    .await;
}
