//! From what a simulation collected to the metrics of the run.

use super::catalogue::{Metric, Metrics};
use super::drawdown::calmar;
use super::returns::{ReturnSums, cagr};
use super::trades::TradeStats;

/// What a simulation collected.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) initial_cash: f64,
    pub(crate) final_equity: f64,
    pub(crate) bars: usize,
    pub(crate) bars_per_year: f64,
    /// Bars whose close is in a position.
    pub(crate) bars_held: usize,
    pub(crate) returns: ReturnSums,
    /// At most 0.
    pub(crate) max_drawdown: f64,
    pub(crate) max_drawdown_bars: usize,
    pub(crate) trades: TradeStats,
}

impl Summary {
    /// Every metric; those of equity are undefined where there are no bars.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::undefined();
        metrics.set_count(Metric::Bars, self.bars);
        metrics.set(Metric::BarsPerYear, self.bars_per_year);
        self.trades.write(&mut metrics);
        if self.bars > 0 {
            self.write_equity(&mut metrics);
            self.write_returns(&mut metrics);
        }
        metrics
    }

    fn write_equity(&self, metrics: &mut Metrics) {
        let growth = self.final_equity / self.initial_cash;
        let cagr = cagr(growth, self.bars, self.bars_per_year);
        let max_drawdown = self.max_drawdown;
        metrics.set(Metric::FinalEquity, self.final_equity);
        metrics.set(Metric::TotalReturn, growth - 1.0);
        metrics.set(Metric::Cagr, cagr);
        metrics.set(Metric::MaxDrawdown, max_drawdown);
        metrics.set_count(Metric::MaxDrawdownBars, self.max_drawdown_bars);
        metrics.set_defined(Metric::Calmar, calmar(cagr, max_drawdown));
        metrics.set(Metric::Exposure, self.bars_held as f64 / self.bars as f64);
    }

    fn write_returns(&self, metrics: &mut Metrics) {
        let bars_per_year = self.bars_per_year;
        let sums = &self.returns;
        metrics.set_defined(Metric::Sharpe, sums.sharpe(bars_per_year));
        metrics.set_defined(Metric::SortinoRatio, sums.sortino(bars_per_year));
        metrics.set_defined(Metric::Volatility, sums.volatility(bars_per_year));
        metrics.set_defined(Metric::Skew, sums.skew());
        metrics.set_defined(Metric::Kurtosis, sums.kurtosis());
        metrics.block_returns = sums.block_returns.map(finite);
        metrics.block_squares = sums.block_squares.map(finite);
    }
}

/// The value, or NaN, which counts as undefined, where prices were beyond all bounds.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { f64::NAN }
}
