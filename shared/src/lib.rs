//! What the services of jetsweep agree on: events, subjects, topology, sweep specs, configuration, telemetry.

pub mod bucket;
pub mod bus;
pub mod config;
pub mod disguise;
pub mod events;
pub mod hex;
pub mod ids;
pub mod monitor;
pub mod plan;
pub mod replay;
pub mod service;
pub mod spec;
pub mod subjects;
pub mod telemetry;
pub mod topology;
