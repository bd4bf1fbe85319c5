//! What the fuzz targets share: some bars, and templates run over them.

use std::sync::Arc;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::{Direction, Execution};
use jetsweep_engine::lookahead::{self, LookAhead};
use jetsweep_engine::template::Template;

/// Milliseconds in a day.
const DAY: i64 = 86_400_000;

/// So many daily bars whose prices rise, fall and stay, some with no range and some with no volume.
pub fn bars(count: usize) -> Arc<Bars> {
    let price = |t: usize| 40.0 + [0.0, 1.0, -2.5, 3.25, 3.25, -7.0, 0.5][t % 7] + (t % 11) as f64 * 0.3;
    let is_flat = |t: usize| t % 13 == 5;
    let open: Vec<f64> = (0..count).map(|t| if t > 0 && !is_flat(t) { price(t - 1) } else { price(t) }).collect();
    let close: Vec<f64> = (0..count).map(price).collect();
    let range = |t: usize| if is_flat(t) { 0.0 } else { 0.125 * (t % 5) as f64 };
    let columns = BarsColumns {
        timestamps: (0..count as i64).map(|t| t * DAY).collect(),
        high: (0..count).map(|t| open[t].max(close[t]) + range(t)).collect(),
        low: (0..count).map(|t| open[t].min(close[t]) - range(t)).collect(),
        volume: (0..count).map(|t| 1000.0 * (t % 4) as f64).collect(),
        open,
        close,
    };
    Arc::new(Bars::from_columns(columns, "bars").expect("the bars are valid"))
}

/// Runs a template for each direction that it has rules for.
///
/// # Panics
///
/// If two runs differ: one whose columns are kept, one whose columns are dropped at once, one that keeps its trades.
/// If a decision looks ahead.
pub fn run(template: &Template, values: &[f64], bars: &Arc<Bars>) {
    for direction in [Direction::Long, Direction::Short, Direction::Both] {
        let execution = Execution { commission: 0.001, direction, ..Execution::default() };
        let Ok(strategy) = Strategy::new(template, &execution) else { continue };
        let mut kept = Columns::new(Arc::clone(bars), usize::MAX);
        let mut dropped = Columns::new(Arc::clone(bars), 0);
        let metrics = strategy.run(&mut kept, values);
        assert_eq!(metrics, strategy.run(&mut kept, values));
        assert_eq!(metrics, strategy.run(&mut dropped, values));
        assert_eq!(metrics, strategy.replay(&mut kept, values).map(|replay| replay.metrics));
        match lookahead::check(&strategy, bars, values) {
            Ok(()) => assert!(metrics.is_ok()),
            Err(LookAhead::Run(failure)) => assert_eq!(metrics, Err(failure)),
            Err(found) => panic!("{found}"),
        }
    }
}
