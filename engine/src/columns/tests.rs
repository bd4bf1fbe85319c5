//! The cache changes the cost of a value, never the value.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Columns, MAX_NODES};
use crate::expr::{Parameter, Rule, Rules};
use crate::mask::Mask;
use crate::test_bars::{bars_of, rough_rows, sample};

fn parameters() -> Vec<Parameter> {
    ["a", "b"].map(|name| Parameter { name: name.to_owned(), whole: true }).to_vec()
}

fn rule(source: &str) -> Arc<Rules> {
    Arc::new(Rules::join([&Rule::new("", source, &parameters()).unwrap()]))
}

const SOURCES: [&str; 6] = [
    "sma(close, a) > sma(close, b)",
    "sma(close, b) < sma(close, a) and rsi(close, a) < 40",
    "crosses_above(macd(close, a, b, 3), macd_signal(close, a, b, 3))",
    "close > bbands_upper(close, b, 1.5) or not (close >= lag(highest(high, a), 1))",
    "macd_hist(macd_hist(macd_hist(close, a, b, 2), a, b, 2), a, b, 2) > 0",
    "a > 10 or close > b and open >= close",
];

/// Some rules alone, and all of them together.
fn rules() -> Vec<Arc<Rules>> {
    let all: Vec<Rule> = SOURCES.iter().map(|source| Rule::new("", source, &parameters()).unwrap()).collect();
    SOURCES.iter().map(|source| rule(source)).chain([Arc::new(Rules::join(&all))]).collect()
}

fn masks(columns: &mut Columns, rules: &Arc<Rules>, values: &[f64]) -> Vec<Mask> {
    columns.bind(rules, values).unwrap();
    (0..rules.roots.len()).map(|rule| columns.mask(rule).clone()).collect()
}

fn mask(columns: &mut Columns, rules: &Arc<Rules>, values: &[f64]) -> Mask {
    masks(columns, rules, values).remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn results_depend_neither_on_the_budget_nor_on_earlier_runs(
        rows in rough_rows(1..200),
        // Rules often stay, and so does a parameter, as in the runs of a sweep.
        runs in prop::collection::vec((0..60_usize, prop::option::of(1..20_u32), prop::option::of(1..20_u32)), 1..40),
        budget in 0..20_000_usize,
    ) {
        let (bars, rules) = (bars_of(&rows), rules());
        let mut unlimited = Columns::new(Arc::clone(&bars), usize::MAX);
        let mut limited = Columns::new(Arc::clone(&bars), budget);
        let mut none = Columns::new(Arc::clone(&bars), 0);
        let (mut rule, mut values) = (&rules[0], [3.0, 5.0]);
        for (choice, a, b) in runs {
            rule = rules.get(choice).unwrap_or(rule);
            values = [a.map_or(values[0], f64::from), b.map_or(values[1], f64::from)];
            let fresh = masks(&mut Columns::new(Arc::clone(&bars), usize::MAX), rule, &values);
            prop_assert_eq!(&masks(&mut unlimited, rule, &values), &fresh);
            prop_assert_eq!(&masks(&mut limited, rule, &values), &fresh);
            prop_assert_eq!(&masks(&mut none, rule, &values), &fresh);
            prop_assert!(limited.stats().bytes <= budget);
            prop_assert_eq!(none.stats().bytes, 0);
        }
    }
}

#[test]
fn a_run_that_failed_leaves_nothing_behind() {
    let (bars, rule) = (sample("SPY"), rule(SOURCES[0]));
    let mut columns = Columns::new(Arc::clone(&bars), usize::MAX);
    let expected = mask(&mut columns, &rule, &[10.0, 30.0]);
    assert_eq!(columns.bind(&rule, &[20.0, 0.0]).unwrap_err().code, "bad_period");
    assert_eq!(mask(&mut columns, &rule, &[10.0, 30.0]), expected);
}

#[test]
fn equal_sub_expressions_are_computed_once() {
    let rules = rules();
    let mut columns = Columns::new(sample("SPY"), usize::MAX);
    mask(&mut columns, &rules[0], &[10.0, 30.0]);
    // the prefix sums of closes, two averages
    assert_eq!(columns.stats().misses, 3);
    mask(&mut columns, &rules[0], &[10.0, 30.0]);
    assert_eq!((columns.stats().hits, columns.stats().misses), (1, 3), "nothing changed since the run before");
    mask(&mut columns, &rules[0], &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 4, "one average is new");
    mask(&mut columns, &rule("sma(close, b) < sma(close, a)"), &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 4, "other rules share it");
    mask(&mut columns, &rule("bbands_middle(close, a) > sma(close, b)"), &[10.0, 50.0]);
    assert_eq!(columns.stats().misses, 4, "the middle band is the average");
}

#[test]
fn nothing_is_computed_twice_within_a_run_even_without_a_budget() {
    let mut columns = Columns::new(sample("SPY"), 0);
    mask(&mut columns, &rules()[4], &[3.0, 6.0]);
    // line, warm-up, signal and histogram three times
    assert_eq!(columns.stats().misses, 3 * 4);
}

#[test]
fn the_budget_keeps_what_was_used_last() {
    let bars = sample("SPY");
    let column = size_of_val(bars.close());
    let rule = rule("ema(close, a) > 0");
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
    let rule = Arc::new(Rules::join([&rule]));
    let mut columns = Columns::new(Arc::clone(&bars), usize::MAX);
    for step in 0..MAX_NODES {
        let x = 0.5 + step as f64 / MAX_NODES as f64;
        let expected = Mask::from_fn(3, |t| bars.close()[t] * x > 2.0);
        assert_eq!(mask(&mut columns, &rule, &[x]), expected);
        assert!(columns.nodes.len() <= MAX_NODES + 3);
    }
}
