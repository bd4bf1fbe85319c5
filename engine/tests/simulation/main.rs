//! The simulation against a plain one that goes bar by bar, and what holds for every run.

mod cases;
mod market;
mod measures;
mod plain;
mod properties;
