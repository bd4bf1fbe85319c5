//! Faults, injected into real processes around a real server, and one ledger: runs planned = succeeded + failed + dead +
//! cancelled, each exactly once in its latest generation, and every succeeded row equal to an undisturbed run's row.
//!
//! Kills at random moments are in `end_to_end`; here each fault has its place. The long ones run by `scripts/soak`.

#[allow(dead_code, reason = "shared with end_to_end, which uses the rest")]
#[path = "../end_to_end/cluster.rs"]
mod cluster;
#[allow(dead_code, reason = "shared with end_to_end, which uses the rest")]
#[path = "../end_to_end/support.rs"]
mod support;

mod control;
mod garbage;
mod ledger;
mod log;
mod nodes;
mod poison;
mod queue;
mod sharing;
mod soak;
mod windows;
