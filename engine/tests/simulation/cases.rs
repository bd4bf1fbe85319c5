//! Cases worked out by hand.

use jetsweep_engine::execution::{EndPolicy, Execution, Fill};
use jetsweep_engine::mask::Mask;
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::simulation::{Signals, replay, simulate};

use crate::market::{bars_of, mask_of};

#[test]
fn a_rule_that_holds_on_the_last_bar_never_fills_at_the_next_open() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 11.0), (11.0, 12.0)]);
    let rules = Execution::default();
    let late = replay(&bars, Signals::long(&mask_of(&[false, false, true]), &Mask::none(3)), &rules);
    assert!(late.trades.is_empty());
    let entry = mask_of(&[true, false, false]);
    let held = replay(&bars, Signals::long(&entry, &mask_of(&[false, false, true])), &rules);
    assert_eq!((held.trades.len(), held.trades[0].open, held.trades[0].entry_bar), (1, true, 1));
}

#[test]
fn at_the_close_the_last_bar_sells_and_does_not_buy() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 11.0), (11.0, 12.0)]);
    let rules = Execution { fill: Fill::Close, ..Execution::default() };
    let late = replay(&bars, Signals::long(&mask_of(&[false, false, true]), &Mask::none(3)), &rules);
    assert!(late.trades.is_empty());
    let sold = replay(&bars, Signals::long(&mask_of(&[true, false, false]), &mask_of(&[false, false, true])), &rules);
    let trade = &sold.trades[0];
    assert_eq!((trade.entry_bar, trade.exit_bar, trade.open), (0, 2, false));
    assert_eq!((trade.entry_price, trade.exit_price), (10.0, 12.0));
    assert_eq!(sold.metrics.get(Metric::Exposure), Some(2.0 / 3.0));
}

#[test]
fn an_entry_at_the_last_open_is_liquidated_too() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 20.0)]);
    let rules = Execution { end: EndPolicy::Liquidate, commission: 0.001, slippage: 0.01, ..Execution::default() };
    let run = replay(&bars, Signals::long(&mask_of(&[true, false]), &Mask::none(2)), &rules);
    let trade = &run.trades[0];
    assert_eq!((trade.entry_bar, trade.exit_bar, trade.open), (1, 1, false));
    assert_eq!((trade.entry_price, trade.exit_price), (10.0 * 1.01, 20.0 * 0.99));
    assert_eq!(run.metrics.get(Metric::AvgBarsHeld), Some(0.0));
    assert_eq!(run.metrics.get(Metric::Exposure), Some(0.5));
}

#[test]
fn an_exit_cannot_cost_more_than_it_brings() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 10.0), (0.001, 0.001), (0.001, 0.001), (0.001, 0.001)]);
    let rules = Execution { cash: 1000.0, commission_min: 100.0, ..Execution::default() };
    let enter = mask_of(&[true, true, true, true, true]);
    let exit = mask_of(&[false, true, false, false, false]);
    let run = replay(&bars, Signals::long(&enter, &exit), &rules);
    assert_eq!(run.equity, [1000.0, 900.0, 0.0, 0.0, 0.0]);
    assert_eq!(run.metrics.get(Metric::TotalReturn), Some(-1.0));
    assert_eq!(run.metrics.get(Metric::Cagr), Some(-1.0));
    assert_eq!(run.metrics.get(Metric::SkippedEntries), Some(2.0));
    assert!(run.metrics.get(Metric::Sharpe).is_some());
}

#[test]
fn one_bar_and_none_have_no_ratios() {
    let bars = bars_of(&[(10.0, 10.0)]);
    let metrics = simulate(&bars, Signals::long(&mask_of(&[true]), &Mask::none(1)), &Execution::default());
    for metric in [Metric::Sharpe, Metric::SortinoRatio, Metric::Volatility, Metric::Skew, Metric::Calmar] {
        assert_eq!(metrics.get(metric), None, "{}", metric.name());
    }
    assert_eq!(metrics.get(Metric::TotalReturn), Some(0.0));

    let none = bars.between(None, Some("1969-12-31".parse().unwrap()));
    let run = replay(&none, Signals::long(&Mask::none(0), &Mask::none(0)), &Execution::default());
    assert_eq!(run.metrics.get(Metric::Bars), Some(0.0));
    assert_eq!(run.metrics.get(Metric::TotalReturn), None);
    assert!(run.equity.is_empty());
}

#[test]
fn rounding_is_not_risk() {
    // Shares bought at 3 are worth a bit more or less than the cash, and nothing else ever moves.
    let bars = bars_of(&[(3.0, 3.0); 50]);
    let rules = Execution { cash: 1000.1, ..Execution::default() };
    let metrics = simulate(&bars, Signals::long(&mask_of(&[true; 50]), &Mask::none(50)), &rules);
    for metric in [Metric::Sharpe, Metric::SortinoRatio, Metric::Calmar, Metric::Skew, Metric::Kurtosis] {
        assert_eq!(metrics.get(metric), None, "{}", metric.name());
    }
}

#[test]
fn prices_beyond_all_bounds_give_no_infinities() {
    let bars = bars_of(&[(1e-300, 1e-300), (1e-300, 1e300), (1e300, 1e308), (1e-308, 1e-308), (1.0, 1.0)]);
    for fill in [Fill::NextOpen, Fill::Close] {
        let rules = Execution { fill, cash: 1e-5, ..Execution::default() };
        let metrics =
            simulate(&bars, Signals::long(&mask_of(&[true; 5]), &mask_of(&[false, false, true, false, true])), &rules);
        let values = Metric::ALL.iter().filter_map(|metric| metrics.get(*metric));
        assert!(values.into_iter().all(f64::is_finite));
        assert!(metrics.block_returns.iter().chain(&metrics.block_squares).all(|sum| !sum.is_infinite()));
    }
}
