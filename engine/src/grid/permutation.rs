//! A random order that needs no memory.

/// A permutation of `0..len`, a pure function of its seed: where an element goes is computed, not stored.
///
/// A keyed Feistel network permutes the smallest power of two that holds `len`; an element that lands outside
/// `0..len` is permuted again until it lands inside, which takes less than two rounds on average ("cycle walking":
/// J. Black and P. Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). It shuffles, it does not encrypt.
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    len: u64,
    /// Bits of the left and the right half.
    left_bits: u32,
    right_bits: u32,
    keys: [u64; ROUNDS],
}

/// Rounds of the network; even, so that the halves, which swap each round, end up with their own widths.
const ROUNDS: usize = 6;

impl Permutation {
    /// The permutation of `0..len` for a seed. `len` is at most 2^62.
    pub(super) fn new(len: u64, seed: u64) -> Self {
        let bits = len.next_power_of_two().trailing_zeros().max(2);
        let mut state = seed;
        let keys = std::array::from_fn(|_| {
            // SplitMix64's increment: consecutive keys of any seed differ in about half of their bits.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            mix(state)
        });
        Self { len, left_bits: bits / 2, right_bits: bits - bits / 2, keys }
    }

    /// Where `index`, which is less than `len`, goes.
    pub(super) fn apply(&self, index: u64) -> u64 {
        let mut position = index;
        loop {
            position = self.round_trip(position);
            if position < self.len {
                return position;
            }
        }
    }

    fn round_trip(&self, value: u64) -> u64 {
        let (mut left, mut right) = (value >> self.right_bits, value & mask(self.right_bits));
        let (mut left_mask, mut right_mask) = (mask(self.left_bits), mask(self.right_bits));
        for key in self.keys {
            let mixed = left ^ (mix(right ^ key) & left_mask);
            (left, right) = (right, mixed);
            (left_mask, right_mask) = (right_mask, left_mask);
        }
        left << self.right_bits | right
    }
}

fn mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

/// SplitMix64's finaliser: every bit of the input changes about half of the output's.
fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_appears_once() {
        for len in [1, 2, 3, 4, 5, 7, 8, 100, 1000, 4096, 5000] {
            for seed in [0, 1, u64::MAX] {
                let permutation = Permutation::new(len, seed);
                let mut seen: Vec<u64> = (0..len).map(|index| permutation.apply(index)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..len).collect::<Vec<_>>(), "len {len}, seed {seed}");
            }
        }
    }

    #[test]
    fn seeds_give_different_orders_and_the_same_seed_the_same() {
        let order = |seed| (0..100).map(|index| Permutation::new(100, seed).apply(index)).collect::<Vec<_>>();
        assert_eq!(order(7), order(7));
        assert_ne!(order(7), order(8));
        assert_ne!(order(7), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_elements_spread_over_the_whole_range() {
        const LEN: u64 = 1_000_000_000;
        const SAMPLE: u64 = 10_000;
        let permutation = Permutation::new(LEN, 42);
        let mut tenths = [0_u64; 10];
        for index in 0..SAMPLE {
            tenths[(permutation.apply(index) * 10 / LEN) as usize] += 1;
        }
        // Each tenth expects 1,000 with a standard deviation of 30.
        assert!(tenths.iter().all(|&count| (850..1150).contains(&count)), "{tenths:?}");
    }
}
