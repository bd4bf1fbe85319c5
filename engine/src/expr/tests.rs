//! Grammar, messages, and Kleene's logic against a naive evaluator.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Filter, MAX_LENGTH, MAX_NESTING, MAX_NODES, Parameter, Rule, is_built_in};
use crate::bars::Bars;
use crate::columns::Columns;
use crate::mask::Mask;
use crate::test_bars::{bars_of, small_bars};

fn parameters() -> Vec<Parameter> {
    let parameter = |name: &str, whole| Parameter { name: name.to_owned(), whole };
    vec![parameter("fast", true), parameter("slow", true), parameter("level", false)]
}

/// The messages for a rule that is refused.
fn refused(source: &str) -> Vec<String> {
    let problems = Rule::new("long.enter", source, &parameters()).expect_err(source);
    assert!(problems.iter().all(|problem| problem.at == "long.enter"));
    problems.into_iter().map(|problem| problem.message).collect()
}

fn mask(bars: &Arc<Bars>, source: &str) -> Mask {
    let rule = Rule::new("", source, &parameters()).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
    Columns::new(Arc::clone(bars), usize::MAX).mask_of(&rule, &[2.0, 3.0, 2.5]).unwrap()
}

fn some_bars() -> Arc<Bars> {
    let row = |t: i32| (f64::from(t * 7 % 5 + 1), f64::from(t * 3 % 7 + 1), f64::from(t % 4));
    bars_of(&(0..150).map(row).collect::<Vec<_>>())
}

fn holds(source: &str, values: &[f64]) -> bool {
    Filter::new("where", source, &parameters())
        .unwrap_or_else(|problems| panic!("{source}: {problems:?}"))
        .holds(values)
}

#[test]
fn operators_bind_as_usual() {
    let bars = some_bars();
    for (short, explicit) in [
        ("close + open * 2 > 7", "(close + (open * 2)) > 7"),
        ("close - open - 1 > 0", "((close - open) - 1) > 0"),
        ("close / open / 2 < 1", "((close / open) / 2) < 1"),
        ("-close * 2 < -3 - open", "((-close) * 2) < ((-3) - open)"),
        ("close > 3 or open > 2 and close < 5", "(close > 3) or ((open > 2) and (close < 5))"),
        ("not close > 3 and open > 2", "(not (close > 3)) and (open > 2)"),
        ("not not close > 3", "close > 3"),
        ("- -close > 3", "close > 3"),
    ] {
        assert_eq!(mask(&bars, short), mask(&bars, explicit), "{short}");
    }
    assert!(holds("2 + 3 * 4 == 14 and 2 - 3 - 4 == -5 and 8 / 4 / 2 == 1 and -2 * -3 == 6", &[0.0; 3]));
}

#[test]
fn numbers_may_have_fractions_and_exponents() {
    assert!(holds("1.5e2 == 150 and .5 == 0.5 and 1. == 1 and 2E-1 == 0.2 and 1e+2 == 100", &[0.0; 3]));
    assert!(refused("close > 1e999")[0].contains("\"1e999\" is not a number that can be represented"));
    assert!(refused("close > 12abc")[0].contains("\"12abc\" is not a number"));
    assert!(refused("close > 1.2.3")[0].contains("expected an operator or the end"));
}

#[test]
fn functions_mean_what_they_say() {
    assert!(holds("min(2, 3) == 2 and max(2, 3) == 3 and abs(-2) == 2 and log(1) == 0", &[0.0; 3]));
    assert!(holds("fast < slow and level > fast and slow * 2 - fast == 4", &[2.0, 3.0, 2.5]));
    // A comparison with NaN is neither true nor false, and min and max pass NaN on.
    for unknown in ["log(-1) > 0", "0 / 0 == 0 / 0", "min(1, log(-1)) < 2", "max(log(-1), 1) > 0", "0 / 0 != 1"] {
        assert!(!holds(unknown, &[0.0; 3]) && !holds(&format!("not ({unknown})"), &[0.0; 3]), "{unknown}");
        assert!(holds(&format!("{unknown} or 1 < 2"), &[0.0; 3]));
        assert!(holds(&format!("not ({unknown} and 1 > 2)"), &[0.0; 3]));
    }
}

#[test]
fn crossing_looks_at_two_bars() {
    let closes = [1.0, 3.0, 2.0, 2.0, 5.0, 2.0, 1.0];
    let bars = bars_of(&closes.map(|close| (2.0, close, 0.0)));
    let at = |source: &str| (0..closes.len()).filter(|&t| mask(&bars, source).get(t)).collect::<Vec<_>>();
    assert_eq!(at("crosses_above(close, 2)"), [1, 4]);
    assert_eq!(at("crosses_above(close, open)"), [1, 4]);
    assert_eq!(at("crosses_below(close, 2)"), [6]);
    assert_eq!(at("crosses_above(2, close)"), [6]);
    // At the first bar the close of 1 is not above 2, so it did not cross, whatever came before.
    assert_eq!(at("not crosses_above(close, 2)"), [0, 2, 3, 5, 6]);
    // There a crossing below is unknown.
    assert_eq!(at("not crosses_below(close, 2)"), [1, 2, 3, 4, 5]);
}

#[test]
fn conditions_on_numbers_alone_hold_everywhere_or_nowhere() {
    let bars = some_bars();
    assert_eq!(mask(&bars, "fast < slow and close > 3"), mask(&bars, "close > 3"));
    assert_eq!(mask(&bars, "fast > slow or close > 3"), mask(&bars, "close > 3"));
    assert_eq!(mask(&bars, "fast < slow or close > 3"), Mask::from_fn(bars.len(), |_| true));
    assert_eq!(mask(&bars, "fast > slow and close > 3"), Mask::none(bars.len()));
}

#[test]
fn periods_may_be_computed_and_are_checked_in_each_run() {
    let bars = some_bars();
    assert_eq!(mask(&bars, "sma(close, slow * 2 - fast) > 3"), mask(&bars, "sma(close, 4) > 3"));
    let rule = Rule::new("", "sma(close, fast - slow) > 3", &parameters()).unwrap();
    let failure = Columns::new(bars, usize::MAX).mask_of(&rule, &[2.0, 3.0, 0.0]).unwrap_err();
    assert_eq!(failure.code, "bad_period");
    assert_eq!(failure.message, "sma(close, fast - slow): n is -1, must be a whole number of at least 1");
}

#[test]
fn messages_point_at_the_place() {
    let message = refused("close > smma(close, 20) and open > 3");
    let expected = "unknown function \"smma\" (did you mean \"sma\"?) (column 9)
    close > smma(close, 20) and open > 3
            ^^^^";
    assert_eq!(message, [expected]);
}

#[test]
fn messages_say_what_to_do() {
    for (source, expected) in [
        ("", "the expression ends where a value should follow"),
        ("close >", "the expression ends where a value should follow (column 8)"),
        ("close = 3", "\"=\" is not an operator here: write \"==\" (column 7)"),
        ("close > 3 && open > 3", "\"&&\" is not an operator here: write \"and\""),
        ("!(close > 3)", "\"!\" is not an operator here: write \"not\""),
        ("1 < close < 3", "comparisons do not chain: write \"a < b and b < c\" (column 11)"),
        ("close > (3", "this \"(\" is never closed (column 9)"),
        ("close > 3)", "this \")\" closes nothing (column 10)"),
        ("close 3", "expected an operator or the end here (column 7)"),
        ("sma(close 3) > 1", "expected an operator, \",\" or \")\" here (column 11)"),
        ("close > * 3", "expected a value here: a number, a name, a call or \"(\" (column 9)"),
        ("close > €", "'€' has no meaning in an expression (column 9)"),
        ("close", "this must be a condition, but is a column: compare it, as in \"... > 0\""),
        ("fast", "this must be a condition, but is a whole number"),
        ("close and open > 3", "\"and\" takes conditions, but this is a column (column 1)"),
        ("not close", "\"not\" takes conditions, but this is a column (column 5)"),
        ("(close > 3) + 1 > 2", "\"+\" takes numbers and columns, but this is a condition"),
        ("abs(close > 3) > 2", "abs takes numbers and columns, but this is a condition"),
        ("fats < 3", "unknown name \"fats\" (did you mean \"fast\"?) (column 1)"),
        ("close > sma", "\"sma\" is a function: write sma(x, n) (column 9)"),
        ("close > min", "\"min\" is a function: write min(a, b)"),
        ("close(1) > open", "\"close\" is not a function; for the value n bars ago write lag(close, n)"),
        ("sma(close) > 3", "sma(x, n) has 2 arguments, but 1 are given here"),
        ("abs(1, 2) > 3", "abs(x) has 1 argument, but 2 are given here"),
        ("sma(close, 2.5) > 3", "sma: n must be a whole number, but this is a number"),
        ("sma(close, level) > 3", "(a parameter is whole when its default and bounds are written without \".\")"),
        ("sma(close, fast / 2) > 3", "sma: n must be a whole number, but this is a number"),
        ("sma(close, close) > 3", "sma: n must be a whole number, but this is a column"),
        ("sma(5, 3) > 3", "sma: x must be a column, but this is a whole number (column 5)"),
        ("bbands_upper(close, 20, close) > 3", "bbands_upper: k must be a number, but this is a column"),
        ("crosses_above(fast, slow)", "two numbers never cross: give crosses_above at least one column"),
    ] {
        let messages = refused(source);
        assert!(messages[0].contains(expected), "{source}: {messages:?}");
    }
}

#[test]
fn all_problems_of_a_rule_are_reported_in_order() {
    let messages = refused("sma(clse, 2.5) > fats and open");
    assert_eq!(messages.len(), 4, "{messages:?}");
    assert!(messages[0].starts_with("unknown name \"clse\" (did you mean \"close\"?)"));
    assert!(messages[1].starts_with("sma: n must be"));
    assert!(messages[2].starts_with("unknown name \"fats\""));
    assert!(messages[3].starts_with("\"and\" takes conditions"));
}

#[test]
fn a_filter_sees_parameters_only() {
    for source in ["close > 3", "sma(close, 3) > 3", "crosses_above(fast, slow)", "obv() > 3"] {
        let problems = Filter::new("where", source, &parameters()).unwrap_err();
        assert!(problems[0].message.contains("sees parameters only"), "{source}: {problems:?}");
    }
}

#[test]
fn long_and_odd_text_is_quoted_within_bounds() {
    let long = format!("{} + € > 3", "close + ".repeat(100));
    let message = &refused(&long)[0];
    let quote: Vec<&str> = message.lines().skip(1).collect();
    assert!(quote[0].chars().count() < 140, "{message}");
    let caret = quote[1].chars().position(|c| c == '^').unwrap();
    assert_eq!(quote[0].chars().nth(caret), Some('€'), "{message}");
    let lines = refused("close >\n  smaa(close, 3)");
    assert!(lines[0].contains("    close >   smaa(close, 3)\n              ^^^^"), "{}", lines[0]);
}

#[test]
fn limits_stop_hostile_input() {
    let nested = |open: &str, inner: &str, close: &str, depth: usize| {
        format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
    };
    for hostile in [
        nested("(", "1", ")", 2000),
        nested("(", "", "", 4000),
        nested("not ", "close > 1", "", 1000),
        nested("-", "close > 1", "", 4000),
        nested("abs(", "close", ")", 800),
        "close+".repeat(600) + "close > 1",
        "x".repeat(MAX_LENGTH + 1),
    ] {
        let messages = refused(&hostile);
        assert_eq!(messages.len(), 1);
        assert!(messages[0].contains("at most"), "{}", messages[0]);
    }
    let bars = some_bars();
    let deepest = nested("(", "close > 3", ")", MAX_NESTING - 1);
    assert_eq!(mask(&bars, &deepest), mask(&bars, "close > 3"));
    // A chain as long as the limit allows, on the left side and by nesting.
    let chain = "close + ".repeat(MAX_NODES / 2 - 2) + "close > 3";
    assert_eq!(mask(&bars, &chain).len(), bars.len());
    let scores = nested("zscore(", "close", ", 3)", MAX_NESTING - 1);
    assert_eq!(mask(&bars, &format!("{scores} > 0")).len(), bars.len());
    let lags = nested("lag(", "close", ", 1)", MAX_NESTING - 1);
    assert_eq!(mask(&bars, &format!("{lags} > 3")), mask(&bars, &format!("lag(close, {}) > 3", MAX_NESTING - 1)));
}

#[test]
fn built_in_names_are_known() {
    for name in ["and", "not", "close", "sma", "lag", "min", "crosses_above", "macd_hist"] {
        assert!(is_built_in(name), "{name}");
    }
    assert!(!is_built_in("fast"));
}

/// A number or column, for the naive evaluator.
#[derive(Debug, Clone)]
enum Number {
    Close,
    Open,
    Volume,
    Constant(f64),
    Lag(u32),
    Log(Box<Number>),
    Binary(&'static str, Box<Number>, Box<Number>),
    Function(&'static str, Box<Number>, Box<Number>),
}

/// A condition, for the naive evaluator.
#[derive(Debug, Clone)]
enum Truth {
    Compare(&'static str, Number, Number),
    Crosses(&'static str, Number, Number),
    Not(Box<Truth>),
    And(Box<Truth>, Box<Truth>),
    Or(Box<Truth>, Box<Truth>),
}

impl Number {
    fn text(&self) -> String {
        match self {
            Number::Close => "close".to_owned(),
            Number::Open => "open".to_owned(),
            Number::Volume => "volume".to_owned(),
            Number::Constant(value) => format!("{value}"),
            Number::Lag(bars) => format!("lag(close, {bars})"),
            Number::Log(x) => format!("log({} - 3)", x.text()),
            Number::Binary(op, a, b) => format!("({} {op} {})", a.text(), b.text()),
            Number::Function(name, a, b) => format!("{name}({}, {})", a.text(), b.text()),
        }
    }

    fn is_column(&self) -> bool {
        match self {
            Number::Constant(_) => false,
            Number::Log(x) => x.is_column(),
            Number::Binary(_, a, b) | Number::Function(_, a, b) => a.is_column() || b.is_column(),
            _ => true,
        }
    }

    fn at(&self, bars: &Bars, t: usize) -> f64 {
        match self {
            Number::Close => bars.close()[t],
            Number::Open => bars.open()[t],
            Number::Volume => bars.volume()[t],
            Number::Constant(value) => *value,
            Number::Lag(n) => t.checked_sub(*n as usize).map_or(f64::NAN, |before| bars.close()[before]),
            Number::Log(x) => libm::log(x.at(bars, t) - 3.0),
            Number::Binary(op, a, b) => {
                let (a, b) = (a.at(bars, t), b.at(bars, t));
                match *op {
                    "+" => a + b,
                    "-" => a - b,
                    "*" => a * b,
                    _ => a / b,
                }
            }
            Number::Function(name, a, b) => {
                let (a, b) = (a.at(bars, t), b.at(bars, t));
                match *name {
                    _ if a.is_nan() || b.is_nan() => f64::NAN,
                    "min" => a.min(b),
                    _ => a.max(b),
                }
            }
        }
    }
}

impl Truth {
    fn text(&self) -> String {
        match self {
            Truth::Compare(op, a, b) => format!("{} {op} {}", a.text(), b.text()),
            Truth::Crosses(name, a, b) => format!("{name}({}, {})", a.text(), b.text()),
            Truth::Not(x) => format!("not ({})", x.text()),
            Truth::And(a, b) => format!("({} and {})", a.text(), b.text()),
            Truth::Or(a, b) => format!("({} or {})", a.text(), b.text()),
        }
    }

    /// Kleene's logic as the textbook has it: `None` is unknown.
    fn at(&self, bars: &Bars, t: usize) -> Option<bool> {
        match self {
            Truth::Compare(op, a, b) => compare(op, a.at(bars, t), b.at(bars, t)),
            Truth::Crosses(name, a, b) => {
                let (before, now) = if *name == "crosses_above" { ("<=", ">") } else { (">=", "<") };
                let before = match t.checked_sub(1) {
                    Some(last) => compare(before, a.at(bars, last), b.at(bars, last)),
                    None => None,
                };
                and(before, compare(now, a.at(bars, t), b.at(bars, t)))
            }
            Truth::Not(x) => x.at(bars, t).map(|x| !x),
            Truth::And(a, b) => and(a.at(bars, t), b.at(bars, t)),
            Truth::Or(a, b) => match (a.at(bars, t), b.at(bars, t)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
        }
    }
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

fn compare(op: &str, a: f64, b: f64) -> Option<bool> {
    if a.is_nan() || b.is_nan() {
        return None;
    }
    Some(match op {
        "<" => a < b,
        "<=" => a <= b,
        ">" => a > b,
        ">=" => a >= b,
        "==" => a == b,
        _ => a != b,
    })
}

fn numbers() -> impl Strategy<Value = Number> {
    let leaf = prop_oneof![
        Just(Number::Close),
        Just(Number::Open),
        Just(Number::Volume),
        (0..6_i32).prop_map(|x| Number::Constant(f64::from(x) / 2.0)),
        (0..4_u32).prop_map(Number::Lag),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let pair = (inner.clone(), inner.clone());
        let binary = (prop::sample::select(vec!["+", "-", "*", "/"]), pair.clone())
            .prop_map(|(op, (a, b))| Number::Binary(op, Box::new(a), Box::new(b)));
        let function = (prop::sample::select(vec!["min", "max"]), pair)
            .prop_map(|(name, (a, b))| Number::Function(name, Box::new(a), Box::new(b)));
        prop_oneof![binary, function, inner.prop_map(|x| Number::Log(Box::new(x)))]
    })
}

fn truths() -> impl Strategy<Value = Truth> {
    let operator = prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]);
    let crossing = prop::sample::select(vec!["crosses_above", "crosses_below"]);
    let leaf = prop_oneof![
        (operator, numbers(), numbers()).prop_map(|(op, a, b)| Truth::Compare(op, a, b)),
        (crossing, numbers(), numbers())
            .prop_filter("numbers never cross", |(_, a, b)| a.is_column() || b.is_column())
            .prop_map(|(name, a, b)| Truth::Crosses(name, a, b)),
    ];
    leaf.prop_recursive(4, 16, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|x| Truth::Not(Box::new(x))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Truth::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Truth::Or(Box::new(a), Box::new(b))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn only_what_is_true_in_kleenes_logic_counts(bars in small_bars(1..90), truth in truths()) {
        let text = truth.text();
        prop_assume!(text.len() <= MAX_LENGTH);
        let rule = match Rule::new("", &text, &[]) {
            Ok(rule) => rule,
            Err(problems) => {
                prop_assert!(problems[0].message.contains("at most"), "{}: {:?}", text, problems);
                return Ok(());
            }
        };
        let mask = Columns::new(Arc::clone(&bars), usize::MAX).mask_of(&rule, &[]).unwrap();
        let expected = Mask::from_fn(bars.len(), |t| truth.at(&bars, t) == Some(true));
        prop_assert_eq!(&mask, &expected, "{}", text);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        let _ = Rule::new("", &text, &parameters());
        let _ = Filter::new("", &text, &parameters());
    }

    #[test]
    fn no_sequence_of_tokens_makes_the_checker_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "close", "fast", "level", "sma", "min", "crosses_above", "(", ")", ",", "+", "-", "*", "/", "<", "==",
            "and", "or", "not", "3", "2.5", "obv", "x", "log", "lag", "€",
        ]), 0..40)
    ) {
        let text = tokens.join(" ");
        let _ = Filter::new("", &text, &parameters());
        if let Ok(rule) = Rule::new("", &text, &parameters()) {
            let _ = Columns::new(some_bars(), 0).mask_of(&rule, &[2.0, 3.0, 2.5]);
        }
    }
}
