//! Cash, and the position bought with it.

use super::costs::Costs;
use super::trade::Trade;

/// A position of so many shares, with the cash beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) entry_bar: usize,
    entry_price: f64,
    entry_fee: f64,
    shares: f64,
    /// Cash beside the shares: exactly 0 after an entry with all of it.
    cash: f64,
}

impl Position {
    /// Buys with all of `cash` at `price`, before slippage. `None` if that buys nothing.
    pub(super) fn open(costs: &Costs, cash: f64, bar: usize, price: f64) -> Option<Self> {
        let entry_price = costs.buy_price(price);
        let shares = costs.all_in(cash, entry_price)?;
        let entry_fee = costs.fee(shares, entry_price);
        Some(Self { entry_bar: bar, entry_price, entry_fee, shares, cash: 0.0 })
    }

    /// `equity[t] = cash + shares * close[t]`.
    pub(super) fn equity(&self, close: f64) -> f64 {
        self.cash + self.shares * close
    }

    /// Sells at `price`, before slippage. Gives the cash afterwards and the trade.
    ///
    /// The commission takes at most what the sale brings: cash never falls below what lay beside the shares, however
    /// high the least commission.
    pub(super) fn close(&self, costs: &Costs, bar: usize, price: f64) -> (f64, Trade) {
        let exit_price = costs.sell_price(price);
        let proceeds = self.shares * exit_price;
        let fee = costs.fee(self.shares, exit_price);
        let exit_fee = if fee < proceeds { fee } else { proceeds };
        let cash = self.cash + (proceeds - exit_fee);
        (cash, self.trade(bar, exit_price, exit_fee, false))
    }

    /// The position as the open trade it is after the last bar, valued at the close of that bar.
    pub(super) fn mark(&self, bar: usize, close: f64) -> Trade {
        self.trade(bar, close, 0.0, true)
    }

    fn trade(&self, exit_bar: usize, exit_price: f64, exit_fee: f64, open: bool) -> Trade {
        let Self { entry_bar, entry_price, entry_fee, shares, .. } = *self;
        let pnl = shares * (exit_price - entry_price) - entry_fee - exit_fee;
        Trade {
            entry_bar,
            entry_price,
            exit_bar,
            exit_price,
            size: shares,
            entry_fee,
            exit_fee,
            pnl,
            return_: pnl / (shares * entry_price),
            open,
        }
    }
}
