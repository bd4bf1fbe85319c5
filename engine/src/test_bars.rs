//! Bars for tests: sample files, and bars made up by property tests.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use crate::bars::{Bars, BarsColumns};

/// Milliseconds in a day.
const DAY: i64 = 86_400_000;

/// The bars of a symbol of the sample.
pub(crate) fn sample(symbol: &str) -> Arc<Bars> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../data/sample/{symbol}.csv"));
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Arc::new(Bars::read_csv(file, symbol).unwrap())
}

/// Daily bars from open, close and volume; high and low are half a unit outside them.
pub(crate) fn bars_of(rows: &[(f64, f64, f64)]) -> Arc<Bars> {
    let columns = BarsColumns {
        timestamps: (0..rows.len() as i64).map(|t| t * DAY).collect(),
        open: rows.iter().map(|row| row.0).collect(),
        high: rows.iter().map(|row| row.0.max(row.1) + 0.5).collect(),
        low: rows.iter().map(|row| row.0.min(row.1) - 0.5).collect(),
        close: rows.iter().map(|row| row.1).collect(),
        volume: rows.iter().map(|row| row.2).collect(),
    };
    Arc::new(Bars::from_columns(columns, "test").unwrap())
}

/// Bars of a few small whole prices, so that equal values, ties and crossings are common.
pub(crate) fn small_bars(len: std::ops::Range<usize>) -> impl Strategy<Value = Arc<Bars>> {
    let row = (1..6_i32, 1..6_i32, 0..4_i32).prop_map(|(a, b, c)| (f64::from(a), f64::from(b), f64::from(c)));
    prop::collection::vec(row, len).prop_map(|rows| bars_of(&rows))
}

/// Rows for [`bars_of`] with prices that have all their digits.
pub(crate) fn rough_rows(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    prop::collection::vec((1.0..200.0_f64, 1.0..200.0_f64, 0.0..1e7_f64), len)
}
