//! The arithmetic of one kind of node.

use std::hash::{Hash, Hasher};
use std::ops::Range;

use crate::columns::Column;

/// Most columns a kernel reads.
pub(crate) const MAX_INPUTS: usize = 4;

/// Most numbers a kernel takes.
pub(crate) const MAX_NUMBERS: usize = 3;

/// A pure function of columns and numbers to a column.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// Values a bar in its output: 1, or more for inner sums, which lie one after the other.
    pub(crate) width: usize,
    /// Fills the output, which comes full of NaN.
    pub(crate) run: fn(&Inputs<'_>, &mut [f64]),
}

/// A kernel as part of an operation: two are equal if they are the same static.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelRef(pub(crate) &'static Kernel);

impl KernelRef {
    /// Runs the kernel over `bars` bars.
    pub(crate) fn run(self, bars: usize, inputs: &Inputs<'_>) -> Column {
        Column::written(bars * self.0.width, |output| (self.0.run)(inputs, output))
    }
}

impl PartialEq for KernelRef {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for KernelRef {}

impl Hash for KernelRef {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

/// What a kernel reads.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    columns: [&'a [f64]; MAX_INPUTS],
    numbers: [f64; MAX_NUMBERS],
}

impl<'a> Inputs<'a> {
    pub(crate) fn new(columns: [&'a [f64]; MAX_INPUTS], numbers: [f64; MAX_NUMBERS]) -> Self {
        Self { columns, numbers }
    }

    pub(super) fn column(&self, position: usize) -> &'a [f64] {
        self.columns[position]
    }

    pub(super) fn number(&self, position: usize) -> f64 {
        self.numbers[position]
    }

    /// A number that has been checked to be whole and 0 or more. One beyond all bars becomes `usize::MAX`, so add to
    /// it with care.
    pub(super) fn whole(&self, position: usize) -> usize {
        self.numbers[position] as usize
    }
}

/// The stretches of consecutive finite values, in order.
pub(super) fn segments(column: &[f64]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut next = 0;
    std::iter::from_fn(move || {
        let start = next + column[next..].iter().position(|x| x.is_finite())?;
        let length = column[start..].iter().position(|x| !x.is_finite()).unwrap_or(column.len() - start);
        next = start + length;
        Some(start..next)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_the_stretches_between_gaps() {
        let gap = f64::NAN;
        let column = [gap, gap, 1.0, 2.0, gap, 3.0, f64::INFINITY, f64::NEG_INFINITY, 4.0];
        assert_eq!(segments(&column).collect::<Vec<_>>(), [2..4, 5..6, 8..9]);
        assert_eq!(segments(&[]).count(), 0);
        assert_eq!(segments(&[gap]).count(), 0);
        assert_eq!(segments(&[1.0]).next(), Some(0..1));
    }
}
