//! Ctrl+C and SIGTERM: the first asks to stop, the second leaves at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Listens for signals from now on. The token is cancelled by the first one; the second one ends the process. What is then unfinished is as after a kill: nothing is lost, some work is done again.
///
/// # Errors
///
/// When the system refuses to have signals caught.
pub(crate) fn listen() -> std::io::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        next(&mut interrupt, &mut terminate).await;
        stopping.cancel();
        next(&mut interrupt, &mut terminate).await;
        std::process::exit(Exit::Interrupted.code().into());
    });
    Ok(stop)
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
