//! Every built-in template over the sample bars.

use std::fs::File;
use std::sync::Arc;

use jetsweep_engine::backtest::Strategy;
use jetsweep_engine::bars::Bars;
use jetsweep_engine::columns::Columns;
use jetsweep_engine::execution::{Direction, Execution};
use jetsweep_engine::metrics::Metric;
use jetsweep_engine::simulation::Side;
use jetsweep_engine::template::{Template, builtin, builtins};

const SYMBOLS: [&str; 9] = ["AAPL", "AIG", "BAC", "EEM", "GOOG", "GOOGL", "IBM", "IWM", "SPY"];

/// Memory for shared columns, as a worker gives a symbol.
const BUDGET: usize = 16 << 20;

pub(crate) fn sample(symbol: &str) -> Arc<Bars> {
    let path = format!("{}/../data/sample/{symbol}.csv", env!("CARGO_MANIFEST_DIR"));
    Arc::new(Bars::read_csv(File::open(&path).unwrap(), &path).unwrap())
}

pub(crate) fn defaults(template: &Template) -> Vec<f64> {
    template.defaults().into_values().collect()
}

#[test]
fn built_in_templates_trade_with_their_defaults() {
    let execution = Execution { commission: 0.001, ..Execution::default() };
    for symbol in SYMBOLS {
        let mut columns = Columns::new(sample(symbol), BUDGET);
        for template in builtins() {
            let strategy = Strategy::new(&template, &execution).unwrap();
            let metrics = strategy.run(&mut columns, &defaults(&template)).unwrap();
            let count = |metric| metrics.get(metric).unwrap();
            let (closed, open) = (count(Metric::TradeCount), count(Metric::OpenTrades));
            assert!(closed + open >= 1.0, "{symbol} {}: {closed} trades", template.name());
            let holds = template.name() == "buy_and_hold";
            assert!(symbol != "SPY" || holds || closed >= 10.0, "SPY {}: {closed} trades", template.name());
        }
    }
}

#[test]
fn built_in_templates_with_short_rules_take_both_sides() {
    let both = Execution { direction: Direction::Both, commission: 0.001, ..Execution::default() };
    let mut columns = Columns::new(sample("SPY"), BUDGET);
    let two_sided: Vec<Template> = builtins().into_iter().filter(|template| template.short().is_some()).collect();
    assert!(two_sided.len() >= 15, "{}", two_sided.len());
    for template in two_sided {
        let trades = |execution: &Execution, columns: &mut Columns| {
            Strategy::new(&template, execution).unwrap().replay(columns, &defaults(&template)).unwrap().trades
        };
        let trades_both = trades(&both, &mut columns);
        for side in [Side::Long, Side::Short] {
            assert!(trades_both.iter().any(|trade| trade.side == side), "{} never is {side:?}", template.name());
        }
        let short = trades(&Execution { direction: Direction::Short, ..both.clone() }, &mut columns);
        assert!(!short.is_empty() && short.iter().all(|trade| trade.side == Side::Short), "{}", template.name());
    }
}

#[test]
fn bounds_of_built_in_templates_run_too() {
    let mut columns = Columns::new(sample("SPY"), BUDGET);
    for template in builtins() {
        let strategy = Strategy::new(&template, &Execution::default()).unwrap();
        for (position, (name, parameter)) in template.params().iter().enumerate() {
            for bound in [parameter.min, parameter.max] {
                let mut values = defaults(&template);
                values[position] = bound;
                let result = strategy.run(&mut columns, &values);
                // What `where` leaves out need not run.
                let fits = holds(&template, &values);
                assert!(result.is_ok() || !fits, "{} with {name} = {bound}: {result:?}", template.name());
            }
        }
    }
}

fn holds(template: &Template, values: &[f64]) -> bool {
    use jetsweep_engine::grid::{Axis, Grid};
    let axes = template.params().keys().cloned().zip(values.iter().map(|value| Axis::Value(*value))).collect();
    !Grid::new(template, axes).points(template).unwrap().is_empty()
}

#[test]
fn buy_and_hold_is_the_bars_own_return() {
    let bars = sample("SPY");
    let strategy = Strategy::new(&builtin("buy_and_hold").unwrap(), &Execution::default()).unwrap();
    let replay = strategy.replay(&mut Columns::new(Arc::clone(&bars), 0), &[]).unwrap();
    let [trade] = &replay.trades[..] else { panic!("one position: {:?}", replay.trades) };
    assert_eq!((trade.entry_bar, trade.entry_price, trade.open), (1, bars.open()[1], true));
    let gained = bars.close()[bars.len() - 1] / bars.open()[1] - 1.0;
    let found = replay.metrics.get(Metric::TotalReturn).unwrap();
    assert!((found - gained).abs() <= 1e-12 * gained, "{found}, expected {gained}");
    assert_eq!(replay.metrics.get(Metric::TradeCount), Some(0.0));
}
