//! The backtest engine of jetsweep: bars, indicators, templates, simulation, metrics.
//!
//! A pure function of its input: no async runtime, no network, no clock, no randomness, and no I/O beyond reading
//! bars from a reader it is handed. The same bars, strategy, parameters and execution rules give the same bits on
//! every machine.
//!
//! The way through it:
//!
//! ```text
//! reader ──> bars::Bars ──> columns::Columns ─┐            (all runs of a symbol share these)
//! template::Template + execution::Execution ──┴─> backtest::Strategy::run(params) ──> RunResult (metrics)
//! grid::Grid ──> params, one set a run                            └─> replay(params) ──> trades and equity too
//! ```

pub mod backtest;
pub mod bars;
pub mod benchmark;
pub mod columns;
mod double_double;
pub mod execution;
pub mod expr;
pub mod grid;
pub mod indicators;
pub mod lookahead;
pub mod mask;
pub mod metrics;
pub mod params;
pub mod patience;
pub mod problem;
pub mod simd;
pub mod simulation;
pub mod template;
#[cfg(test)]
mod test_bars;
pub mod validation;

/// Version of the engine. Results carry it, and only the same version promises the same bits.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
