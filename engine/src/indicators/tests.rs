//! Against TA-Lib's values, and what holds for every indicator.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::{ALL, ArgumentKind};
use crate::bars::Bars;
use crate::columns::Columns;
use crate::test_bars::{bars_of, rough_rows, sample};

/// Columns of the golden file and the expressions they come from.
const GOLDEN: [(&str, &str); 29] = [
    ("sma_10", "sma(close, 10)"),
    ("sma_30", "sma(close, 30)"),
    ("sma_200", "sma(close, 200)"),
    ("ema_12", "ema(close, 12)"),
    ("ema_26", "ema(close, 26)"),
    ("wma_20", "wma(close, 20)"),
    ("rsi_14", "rsi(close, 14)"),
    ("macd", "macd(close, 12, 26, 9)"),
    ("macd_signal", "macd_signal(close, 12, 26, 9)"),
    ("macd_hist", "macd_hist(close, 12, 26, 9)"),
    ("bb_upper_20_2", "bbands_upper(close, 20, 2)"),
    ("bb_mid_20_2", "bbands_middle(close, 20)"),
    ("bb_lower_20_2", "bbands_lower(close, 20, 2)"),
    ("atr_14", "atr(14)"),
    ("donchian_high_20", "highest(high, 20)"),
    ("donchian_low_10", "lowest(low, 10)"),
    ("stoch_k_14_3_3", "stoch_k(14, 3, 3)"),
    ("stoch_d_14_3_3", "stoch_d(14, 3, 3)"),
    ("adx_14", "adx(14)"),
    ("plus_di_14", "plus_di(14)"),
    ("minus_di_14", "minus_di(14)"),
    ("roc_10", "roc(close, 10)"),
    ("mom_10", "mom(close, 10)"),
    ("cci_20", "cci(20)"),
    ("willr_14", "willr(14)"),
    ("mfi_14", "mfi(14)"),
    ("obv", "obv()"),
    ("stddev_20", "stddev(close, 20)"),
    ("trange", "trange()"),
];

/// Largest difference from a golden value, relative to it. What is a difference of larger numbers (an oscillator
/// around 0) is compared relative to the size of these.
const TOLERANCE: f64 = 1e-9;

/// Values by column of the golden file; NaN where it is empty.
fn golden() -> HashMap<String, Vec<f64>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/indicators/AAPL.csv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut columns = vec![Vec::new(); names.len()];
    for line in lines {
        for (column, field) in columns.iter_mut().zip(line.split(',')) {
            column.push(field.parse().unwrap_or(f64::NAN));
        }
    }
    names.into_iter().map(str::to_owned).zip(columns).collect()
}

#[test]
fn values_and_first_valid_bars_are_those_of_ta_lib() {
    let golden = golden();
    let mut columns = Columns::new(sample("AAPL"), usize::MAX);
    for (name, expression) in GOLDEN {
        let (expected, computed) = (&golden[name], columns.evaluate(expression));
        assert_eq!(expected.len(), computed.len());
        let first = |values: &[f64]| values.iter().position(|x| !x.is_nan());
        assert_eq!(first(&computed), first(expected), "first valid bar of {expression}");
        for (t, (&expected, &computed)) in expected.iter().zip(&computed).enumerate() {
            let close = (expected - computed).abs() <= TOLERANCE * expected.abs().max(1e-3);
            assert!(
                close || (expected.is_nan() && computed.is_nan()),
                "{expression} at bar {t}: {computed}, not {expected}"
            );
        }
    }
}

/// A call of every indicator over `x`, with small periods.
fn calls(x: &str) -> impl Iterator<Item = String> + '_ {
    ALL.iter().map(move |indicator| {
        let mut period = 2;
        let arguments: Vec<String> = indicator
            .arguments
            .iter()
            .map(|argument| match argument.kind {
                ArgumentKind::Column => x.to_owned(),
                ArgumentKind::Number => "1.5".to_owned(),
                ArgumentKind::Whole { .. } => {
                    period += 1;
                    period.to_string()
                }
            })
            .collect();
        format!("{}({})", indicator.name, arguments.join(", "))
    })
}

fn takes_a_column(call: &str) -> bool {
    call.contains("close")
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|x| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() }).collect()
}

fn evaluate(bars: &Arc<Bars>, expression: &str) -> Vec<u64> {
    bits(&Columns::new(Arc::clone(bars), usize::MAX).evaluate(expression))
}

#[test]
fn periods_beyond_the_bars_give_no_value() {
    let bars = bars_of(&[(1.0, 2.0, 3.0), (2.0, 1.0, 3.0), (1.0, 3.0, 3.0)]);
    for n in ["4", "1000", "9007199254740993", "9007199254740993 * 9007199254740993"] {
        for indicator in ALL.iter().filter(|indicator| !indicator.arguments.is_empty()) {
            let arguments: Vec<&str> = indicator
                .arguments
                .iter()
                .map(|argument| match argument.kind {
                    ArgumentKind::Column => "close",
                    ArgumentKind::Number => "2",
                    ArgumentKind::Whole { .. } => n,
                })
                .collect();
            let call = format!("{}({})", indicator.name, arguments.join(", "));
            let values = Columns::new(Arc::clone(&bars), usize::MAX).evaluate(&call);
            assert!(values.iter().all(|x| x.is_nan()), "{call}: {values:?}");
        }
    }
}

#[test]
fn bars_of_equal_prices_divide_by_nothing() {
    let bars = bars_of(&[(5.0, 5.0, 0.0); 40]);
    let mut columns = Columns::new(bars, usize::MAX);
    for (call, expected) in
        [("rsi(close, 3)", 0.0), ("adx(3)", 0.0), ("cci(3)", 0.0), ("mfi(3)", 0.0), ("stddev(close, 3)", 0.0)]
    {
        assert_eq!(columns.evaluate(call).last(), Some(&expected), "{call}");
    }
    assert!(columns.evaluate("zscore(close, 3)").iter().all(|x| x.is_nan()));
}

#[test]
fn deviation_keeps_its_digits_beside_a_large_mean() {
    // Variance 2/3 beside squares of 1e16, which a sum of f64 squares would lose altogether.
    let rows: Vec<(f64, f64, f64)> = (0..3000).map(|t| (1e8, 1e8 + f64::from(t % 3), 0.0)).collect();
    let deviation = Columns::new(bars_of(&rows), usize::MAX).evaluate("stddev(close, 3)");
    let expected = (2.0_f64 / 3.0).sqrt();
    assert!(deviation[2..].iter().all(|x| (x - expected).abs() <= 1e-15), "{:?}", &deviation[2990..]);
}

#[test]
fn names_are_distinct_and_signatures_readable() {
    let mut names: Vec<&str> = ALL.iter().map(|indicator| indicator.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ALL.len());
    assert_eq!(super::find("macd").unwrap().signature(), "macd(x, fast, slow, signal)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_looks_ahead(rows in rough_rows(2..60), change in rough_rows(1..60), at in 0_usize..60) {
        let at = at.min(rows.len());
        let mut changed = rows[..at].to_vec();
        changed.extend(change);
        let (before, after) = (bars_of(&rows), bars_of(&changed));
        for call in calls("close") {
            let (a, b) = (evaluate(&before, &call), evaluate(&after, &call));
            let known = at.min(a.len()).min(b.len());
            prop_assert_eq!(&a[..known], &b[..known], "{} looks ahead of bar {}", call, at);
        }
    }

    /// The values after a gap are those of bars which start after the gap.
    #[test]
    fn a_gap_restarts(rows in rough_rows(4..60), at in 1_usize..59) {
        let at = at.min(rows.len() - 2);
        let mut with_gap = rows.clone();
        // The logarithm makes NaN of the one volume below 1, and is multiplied away elsewhere.
        with_gap.iter_mut().for_each(|row| row.2 += 2.0);
        with_gap[at].2 = 0.5;
        let rest = bars_of(&with_gap[at + 1..]);
        let with_gap = bars_of(&with_gap);
        for (gappy, plain) in calls("(close + 0 * log(volume - 1))").zip(calls("close")) {
            // `lag` moves gaps along, and so do its differences.
            let moves_gaps = ["lag", "mom", "roc"].iter().any(|name| plain.starts_with(name));
            if !takes_a_column(&plain) || moves_gaps {
                continue;
            }
            let values = evaluate(&with_gap, &gappy);
            prop_assert_eq!(values[at], f64::NAN.to_bits());
            prop_assert_eq!(&values[at + 1..], &evaluate(&rest, &plain)[..], "{}", gappy);
        }
    }

    /// An indicator of an indicator counts from the first value of the inner one.
    #[test]
    fn leading_gaps_shift(rows in rough_rows(4..60)) {
        // The close of two bars ago is the close of the bars without the last two, two bars later.
        let (all, without_last) = (bars_of(&rows), bars_of(&rows[..rows.len() - 2]));
        for (shifted, plain) in calls("lag(close, 2)").zip(calls("close")) {
            if !takes_a_column(&plain) {
                continue;
            }
            let (shifted, plain) = (evaluate(&all, &shifted), evaluate(&without_last, &plain));
            prop_assert_eq!(&shifted[2..], &plain[..]);
        }
    }

    #[test]
    fn windows_equal_their_definition(rows in rough_rows(1..60), n in 1_usize..12) {
        let bars = bars_of(&rows);
        let mut columns = Columns::new(Arc::clone(&bars), usize::MAX);
        let mut column = |name: &str| columns.evaluate(&format!("{name}(close, {n})"));
        let (highest, lowest, mean, deviation) = (column("highest"), column("lowest"), column("sma"), column("stddev"));
        for (t, window) in bars.close().windows(n).enumerate().map(|(start, window)| (start + n - 1, window)) {
            prop_assert_eq!(highest[t], window.iter().copied().fold(f64::MIN, f64::max));
            prop_assert_eq!(lowest[t], window.iter().copied().fold(f64::MAX, f64::min));
            let plain_mean = window.iter().sum::<f64>() / n as f64;
            prop_assert!((mean[t] - plain_mean).abs() <= 1e-11 * plain_mean);
            let variance = window.iter().map(|x| (x - plain_mean).powi(2)).sum::<f64>() / n as f64;
            prop_assert!((deviation[t] - variance.sqrt()).abs() <= 1e-11 * plain_mean);
        }
    }
}
