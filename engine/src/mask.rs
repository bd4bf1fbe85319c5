//! A condition evaluated over bars, one bit a bar.

/// Bits over bars: bit `t` is set where a condition is true at the close of bar `t`.
///
/// Bits from `len` on are always zero, so that scanning needs no bounds check inside a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    words: Vec<u64>,
    len: usize,
}

/// Bars in one word of a [`Mask`].
pub const WORD_BITS: usize = u64::BITS as usize;

impl Mask {
    /// A mask of `len` bars, true nowhere.
    pub fn none(len: usize) -> Self {
        Self { words: vec![0; len.div_ceil(WORD_BITS)], len }
    }

    /// A mask of `len` bars whose bit `t` is `condition(t)`.
    pub fn from_fn(len: usize, mut condition: impl FnMut(usize) -> bool) -> Self {
        let mut mask = Self::none(len);
        for (index, word) in mask.words.iter_mut().enumerate() {
            let start = index * WORD_BITS;
            let end = (start + WORD_BITS).min(len);
            for t in start..end {
                *word |= u64::from(condition(t)) << (t - start);
            }
        }
        mask
    }

    /// A mask of `len` bars from its words, lowest bar in the lowest bit. Bits from `len` on are cleared.
    ///
    /// # Panics
    ///
    /// If there are more or fewer words than `len` bars take.
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        assert_eq!(words.len(), len.div_ceil(WORD_BITS), "one word for every {WORD_BITS} bars");
        let used = len % WORD_BITS;
        if used > 0
            && let Some(last) = words.last_mut()
        {
            *last &= !(u64::MAX << used);
        }
        Self { words, len }
    }

    /// Number of bars.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bars at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The words, lowest bar in the lowest bit.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether the condition is true at bar `t`.
    pub fn get(&self, t: usize) -> bool {
        t < self.len && self.words[t / WORD_BITS] >> (t % WORD_BITS) & 1 == 1
    }

    /// The first bar at or after `from` where the condition is true.
    pub fn next_set(&self, from: usize) -> Option<usize> {
        if from >= self.len {
            return None;
        }
        let mut index = from / WORD_BITS;
        let mut word = self.words[index] & (u64::MAX << (from % WORD_BITS));
        loop {
            if word != 0 {
                return Some(index * WORD_BITS + word.trailing_zeros() as usize);
            }
            index += 1;
            word = *self.words.get(index)?;
        }
    }

    /// True where both are. Both masks cover the same bars.
    pub fn and(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a & b)
    }

    /// True where either is. Both masks cover the same bars.
    pub fn or(&self, other: &Self) -> Self {
        self.combine(other, |a, b| a | b)
    }

    fn combine(&self, other: &Self, op: impl Fn(u64, u64) -> u64) -> Self {
        assert_eq!(self.len, other.len, "masks of one expression cover the same bars");
        let words = self.words.iter().zip(&other.words).map(|(&a, &b)| op(a, b)).collect();
        Self { words, len: self.len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_set_crosses_words_and_stops_at_the_end() {
        let mask = Mask::from_fn(200, |t| t == 3 || t == 64 || t == 199);
        assert_eq!(mask.next_set(0), Some(3));
        assert_eq!(mask.next_set(4), Some(64));
        assert_eq!(mask.next_set(65), Some(199));
        assert_eq!(mask.next_set(200), None);
        assert!(mask.get(64) && !mask.get(63) && !mask.get(1000));
    }

    #[test]
    fn words_beyond_the_last_bar_are_cleared() {
        assert_eq!(Mask::from_words(vec![u64::MAX, u64::MAX], 70), Mask::from_fn(70, |_| true));
        assert_eq!(Mask::from_words(vec![u64::MAX], 64), Mask::from_fn(64, |_| true));
        assert_eq!(Mask::from_words(Vec::new(), 0), Mask::none(0));
    }

    #[test]
    fn and_or_are_bitwise() {
        let (even, third) = (Mask::from_fn(70, |t| t % 2 == 0), Mask::from_fn(70, |t| t % 3 == 0));
        assert_eq!(even.and(&third), Mask::from_fn(70, |t| t % 6 == 0));
        assert_eq!(even.or(&third), Mask::from_fn(70, |t| t % 2 == 0 || t % 3 == 0));
    }
}
