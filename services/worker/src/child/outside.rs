//! The worker's side: starting a child, feeding it, and finding out how it ended.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use super::{ChildCommand, Order, Reply};
use crate::failure::{Failure, code};

/// Time a child has beyond its deadline, to notice it by itself and answer.
const GRACE: Duration = Duration::from_secs(5);

/// Largest reply read, in bytes. A result is at most a megabyte; a child that writes more has gone mad.
const LARGEST_REPLY: u64 = 16 << 20;

/// Standard error kept, in bytes from its end; its last line goes into the dead letter.
const KEPT_STDERR: usize = 4096;

/// Signals by which somebody asks a process to end. A child that such a signal ended says nothing about its job.
const ASKED_TO_END: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

/// Runs a job, given as its payload, in a child process. Dropping the future kills the child.
///
/// # Errors
/// [`Failure::Fatal`] when the child died, was killed at its deadline or answered nonsense; [`Failure::Retryable`]
/// when it could not be started.
pub(crate) async fn run_in_child(command: &ChildCommand, order: &Order, payload: Bytes) -> Result<Reply, Failure> {
    let cannot_start = |error: &dyn std::fmt::Display| {
        Failure::retryable(format!("failed to start {} for a redelivered job: {error}", command.program.display()))
    };
    let argument = serde_json::to_string(order).map_err(|error| cannot_start(&error))?;
    let mut child = Command::new(&command.program)
        .args(&command.arguments)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A backtrace would push the message out of what is kept.
        .env("RUST_BACKTRACE", "0")
        .kill_on_drop(true)
        // Ctrl+C at a terminal goes to the worker alone, which then decides what becomes of the job.
        .process_group(0)
        .spawn()
        .map_err(|error| cannot_start(&error))?;

    let limit = Duration::from_secs(order.deadline_seconds) + GRACE;
    match tokio::time::timeout(limit, talk(&mut child, payload)).await {
        Ok(Ok(ended)) => ended.into_reply(),
        // The pipes are ours and local: they fail when the process table or descriptors run out, not by the job.
        Ok(Err(error)) => Err(Failure::retryable(format!("failed to talk to a job's child process: {error}"))),
        Err(_) => {
            // Fails only if it has just ended by itself, too late all the same.
            let _ = child.kill().await;
            let message = format!("its child process was killed, not done after {} s", limit.as_secs());
            Err(Failure::fatal(code::TIMEOUT, message))
        }
    }
}

struct Ended {
    status: ExitStatus,
    output: Vec<u8>,
    stderr: Vec<u8>,
}

async fn talk(child: &mut Child, payload: Bytes) -> std::io::Result<Ended> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A child that dies before it has read everything tells more by how it died.
            let _ = stdin.write_all(&payload).await;
        }
    };
    let read = async {
        let mut output = Vec::new();
        if let Some(stdout) = stdout {
            stdout.take(LARGEST_REPLY).read_to_end(&mut output).await?;
        }
        Ok(output)
    };
    let ((), output, stderr) = tokio::join!(write, read, read_end(stderr));
    let output: std::io::Result<Vec<u8>> = output;
    Ok(Ended { output: output?, stderr: stderr?, status: child.wait().await? })
}

/// Reads to the end and keeps the last [`KEPT_STDERR`] bytes.
async fn read_end(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(kept) };
    let mut piece = [0; KEPT_STDERR];
    loop {
        let count = pipe.read(&mut piece).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&piece[..count]);
        let surplus = kept.len().saturating_sub(KEPT_STDERR);
        kept.drain(..surplus);
    }
}

impl Ended {
    fn into_reply(self) -> Result<Reply, Failure> {
        if self.status.signal().is_some_and(|number| ASKED_TO_END.iter().any(|signal| signal.as_raw() == number)) {
            return Err(Failure::retryable(format!("a job's child process was asked to end: {}", self.status)));
        }
        if !self.status.success() {
            return Err(Failure::fatal(code::CHILD_DIED, format!("its child process died: {}", self.last_words())));
        }
        serde_json::from_slice(&self.output).map_err(|error| {
            let message = format!("its child process answered nonsense: {error}; {}", self.last_words());
            Failure::fatal(code::CHILD_DIED, message)
        })
    }

    /// `signal: 9 (SIGKILL)`, or `exit status: 101; last line of its standard error: ...`.
    fn last_words(&self) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr);
        // Below what went wrong Rust may print notes on how to see more of it.
        let is_telling = |line: &&str| !line.is_empty() && !line.starts_with("note: ");
        match stderr.lines().rev().map(str::trim).find(is_telling) {
            Some(line) => format!("{}; last line of its standard error: {line}", self.status),
            None => self.status.to_string(),
        }
    }
}
