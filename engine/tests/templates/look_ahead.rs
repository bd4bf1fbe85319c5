//! No strategy knows bars that have not happened, and what does is found out.

use std::sync::Arc;

use jetsweep_engine::backtest::{self, RunFailure};
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::execution::{AtrDistance, Direction, EndPolicy, Execution, Fill};
use jetsweep_engine::lookahead::{Decision, Decisions, LookAhead, check, check_decisions};
use jetsweep_engine::mask::Mask;
use jetsweep_engine::simulation::{Signals, Trade, replay};
use jetsweep_engine::template::{Parameter, Template, builtin, builtins};
use proptest::prelude::*;

use crate::sample::{defaults, sample};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Longest period that made-up bars, which are few, still have values for.
const LONGEST_PERIOD: f64 = 12.0;

fn bars_of(rows: &[(f64, f64, f64, f64)]) -> Bars {
    let columns = BarsColumns {
        timestamps: (0..rows.len() as i64).map(|t| t * DAY_MS).collect(),
        open: rows.iter().map(|row| row.0).collect(),
        high: rows.iter().map(|row| row.0.max(row.1) * (1.0 + row.2)).collect(),
        low: rows.iter().map(|row| row.0.min(row.1) / (1.0 + row.2)).collect(),
        close: rows.iter().map(|row| row.1).collect(),
        volume: rows.iter().map(|row| row.3).collect(),
    };
    Bars::from_columns(columns, "test").unwrap()
}

/// Bars of prices near each other, every fourth of them a small whole number, so that ties are met.
fn made_up_bars() -> impl Strategy<Value = Bars> {
    let price = || prop_oneof![3 => 80.0..125.0_f64, 1 => (8..13_i32).prop_map(|tens| f64::from(tens * 10))];
    let row = (price(), price(), 0.0..0.1_f64, 0.0..1e6_f64);
    prop::collection::vec(row, 2..90).prop_map(|rows| bars_of(&rows))
}

fn rules() -> impl Strategy<Value = Execution> {
    let atr = prop::option::of((1..6_u32, 0.5..3.0_f64))
        .prop_map(|atr| atr.map(|(period, multiple)| AtrDistance { period, multiple }));
    let stops = (prop::option::of(0.01..0.3_f64), prop::option::of(0.01..0.3_f64), atr, prop::option::of(1..9_u32));
    (any::<[bool; 2]>(), stops).prop_map(|([at_close, liquidate], (stop_loss, take_profit, atr, max_bars))| Execution {
        commission: 0.001,
        slippage: 0.0005,
        fill: if at_close { Fill::Close } else { Fill::NextOpen },
        end: if liquidate { EndPolicy::Liquidate } else { EndPolicy::Mark },
        stop_loss,
        take_profit,
        trailing_stop_atr: atr,
        max_bars,
        ..Execution::default()
    })
}

/// A value within a parameter's bounds: the default if nothing else fits.
fn value(parameter: &Parameter, share: f64) -> f64 {
    let largest = if parameter.whole { parameter.max.min(LONGEST_PERIOD) } else { parameter.max };
    let value = parameter.min + share * (largest - parameter.min);
    if parameter.whole { value.round() } else { value }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_built_in_template_looks_ahead(
        bars in made_up_bars(),
        rules in rules(),
        shares in prop::collection::vec(0.0..1.0_f64, 8),
    ) {
        for template in builtins() {
            let values: Vec<f64> =
                template.params().values().zip(&shares).map(|(parameter, share)| value(parameter, *share)).collect();
            let direction = if template.short().is_some() { Direction::Both } else { Direction::Long };
            let rules = Execution { direction, ..rules.clone() };
            let strategy = backtest::Strategy::new(&template, &rules).unwrap();
            match check(&strategy, &bars, &values) {
                // Without `where`, the difference of two periods may be none.
                Err(LookAhead::Run(failure)) => prop_assert_eq!(failure.code, "bad_period"),
                checked => prop_assert_eq!(checked, Ok(()), "{}", template.name()),
            }
        }
    }
}

#[test]
fn no_built_in_template_looks_ahead_over_the_sample() {
    let bars = sample("EEM");
    for template in builtins() {
        let strategy = backtest::Strategy::new(&template, &Execution::default()).unwrap();
        assert_eq!(check(&strategy, &bars, &defaults(&template)), Ok(()), "{}", template.name());
    }
}

#[test]
fn short_rules_are_checked_too() {
    use jetsweep_engine::execution::Direction;
    let text = "name = \"both\"\n[long]\nenter = \"close > open\"\nexit = \"close < open\"\n\
                [short]\nenter = \"close < open\"\nexit = \"close > open\"\n";
    let template = Template::from_toml(text).unwrap();
    let execution = Execution { direction: Direction::Both, borrow_rate: 0.02, ..Execution::default() };
    assert_eq!(check(&backtest::Strategy::new(&template, &execution).unwrap(), &sample("EEM"), &[]), Ok(()));
}

#[test]
fn a_run_that_fails_cannot_be_checked() {
    let strategy = backtest::Strategy::new(&builtin("sma_cross").unwrap(), &Execution::default()).unwrap();
    let error = check(&strategy, &sample("EEM"), &[0.0, 3.0]).unwrap_err();
    assert!(error.to_string().starts_with("cannot be checked: bad_period: sma(close, fast): n is 0"), "{error}");
}

/// What a check says of a rule to enter, whose trades end at the bar after.
fn cheat(bars: &Bars, rule: impl Fn(&Bars, usize) -> bool) -> Result<(), LookAhead> {
    check_decisions(bars, |bars| {
        let enter = Mask::from_fn(bars.len(), |t| rule(&bars, t));
        let exit = Mask::from_fn(bars.len(), |_| true);
        let trades = replay(&bars, Signals::long(&enter, &exit), &Execution::default()).trades;
        Ok(Decisions { rules: vec![("enter", Arc::new(enter)), ("exit", Arc::new(exit))], trades })
    })
}

fn assert_found(result: Result<(), LookAhead>, expected: Decision) {
    match result {
        Err(LookAhead::Found { decision, bar, known, .. }) => {
            assert_eq!(decision, expected);
            assert!(bar <= known);
        }
        other => panic!("not found: {other:?}"),
    }
}

#[test]
fn rules_which_look_ahead_are_found_out() {
    let bars = sample("EEM");
    let close_at = |bars: &Bars, t: usize| bars.close().get(t).copied().unwrap_or(f64::NAN);
    assert_found(cheat(&bars, |bars, t| close_at(bars, t + 1) > bars.close()[t]), Decision::Rule("enter"));
    assert_found(cheat(&bars, |bars, t| close_at(bars, t + 50) < bars.close()[t]), Decision::Rule("enter"));
    assert_found(cheat(&bars, |bars, t| bars.volume().get(t + 1) > Some(&1e7)), Decision::Rule("enter"));
    // The mean of all bars, as in a normalisation of the whole file.
    let mean = |bars: &Bars| bars.close().iter().sum::<f64>() / bars.len() as f64;
    assert_found(cheat(&bars, |bars, t| bars.close()[t] > mean(bars)), Decision::Rule("enter"));
    // Looks ahead at one bar in a thousand only.
    let rarely = |bars: &Bars, t: usize| t % 1000 == 777 && close_at(bars, t + 1) > bars.close()[t];
    assert_found(cheat(&bars, rarely), Decision::Rule("enter"));
    assert_eq!(cheat(&bars, |bars, t| bars.close()[t] > bars.open()[t]), Ok(()));
}

/// What a check says of one trade made of the bars.
fn trade(bars: &Bars, trade: impl Fn(&Bars) -> Trade) -> Result<(), LookAhead> {
    check_decisions(bars, |bars| Ok(Decisions { rules: Vec::new(), trades: vec![trade(&bars)] }))
}

#[test]
fn fills_which_look_ahead_are_found_out() {
    let bars = sample("EEM");
    let honest = replay(
        &bars,
        Signals::long(&Mask::from_fn(bars.len(), |t| t == 9), &Mask::from_fn(bars.len(), |t| t == 19)),
        &Execution::default(),
    )
    .trades
    .remove(0);
    assert_eq!((honest.entry_bar, honest.exit_bar), (10, 20));
    assert_eq!(trade(&bars, |_| honest.clone()), Ok(()));
    let last = |bars: &Bars| bars.close()[bars.len() - 1];
    assert_found(trade(&bars, |bars| Trade { entry_price: last(bars), ..honest.clone() }), Decision::Entry);
    assert_found(trade(&bars, |bars| Trade { size: 100.0 / last(bars), ..honest.clone() }), Decision::Entry);
    assert_found(trade(&bars, |bars| Trade { exit_price: last(bars), ..honest.clone() }), Decision::Exit);
    let at_the_low = |bars: &Bars| {
        let lowest = (10..bars.len()).min_by(|a, b| bars.low()[*a].total_cmp(&bars.low()[*b])).unwrap();
        Trade { entry_bar: lowest, exit_bar: bars.len() - 1, open: true, ..honest.clone() }
    };
    assert_found(trade(&bars, at_the_low), Decision::Entry);
    let none_if_it_falls = |bars: Arc<Bars>| {
        let trades = if last(&bars) < bars.close()[10] { Vec::new() } else { vec![honest.clone()] };
        Ok(Decisions { rules: Vec::new(), trades })
    };
    assert_found(check_decisions(&bars, none_if_it_falls), Decision::Entry);
}

#[test]
fn what_is_found_is_said_with_its_place() {
    let bars = bars_of(&[(10.0, 10.0, 0.0, 1.0); 5]);
    let error = cheat(&bars, |bars, t| bars.close().get(t + 1) > Some(&11.0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the rule enter at bar 0 (1970-01-01) changed when only the bars after bar 0 (1970-01-01) did: it looks ahead"
    );
    let failed = check_decisions(&bars, |_| Err(RunFailure::new("panic", "x")));
    assert_eq!(failed, Err(LookAhead::Run(RunFailure::new("panic", "x"))));
}
