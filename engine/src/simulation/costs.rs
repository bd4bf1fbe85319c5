//! What fills cost, and how many shares an entry buys.

use crate::execution::Execution;

/// The costs of an [`Execution`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    commission: f64,
    per_share: f64,
    least: f64,
    slippage: f64,
}

impl Costs {
    pub(super) fn of(execution: &Execution) -> Self {
        Self {
            commission: execution.commission,
            per_share: execution.commission_per_share,
            least: execution.commission_min,
            slippage: execution.slippage,
        }
    }

    /// The price at which a buy fills: `price * (1 + slippage)`.
    pub(super) fn buy_price(&self, price: f64) -> f64 {
        price * (1.0 + self.slippage)
    }

    /// The price at which a sale fills: `price * (1 - slippage)`.
    pub(super) fn sell_price(&self, price: f64) -> f64 {
        price * (1.0 - self.slippage)
    }

    /// Commission of `shares` at `price`, either side:
    /// `max(commission_min, shares * price * commission + shares * commission_per_share)`.
    pub(super) fn fee(&self, shares: f64, price: f64) -> f64 {
        let fee = shares * price * self.commission + shares * self.per_share;
        if fee < self.least { self.least } else { fee }
    }

    /// Shares, in fractions, that take all of `cash` at a fill price, commission included:
    /// `min(cash / (price * (1 + commission) + commission_per_share), (cash - commission_min) / price)`.
    ///
    /// With a plain commission this is `cash / (price * (1 + commission))` [vectorbt]. `None` if that buys nothing,
    /// or more than a number can hold.
    pub(super) fn all_in(&self, cash: f64, price: f64) -> Option<f64> {
        let by_rate = cash / (price * (1.0 + self.commission) + self.per_share);
        let by_least = (cash - self.least) / price;
        let shares = by_rate.min(by_least);
        (shares > 0.0 && shares.is_finite()).then_some(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(commission: f64, per_share: f64, least: f64) -> Costs {
        Costs { commission, per_share, least, slippage: 0.0 }
    }

    #[test]
    fn all_in_spends_all_cash() {
        for costs in [costs(0.001, 0.0, 0.0), costs(0.0, 0.01, 5.0), costs(0.001, 0.005, 200.0), costs(0.0, 0.0, 1.0)] {
            let (cash, price) = (100_000.0, 37.5);
            let shares = costs.all_in(cash, price).unwrap();
            let spent = shares * price + costs.fee(shares, price);
            assert!((spent - cash).abs() < 1e-9, "{costs:?} spends {spent}");
        }
    }

    #[test]
    fn the_least_commission_can_leave_nothing() {
        assert_eq!(costs(0.0, 0.0, 10.0).all_in(10.0, 1.0), None);
        assert_eq!(costs(0.0, 0.0, 0.0).all_in(0.0, 1.0), None);
        assert_eq!(costs(0.0, 0.0, 0.0).all_in(1e300, 1e-300), None);
    }
}
