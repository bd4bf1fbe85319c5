//! The simulation against a plain one that goes bar by bar and follows the definitions to the letter.

use jetsweep_engine::backtest::Replay;
use jetsweep_engine::bars::{Bars, BarsColumns};
use jetsweep_engine::execution::{EndPolicy, Execution, Fill};
use jetsweep_engine::mask::Mask;
use jetsweep_engine::metrics::{BLOCKS, Metric, Metrics};
use jetsweep_engine::simulation::{Trade, replay, simulate};
use proptest::prelude::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn bars_of(prices: &[(f64, f64)]) -> Bars {
    let column = |of: &dyn Fn(&(f64, f64)) -> f64| prices.iter().map(of).collect::<Vec<f64>>();
    let columns = BarsColumns {
        timestamps: (0..prices.len() as i64).map(|t| t * DAY_MS).collect(),
        open: column(&|p| p.0),
        high: column(&|p| p.0.max(p.1)),
        low: column(&|p| p.0.min(p.1)),
        close: column(&|p| p.1),
        volume: vec![0.0; prices.len()],
    };
    Bars::from_columns(columns, "bars").unwrap()
}

fn mask_of(bits: &[bool]) -> Mask {
    Mask::from_fn(bits.len(), |t| bits[t])
}

/// Everything the plain simulation gives.
struct Plain {
    trades: Vec<Trade>,
    equity: Vec<f64>,
    /// Whether a position is held at each close.
    held: Vec<bool>,
    skipped: usize,
}

/// Goes through the bars one at a time, with an order pending from one to the next.
fn plain(bars: &Bars, enter: &[bool], exit: &[bool], rules: &Execution) -> Plain {
    struct Holding {
        bar: usize,
        price: f64,
        shares: f64,
        fee: f64,
    }
    let fee_of = |shares: f64, price: f64| {
        rules.commission_min.max(shares * price * rules.commission + shares * rules.commission_per_share)
    };
    let buy = |cash: f64, bar: usize, price: f64| {
        let price = price * (1.0 + rules.slippage);
        let by_rate = cash / (price * (1.0 + rules.commission) + rules.commission_per_share);
        let shares = by_rate.min((cash - rules.commission_min) / price);
        (shares > 0.0).then(|| Holding { bar, price, shares, fee: fee_of(shares, price) })
    };
    let trade_of = |holding: &Holding, bar: usize, price: f64, fee: f64, open: bool| {
        let pnl = holding.shares * (price - holding.price) - holding.fee - fee;
        Trade {
            entry_bar: holding.bar,
            entry_price: holding.price,
            exit_bar: bar,
            exit_price: price,
            size: holding.shares,
            entry_fee: holding.fee,
            exit_fee: fee,
            pnl,
            return_: pnl / (holding.shares * holding.price),
            open,
        }
    };
    let sell = |holding: &Holding, bar: usize, price: f64| {
        let price = price * (1.0 - rules.slippage);
        let proceeds = holding.shares * price;
        let fee = fee_of(holding.shares, price).min(proceeds);
        (proceeds - fee, trade_of(holding, bar, price, fee, false))
    };
    let last = bars.len() - 1;
    let (mut cash, mut holding, mut pending) = (rules.cash, None::<Holding>, false);
    let mut out = Plain { trades: Vec::new(), equity: Vec::new(), held: Vec::new(), skipped: 0 };
    for t in 0..bars.len() {
        let (open, close) = (bars.open()[t], bars.close()[t]);
        // At the open (next_open) or at the close (close) orders fill, at most one.
        let order = match rules.fill {
            Fill::NextOpen => std::mem::take(&mut pending),
            Fill::Close if holding.is_some() => exit[t],
            Fill::Close => enter[t] && t < last,
        };
        let price = if rules.fill == Fill::Close { close } else { open };
        if order {
            match holding.take() {
                Some(held) => {
                    let (after, trade) = sell(&held, t, price);
                    cash = after;
                    out.trades.push(trade);
                }
                None => match buy(cash, t, price) {
                    Some(bought) => {
                        holding = Some(bought);
                        cash = 0.0;
                    }
                    None => out.skipped += 1,
                },
            }
        }
        out.held.push(holding.is_some());
        if t == last {
            match (rules.end, holding.take()) {
                (EndPolicy::Mark, Some(held)) => {
                    out.trades.push(trade_of(&held, t, close, 0.0, true));
                    cash = held.shares * close;
                }
                (EndPolicy::Liquidate, Some(held)) => {
                    let (after, trade) = sell(&held, t, close);
                    cash = after;
                    out.trades.push(trade);
                }
                (_, None) => {}
            }
            out.equity.push(cash);
            return out;
        }
        out.equity.push(holding.as_ref().map_or(cash, |held| cash + held.shares * close));
        pending = rules.fill == Fill::NextOpen && if holding.is_some() { exit[t] } else { enter[t] };
    }
    out
}

/// Metrics of a plain simulation, each from its definition.
fn plain_metrics(run: &Plain, rules: &Execution, bars_per_year: f64) -> Vec<(Metric, Option<f64>)> {
    let n = run.equity.len() as f64;
    let root = bars_per_year.sqrt();
    let before = std::iter::once(&rules.cash).chain(&run.equity);
    let r: Vec<f64> = before.zip(&run.equity).map(|(a, b)| if *a == 0.0 { 0.0 } else { b / a - 1.0 }).collect();
    let risk_free = (1.0 + rules.risk_free_rate).powf(1.0 / bars_per_year) - 1.0;
    let mean = r.iter().sum::<f64>() / n;
    let moment = |power: i32| r.iter().map(|x| (x - mean).powi(power)).sum::<f64>() / n;
    let deviation = (moment(2) * n / (n - 1.0)).sqrt();
    let risk = (n > 1.0 && deviation > 1e-15 * (1.0 + mean.abs())).then_some(deviation);
    let downside = (r.iter().map(|x| (x - risk_free).min(0.0).powi(2)).sum::<f64>() / n).sqrt();
    let (mut peak, mut deepest, mut below, mut longest) = (rules.cash, 0.0_f64, 0, 0);
    for &equity in &run.equity {
        peak = peak.max(equity);
        deepest = deepest.min(equity / peak - 1.0);
        below = if equity < peak { below + 1 } else { 0 };
        longest = longest.max(below);
    }
    let growth = run.equity[run.equity.len() - 1] / rules.cash;
    let cagr = growth.powf(bars_per_year / n) - 1.0;
    let closed: Vec<&Trade> = run.trades.iter().filter(|trade| !trade.open).collect();
    let wins: Vec<&Trade> = closed.iter().copied().filter(|trade| trade.pnl > 0.0).collect();
    let losses: Vec<&Trade> = closed.iter().copied().filter(|trade| trade.pnl < 0.0).collect();
    let average = |trades: &[&Trade], of: &dyn Fn(&Trade) -> f64| {
        (!trades.is_empty()).then(|| trades.iter().map(|trade| of(trade)).sum::<f64>() / trades.len() as f64)
    };
    let returns = |trade: &Trade| trade.return_;
    let pnl = |trade: &Trade| trade.pnl;
    let sum = |trades: &[&Trade]| trades.iter().map(|trade| trade.pnl).sum::<f64>();
    let held_bars = run.held.iter().filter(|held| **held).count();
    vec![
        (Metric::Sharpe, risk.map(|risk| (mean - risk_free) / risk * root)),
        (Metric::SortinoRatio, (downside > 1e-15).then(|| (mean - risk_free) / downside * root)),
        (Metric::Volatility, (n > 1.0).then_some(deviation * root)),
        (Metric::Skew, risk.map(|_| moment(3) / moment(2).powf(1.5))),
        (Metric::Kurtosis, risk.map(|_| moment(4) / moment(2).powi(2) - 3.0)),
        (Metric::MaxDrawdown, Some(deepest)),
        (Metric::MaxDrawdownBars, Some(f64::from(longest))),
        (Metric::TotalReturn, Some(growth - 1.0)),
        (Metric::Cagr, Some(cagr)),
        (Metric::Calmar, (deepest < -1e-15).then(|| cagr / -deepest)),
        (Metric::FinalEquity, Some(growth * rules.cash)),
        (Metric::Exposure, Some(held_bars as f64 / n)),
        (Metric::TradeCount, Some(closed.len() as f64)),
        (Metric::OpenTrades, Some((run.trades.len() - closed.len()) as f64)),
        (Metric::SkippedEntries, Some(run.skipped as f64)),
        (Metric::WinRate, (!closed.is_empty()).then(|| wins.len() as f64 / closed.len() as f64)),
        (Metric::ProfitFactor, (!losses.is_empty()).then(|| sum(&wins) / -sum(&losses))),
        (Metric::PayoffRatio, average(&wins, &pnl).zip(average(&losses, &pnl)).map(|(win, loss)| win / -loss)),
        (Metric::Expectancy, average(&closed, &pnl)),
        (Metric::AvgTradeReturn, average(&closed, &returns)),
        (Metric::BestTradeReturn, closed.iter().map(|trade| trade.return_).reduce(f64::max)),
        (Metric::WorstTradeReturn, closed.iter().map(|trade| trade.return_).reduce(f64::min)),
        (Metric::AvgWinReturn, average(&wins, &returns)),
        (Metric::AvgLossReturn, average(&losses, &returns)),
        (Metric::AvgBarsHeld, average(&closed, &|trade| (trade.exit_bar - trade.entry_bar) as f64)),
        (Metric::TotalFees, Some(run.trades.iter().map(|trade| trade.entry_fee + trade.exit_fee).sum())),
        (Metric::Bars, Some(n)),
        (Metric::BarsPerYear, Some(bars_per_year)),
    ]
}

fn blocks_of(equity: &[f64], cash: f64) -> ([f64; BLOCKS], [f64; BLOCKS]) {
    let n = equity.len();
    let r = |t: usize| {
        let before = if t == 0 { cash } else { equity[t - 1] };
        if before == 0.0 { 0.0 } else { equity[t] / before - 1.0 }
    };
    let block = |k: usize| k * n / BLOCKS..(k + 1) * n / BLOCKS;
    let sums = std::array::from_fn(|k| block(k).map(r).sum());
    let squares = std::array::from_fn(|k| block(k).map(|t| r(t).powi(2)).sum());
    (sums, squares)
}

fn agree(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

fn bits_of(metrics: &Metrics) -> Vec<u64> {
    let values = Metric::ALL.iter().map(|metric| metrics.get(*metric).unwrap_or(f64::NAN).to_bits());
    let blocks = metrics.block_returns.iter().chain(&metrics.block_squares).map(|value| value.to_bits());
    values.chain(blocks).collect()
}

/// Prices, and for each bar whether each rule holds.
fn market() -> impl Strategy<Value = (Bars, Vec<bool>, Vec<bool>)> {
    let bar = (-0.2..0.2_f64, -0.2..0.2_f64, prop::bool::weighted(0.3), prop::bool::weighted(0.15));
    prop::collection::vec(bar, 1..200).prop_map(|steps| {
        let mut price = 100.0;
        let mut step = |by: f64| {
            price *= 1.0 + by;
            price
        };
        let prices: Vec<(f64, f64)> = steps.iter().map(|(open, close, ..)| (step(*open), step(*close))).collect();
        let enter = steps.iter().map(|step| step.2).collect();
        let exit = steps.iter().map(|step| step.3).collect();
        (bars_of(&prices), enter, exit)
    })
}

fn execution() -> impl Strategy<Value = Execution> {
    let choice = |of: &'static [f64]| prop::sample::select(of);
    (
        (choice(&[0.0, 0.001, 0.02]), choice(&[0.0, 0.01, 0.5]), choice(&[0.0, 5.0, 4000.0]), choice(&[0.0, 0.0005])),
        (choice(&[0.0, 0.03]), prop::bool::ANY, prop::bool::ANY),
    )
        .prop_map(|((commission, per_share, least, slippage), (risk_free_rate, at_close, liquidate))| Execution {
            commission,
            commission_per_share: per_share,
            commission_min: least,
            slippage,
            risk_free_rate,
            fill: if at_close { Fill::Close } else { Fill::NextOpen },
            end: if liquidate { EndPolicy::Liquidate } else { EndPolicy::Mark },
            ..Execution::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn agrees_with_the_plain_simulation((bars, enter, exit) in market(), rules in execution()) {
        let expected = plain(&bars, &enter, &exit, &rules);
        let (enter, exit) = (mask_of(&enter), mask_of(&exit));
        let full = replay(&bars, &enter, &exit, &rules);
        prop_assert_eq!(&full.trades, &expected.trades);
        prop_assert_eq!(&full.equity, &expected.equity);
        for (metric, expected) in plain_metrics(&expected, &rules, bars.bars_per_year()) {
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
    }

    #[test]
    fn a_replay_has_the_bits_of_its_run((bars, enter, exit) in market(), rules in execution()) {
        let (enter, exit) = (mask_of(&enter), mask_of(&exit));
        let full = replay(&bars, &enter, &exit, &rules);
        prop_assert_eq!(bits_of(&full.metrics), bits_of(&simulate(&bars, &enter, &exit, &rules)));
        prop_assert_eq!(full.equity.len(), bars.len());
    }

    #[test]
    fn equity_is_never_negative_and_closed_trades_add_up((bars, enter, exit) in market(), rules in execution()) {
        let Replay { trades, equity, .. } = replay(&bars, &mask_of(&enter), &mask_of(&exit), &rules);
        prop_assert!(equity.iter().all(|value| *value >= 0.0));
        let gained: f64 = trades.iter().map(|trade| trade.pnl).sum();
        prop_assert!(agree(rules.cash + gained, equity[equity.len() - 1]));
    }

    #[test]
    fn costs_only_reduce_the_end((bars, enter, exit) in market(), rules in execution()) {
        let (enter, exit) = (mask_of(&enter), mask_of(&exit));
        let free = Execution { fill: rules.fill, end: rules.end, ..Execution::default() };
        let [costly, free] = [&rules, &free].map(|rules| simulate(&bars, &enter, &exit, rules));
        // An entry that costs leave no money for may have been a bad one.
        prop_assume!(costly.get(Metric::SkippedEntries) == Some(0.0));
        let end = |metrics: &Metrics| metrics.get(Metric::FinalEquity).unwrap();
        prop_assert!(end(&costly) <= end(&free) * (1.0 + 1e-12));
    }

    #[test]
    fn nothing_happens_without_a_signal((bars, _, exit) in market(), rules in execution()) {
        let metrics = simulate(&bars, &Mask::none(bars.len()), &mask_of(&exit), &rules);
        let none = [Metric::Sharpe, Metric::WinRate, Metric::ProfitFactor, Metric::AvgTradeReturn, Metric::Calmar];
        prop_assert!(none.iter().all(|metric| metrics.get(*metric).is_none()));
        let zero = [Metric::TradeCount, Metric::OpenTrades, Metric::TotalReturn, Metric::Cagr, Metric::MaxDrawdown];
        prop_assert!(zero.iter().all(|metric| metrics.get(*metric) == Some(0.0)));
        prop_assert_eq!(metrics.get(Metric::FinalEquity), Some(rules.cash));
    }

    #[test]
    fn ratios_do_not_depend_on_the_unit_of_money((bars, enter, exit) in market(), power in -8..8_i32) {
        // Powers of two only change exponents, so that even the bits of ratios stay.
        let unit = 2.0_f64.powi(power);
        let scaled: Vec<(f64, f64)> = bars.open().iter().zip(bars.close()).map(|(o, c)| (o * unit, c * unit)).collect();
        let (enter, exit) = (mask_of(&enter), mask_of(&exit));
        let rules = Execution { commission: 0.001, slippage: 0.0005, ..Execution::default() };
        let scaled_rules = Execution { cash: rules.cash * unit, ..rules.clone() };
        let one = simulate(&bars, &enter, &exit, &rules);
        let other = simulate(&bars_of(&scaled), &enter, &exit, &scaled_rules);
        let money = [Metric::Expectancy, Metric::TotalFees, Metric::FinalEquity];
        for metric in Metric::ALL.iter().filter(|metric| !money.contains(metric)) {
            prop_assert_eq!(one.get(*metric), other.get(*metric), "{}", metric.name());
        }
        for metric in money {
            prop_assert_eq!(one.get(metric).map(|value| value * unit), other.get(metric), "{}", metric.name());
        }
    }
}

#[test]
fn a_rule_that_holds_on_the_last_bar_never_fills_at_the_next_open() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 11.0), (11.0, 12.0)]);
    let rules = Execution::default();
    let late = replay(&bars, &mask_of(&[false, false, true]), &Mask::none(3), &rules);
    assert!(late.trades.is_empty());
    let entry = mask_of(&[true, false, false]);
    let held = replay(&bars, &entry, &mask_of(&[false, false, true]), &rules);
    assert_eq!((held.trades.len(), held.trades[0].open, held.trades[0].entry_bar), (1, true, 1));
}

#[test]
fn at_the_close_the_last_bar_sells_and_does_not_buy() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 11.0), (11.0, 12.0)]);
    let rules = Execution { fill: Fill::Close, ..Execution::default() };
    let late = replay(&bars, &mask_of(&[false, false, true]), &Mask::none(3), &rules);
    assert!(late.trades.is_empty());
    let sold = replay(&bars, &mask_of(&[true, false, false]), &mask_of(&[false, false, true]), &rules);
    let trade = &sold.trades[0];
    assert_eq!((trade.entry_bar, trade.exit_bar, trade.open), (0, 2, false));
    assert_eq!((trade.entry_price, trade.exit_price), (10.0, 12.0));
    assert_eq!(sold.metrics.get(Metric::Exposure), Some(2.0 / 3.0));
}

#[test]
fn an_entry_at_the_last_open_is_liquidated_too() {
    let bars = bars_of(&[(10.0, 10.0), (10.0, 20.0)]);
    let rules = Execution { end: EndPolicy::Liquidate, commission: 0.001, slippage: 0.01, ..Execution::default() };
    let run = replay(&bars, &mask_of(&[true, false]), &Mask::none(2), &rules);
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
    let run = replay(&bars, &enter, &exit, &rules);
    assert_eq!(run.equity, [1000.0, 900.0, 0.0, 0.0, 0.0]);
    assert_eq!(run.metrics.get(Metric::TotalReturn), Some(-1.0));
    assert_eq!(run.metrics.get(Metric::Cagr), Some(-1.0));
    assert_eq!(run.metrics.get(Metric::SkippedEntries), Some(2.0));
    assert!(run.metrics.get(Metric::Sharpe).is_some());
}

#[test]
fn one_bar_and_none_have_no_ratios() {
    let bars = bars_of(&[(10.0, 10.0)]);
    let metrics = simulate(&bars, &mask_of(&[true]), &Mask::none(1), &Execution::default());
    for metric in [Metric::Sharpe, Metric::SortinoRatio, Metric::Volatility, Metric::Skew, Metric::Calmar] {
        assert_eq!(metrics.get(metric), None, "{}", metric.name());
    }
    assert_eq!(metrics.get(Metric::TotalReturn), Some(0.0));

    let none = bars.between(None, Some("1969-12-31".parse().unwrap()));
    let run = replay(&none, &Mask::none(0), &Mask::none(0), &Execution::default());
    assert_eq!(run.metrics.get(Metric::Bars), Some(0.0));
    assert_eq!(run.metrics.get(Metric::TotalReturn), None);
    assert!(run.equity.is_empty());
}

#[test]
fn rounding_is_not_risk() {
    // Shares bought at 3 are worth a bit more or less than the cash, and nothing else ever moves.
    let bars = bars_of(&[(3.0, 3.0); 50]);
    let rules = Execution { cash: 1000.1, ..Execution::default() };
    let metrics = simulate(&bars, &mask_of(&[true; 50]), &Mask::none(50), &rules);
    for metric in [Metric::Sharpe, Metric::SortinoRatio, Metric::Calmar, Metric::Skew, Metric::Kurtosis] {
        assert_eq!(metrics.get(metric), None, "{}", metric.name());
    }
}

#[test]
fn prices_beyond_all_bounds_give_no_infinities() {
    let bars = bars_of(&[(1e-300, 1e-300), (1e-300, 1e300), (1e300, 1e308), (1e-308, 1e-308), (1.0, 1.0)]);
    for fill in [Fill::NextOpen, Fill::Close] {
        let rules = Execution { fill, cash: 1e-5, ..Execution::default() };
        let metrics = simulate(&bars, &mask_of(&[true; 5]), &mask_of(&[false, false, true, false, true]), &rules);
        let values = Metric::ALL.iter().filter_map(|metric| metrics.get(*metric));
        assert!(values.into_iter().all(f64::is_finite));
        assert!(metrics.block_returns.iter().chain(&metrics.block_squares).all(|sum| !sum.is_infinite()));
    }
}
