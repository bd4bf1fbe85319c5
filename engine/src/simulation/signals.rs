//! Where the rules of a run are true.

use super::trade::Side;
use crate::mask::Mask;

/// Where the rules of one side are true, each a mask over all bars.
///
/// They are levels: while flat only `enter` is looked at, while in a position only `exit`.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Where a position of this side is entered.
    pub enter: &'a Mask,
    /// Where it is closed.
    pub exit: &'a Mask,
}

/// The rules of a run. Those of a side which the execution rules do not allow are not looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Signals<'a> {
    /// Rules of long positions.
    pub long: Option<Rules<'a>>,
    /// Rules of short positions.
    pub short: Option<Rules<'a>>,
}

impl<'a> Signals<'a> {
    /// Rules of long positions only.
    pub fn long(enter: &'a Mask, exit: &'a Mask) -> Self {
        Self { long: Some(Rules { enter, exit }), short: None }
    }

    /// The rules of a side.
    pub fn side(&self, side: Side) -> Option<Rules<'a>> {
        match side {
            Side::Long => self.long,
            Side::Short => self.short,
        }
    }

    /// Every mask.
    pub(super) fn masks(&self) -> impl Iterator<Item = &'a Mask> {
        [self.long, self.short].into_iter().flatten().flat_map(|rules| [rules.enter, rules.exit])
    }
}
