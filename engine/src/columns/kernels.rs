//! Arithmetic and comparisons over whole columns.

use super::Column;
use crate::expr::{BinaryOp, Comparison, UnaryOp};
use crate::mask::{Mask, WORD_BITS};
use crate::simd::{self, Words};

/// An operand of a whole column: one value a bar, or the same number at every bar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Number(f64),
    Column(&'a [f64]),
}

impl<'a> Source<'a> {
    /// The values for each full word of a mask, and those of the last bars, which fill none. A number is repeated in
    /// `space`.
    fn words(self, space: &'a mut Option<[f64; WORD_BITS]>) -> (Words<'a>, &'a [f64]) {
        match self {
            Source::Column(column) => {
                let (words, rest) = column.as_chunks();
                (Words::column(words), rest)
            }
            Source::Number(number) => {
                let space = space.insert([number; WORD_BITS]);
                (Words::repeated(space), &space[..])
            }
        }
    }
}

/// `op` of every value.
pub(super) fn unary(op: UnaryOp, column: &[f64]) -> Column {
    match op {
        UnaryOp::Negate => each(column, |x| -x),
        UnaryOp::Abs => each(column, f64::abs),
        UnaryOp::Log => each(column, |x| op.apply(x)),
    }
}

/// `op` of every pair of values. At least one operand is a column; two columns have equal lengths.
pub(super) fn binary(op: BinaryOp, a: Source<'_>, b: Source<'_>) -> Column {
    // One closure for each operation, so that each becomes a loop of its own that the compiler can vectorise.
    match op {
        BinaryOp::Add => zip(a, b, |a, b| a + b),
        BinaryOp::Subtract => zip(a, b, |a, b| a - b),
        BinaryOp::Multiply => zip(a, b, |a, b| a * b),
        BinaryOp::Divide => zip(a, b, |a, b| a / b),
        BinaryOp::Min => zip(a, b, |a, b| BinaryOp::Min.apply(a, b)),
        BinaryOp::Max => zip(a, b, |a, b| BinaryOp::Max.apply(a, b)),
    }
}

fn each(column: &[f64], op: impl Fn(f64) -> f64) -> Column {
    Column::written(column.len(), |output| {
        output.iter_mut().zip(column).for_each(|(place, &x)| *place = op(x));
    })
}

fn zip(a: Source<'_>, b: Source<'_>, op: impl Fn(f64, f64) -> f64) -> Column {
    match (a, b) {
        (Source::Column(a), Source::Column(b)) => Column::written(a.len(), |output| {
            output.iter_mut().zip(a.iter().zip(b)).for_each(|(place, (&a, &b))| *place = op(a, b));
        }),
        (Source::Column(a), Source::Number(b)) => each(a, |a| op(a, b)),
        (Source::Number(a), Source::Column(b)) => each(b, |b| op(a, b)),
        (Source::Number(_), Source::Number(_)) => unreachable!("numbers are folded when a rule is bound"),
    }
}

/// Writes where the comparison is true. At least one operand is a column; two columns have equal lengths.
pub(super) fn compare(comparison: Comparison, a: Source<'_>, b: Source<'_>, mask: &mut Mask) {
    with_words(a, b, mask.len(), |a, b, rest| {
        let (full, last) = split_words(mask);
        simd::compare(comparison, a, b, full);
        if let Some(last) = last {
            *last = last_word(rest, |a, b| comparison.holds(a, b));
        }
    });
}

/// Writes where `a` compares to `b`, and where `b` compares to `a`: two comparisons of order in one pass.
pub(super) fn compare_both(
    [forth, back]: [Comparison; 2],
    a: Source<'_>,
    b: Source<'_>,
    [forth_mask, back_mask]: [&mut Mask; 2],
) {
    with_words(a, b, forth_mask.len(), |a, b, rest| {
        let ((forth_full, forth_last), (back_full, back_last)) = (split_words(forth_mask), split_words(back_mask));
        simd::compare_both([forth, back], a, b, [forth_full, back_full]);
        if let (Some(forth_last), Some(back_last)) = (forth_last, back_last) {
            *forth_last = last_word(rest, |a, b| forth.holds(a, b));
            *back_last = last_word(rest, |a, b| back.holds(b, a));
        }
    });
}

/// Lends the values of both operands for each full word, and those of the last bars, which fill none.
fn with_words(a: Source<'_>, b: Source<'_>, len: usize, apply: impl FnOnce(Words<'_>, Words<'_>, [&[f64]; 2])) {
    let (mut same_a, mut same_b) = (None, None);
    let ((a, a_rest), (b, b_rest)) = (a.words(&mut same_a), b.words(&mut same_b));
    let rest = len % WORD_BITS;
    apply(a, b, [&a_rest[..rest], &b_rest[..rest]]);
}

/// The full words of a mask, and the last one if it is not.
fn split_words(mask: &mut Mask) -> (&mut [u64], Option<&mut u64>) {
    let full = mask.len() / WORD_BITS;
    let (full, last) = mask.words_mut().split_at_mut(full);
    (full, last.first_mut())
}

fn last_word([a, b]: [&[f64]; 2], holds: impl Fn(f64, f64) -> bool) -> u64 {
    let bits = a.iter().zip(b).map(|(&a, &b)| holds(a, b));
    bits.enumerate().fold(0, |word, (index, bit)| word | u64::from(bit) << index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Comparison; 4] = [Comparison::Less, Comparison::LessEqual, Comparison::Equal, Comparison::Differs];

    fn compared(comparison: Comparison, a: Source<'_>, b: Source<'_>) -> Mask {
        let mut mask = Mask::from_fn(200, |t| t % 2 == 0);
        compare(comparison, a, b, &mut mask);
        mask
    }

    #[test]
    fn words_equal_bits_one_by_one() {
        let a: Vec<f64> = (0..200).map(|t| if t % 7 == 0 { f64::NAN } else { f64::from(t * 37 % 11) }).collect();
        let b: Vec<f64> = (0..200).map(|t| f64::from(t * 53 % 11)).collect();
        for comparison in ALL {
            let columns = compared(comparison, Source::Column(&a), Source::Column(&b));
            assert_eq!(columns, Mask::from_fn(200, |t| comparison.holds(a[t], b[t])));
            let left = compared(comparison, Source::Number(5.0), Source::Column(&a));
            assert_eq!(left, Mask::from_fn(200, |t| comparison.holds(5.0, a[t])));
            let right = compared(comparison, Source::Column(&a), Source::Number(5.0));
            assert_eq!(right, Mask::from_fn(200, |t| comparison.holds(a[t], 5.0)));
        }
    }

    #[test]
    fn two_comparisons_at_once_are_those_one_by_one() {
        let a: Vec<f64> = (0..200).map(|t| if t % 7 == 0 { f64::NAN } else { f64::from(t * 37 % 11) }).collect();
        let b: Vec<f64> = (0..200).map(|t| f64::from(t * 53 % 11)).collect();
        let sources = [Source::Column(&a), Source::Column(&b), Source::Number(5.0)];
        let of_order = ALL.into_iter().filter(|comparison| comparison.is_of_order());
        for forth in of_order.clone() {
            for back in of_order.clone() {
                for (a, b) in [(sources[0], sources[1]), (sources[0], sources[2]), (sources[2], sources[1])] {
                    let (mut one, mut other) = (Mask::none(200), Mask::none(200));
                    compare_both([forth, back], a, b, [&mut one, &mut other]);
                    assert_eq!([one, other], [compared(forth, a, b), compared(back, b, a)]);
                }
            }
        }
    }
}
