//! Arithmetic and comparisons over whole columns.

use std::sync::Arc;

use crate::expr::{BinaryOp, Comparison, UnaryOp, differ};
use crate::mask::{Mask, WORD_BITS};

/// An operand of a whole column: one value a bar, or the same number at every bar.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source<'a> {
    Number(f64),
    Column(&'a [f64]),
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
    match comparison {
        Comparison::Less => mask(a, b, |a, b| a < b),
        Comparison::LessEqual => mask(a, b, |a, b| a <= b),
        Comparison::Equal => mask(a, b, |a, b| a == b),
        Comparison::Differs => mask(a, b, differ),
    }
}

fn mask(a: Source<'_>, b: Source<'_>, holds: impl Fn(f64, f64) -> bool) -> Mask {
    match (a, b) {
        (Source::Column(a), Source::Column(b)) => {
            let ((a_words, a_rest), (b_words, b_rest)) = (a.as_chunks(), b.as_chunks());
            let words = a_words.iter().zip(b_words).map(|(a, b)| word(a, b, &holds));
            with_rest(words, a_rest.iter().zip(b_rest).map(|(&a, &b)| holds(a, b)), a.len())
        }
        (Source::Column(a), Source::Number(b)) => column_mask(a, |a| holds(a, b)),
        (Source::Number(a), Source::Column(b)) => column_mask(b, |b| holds(a, b)),
        (Source::Number(_), Source::Number(_)) => unreachable!("numbers are folded when a rule is bound"),
    }
}

fn column_mask(column: &[f64], holds: impl Fn(f64) -> bool) -> Mask {
    let (words, rest) = column.as_chunks();
    let words = words.iter().map(|x| word(x, x, &|x, _| holds(x)));
    with_rest(words, rest.iter().map(|&x| holds(x)), column.len())
}

/// A mask from its full words and the bits of the last bars, which fill none.
fn with_rest(full: impl Iterator<Item = u64>, rest: impl Iterator<Item = bool>, len: usize) -> Mask {
    let mut words = Vec::with_capacity(len.div_ceil(WORD_BITS));
    words.extend(full);
    if words.len() * WORD_BITS < len {
        words.push(rest.enumerate().fold(0, |word, (index, bit)| word | u64::from(bit) << index));
    }
    Mask::from_words(words, len)
}

/// One word of a mask. The comparisons go into bytes first: that loop becomes vector instructions.
#[inline(always)]
fn word(a: &[f64; WORD_BITS], b: &[f64; WORD_BITS], holds: &impl Fn(f64, f64) -> bool) -> u64 {
    /// Multiplying eight bytes of 0 or 1 by this moves the lowest bit of byte `i` to bit `56 + i`: it has a bit at
    /// `56 - 7 * i` for each `i` from 0 to 7, and no two products meet.
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut bytes = [0_u8; WORD_BITS];
    for ((byte, &a), &b) in bytes.iter_mut().zip(a).zip(b) {
        *byte = u8::from(holds(a, b));
    }
    let mut word = 0;
    for (index, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
        let bits = u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56;
        word |= bits << (index * 8);
    }
    word
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
