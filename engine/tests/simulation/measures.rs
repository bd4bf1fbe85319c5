//! Metrics of a plain simulation, each from its definition.

use jetsweep_engine::execution::Execution;
use jetsweep_engine::metrics::{BLOCKS, Metric, Metrics};
use jetsweep_engine::simulation::Trade;

use crate::plain::Plain;

/// Metrics of a plain simulation, each from its definition.
pub(crate) fn plain_metrics(run: &Plain, rules: &Execution, bars_per_year: f64) -> Vec<(Metric, Option<f64>)> {
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
        (Metric::Exposure, Some(run.held as f64 / n)),
        (Metric::TradeCount, Some(closed.len() as f64)),
        (Metric::OpenTrades, Some((run.trades.len() - closed.len()) as f64)),
        (Metric::SkippedEntries, Some(run.skipped as f64)),
        (Metric::AmbiguousBars, Some(run.ambiguous as f64)),
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

pub(crate) fn blocks_of(equity: &[f64], cash: f64) -> ([f64; BLOCKS], [f64; BLOCKS]) {
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

pub(crate) fn agree(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

pub(crate) fn bits_of(metrics: &Metrics) -> Vec<u64> {
    let values = Metric::ALL.iter().map(|metric| metrics.get(*metric).unwrap_or(f64::NAN).to_bits());
    let blocks = metrics.block_returns.iter().chain(&metrics.block_squares).map(|value| value.to_bits());
    values.chain(blocks).collect()
}
