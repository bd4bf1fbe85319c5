//! End-to-end tests: real nats-server, real processes, real kills.
//!
//! The library part is what tests of all crates share: a server of their own and ways to wait for what it stores.
//! Everything here panics when it fails, with a message that says what was being waited for.

mod server;
mod wait;

use std::path::PathBuf;

pub use server::NatsServer;
pub use wait::{LIMIT, eventually, key_value, message, messages, within};

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this crate lies in a folder of the repository").to_owned()
}

/// The folder of sample bars, one CSV file a symbol.
pub fn sample_data() -> PathBuf {
    repository().join("data/sample")
}
