//! The planner against a real `nats-server`.

mod bucket;
mod cancel;
mod endpoints;
mod finished;
mod pause;
mod queue;
mod refuse;
mod replan;
mod submit;
mod support;
