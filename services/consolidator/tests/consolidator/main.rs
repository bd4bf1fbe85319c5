//! The consolidator with a real NATS server and real DuckDB files.

mod finished;
mod kill;
mod query;
mod reader;
mod serve;
mod store;
mod support;
