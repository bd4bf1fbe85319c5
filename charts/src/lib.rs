//! Charts of backtests, each one SVG document that needs nothing else: no scripts, no fonts of its own, no network.
//!
//! They are drawn on white, so that they read the same in MLflow's viewer, in a report and on a dark desktop. A pure
//! function of the data: the same numbers give the same bytes.

mod heatmap;
mod line;
mod scale;
mod svg;

pub use heatmap::{Colours, Heatmap};
pub use line::{Fill, LineChart, drawdown};
