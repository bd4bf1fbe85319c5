//! What holds for every run.

use jetsweep_engine::bars::Bars;
use jetsweep_engine::execution::{Direction, Execution};
use jetsweep_engine::metrics::{BLOCKS, Metric, Metrics};
use jetsweep_engine::simulation::{ExitReason, Side, replay, simulate};
use proptest::prelude::*;

use crate::market::{Masks, bars_within, everything, market, sized};
use crate::measures::{agree, bits_of, blocks_of, plain_metrics};
use crate::plain::{Bools, Plain, plain};

fn agrees_with_plain(bars: &Bars, bools: &Bools, rules: &Execution) -> Result<Plain, TestCaseError> {
    let expected = plain(bars, bools, rules);
    let masks = Masks::of(bools);
    let full = replay(bars, masks.signals(), rules);
    prop_assert_eq!(&full.trades, &expected.trades);
    prop_assert_eq!(&full.equity, &expected.equity);
    for (metric, expected) in plain_metrics(&expected, rules, bars.bars_per_year()) {
        let found = full.metrics.get(metric);
        let same = match (found, expected) {
            (Some(a), Some(b)) => agree(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        prop_assert!(same, "{}: {:?}, expected {:?}", metric.name(), found, expected);
    }
    let (sums, squares) = blocks_of(&expected.equity, rules.cash);
    for k in 0..BLOCKS {
        prop_assert!(agree(full.metrics.block_returns[k], sums[k]), "block {} of returns", k);
        prop_assert!(agree(full.metrics.block_squares[k], squares[k]), "block {} of squares", k);
    }
    Ok(expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn long_runs_agree_with_the_plain_simulation((bars, bools) in market(), rules in sized()) {
        agrees_with_plain(&bars, &bools, &rules)?;
    }

    #[test]
    fn every_rule_agrees_with_the_plain_simulation((bars, bools) in market(), rules in everything()) {
        agrees_with_plain(&bars, &bools, &rules)?;
    }

    #[test]
    fn a_replay_has_the_bits_of_its_run((bars, bools) in market(), rules in everything()) {
        let masks = Masks::of(&bools);
        let full = replay(&bars, masks.signals(), &rules);
        prop_assert_eq!(bits_of(&full.metrics), bits_of(&simulate(&bars, masks.signals(), &rules)));
        prop_assert_eq!(full.equity.len(), bars.len());
    }

    #[test]
    fn equity_is_never_negative_and_trades_add_up((bars, bools) in market(), rules in everything()) {
        let run = replay(&bars, Masks::of(&bools).signals(), &rules);
        prop_assert!(run.equity.iter().all(|value| *value >= 0.0));
        let last = run.equity[run.equity.len() - 1];
        prop_assert_eq!(run.metrics.ruined(), last == 0.0);
        // What a ruin would cost beyond all there is nobody pays.
        let gained: f64 = run.trades.iter().map(|trade| trade.pnl).sum();
        prop_assert!(run.metrics.ruined() || agree(rules.cash + gained, last));
    }

    #[test]
    fn equity_is_cash_and_position_at_each_close((bars, bools) in market(), rules in everything()) {
        let run = replay(&bars, Masks::of(&bools).signals(), &rules);
        prop_assume!(!run.metrics.ruined());
        let borrow_rate = rules.borrow_rate / bars.bars_per_year();
        let mut cash = vec![rules.cash; bars.len()];
        let mut shares = vec![0.0; bars.len()];
        for trade in &run.trades {
            let sign = if trade.side == Side::Long { 1.0 } else { -1.0 };
            // Closed at the last close it was held at, a trade's bars include that one for what it cost to borrow.
            let at_last_close = trade.open || trade.exit_reason == ExitReason::End;
            let held_until = if at_last_close { trade.exit_bar + 1 } else { trade.exit_bar };
            for t in trade.entry_bar..bars.len() {
                let open = trade.open || t < trade.exit_bar;
                cash[t] -= sign * trade.size * trade.entry_price + trade.entry_fee;
                if trade.side == Side::Short {
                    let held = trade.entry_bar..held_until.min(t + 1);
                    cash[t] -= held.map(|t| trade.size * bars.close()[t] * borrow_rate).sum::<f64>();
                }
                if open {
                    shares[t] += sign * trade.size;
                } else {
                    cash[t] += sign * trade.size * trade.exit_price - trade.exit_fee;
                }
            }
        }
        for t in 0..bars.len() {
            let expected = cash[t] + shares[t] * bars.close()[t];
            prop_assert!((run.equity[t] - expected).abs() <= 1e-9 * rules.cash, "bar {}", t);
        }
    }

    #[test]
    fn costs_only_reduce_the_end((bars, bools) in market(), rules in sized()) {
        let masks = Masks::of(&bools);
        // Fractions of shares: rounding down may keep a costly run out of a bad trade.
        let rules = Execution { whole_shares: false, ..rules };
        let free = Execution {
            fill: rules.fill,
            end: rules.end,
            direction: Direction::Long,
            ..Execution::default()
        };
        let costly = Execution { size: free.size, ..rules.clone() };
        let [costly, free] = [&costly, &free].map(|rules| simulate(&bars, masks.signals(), rules));
        // An entry that costs leave no money for may have been a bad one.
        prop_assume!(costly.get(Metric::SkippedEntries) == Some(0.0));
        let end = |metrics: &Metrics| metrics.get(Metric::FinalEquity).unwrap();
        prop_assert!(end(&costly) <= end(&free) * (1.0 + 1e-12));
    }

    #[test]
    fn nothing_happens_without_a_signal((bars, bools) in market(), rules in everything()) {
        let silent = Bools { enter: bools.enter.map(|bits| vec![false; bits.len()]), exit: bools.exit };
        let metrics = simulate(&bars, Masks::of(&silent).signals(), &rules);
        let none = [Metric::Sharpe, Metric::WinRate, Metric::ProfitFactor, Metric::AvgTradeReturn, Metric::Calmar];
        prop_assert!(none.iter().all(|metric| metrics.get(*metric).is_none()));
        let zero = [Metric::TradeCount, Metric::OpenTrades, Metric::TotalReturn, Metric::Cagr, Metric::MaxDrawdown];
        prop_assert!(zero.iter().all(|metric| metrics.get(*metric) == Some(0.0)));
        prop_assert_eq!(metrics.get(Metric::FinalEquity), Some(rules.cash));
    }

    #[test]
    fn ratios_do_not_depend_on_the_unit_of_money(
        (bars, bools) in market(),
        rules in everything(),
        power in -8..8_i32,
    ) {
        use jetsweep_engine::execution::Size;
        // Powers of two only change exponents, so that even the bits of ratios stay.
        let unit = 2.0_f64.powi(power);
        let prices: Vec<[f64; 4]> = (0..bars.len())
            .map(|t| [bars.open()[t], bars.high()[t], bars.low()[t], bars.close()[t]].map(|price| price * unit))
            .collect();
        let masks = Masks::of(&bools);
        let size = match rules.size {
            Size::Cash(cash) => Size::Cash(cash * unit),
            other => other,
        };
        let scaled_rules = Execution {
            cash: rules.cash * unit,
            commission_min: rules.commission_min * unit,
            commission_per_share: rules.commission_per_share * unit,
            size,
            ..rules.clone()
        };
        let one = simulate(&bars, masks.signals(), &rules);
        let other = simulate(&bars_within(&prices), masks.signals(), &scaled_rules);
        let money = [Metric::Expectancy, Metric::TotalFees, Metric::FinalEquity];
        for metric in Metric::ALL.iter().filter(|metric| !money.contains(metric)) {
            prop_assert_eq!(one.get(*metric), other.get(*metric), "{}", metric.name());
        }
        for metric in money {
            prop_assert_eq!(one.get(metric).map(|value| value * unit), other.get(metric), "{}", metric.name());
        }
    }

    #[test]
    fn no_decision_or_fill_looks_ahead(
        (bars, bools) in market(),
        rules in everything(),
        share in 0.0..1.0_f64,
        noise in prop::collection::vec((0.1..3.0_f64, prop::array::uniform4(prop::bool::ANY)), 200),
    ) {
        // Beyond bar `known` everything is different.
        let known = (share * (bars.len() - 1) as f64) as usize;
        let price = |t: usize| {
            let prices = [bars.open()[t], bars.high()[t], bars.low()[t], bars.close()[t]];
            if t <= known { prices } else { prices.map(|price| price * noise[t].0) }
        };
        let changed = |bits: &[Vec<bool>; 2], first: usize| {
            std::array::from_fn(|side| {
                let bit = |t: usize| if t <= known { bits[side][t] } else { noise[t].1[first + side] };
                (0..bars.len()).map(bit).collect::<Vec<bool>>()
            })
        };
        let other_bars = bars_within(&(0..bars.len()).map(price).collect::<Vec<_>>());
        let other_bools = Bools { enter: changed(&bools.enter, 0), exit: changed(&bools.exit, 2) };
        let one = replay(&bars, Masks::of(&bools).signals(), &rules);
        let other = replay(&other_bars, Masks::of(&other_bools).signals(), &rules);
        prop_assert_eq!(&one.equity[..known], &other.equity[..known]);
        let fills = |run: &jetsweep_engine::backtest::Replay| {
            let known_part = run.trades.iter().filter(|trade| trade.entry_bar <= known).map(|trade| {
                let entry = (trade.side, trade.entry_bar, trade.entry_price.to_bits(), trade.size.to_bits());
                // At the last known close a trade may end only because bars do.
                let ends_by_itself = !trade.open && trade.exit_reason != ExitReason::End;
                let exit = (trade.exit_bar <= known && ends_by_itself)
                    .then(|| (trade.exit_bar, trade.exit_price.to_bits(), trade.pnl.to_bits(), trade.exit_reason));
                (entry, exit)
            });
            known_part.collect::<Vec<_>>()
        };
        prop_assert_eq!(fills(&one), fills(&other));
    }
}

#[test]
fn the_made_up_runs_reach_every_ending() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::HashSet::new();
    let (mut ambiguous, mut reversed) = (0, 0);
    for _ in 0..2000 {
        let ((bars, bools), rules) = (market(), everything()).new_tree(&mut runner).unwrap().current();
        let run = plain(&bars, &bools, &rules);
        ambiguous += run.ambiguous;
        reversed += run.trades.windows(2).filter(|pair| pair[0].exit_bar == pair[1].entry_bar).count();
        seen.extend(run.trades.iter().map(|trade| (trade.side, trade.exit_reason, trade.open)));
    }
    for side in [Side::Long, Side::Short] {
        for reason in [ExitReason::Rule, ExitReason::Stop, ExitReason::Target, ExitReason::MaxBars, ExitReason::End] {
            assert!(seen.contains(&(side, reason, false)), "{side:?} {reason:?}");
        }
    }
    assert!(seen.contains(&(Side::Short, ExitReason::Ruin, false)));
    assert!(ambiguous > 0 && reversed > 0);
}
