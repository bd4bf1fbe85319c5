//! Cash, and the position traded with it.

use super::costs::Costs;
use super::trade::{ExitReason, Side, Trade};

/// A position of so many shares, with the cash beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) side: Side,
    pub(super) entry_bar: usize,
    /// Slippage included.
    pub(super) entry_price: f64,
    entry_fee: f64,
    /// Above 0 on either side.
    size: f64,
    /// The size, negative when short.
    shares: f64,
    /// Cash beside the shares: exactly 0 after a long entry with all of it.
    cash: f64,
    borrow_cost: f64,
}

impl Position {
    /// Enters at `price`, before slippage, with `cash` being all there is. `None` if that trades nothing.
    pub(super) fn open(costs: &Costs, side: Side, cash: f64, bar: usize, price: f64) -> Option<Self> {
        let entry_price = costs.entry_price(side, price);
        let (size, all_in) = costs.size(cash, entry_price)?;
        let entry_fee = costs.fee(size, entry_price);
        let value = size * entry_price;
        let left = match side {
            Side::Long if all_in => 0.0,
            // Rounding never makes an entry spend more than there is.
            Side::Long => (cash - (value + entry_fee)).max(0.0),
            Side::Short => cash + (value - entry_fee),
        };
        let shares = side.sign() * size;
        Some(Self { side, entry_bar: bar, entry_price, entry_fee, size, shares, cash: left, borrow_cost: 0.0 })
    }

    /// `equity[t] = cash + shares * close[t]`, shares being negative when short.
    #[inline(always)]
    pub(super) fn equity(&self, close: f64) -> f64 {
        self.cash + self.shares * close
    }

    /// The cash beside the shares, and the shares, negative when short.
    pub(super) fn cash_and_shares(&self) -> (f64, f64) {
        (self.cash, self.shares)
    }

    /// The shares of a position that has no cash beside them.
    pub(super) fn shares_alone(&self) -> f64 {
        debug_assert_eq!(self.cash, 0.0, "all cash is in the shares");
        self.shares
    }

    /// Pays for borrowing the shares: `rate` a bar on their value at the close.
    pub(super) fn pay_borrowing(&mut self, rate: f64, close: f64) {
        let cost = self.size * close * rate;
        self.cash -= cost;
        self.borrow_cost += cost;
    }

    /// Closes at `price`, before slippage. Gives the cash afterwards and the trade.
    ///
    /// Of a sale the commission takes at most what it brings: cash never falls below what lay beside the shares,
    /// however high the least commission. What it takes to buy back a short position has no such bound, but nothing
    /// is owed beyond all cash: equity ends at 0.
    pub(super) fn close(&self, costs: &Costs, bar: usize, price: f64, reason: ExitReason) -> (f64, Trade) {
        let exit_price = match reason {
            ExitReason::Target => price,
            _ => costs.exit_price(self.side, price),
        };
        let value = self.size * exit_price;
        let fee = costs.fee(self.size, exit_price);
        match self.side {
            Side::Long => {
                let exit_fee = if fee < value { fee } else { value };
                (self.cash + (value - exit_fee), self.trade(bar, exit_price, exit_fee, reason, false))
            }
            Side::Short => {
                let cash = self.cash - (value + fee);
                (cash.max(0.0), self.trade(bar, exit_price, fee, reason, false))
            }
        }
    }

    /// The position as the open trade it is after the last bar, valued at the close of that bar.
    pub(super) fn mark(&self, bar: usize, close: f64) -> Trade {
        self.trade(bar, close, 0.0, ExitReason::End, true)
    }

    fn trade(&self, exit_bar: usize, exit_price: f64, exit_fee: f64, exit_reason: ExitReason, open: bool) -> Trade {
        let Self { side, entry_bar, entry_price, entry_fee, size, borrow_cost, .. } = *self;
        let pnl = self.shares * (exit_price - entry_price) - entry_fee - exit_fee - borrow_cost;
        Trade {
            side,
            entry_bar,
            entry_price,
            exit_bar,
            exit_price,
            size,
            entry_fee,
            exit_fee,
            borrow_cost,
            pnl,
            return_: pnl / (size * entry_price),
            exit_reason,
            open,
        }
    }
}
