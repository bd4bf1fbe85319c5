//! Writes results into DuckDB and answers questions about them.
//!
//! ```text
//!  RESULTS ──> ingest ──> decode ──> writer (a thread): store ──> DuckDB: rows, markers, counts, position
//!                                      │        └── after each commit: progress ──> views of batches (KV)
//!                                      └── what cannot be taken ──> DEAD
//!  retention ──> RESULTS: batches that were deleted, or ended long ago, leave
//!  query, export endpoints ──> a thread and connection a query ──> DuckDB, read only
//! ```
//!
//! The position in the log is a row of the database, written in one transaction with the rows it stands for, so the
//! two cannot disagree: a database of yesterday reads on from yesterday. Reading twice is harmless, because each
//! shard has a marker. The one thing this crate holds outside of the database is what a commit has not reached yet.
//!
//! [`run`] is the service. [`Reader`] is for whoever reads the file while no consolidator has it.

mod database;
mod dead;
mod event;
mod export;
mod exports;
mod import;
mod ingest;
mod metrics;
mod progress;
mod query;
mod reader;
mod rebuild;
mod retention;
mod schema;
mod service;
pub mod store;
mod summary;
mod traced;
mod writer;

pub use database::{DatabaseError, Resources};
pub use event::{LogEvent, Unreadable};
pub use export::{Destination, ExportError, Format};
pub use import::Imported;
pub use query::{QueryError, Row, Rows};
pub use reader::{ReadError, Reader, plan_sql, row_sql};
pub use rebuild::{Rebuilt, rebuild};
pub use schema::{VERSION as SCHEMA_VERSION, result_columns};
pub use service::{ConsolidatorError, run, run_monitored};
pub use summary::{BatchSummary, BestRun, FailureReason, OutOfSample, StrategyMedians, summary_sql};
pub use writer::WriterError;
