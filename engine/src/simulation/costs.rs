//! What fills cost, and how many shares an entry buys.

use super::trade::Side;
use crate::execution::{Execution, Size};

/// The costs of an [`Execution`], and how many shares it trades.
#[derive(Debug, Clone, Copy)]
pub(super) struct Costs {
    commission: f64,
    per_share: f64,
    least: f64,
    slippage: f64,
    size: Size,
    whole_shares: bool,
}

impl Costs {
    pub(super) fn of(execution: &Execution) -> Self {
        Self {
            commission: execution.commission,
            per_share: execution.commission_per_share,
            least: execution.commission_min,
            slippage: execution.slippage,
            size: execution.size,
            whole_shares: execution.whole_shares,
        }
    }

    /// The price at which an entry fills: `price * (1 + slippage)` to buy, `price * (1 - slippage)` to sell short.
    pub(super) fn entry_price(&self, side: Side, price: f64) -> f64 {
        price * (1.0 + side.sign() * self.slippage)
    }

    /// The price at which an exit fills: `price * (1 - slippage)` to sell, `price * (1 + slippage)` to buy back.
    pub(super) fn exit_price(&self, side: Side, price: f64) -> f64 {
        price * (1.0 - side.sign() * self.slippage)
    }

    /// Shares that an entry trades at a fill price, and whether that is all that `cash`, all there is, pays for.
    ///
    /// `None` if that is nothing, or more than a number can hold.
    pub(super) fn size(&self, cash: f64, price: f64) -> Option<(f64, bool)> {
        let most = self.all_in(cash, price)?;
        if self.size == Size::AllIn && !self.whole_shares {
            return Some((most, true));
        }
        let wanted = match self.size {
            Size::AllIn => most,
            Size::Fraction(1.0) => most,
            Size::Fraction(part) => self.all_in(part * cash, price)?,
            Size::Cash(amount) if amount >= cash => most,
            Size::Cash(amount) => self.all_in(amount, price)?,
            Size::Shares(shares) => shares.min(most),
        };
        let size = if self.whole_shares { wanted.floor() } else { wanted };
        (size > 0.0).then_some((size, size == most))
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
    fn all_in(&self, cash: f64, price: f64) -> Option<f64> {
        let by_rate = cash / (price * (1.0 + self.commission) + self.per_share);
        // Without a least commission the second is never the smaller: its divisor is not.
        let shares = if self.least == 0.0 { by_rate } else { by_rate.min((cash - self.least) / price) };
        (shares > 0.0 && shares < f64::INFINITY).then_some(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn costs(commission: f64, per_share: f64, least: f64) -> Costs {
        Costs { commission, per_share, least, slippage: 0.0, size: Size::AllIn, whole_shares: false }
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

    #[test]
    fn sizes_are_bounded_by_all_cash() {
        let free = costs(0.0, 0.0, 0.0);
        let sized = |size: Size, whole_shares: bool| Costs { size, whole_shares, ..free }.size(1000.0, 30.0);
        assert_eq!(sized(Size::AllIn, false), Some((1000.0 / 30.0, true)));
        assert_eq!(sized(Size::AllIn, true), Some((33.0, false)));
        assert_eq!(sized(Size::Fraction(0.5), false), Some((500.0 / 30.0, false)));
        assert_eq!(sized(Size::Fraction(1.0), false), Some((1000.0 / 30.0, true)));
        assert_eq!(sized(Size::Cash(90.0), false), Some((3.0, false)));
        assert_eq!(sized(Size::Cash(1e6), true), Some((33.0, false)));
        assert_eq!(sized(Size::Shares(10.0), false), Some((10.0, false)));
        assert_eq!(sized(Size::Shares(100.0), false), Some((1000.0 / 30.0, true)));
        assert_eq!(sized(Size::Cash(20.0), true), None);
    }

    #[test]
    fn slippage_is_against_either_side() {
        let costs = Costs { slippage: 0.5, ..costs(0.0, 0.0, 0.0) };
        assert_eq!((costs.entry_price(Side::Long, 10.0), costs.exit_price(Side::Long, 10.0)), (15.0, 5.0));
        assert_eq!((costs.entry_price(Side::Short, 10.0), costs.exit_price(Side::Short, 10.0)), (5.0, 15.0));
    }
}
