//! What takes down the bars of a run.

use super::account::Position;
use super::trade::Trade;

/// Takes the bars of a run in order, each exactly once, and what happens in them.
pub(super) trait Book {
    /// Bars up to `end`, not included, without a position.
    fn flat_until(&mut self, end: usize);
    /// Bars up to `end`, not included, at whose closes `position` is held.
    fn hold_until(&mut self, end: usize, position: &Position);
    /// The next bar, within which the position was closed; `cash` is what there is at its close.
    fn closed(&mut self, cash: f64);
    /// The last bar, at whose close the position was closed because no bar follows: it counts as held.
    fn liquidated(&mut self, cash: f64);
    /// A trade that ended, or the one still open after the last bar.
    fn trade(&mut self, trade: Trade);
    /// An entry that traded nothing.
    fn skip(&mut self);
}
