//! Logs runs to MLflow, at MLflow's pace.
//!
//! ```text
//!  RESULTS ──> durable consumer ──> batch: what is there already? ──> client: retry, circuit ──> MLflow
//!                                     │  └── run in full <── worker.replay
//!  status of batches ──> finish ──────┘  └── rows, Parquet <── consolidator.query, consolidator.export
//! ```
//!
//! What the rest of the system relies on:
//!
//! - MLflow being slow or away touches nothing but this crate, and nothing is missed afterwards: a result is
//!   acknowledged when its runs are in MLflow, and a batch is gone through once more when it is complete.
//! - A run is in MLflow once (`batch`): it carries the tag `job_id`.
//! - What MLflow refuses for good is in DEAD, with its words.
//!
//! [`run`] is the service. [`backfill()`] logs a batch of the past from any [`Source`] of rows.

mod backfill;
mod batch;
mod client;
mod correlation;
mod dead;
mod details;
mod ending;
mod experiments;
mod finish;
mod metrics;
mod names;
mod notes;
mod record;
mod row;
mod service;
mod source;
mod table;
mod view;

pub use backfill::{BackfillError, Backfilled, backfill, check};
pub use batch::LogError;
pub use client::{ClientError, Health, Mlflow, MlflowUrl};
pub use service::{BridgeError, run, run_monitored};
pub use source::{Row, Services, Source, SourceError};
