//! Slots taken away and given back while the worker runs, by whoever else uses the machine: `kill -TTOU` takes one away,
//! `kill -TTIN` gives one back.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use crate::scheduler::Scheduler;

/// Follows the signals for as long as the future is polled. A worker keeps one slot: to stop it, pause all work.
///
/// # Errors
/// When the system refuses to have signals caught.
pub(crate) async fn follow(scheduler: &Scheduler, slots: usize) -> io::Result<()> {
    let mut fewer = signal(SignalKind::from_raw(Signal::TTOU.as_raw()))?;
    let mut more = signal(SignalKind::from_raw(Signal::TTIN.as_raw()))?;
    let mut allowed = slots;
    loop {
        tokio::select! {
            Some(()) = fewer.recv() => allowed = (allowed - 1).max(1),
            Some(()) = more.recv() => allowed = (allowed + 1).min(slots),
            else => return Ok(()),
        }
        scheduler.allow(allowed);
        tracing::info!(slots = allowed, of = slots, "asked to use other slots than before");
    }
}
