//! A worker some of whose jobs misbehave, for tests. `JETSWEEP_TEST_POISON="3=panic,7=abort"` names shards and what they do.
//! Everything else of the configuration comes from variables, as for any worker.
//!
//! It is a program of its own so that there is nothing to be switched on in the real one.

use std::hint::black_box;
use std::io;
use std::time::Duration;

use anyhow::Context;
use jetsweep_shared::config::{Config, Overrides, Sources};
use jetsweep_shared::events::Job;
use jetsweep_shared::telemetry;
use jetsweep_worker::{CHILD_SUBCOMMAND, Options, run_job_child_with, run_with};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the hog asks for, in bytes.
const HOG: usize = 10 << 30;

/// Size of a page of memory: who writes one byte to it has all of it.
const PAGE: usize = 4096;

/// How long a slow job takes.
const SLOW: Duration = Duration::from_secs(6);

fn misbehave(job: &Job) {
    let poison = std::env::var("JETSWEEP_TEST_POISON").unwrap_or_default();
    let of_shard = |entry: &str| Some(entry.split_once('=')?.1.to_owned()).filter(|_| shard(entry) == Some(job.shard));
    match poison.split(',').find_map(of_shard).as_deref() {
        None => {}
        Some("panic") => panic!("shard {} is poison", job.shard),
        Some("abort") => std::process::abort(),
        Some("loop") => loop {
            black_box(job);
        },
        Some("hog") => {
            let mut hog = vec![0_u8; HOG];
            hog.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
            black_box(hog);
        }
        Some("slow") => std::thread::sleep(SLOW),
        Some(other) => panic!("{other} is no way to misbehave"),
    }
}

fn shard(entry: &str) -> Option<u32> {
    entry.split_once('=')?.0.parse().ok()
}

fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some(CHILD_SUBCOMMAND), Some(order)) => {
            Ok(run_job_child_with(&order, Some(misbehave), io::stdin(), io::stdout())?)
        }
        _ => serve(),
    }
}

#[tokio::main]
async fn serve() -> anyhow::Result<()> {
    let config = Config::load(&Sources::of_process(None, Overrides::new())).context("read the configuration")?;
    telemetry::init(&config.log)?;
    let shutdown = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = shutdown.clone();
    tokio::spawn(async move {
        terminate.recv().await;
        stop.cancel();
    });
    let options = Options { fault: Some(misbehave), ..Options::default() };
    run_with(&config, options, shutdown, Default::default()).await?;
    Ok(())
}
