//! Turns sweep specs into plans and jobs.
//!
//! ```text
//!  submit endpoint ──> PLANS ──> intake ──> batch: begin ──> publishing: jobs, by turns ──> sealed ──> ack of the plan
//!                                   │                              │
//!                                   └── refusal: status, DEAD      └── control (watched): purge; cancelled, or later again
//! ```
//!
//! A plan message is acknowledged last of all, so whatever is lost with a planner is made again by the next one from
//! the stored `begin` event. Everything here may therefore be done twice, at any point.

mod batch;
mod control;
mod endpoints;
mod error;
mod facts;
mod header;
mod intake;
mod metrics;
mod planner;
mod planning;
mod publishing;
mod refusal;
mod retry;
mod submission;
mod threads;

pub use error::PlannerError;
pub use planner::{run, run_monitored};
pub use planning::{PlanOptions, plan};
