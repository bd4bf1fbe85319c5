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
    pub fn from_words(words: Vec<u64>, len: usize) -> Self {
        assert_eq!(words.len(), len.div_ceil(WORD_BITS), "one word for every {WORD_BITS} bars");
        let mut mask = Self { words, len };
        mask.clear_rest();
        mask
    }

    /// Clears the bits from `len` on.
    fn clear_rest(&mut self) {
        let used = self.len % WORD_BITS;
        if used > 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= !(u64::MAX << used);
        }
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

    /// Makes it true everywhere or nowhere.
    pub(crate) fn fill(&mut self, value: bool) {
        self.words.fill(if value { u64::MAX } else { 0 });
        self.clear_rest();
    }

    /// Makes each word a function of its index; bits from `len` on are cleared.
    pub(crate) fn set_words(&mut self, mut word: impl FnMut(usize) -> u64) {
        self.words.iter_mut().enumerate().for_each(|(index, place)| *place = word(index));
        self.clear_rest();
    }

    /// The words to write. Bits of the last one from `len` on must stay 0.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Makes it true where both are. All masks cover the same bars.
    pub(crate) fn set_and(&mut self, a: &Self, b: &Self) {
        self.set_words(|index| a.words[index] & b.words[index]);
    }

    /// Makes it true where either is. All masks cover the same bars.
    pub(crate) fn set_or(&mut self, a: &Self, b: &Self) {
        self.set_words(|index| a.words[index] | b.words[index]);
    }

    /// Makes it `earlier` one bar later: bit `t` is bit `t - 1` of `earlier`, and the first is 0. Both masks cover the
    /// same bars.
    pub(crate) fn set_previous(&mut self, earlier: &Self) {
        let mut carried = 0;
        self.set_words(|index| {
            let word = earlier.words[index];
            let shifted = word << 1 | carried;
            carried = word >> (WORD_BITS - 1);
            shifted
        });
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
        let mut mask = Mask::none(70);
        mask.set_and(&even, &third);
        assert_eq!(mask, Mask::from_fn(70, |t| t % 6 == 0));
        mask.set_or(&even, &third);
        assert_eq!(mask, Mask::from_fn(70, |t| t % 2 == 0 || t % 3 == 0));
        mask.fill(true);
        assert_eq!(mask, Mask::from_fn(70, |_| true));
        mask.fill(false);
        assert_eq!(mask, Mask::none(70));
    }

    #[test]
    fn previous_shifts_over_words_and_stays_within_the_bars() {
        for len in [0, 1, 63, 64, 65, 128, 130] {
            let mask = Mask::from_fn(len, |t| t % 3 == 0 || t == 63);
            let mut previous = Mask::none(len);
            previous.set_previous(&mask);
            assert_eq!(previous, Mask::from_fn(len, |t| t > 0 && mask.get(t - 1)));
        }
    }
}
