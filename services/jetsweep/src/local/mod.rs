//! What `jetsweep run` keeps on this machine.
//!
//! ```text
//! .jetsweep/                   the state folder (--state)
//!   results.duckdb             every result, of every batch
//!   lock                       locked by the `run` that uses the folder; says who that is
//!   connection.json            how to reach the server of that `run`; its owner alone may read it
//!   batches/<batch>/
//!     batch.json               what --resume and replay need to know: where the data is, which spec
//!     spec.json                the sweep spec, self-contained
//!     nats/                    the batch's own NATS server: configuration, log, store
//! ```
//!
//! Each batch has a server store of its own. An interrupted batch therefore waits, whole, until it is resumed, and is
//! never taken up by a later `run` that looks for its data elsewhere. A store is removed when its batch is complete
//! and no job of it is dead: the database has it all then.

mod batches;
mod connection;
mod lock;
pub(crate) mod nats_server;
mod state;

pub(crate) use batches::{BatchRecord, Batches};
pub(crate) use connection::Connection;
pub(crate) use lock::StateLock;
pub(crate) use nats_server::OLDEST as OLDEST_SERVER;
pub(crate) use state::StateDir;
