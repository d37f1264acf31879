//! Chance that can be had again: a number that a test prints, and another run may be given.

use std::ops::Range;

/// Numbers that look like chance and follow from a seed: splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
#[derive(Debug)]
pub(super) struct Seed(u64);

impl Seed {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Of the environment's variable `name`, else `otherwise`; printed.
    #[expect(clippy::print_stderr, reason = "whoever wants it again has to know it")]
    pub(super) fn of_environment(name: &str, otherwise: u64) -> Self {
        let set = std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seed = set.unwrap_or(otherwise);
        eprintln!("{name}={seed}");
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in a range that is not empty.
    pub(super) fn within(&mut self, range: Range<usize>) -> usize {
        let width = u64::try_from(range.len()).unwrap();
        range.start + usize::try_from(self.next() % width).unwrap()
    }

    pub(super) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.within(0..all.len())]
    }

    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for end in (1..all.len()).rev() {
            all.swap(end, self.within(0..end + 1));
        }
    }
}
