//! Numbers from a seed.

/// A generator of 64-bit numbers (SplitMix64, whose constants are Steele, Lea and Flood's, OOPSLA 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any number.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Less than `end`, which is small; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// True once in `count` times.
    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    /// One of these, of which there is at least one.
    pub fn of<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len() as u64) as usize]
    }

    /// A number as arithmetic finds it hard: any, a small one of either sign, one near a power of two.
    pub fn value(&mut self) -> u64 {
        match self.below(4) {
            0 | 1 => self.bits(),
            2 => self.below(32).wrapping_sub(16),
            _ => (1_u64 << self.below(64))
                .wrapping_add(self.below(5))
                .wrapping_sub(2),
        }
    }
}
