//! Deterministic pseudo-random numbers, so that a failed property test is repeated by its seed alone.
//!
//! The sequence of a seed must never depend on the machine, on time or on a crate's version. The generator is
//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014): eight bytes of
//! state, every seed is a good one.

use std::ops::Range;

/// A sequence of pseudo-random numbers.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number of all 2^64.
    pub fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; `bound` must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert_ne!(bound, 0, "no number is below 0");
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).expect("the upper half of 128 bits is 64 bits")
    }

    /// A length or position in `range`, which must not be empty.
    pub fn range(&mut self, range: Range<usize>) -> usize {
        let width = range.end.checked_sub(range.start).expect("a range that goes upwards");
        range.start + usize::try_from(self.below(width as u64)).expect("below a usize")
    }

    /// True in `wins` of `tries` cases.
    pub fn chance(&mut self, wins: u64, tries: u64) -> bool {
        self.below(tries) < wins
    }

    /// One of `choices`, which must not be empty, each as likely as the others.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let position = self.range(0..choices.len());
        choices.get(position).expect("a position below the length")
    }

    /// One of `choices`, each as likely as the weight before it says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut rest = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if rest < *weight {
                return *choice;
            }
            rest -= weight;
        }
        panic!("the weights add up to more than their sum")
    }

    /// `length` bytes that no compressor shortens.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn first_numbers_of_a_seed_are_the_published_ones() {
        let mut random = Random::new(1_234_567);
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn every_number_of_a_range_is_reached_and_no_other() {
        let mut random = Random::new(1);
        let mut seen = [0_u32; 7];
        for _ in 0..700 {
            seen[random.range(3..10) - 3] += 1;
        }
        assert!(seen.iter().all(|count| (60..140).contains(count)), "{seen:?}");
    }

    #[test]
    fn chance_and_weights_are_kept() {
        let mut random = Random::new(2);
        let wins = (0..1000).filter(|_| random.chance(1, 4)).count();
        assert!((200..300).contains(&wins), "{wins}");
        let mut drawn = [0_u32; 3];
        for _ in 0..1000 {
            drawn[random.weighted(&[(1, 0_usize), (0, 1), (3, 2)])] += 1;
        }
        assert!((200..300).contains(&drawn[0]) && drawn[1] == 0, "{drawn:?}");
    }

    #[test]
    fn bytes_have_the_length_asked_for_and_repeat_with_the_seed() {
        for length in [0, 1, 7, 8, 9, 4097] {
            let bytes = Random::new(3).bytes(length);
            assert_eq!(bytes.len(), length);
            assert_eq!(bytes, Random::new(3).bytes(length));
        }
        assert_ne!(Random::new(3).bytes(64), Random::new(4).bytes(64));
    }
}
