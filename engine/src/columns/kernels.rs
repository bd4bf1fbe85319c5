//! Arithmetic and comparisons over whole columns.

use std::sync::Arc;

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
    fn words(self, space: &'a mut [f64; WORD_BITS]) -> (Words<'a>, &'a [f64]) {
        match self {
            Source::Column(column) => {
                let (words, rest) = column.as_chunks();
                (Words::column(words), rest)
            }
            Source::Number(number) => {
                space.fill(number);
                (Words::repeated(space), &space[..])
            }
        }
    }
}

/// `op` of every value.
pub(super) fn unary(op: UnaryOp, column: &[f64]) -> Arc<[f64]> {
    match op {
        UnaryOp::Negate => column.iter().map(|x| -x).collect(),
        UnaryOp::Abs => column.iter().map(|x| x.abs()).collect(),
        UnaryOp::Log => column.iter().map(|&x| op.apply(x)).collect(),
    }
}

/// `op` of every pair of values. At least one operand is a column; two columns have equal lengths.
pub(super) fn binary(op: BinaryOp, a: Source<'_>, b: Source<'_>) -> Arc<[f64]> {
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

fn zip(a: Source<'_>, b: Source<'_>, op: impl Fn(f64, f64) -> f64) -> Arc<[f64]> {
    match (a, b) {
        (Source::Column(a), Source::Column(b)) => a.iter().zip(b).map(|(&a, &b)| op(a, b)).collect(),
        (Source::Column(a), Source::Number(b)) => a.iter().map(|&a| op(a, b)).collect(),
        (Source::Number(a), Source::Column(b)) => b.iter().map(|&b| op(a, b)).collect(),
        (Source::Number(_), Source::Number(_)) => unreachable!("numbers are folded when a rule is bound"),
    }
}

/// Where the comparison is true. At least one operand is a column; two columns have equal lengths.
pub(super) fn compare(comparison: Comparison, a: Source<'_>, b: Source<'_>) -> Mask {
    let len = match (a, b) {
        (Source::Column(column), _) | (_, Source::Column(column)) => column.len(),
        (Source::Number(_), Source::Number(_)) => unreachable!("numbers are folded when a rule is bound"),
    };
    let mut repeated = [[0.0; WORD_BITS]; 2];
    let [same_a, same_b] = &mut repeated;
    let ((a, a_rest), (b, b_rest)) = (a.words(same_a), b.words(same_b));
    let (full, rest) = (len / WORD_BITS, len % WORD_BITS);
    let mut words = Vec::with_capacity(len.div_ceil(WORD_BITS));
    simd::compare(comparison, a, b, full, &mut words);
    if rest > 0 {
        let bits = a_rest.iter().zip(b_rest).take(rest).map(|(&a, &b)| comparison.holds(a, b));
        words.push(bits.enumerate().fold(0, |word, (index, bit)| word | u64::from(bit) << index));
    }
    Mask::from_words(words, len)
}

/// The mask one bar later: bit `t` is bit `t - 1` of `mask`, and the first is 0.
pub(super) fn previous(mask: &Mask) -> Mask {
    let mut carried = 0;
    let words = mask.words().iter().map(|&word| {
        let shifted = word << 1 | carried;
        carried = word >> (WORD_BITS - 1);
        shifted
    });
    Mask::from_words(words.collect(), mask.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_equal_bits_one_by_one() {
        let a: Vec<f64> = (0..200).map(|t| if t % 7 == 0 { f64::NAN } else { f64::from(t * 37 % 11) }).collect();
        let b: Vec<f64> = (0..200).map(|t| f64::from(t * 53 % 11)).collect();
        for comparison in [Comparison::Less, Comparison::LessEqual, Comparison::Equal, Comparison::Differs] {
            let columns = compare(comparison, Source::Column(&a), Source::Column(&b));
            assert_eq!(columns, Mask::from_fn(200, |t| comparison.holds(a[t], b[t])));
            let left = compare(comparison, Source::Number(5.0), Source::Column(&a));
            assert_eq!(left, Mask::from_fn(200, |t| comparison.holds(5.0, a[t])));
            let right = compare(comparison, Source::Column(&a), Source::Number(5.0));
            assert_eq!(right, Mask::from_fn(200, |t| comparison.holds(a[t], 5.0)));
        }
    }

    #[test]
    fn previous_shifts_over_words_and_stays_within_the_bars() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let mask = Mask::from_fn(len, |t| t % 3 == 0 || t == 63);
            assert_eq!(previous(&mask), Mask::from_fn(len, |t| t > 0 && mask.get(t - 1)));
        }
    }
}
