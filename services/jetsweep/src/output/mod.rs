//! What commands say: each returns a value, and this module writes it, to standard output and nowhere else.

mod look;
pub(crate) mod number;
mod report;
pub(crate) mod rows;
mod table;

pub(crate) use look::{Look, no_colour};
pub(crate) use report::{Format, Report, print};
pub(crate) use table::{Align, Table};
