//! Turns sweep specs into plans and jobs
