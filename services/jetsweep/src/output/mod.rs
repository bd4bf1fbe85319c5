//! What commands say: each returns a value, and this module writes it, to standard output and nowhere else.

mod look;
pub(crate) mod number;
mod report;
mod table;

pub(crate) use look::Look;
pub(crate) use report::{Format, Report, print};
pub(crate) use table::{Align, Table};
