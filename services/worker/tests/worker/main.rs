//! The worker against a real NATS server, real bars and real child processes.

mod cancelling;
mod data;
mod dead;
mod poison;
mod priorities;
mod recovery;
mod remote;
mod replay;
mod rows;
mod shutdown;
mod support;
