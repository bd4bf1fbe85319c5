//! Redelivered jobs run in a child process, so that a job which kills its worker does so once.
//!
//! The worker starts its own binary again with one argument more, the [`Order`] as JSON, writes the job to the
//! child's standard input and reads a [`Reply`] from its standard output. The child needs no NATS. It limits its own
//! memory and asks to be killed first when memory runs out; the worker kills it at the job's deadline. Whatever the
//! child dies of, the worker lives on and says so in the dead letter.

mod inside;
mod outside;

use std::ffi::OsString;
use std::path::PathBuf;

use jetsweep_shared::events::ShardResult;
use serde::{Deserialize, Serialize};

use crate::data::Kept;
use crate::failure::Failure;

pub use inside::{ChildError, run_job_child, run_job_child_with};
pub(crate) use outside::run_in_child;

/// Argument of this binary that makes it a child: `jetsweep run-job <order>`.
pub const CHILD_SUBCOMMAND: &str = "run-job";

/// How to start a child: a program and its arguments, to which the order is added as the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the order.
    pub arguments: Vec<OsString>,
}

impl ChildCommand {
    /// This binary itself, with [`CHILD_SUBCOMMAND`].
    ///
    /// # Errors
    /// When the system does not say which binary this is.
    pub fn this_binary() -> std::io::Result<Self> {
        Ok(Self { program: std::env::current_exe()?, arguments: vec![CHILD_SUBCOMMAND.into()] })
    }
}

/// What a child must know beside the job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The worker's `data.root`.
    pub(crate) data_root: PathBuf,
    /// Name of the worker, for the result.
    pub(crate) worker: String,
    /// Most memory the child may map, in bytes.
    pub(crate) memory_bytes: u64,
    /// Most memory for bars, in bytes.
    pub(crate) bars_bytes: u64,
    /// Most memory for indicator columns, in bytes.
    pub(crate) columns_bytes: u64,
    /// Part of the time that it may work.
    pub(crate) duty: f64,
    /// Runs not reached after this many seconds fail.
    pub(crate) deadline_seconds: u64,
    /// A run that takes longer than this many seconds fails.
    pub(crate) run_deadline_seconds: u64,
    /// Digest that the symbol's bars must have, if the batch has pinned one.
    pub(crate) pinned_digest: Option<String>,
    /// The file of bars that the worker has fetched; `None` for one in the data folder.
    pub(crate) kept: Option<Kept>,
}

/// What a child answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// The shard's result.
    Result(Box<ShardResult>),
    /// Why there is none.
    Failure(Failure),
}
