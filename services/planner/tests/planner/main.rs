//! The planner against a real `nats-server`.

mod cancel;
mod endpoints;
mod queue;
mod refuse;
mod replan;
mod submit;
mod support;
