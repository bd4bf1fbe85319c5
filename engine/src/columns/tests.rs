//! The cache changes the cost of a value, never the value.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Columns, MAX_NODES};
use crate::expr::{Parameter, Rule};
use crate::mask::Mask;
use crate::test_bars::{bars_of, rough_rows, sample};

fn parameters() -> Vec<Parameter> {
    ["a", "b"].map(|name| Parameter { name: name.to_owned(), whole: true }).to_vec()
}

fn rules() -> Vec<Rule> {
    let sources = [
        "sma(close, a) > sma(close, b)",
        "sma(close, b) < sma(close, a) and rsi(close, a) < 40",
        "crosses_above(macd(close, a, b, 3), macd_signal(close, a, b, 3))",
        "close > bbands_upper(close, b, 1.5) or not (close >= lag(highest(high, a), 1))",
        "macd_hist(macd_hist(macd_hist(close, a, b, 2), a, b, 2), a, b, 2) > 0",
    ];
    sources.iter().map(|source| Rule::new("", source, &parameters()).unwrap()).collect()
}

fn mask(columns: &mut Columns, rule: &Rule, values: &[f64]) -> Arc<Mask> {
    let [mask] = columns.masks([rule], values).unwrap();
    mask
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn results_do_not_depend_on_the_budget(
        rows in rough_rows(1..200),
        runs in prop::collection::vec((0..5_usize, 1..20_u32, 1..20_u32), 1..40),
        budget in 0..20_000_usize,
    ) {
        let (bars, rules) = (bars_of(&rows), rules());
        let mut unlimited = Columns::new(Arc::clone(&bars), usize::MAX);
        let mut limited = Columns::new(Arc::clone(&bars), budget);
        let mut none = Columns::new(Arc::clone(&bars), 0);
        for (rule, a, b) in runs {
            let (rule, values) = (&rules[rule], [f64::from(a), f64::from(b)]);
            let fresh = mask(&mut Columns::new(Arc::clone(&bars), usize::MAX), rule, &values);
            prop_assert_eq!(&mask(&mut unlimited, rule, &values), &fresh);
            prop_assert_eq!(&mask(&mut limited, rule, &values), &fresh);
            prop_assert_eq!(&mask(&mut none, rule, &values), &fresh);
            prop_assert!(limited.stats().bytes <= budget);
            prop_assert_eq!(none.stats().bytes, 0);
        }
    }
}

#[test]
fn equal_sub_expressions_are_computed_once() {
    let rules = rules();
    let mut columns = Columns::new(sample("SPY"), usize::MAX);
    mask(&mut columns, &rules[0], &[10.0, 30.0]);
    // close, its prefix sums, two averages, one comparison
    assert_eq!(columns.stats().misses, 5);
    mask(&mut columns, &rules[0], &[10.0, 30.0]);
    assert_eq!(columns.stats().misses, 5, "the whole rule is known");
    mask(&mut columns, &rules[0], &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 7, "one average and the comparison are new");
    let swapped = Rule::new("", "sma(close, b) < sma(close, a)", &parameters()).unwrap();
    mask(&mut columns, &swapped, &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 7, "a > b is b < a");
    let middle = Rule::new("", "bbands_middle(close, a) > sma(close, b)", &parameters()).unwrap();
    mask(&mut columns, &middle, &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 7, "the middle band is the average");
}

#[test]
fn nothing_is_computed_twice_within_a_run_even_without_a_budget() {
    let mut columns = Columns::new(sample("SPY"), 0);
    mask(&mut columns, &rules()[4], &[3.0, 6.0]);
    // close; line, warm-up, signal and histogram three times; the comparison
    assert_eq!(columns.stats().misses, 1 + 3 * 4 + 1);
}

#[test]
fn the_budget_keeps_what_was_used_last() {
    let bars = sample("SPY");
    let column = size_of_val(bars.close());
    let rule = Rule::new("", "ema(close, a) > 0", &parameters()).unwrap();
    let mut columns = Columns::new(Arc::clone(&bars), 3 * column);
    for period in [10.0, 20.0, 10.0, 30.0, 10.0, 40.0, 10.0] {
        mask(&mut columns, &rule, &[period, 1.0]);
    }
    let misses = columns.stats().misses;
    mask(&mut columns, &rule, &[10.0, 1.0]);
    assert_eq!(columns.stats().misses, misses, "the column used most often is still there");
    assert!(columns.stats().bytes <= 3 * column);
}

#[test]
fn nodes_stay_bounded() {
    let bars = bars_of(&[(1.0, 2.0, 0.0), (2.0, 3.0, 0.0), (3.0, 1.0, 0.0)]);
    let rule = Rule::new("", "close * x > 2", &[Parameter { name: "x".to_owned(), whole: false }]).unwrap();
    let mut columns = Columns::new(Arc::clone(&bars), usize::MAX);
    for step in 0..MAX_NODES {
        let x = 0.5 + step as f64 / MAX_NODES as f64;
        let expected = Mask::from_fn(3, |t| bars.close()[t] * x > 2.0);
        assert_eq!(*mask(&mut columns, &rule, &[x]), expected);
        assert!(columns.nodes.len() <= MAX_NODES + 3);
    }
}
