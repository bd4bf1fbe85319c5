//! End-to-end tests: real nats-server, real processes, real kills.
//!
//! The library part is what tests of all crates share: a server of their own, ways to wait for what it stores, and the
//! program itself as a process.
//! Everything here panics when it fails, with a message that says what was being waited for.

mod disk;
mod nodes;
mod process;
mod server;
mod wait;
mod wire;

use std::path::PathBuf;

pub use disk::SmallDisk;
pub use nodes::{NODES, Nodes};
pub use process::{
    Done, Jetsweep, Running, Signal, jetsweep, nobody_names, poisoned_worker, processes_naming, program,
};
pub use server::{NatsServer, nats_server_program};
pub use wait::{LIMIT, answers, eventually, key_value, message, messages, within};
pub use wire::{Cut, Direction, Passing, Wire};

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in a folder of the repository").to_owned()
}

/// The folder of sample bars, one CSV file a symbol.
pub fn sample_data() -> PathBuf {
    repository().join("data/sample")
}
