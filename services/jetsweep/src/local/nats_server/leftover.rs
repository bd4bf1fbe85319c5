//! A server that an earlier `run` left behind, on the same store.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// How long it may take to end when it is asked to.
const POLITE: Duration = Duration::from_secs(5);

/// How long it may take to end when it is killed.
const IMPOLITE: Duration = Duration::from_secs(5);

/// Pause between two looks whether it ended: it is no child of ours, so nothing tells us.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Stops the server that wrote its process id into the folder, if it still runs. Two servers on one store would
/// destroy it.
pub(super) fn stop(folder: &Path) {
    let Some(pid) = find(folder) else { return };
    tracing::warn!(pid = pid.as_raw_nonzero().get(), "stopping a nats-server that an earlier run left behind");
    for (signal, patience) in [(Signal::TERM, POLITE), (Signal::KILL, IMPOLITE)] {
        // Fails for a process that is gone, which is what is wanted.
        let _ = rustix::process::kill_process(pid, signal);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if find(folder).is_none() {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The process, if it is the server of this folder: its command line names the folder's settings. Another process
/// may have the number by now.
fn find(folder: &Path) -> Option<Pid> {
    let number: i32 = std::fs::read_to_string(folder.join(super::PID)).ok()?.trim().parse().ok()?;
    let command = std::fs::read(format!("/proc/{number}/cmdline")).ok()?;
    let settings = folder.join(super::SETTINGS);
    let settings = std::os::unix::ffi::OsStrExt::as_bytes(settings.as_os_str());
    let is_it = command.split(|byte| *byte == 0).any(|arg| arg == settings);
    if is_it { Pid::from_raw(number) } else { None }
}
