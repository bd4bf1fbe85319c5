//! Runs jobs and publishes their results.
//!
//! ```text
//! JOBS ─> feeder x 3 ─> claim ─> bars (cached) ─> scheduler ─> slot x N ─> RESULTS, then the ack
//!         a priority    a job's   data, pins      16 : 4 : 1   shard
//!                       fate                                   (redelivered: child process)
//! ```
//!
//! What the rest of the system relies on:
//!
//! - A job is acknowledged only after its result, or its dead letter, is stored. One type (`claim`) owns a job's
//!   fate; whatever happens to it, the job is not forgotten.
//! - Failures are of three classes (`failure`): put off, dead, or a run's own.
//! - A job that was delivered before runs in a child process, so that what kills a worker kills it once.
//! - All workers of a batch compute a symbol from the same bars, or say `data_changed`.
//! - Any worker computes one run in full for whoever asks (`replay`), beside its jobs.
//! - Rows do not depend on the number of slots, nor on what a slot computed before.

mod child;
mod claim;
mod controls;
pub mod data;
mod failure;
mod feeder;
mod folder;
mod governor;
mod handler;
mod job;
mod memory;
mod metrics;
mod pins;
mod pull;
pub mod replay;
mod scheduler;
mod service;
mod shard;
mod sharing;
mod slots;
mod stats;

pub use child::{CHILD_SUBCOMMAND, ChildCommand, ChildError, run_job_child, run_job_child_with};
pub use service::{Options, WorkerError, run, run_with, run_with_stats};
pub use slots::Fault;
pub use stats::{WorkerStats, WorkerSummary};
