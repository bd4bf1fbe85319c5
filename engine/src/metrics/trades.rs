//! Statistics of closed trades. A position still open after the last bar is only counted.

use super::catalogue::{Metric, Metrics};
use crate::simulation::Trade;

/// Sums over trades, in order of their exits.
#[derive(Debug, Default)]
pub(crate) struct TradeStats {
    closed: usize,
    open: usize,
    skipped: usize,
    ambiguous: usize,
    bars_held: usize,
    fees: f64,
    pnl: f64,
    returns: f64,
    best: Option<f64>,
    worst: Option<f64>,
    wins: Side,
    losses: Side,
}

/// Sums over the trades that won, or those that lost.
#[derive(Debug, Default)]
struct Side {
    count: usize,
    pnl: f64,
    returns: f64,
}

impl Side {
    fn add(&mut self, trade: &Trade) {
        self.count += 1;
        self.pnl += trade.pnl;
        self.returns += trade.return_;
    }

    fn mean_return(&self) -> Option<f64> {
        mean(self.returns, self.count)
    }

    fn mean_pnl(&self) -> Option<f64> {
        mean(self.pnl, self.count)
    }
}

impl TradeStats {
    /// A trade that ended, or the one still open after the last bar.
    pub(crate) fn add(&mut self, trade: &Trade) {
        self.fees += trade.entry_fee + trade.exit_fee;
        if trade.open {
            self.open += 1;
            return;
        }
        self.closed += 1;
        self.bars_held += trade.exit_bar - trade.entry_bar;
        self.pnl += trade.pnl;
        self.returns += trade.return_;
        self.best = Some(self.best.map_or(trade.return_, |best| best.max(trade.return_)));
        self.worst = Some(self.worst.map_or(trade.return_, |worst| worst.min(trade.return_)));
        if trade.pnl > 0.0 {
            self.wins.add(trade);
        } else if trade.pnl < 0.0 {
            self.losses.add(trade);
        }
    }

    /// Only counts a trade.
    pub(crate) fn count(&mut self, trade: &Trade) {
        if trade.open {
            self.open += 1;
        } else {
            self.closed += 1;
        }
    }

    /// Trades that ended.
    pub(crate) fn closed(&self) -> usize {
        self.closed
    }

    /// An entry that bought nothing.
    pub(crate) fn skip(&mut self) {
        self.skipped += 1;
    }

    /// A bar that reached both a stop and a target.
    pub(crate) fn ambiguous(&mut self) {
        self.ambiguous += 1;
    }

    /// Writes the metrics of trades.
    ///
    /// | metric | formula | agrees with |
    /// |---|---|---|
    /// | `win_rate` | trades with net pnl above 0 / closed trades | vectorbt `trades.closed` |
    /// | `profit_factor` | sum of winning pnl / -sum of losing pnl | vectorbt |
    /// | `avg_trade_return`, `best_`, `worst_`, `avg_win_`, `avg_loss_return` | arithmetic, of pnl / (size * entry price) | vectorbt, backtesting.py |
    /// | `expectancy` | mean net pnl | vectorbt |
    /// | `payoff_ratio` | mean winning pnl / -mean losing pnl | vectorbt |
    /// | `avg_bars_held` | mean of exit bar - entry bar | vectorbt |
    /// | `total_fees` | all commissions, an open trade's entry included | vectorbt |
    pub(super) fn write(&self, metrics: &mut Metrics) {
        let profit_factor = (self.losses.count > 0).then(|| self.wins.pnl / -self.losses.pnl);
        let payoff_ratio = self.wins.mean_pnl().zip(self.losses.mean_pnl()).map(|(win, loss)| win / -loss);
        metrics.set_count(Metric::TradeCount, self.closed);
        metrics.set_count(Metric::OpenTrades, self.open);
        metrics.set_count(Metric::SkippedEntries, self.skipped);
        metrics.set_count(Metric::AmbiguousBars, self.ambiguous);
        metrics.set(Metric::TotalFees, self.fees);
        metrics.set_defined(Metric::WinRate, mean(self.wins.count as f64, self.closed));
        metrics.set_defined(Metric::ProfitFactor, profit_factor);
        metrics.set_defined(Metric::PayoffRatio, payoff_ratio);
        metrics.set_defined(Metric::Expectancy, mean(self.pnl, self.closed));
        metrics.set_defined(Metric::AvgTradeReturn, mean(self.returns, self.closed));
        metrics.set_defined(Metric::BestTradeReturn, self.best);
        metrics.set_defined(Metric::WorstTradeReturn, self.worst);
        metrics.set_defined(Metric::AvgWinReturn, self.wins.mean_return());
        metrics.set_defined(Metric::AvgLossReturn, self.losses.mean_return());
        metrics.set_defined(Metric::AvgBarsHeld, mean(self.bars_held as f64, self.closed));
    }
}

/// `None` of nothing.
fn mean(sum: f64, count: usize) -> Option<f64> {
    (count > 0).then(|| sum / count as f64)
}
