//! What every strategy is compared with: the same cash in the same bars, bought at once and kept.

use crate::backtest::Strategy;
use crate::execution::{Direction, Execution, Size};
use crate::problem::Problem;
use crate::template;

/// Name of the built-in template that buys at once and never sells.
const TEMPLATE: &str = "buy_and_hold";

/// Buying and holding under these execution rules: the same cash, costs, fills and end. All cash is invested, long,
/// and nothing but the end of the bars ends the position.
///
/// # Errors
/// Everything wrong with the execution rules that it keeps.
pub fn buy_and_hold(execution: &Execution) -> Result<Strategy, Vec<Problem>> {
    let execution = Execution {
        direction: Direction::Long,
        size: Size::AllIn,
        stop_loss: None,
        take_profit: None,
        trailing_stop: None,
        stop_loss_atr: None,
        take_profit_atr: None,
        trailing_stop_atr: None,
        max_bars: None,
        ..execution.clone()
    };
    let template = template::builtin(TEMPLATE).expect("a built-in template is there");
    Strategy::new(&template, &execution)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::columns::Columns;
    use crate::metrics::Metric;
    use crate::test_bars::bars_of;

    #[test]
    fn the_benchmark_holds_whatever_the_strategy_may_do() {
        // Opens and closes; bought at the second open, 2.
        let bars = bars_of(&[(1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (1.0, 3.0, 0.0)]);
        let rules = Execution {
            cash: 100.0,
            direction: Direction::Short,
            size: Size::Fraction(0.1),
            stop_loss: Some(0.01),
            max_bars: Some(1),
            ..Execution::default()
        };
        let held = buy_and_hold(&rules).unwrap().run(&mut Columns::new(Arc::clone(&bars), 0), &[]).unwrap();
        assert_eq!(held.get(Metric::TotalReturn), Some(0.5));
        assert_eq!(held.get(Metric::OpenTrades), Some(1.0));
        let costly = Execution { commission: 0.25, ..rules };
        let held = buy_and_hold(&costly).unwrap().run(&mut Columns::new(bars, 0), &[]).unwrap();
        assert_eq!(held.get(Metric::TotalReturn), Some(1.5 / 1.25 - 1.0));
    }
}
