//! Loops for the vector units of the machine.
//!
//! One binary runs everywhere and uses AVX-512 or AVX2 where they are. Whatever is used, results have the same bits:
//! comparisons are exact, sums keep a fixed number of lanes which no vector width changes, and nothing is fused. The
//! environment variable `JETSWEEP_SIMD` (`scalar`, `avx2`, `avx512`) chooses less than there is; it is read once.
//!
//! This is the one module with `unsafe` code: calls of functions that need instructions which were found to exist.
#![allow(unsafe_code)]

use std::sync::OnceLock;

use crate::expr::Comparison;
use crate::mask::WORD_BITS;
use crate::metrics::drawdown::Drawdown;
use crate::simulation::Sums;

/// Sets of vector instructions, each with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// Those that every machine of its kind has.
    Scalar,
    /// AVX2, 4 numbers at a time.
    Avx2,
    /// AVX-512, 8 numbers at a time.
    Avx512,
}

impl Simd {
    /// The instructions in use.
    pub fn in_use() -> Self {
        static IN_USE: OnceLock<Simd> = OnceLock::new();
        *IN_USE.get_or_init(|| {
            let wanted = std::env::var("JETSWEEP_SIMD").ok().and_then(|name| Simd::from_name(&name));
            wanted.unwrap_or(Simd::Avx512).min(Simd::of_machine())
        })
    }

    /// Their name, as in `JETSWEEP_SIMD`.
    pub const fn name(self) -> &'static str {
        match self {
            Simd::Scalar => "scalar",
            Simd::Avx2 => "avx2",
            Simd::Avx512 => "avx512",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Simd::Scalar, Simd::Avx2, Simd::Avx512].into_iter().find(|simd| simd.name() == name)
    }

    #[cfg(target_arch = "x86_64")]
    fn of_machine() -> Self {
        let avx2 = std::is_x86_feature_detected!("avx2");
        let avx512 = std::is_x86_feature_detected!("avx512f")
            && std::is_x86_feature_detected!("avx512dq")
            && std::is_x86_feature_detected!("avx512vl")
            && std::is_x86_feature_detected!("avx512bw");
        match (avx2, avx512) {
            (true, true) => Simd::Avx512,
            (true, false) => Simd::Avx2,
            (false, _) => Simd::Scalar,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn of_machine() -> Self {
        Simd::Scalar
    }
}

/// Compiles a function once for each set of instructions: `$generic`, which is `#[inline(always)]`, becomes `$name`.
macro_rules! for_each_simd {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? = $generic:path;) => {
        $(#[$doc])*
        #[cfg(target_arch = "x86_64")]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                $generic($($argument),*)
            }
            #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                $generic($($argument),*)
            }
            match Simd::in_use() {
                Simd::Scalar => $generic($($argument),*),
                // SAFETY: `in_use` is at most what the machine was found to have.
                Simd::Avx2 => unsafe { avx2($($argument),*) },
                // SAFETY: as above.
                Simd::Avx512 => unsafe { avx512($($argument),*) },
            }
        }

        $(#[$doc])*
        #[cfg(not(target_arch = "x86_64"))]
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            $generic($($argument),*)
        }
    };
}

for_each_simd! {
    /// See [`crate::metrics::returns_of`].
    pub(crate) fn returns_of(cash: f64, shares: f64, closes: &[f64], returns: &mut [f64]) =
        crate::metrics::returns_of;
}

for_each_simd! {
    /// See [`crate::metrics::block_sums`].
    pub(crate) fn block_sums(returns: &[f64], risk_free: f64) -> [f64; 3] = crate::metrics::block_sums;
}

for_each_simd! {
    /// See [`crate::metrics::central_sums`].
    pub(crate) fn central_sums(returns: &[f64], mean: f64) -> [f64; 3] = crate::metrics::central_sums;
}

for_each_simd! {
    /// See [`Drawdown::hold`].
    pub(crate) fn hold(drawdown: &mut Drawdown, closes: &[f64], cash: f64, shares: f64) = Drawdown::hold_chunks;
}

for_each_simd! {
    /// Equity `cash + shares * close` at each close.
    pub(crate) fn equity_of(cash: f64, shares: f64, closes: &[f64], equity: &mut [f64]) =
        crate::metrics::equity_of;
}

for_each_simd! {
    /// The number of bars before the first whose low is at most `floor` or whose high is at least `ceiling`.
    pub(crate) fn bars_between(lows: &[f64], highs: &[f64], floor: f64, ceiling: f64) -> usize =
        crate::simulation::bars_between;
}

for_each_simd! {
    /// See [`Sums::add_each`].
    pub(crate) fn add_powers(sums: &mut Sums, returns: &[f64], risk_free: f64) = Sums::add_each;
}

for_each_simd! {
    /// See [`Sums::add_each_squared`].
    pub(crate) fn add_squares(sums: &mut Sums, returns: &[f64]) = Sums::add_each_squared;
}

/// The values of an operand for one word of a mask after the other: a column, or the same values again and again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    values: &'a [[f64; WORD_BITS]],
    repeat: bool,
}

impl<'a> Words<'a> {
    pub(crate) fn column(values: &'a [[f64; WORD_BITS]]) -> Self {
        Self { values, repeat: false }
    }

    pub(crate) fn repeated(values: &'a [f64; WORD_BITS]) -> Self {
        Self { values: std::slice::from_ref(values), repeat: true }
    }

    #[inline(always)]
    fn word(&self, index: usize) -> &'a [f64; WORD_BITS] {
        if self.repeat { &self.values[0] } else { &self.values[index] }
    }
}

/// Writes where a comparison is true, one word after the other.
pub(crate) fn compare(comparison: Comparison, a: Words<'_>, b: Words<'_>, words: &mut [u64]) {
    match Simd::in_use() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `in_use` is at most what the machine was found to have.
        Simd::Avx512 => unsafe { x86::compare_avx512(comparison, a, b, words) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Simd::Avx2 => unsafe { x86::compare_avx2(comparison, a, b, words) },
        _ => compare_scalar(comparison, a, b, words),
    }
}

/// Writes where `a` compares to `b`, and where `b` compares to `a`, by two comparisons of order: what is compared is
/// read once, which is most of the work where it does not fit into the nearest cache.
pub(crate) fn compare_both(
    [forth, back]: [Comparison; 2],
    a: Words<'_>,
    b: Words<'_>,
    [forth_words, back_words]: [&mut [u64]; 2],
) {
    match Simd::in_use() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `in_use` is at most what the machine was found to have.
        Simd::Avx512 => unsafe { x86::compare_both_avx512([forth, back], a, b, [forth_words, back_words]) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Simd::Avx2 => unsafe { x86::compare_both_avx2([forth, back], a, b, [forth_words, back_words]) },
        _ => {
            compare_scalar(forth, a, b, forth_words);
            compare_scalar(back, b, a, back_words);
        }
    }
}

fn compare_scalar(comparison: Comparison, a: Words<'_>, b: Words<'_>, words: &mut [u64]) {
    // One closure for each comparison, so that each becomes a loop of its own.
    fn each(words: &mut [u64], a: Words<'_>, b: Words<'_>, holds: impl Fn(f64, f64) -> bool) {
        for (index, place) in words.iter_mut().enumerate() {
            *place = word(a.word(index), b.word(index), &holds);
        }
    }
    match comparison {
        Comparison::Less => each(words, a, b, |a, b| a < b),
        Comparison::LessEqual => each(words, a, b, |a, b| a <= b),
        Comparison::Equal => each(words, a, b, |a, b| a == b),
        Comparison::Differs => each(words, a, b, crate::expr::differ),
    }
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

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _CMP_EQ_OQ, _CMP_GE_OQ, _CMP_GT_OQ, _CMP_LE_OQ, _CMP_LT_OQ, _CMP_NEQ_OQ, _mm256_cmp_pd, _mm256_loadu_pd,
        _mm256_movemask_pd, _mm512_cmp_pd_mask, _mm512_kunpackb, _mm512_kunpackd, _mm512_kunpackw, _mm512_loadu_pd,
    };

    use super::Words;
    use crate::expr::Comparison;
    use crate::mask::WORD_BITS;

    /// The functions of one set of instructions, by the one that makes a word of a mask with it.
    macro_rules! comparisons {
        ($features:literal, $word:ident, $compare:ident, $compare_both:ident) => {
            #[target_feature(enable = $features)]
            pub(super) fn $compare(comparison: Comparison, a: Words<'_>, b: Words<'_>, words: &mut [u64]) {
                #[target_feature(enable = $features)]
                fn each<const COMPARISON: i32>(a: Words<'_>, b: Words<'_>, words: &mut [u64]) {
                    for (index, place) in words.iter_mut().enumerate() {
                        *place = $word::<COMPARISON>(a.word(index), b.word(index));
                    }
                }
                match comparison {
                    Comparison::Less => each::<_CMP_LT_OQ>(a, b, words),
                    Comparison::LessEqual => each::<_CMP_LE_OQ>(a, b, words),
                    Comparison::Equal => each::<_CMP_EQ_OQ>(a, b, words),
                    Comparison::Differs => each::<_CMP_NEQ_OQ>(a, b, words),
                }
            }

            #[target_feature(enable = $features)]
            pub(super) fn $compare_both(
                comparisons: [Comparison; 2],
                a: Words<'_>,
                b: Words<'_>,
                words: [&mut [u64]; 2],
            ) {
                #[target_feature(enable = $features)]
                fn each<const FORTH: i32, const BACK: i32>(a: Words<'_>, b: Words<'_>, [forth, back]: [&mut [u64]; 2]) {
                    for (index, (forth, back)) in forth.iter_mut().zip(back).enumerate() {
                        let (a, b) = (a.word(index), b.word(index));
                        (*forth, *back) = ($word::<FORTH>(a, b), $word::<BACK>(a, b));
                    }
                }
                match comparisons {
                    [Comparison::Less, Comparison::Less] => each::<_CMP_LT_OQ, _CMP_GT_OQ>(a, b, words),
                    [Comparison::Less, Comparison::LessEqual] => each::<_CMP_LT_OQ, _CMP_GE_OQ>(a, b, words),
                    [Comparison::LessEqual, Comparison::Less] => each::<_CMP_LE_OQ, _CMP_GT_OQ>(a, b, words),
                    [Comparison::LessEqual, Comparison::LessEqual] => each::<_CMP_LE_OQ, _CMP_GE_OQ>(a, b, words),
                    _ => unreachable!("both are comparisons of order"),
                }
            }
        };
    }

    comparisons!("avx512f,avx512bw", word_avx512, compare_avx512, compare_both_avx512);
    comparisons!("avx2", word_avx2, compare_avx2, compare_both_avx2);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn word_avx512<const COMPARISON: i32>(a: &[f64; WORD_BITS], b: &[f64; WORD_BITS]) -> u64 {
        const WIDTH: usize = 8;
        let eighth = |index: usize| {
            let first = index * WIDTH;
            let (a, b) = (&a[first..first + WIDTH], &b[first..first + WIDTH]);
            // SAFETY: both slices have the 8 numbers that are loaded.
            let (a, b) = unsafe { (_mm512_loadu_pd(a.as_ptr()), _mm512_loadu_pd(b.as_ptr())) };
            _mm512_cmp_pd_mask::<COMPARISON>(a, b)
        };
        // Joined as masks: shifted into place one by one they would be gathered in a vector, which takes longer.
        let quarter = |index| _mm512_kunpackb(eighth(index + 1).into(), eighth(index).into());
        let half = |index| _mm512_kunpackw(quarter(index + 2).into(), quarter(index).into());
        _mm512_kunpackd(half(4).into(), half(0).into())
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn word_avx2<const COMPARISON: i32>(a: &[f64; WORD_BITS], b: &[f64; WORD_BITS]) -> u64 {
        const WIDTH: usize = 4;
        let mut word = 0;
        for first in (0..WORD_BITS).step_by(WIDTH) {
            let (a, b) = (&a[first..first + WIDTH], &b[first..first + WIDTH]);
            // SAFETY: both slices have the 4 numbers that are loaded.
            let (a, b) = unsafe { (_mm256_loadu_pd(a.as_ptr()), _mm256_loadu_pd(b.as_ptr())) };
            let bits = _mm256_movemask_pd(_mm256_cmp_pd::<COMPARISON>(a, b));
            word |= u64::from(bits as u32) << first;
        }
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::Mask;

    /// Numbers with gaps, ties, zeros of both signs and infinities.
    fn numbers(seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        let special = [f64::NAN, f64::INFINITY, -0.0, 0.0];
        (0..WORD_BITS * 5)
            .map(|_| match next() % 10 {
                choice @ 0..4 => special[choice as usize],
                _ => (next() % 7) as f64,
            })
            .collect()
    }

    #[test]
    fn comparisons_are_the_same_with_every_set_of_instructions() {
        let (a, b) = (numbers(1), numbers(2));
        let fives = [5.0; WORD_BITS];
        let columns = |values: &'_ [f64]| values.as_chunks::<WORD_BITS>().0.to_vec();
        let (a, b) = (columns(&a), columns(&b));
        for comparison in [Comparison::Less, Comparison::LessEqual, Comparison::Equal, Comparison::Differs] {
            for (a, b) in [
                (Words::column(&a), Words::column(&b)),
                (Words::column(&a), Words::repeated(&fives)),
                (Words::repeated(&fives), Words::column(&b)),
            ] {
                let bits = |comparison: Comparison, a: Words<'_>, b: Words<'_>| -> Vec<u64> {
                    let holds = |t: usize| {
                        comparison.holds(a.word(t / WORD_BITS)[t % WORD_BITS], b.word(t / WORD_BITS)[t % WORD_BITS])
                    };
                    Mask::from_fn(WORD_BITS * 5, holds).words().to_vec()
                };
                let expected = bits(comparison, a, b);
                let mut found = [0; 5];
                compare_scalar(comparison, a, b, &mut found);
                assert_eq!(found[..], expected);
                #[cfg(target_arch = "x86_64")]
                for simd in [Simd::Avx2, Simd::Avx512].into_iter().filter(|simd| *simd <= Simd::of_machine()) {
                    found = [0; 5];
                    // SAFETY: the machine has these instructions.
                    unsafe {
                        match simd {
                            Simd::Avx512 => x86::compare_avx512(comparison, a, b, &mut found),
                            _ => x86::compare_avx2(comparison, a, b, &mut found),
                        }
                    }
                    assert_eq!(found[..], expected, "{comparison:?} with {simd:?}");
                    for back in [Comparison::Less, Comparison::LessEqual] {
                        if !comparison.is_of_order() {
                            continue;
                        }
                        let (mut forth_found, mut back_found) = ([0; 5], [0; 5]);
                        let words: [&mut [u64]; 2] = [&mut forth_found, &mut back_found];
                        // SAFETY: as above.
                        unsafe {
                            match simd {
                                Simd::Avx512 => x86::compare_both_avx512([comparison, back], a, b, words),
                                _ => x86::compare_both_avx2([comparison, back], a, b, words),
                            }
                        }
                        assert_eq!(forth_found[..], expected, "{comparison:?} and {back:?} with {simd:?}");
                        assert_eq!(back_found[..], bits(back, b, a), "{back:?} after {comparison:?} with {simd:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_those_of_the_environment_variable() {
        for simd in [Simd::Scalar, Simd::Avx2, Simd::Avx512] {
            assert_eq!(Simd::from_name(simd.name()), Some(simd));
        }
        assert_eq!(Simd::from_name("sse"), None);
        assert!(Simd::in_use() <= Simd::of_machine());
    }
}
