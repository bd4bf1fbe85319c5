//! The ways through a run against each other.

use proptest::prelude::*;

use super::{Run, Score, Signals, Trade, TrueRanges, Way};
use crate::bars::Bars;
use crate::execution::{EndPolicy, Execution, Fill};
use crate::mask::Mask;
use crate::metrics::{Metric, Metrics};
use crate::test_bars::{bars_of, rough_rows};

/// Metrics that are counted, and so equal whatever the order of summation.
const COUNTED: [Metric; 5] =
    [Metric::TradeCount, Metric::OpenTrades, Metric::SkippedEntries, Metric::MaxDrawdownBars, Metric::Bars];

fn agree(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a - b).abs() <= 1e-12_f64.max(1e-9 * a.abs().max(b.abs()))
}

fn assert_agree(a: &Metrics, b: &Metrics) -> Result<(), TestCaseError> {
    for &metric in Metric::ALL {
        let same = match (a.get(metric), b.get(metric)) {
            (Some(a), Some(b)) if COUNTED.contains(&metric) => a == b,
            (Some(a), Some(b)) => agree(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        prop_assert!(same, "{}: {:?} and {:?}", metric.name(), a.get(metric), b.get(metric));
    }
    let blocks = |metrics: &Metrics| [metrics.block_returns, metrics.block_squares].concat();
    for (a, b) in blocks(a).into_iter().zip(blocks(b)) {
        prop_assert!(agree(a, b), "block sums {} and {}", a, b);
    }
    Ok(())
}

/// Runs by all ways that can take these rules, over a part of the bars.
fn assert_ways_agree(bars: &Bars, [enter, exit]: [&Mask; 2], execution: &Execution) -> Result<(), TestCaseError> {
    for range in [0..bars.len(), bars.len() / 3..bars.len() * 4 / 5] {
        if range.is_empty() {
            continue;
        }
        let signals = Signals::long(enter, exit);
        let run = Run { bars, signals, execution, atr: TrueRanges::default(), tables: None, range, pace: None };
        let [holdings, every_bar, bar_loop] =
            [Way::Holdings, Way::EveryBar, Way::BarLoop].map(|way| run.replay_by(way));
        prop_assert_eq!(&holdings.trades, &bar_loop.trades);
        prop_assert_eq!(&every_bar.trades, &bar_loop.trades);
        prop_assert_eq!(&holdings.equity, &bar_loop.equity);
        prop_assert_eq!(&every_bar.equity, &bar_loop.equity);
        assert_agree(&every_bar.metrics, &bar_loop.metrics)?;
        assert_agree(&holdings.metrics, &bar_loop.metrics)?;
        prop_assert_eq!(run.score(), Score::of(&holdings.metrics));
    }
    Ok(())
}

fn rules() -> impl Strategy<Value = Execution> {
    let choice = |of: &'static [f64]| prop::sample::select(of);
    (choice(&[0.0, 0.001]), choice(&[0.0, 4000.0]), choice(&[0.0, 0.0005]), choice(&[0.0, 0.03, -0.02]), 0..4_u8)
        .prop_map(|(commission, commission_min, slippage, risk_free_rate, choices)| Execution {
            commission,
            commission_min,
            slippage,
            risk_free_rate,
            fill: if choices & 1 == 0 { Fill::NextOpen } else { Fill::Close },
            end: if choices & 2 == 0 { EndPolicy::Mark } else { EndPolicy::Liquidate },
            ..Execution::default()
        })
}

/// Moves of a price which are small, as in a market, or of a few sizes only, so that maxima are met again.
fn moves(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<(f64, f64, f64)>> {
    let small = (-0.04..0.041_f64, -0.04..0.041_f64);
    let equal = (prop::sample::select(&[1.0, 1.0, 2.0, 0.5][..]), prop::sample::select(&[1.0, 2.0, 0.5][..]));
    let drift = prop::collection::vec(small, len.clone()).prop_map(|steps| {
        let mut price = 100.0;
        let mut step = |by: f64| {
            price *= 1.0 + by;
            price
        };
        steps.into_iter().map(|(a, b)| (step(a), step(b), 1.0)).collect::<Vec<_>>()
    });
    let ties = prop::collection::vec(equal, len.clone()).prop_map(|steps| {
        let mut price: f64 = 96.0;
        let mut step = |by: f64| {
            price = (price * by).clamp(3.0, 3072.0);
            price
        };
        steps.into_iter().map(|(a, b)| (step(a), step(b), 1.0)).collect::<Vec<_>>()
    });
    prop_oneof![drift, ties, rough_rows(len)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn ways_agree(
        rows in moves(1..900),
        often in (0.005..0.5_f64, 0.002..0.5_f64),
        seed in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 900),
        execution in rules(),
    ) {
        let bars = bars_of(&rows);
        let enter = Mask::from_fn(bars.len(), |t| seed[t].0 < often.0);
        let exit = Mask::from_fn(bars.len(), |t| seed[t].1 < often.1);
        assert_ways_agree(&bars, [&enter, &exit], &execution)?;
    }

    #[test]
    fn a_part_of_the_bars_is_run_as_if_it_were_all(
        rows in moves(3..300),
        seed in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64), 300),
        execution in rules(),
    ) {
        let (start, end) = (rows.len() / 3, rows.len() * 4 / 5 + 1);
        let execution = Execution { bars_per_year: Some(252.0), ..execution };
        let masks = |start: usize, len: usize| {
            (Mask::from_fn(len, |t| seed[start + t].0 < 0.2), Mask::from_fn(len, |t| seed[start + t].1 < 0.1))
        };
        let (bars, part) = (bars_of(&rows), bars_of(&rows[start..end]));
        let (all_masks, part_masks) = (masks(0, rows.len()), masks(start, end - start));
        for way in [Way::Holdings, Way::EveryBar, Way::BarLoop] {
            let atr = TrueRanges::default();
            let signals = Signals::long(&all_masks.0, &all_masks.1);
            let range = start..end;
            let run = Run { bars: &bars, signals, execution: &execution, atr, tables: None, range, pace: None };
            let window = run.replay_by(way);
            let signals = Signals::long(&part_masks.0, &part_masks.1);
            let range = 0..part.len();
            let alone = Run { bars: &part, signals, execution: &execution, atr, tables: None, range, pace: None }.replay_by(way);
            prop_assert_eq!(&window.equity, &alone.equity);
            let shifted: Vec<_> = alone
                .trades
                .into_iter()
                .map(|trade| Trade { entry_bar: trade.entry_bar + start, exit_bar: trade.exit_bar + start, ..trade })
                .collect();
            prop_assert_eq!(&window.trades, &shifted);
            assert_agree(&window.metrics, &alone.metrics)?;
        }
    }

    #[test]
    fn ways_agree_on_one_long_holding(rows in moves(1..900), execution in rules()) {
        let bars = bars_of(&rows);
        let always = Mask::from_fn(bars.len(), |_| true);
        assert_ways_agree(&bars, [&always, &Mask::none(bars.len())], &execution)?;
    }
}

#[test]
fn ways_agree_where_closes_differ_by_one_last_digit() {
    // Times some number of shares, two neighbouring closes may give the same equity.
    let close = |t: usize| {
        let steps = [0_i64, 1, 0, 2, 1, 3, 2, 3, 1, 0, 3, 4];
        f64::from_bits((1.9_f64.to_bits() as i64 + steps[t % steps.len()]) as u64)
    };
    let rows: Vec<(f64, f64, f64)> = (0..200).map(|t| (close(t), close(t), 1.0)).collect();
    let bars = bars_of(&rows.iter().map(|row| (row.0 + 1.0, row.1 + 1.0, 0.0)).collect::<Vec<_>>());
    let always = Mask::from_fn(bars.len(), |_| true);
    for cash in [1000.0, 1234.567, 999.1, 77.7] {
        let execution = Execution { cash, ..Execution::default() };
        let signals = Signals::long(&always, &always);
        let never = Mask::none(bars.len());
        for signals in [signals, Signals::long(&always, &never)] {
            let (atr, range) = (TrueRanges::default(), 0..bars.len());
            let run = Run { bars: &bars, signals, execution: &execution, atr, tables: None, range, pace: None };
            let longest = |way: Way| run.metrics_by(way).get(Metric::MaxDrawdownBars);
            assert_eq!(longest(Way::Holdings), longest(Way::BarLoop), "{cash}");
        }
    }
}
