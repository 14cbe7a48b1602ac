//! Where look-ups go.
//!
//! Addresses come from a linear congruential generator, so that no table of them takes up cache. For latency
//! the result of each look-up goes into the generator: the next address is not known before. The generator
//! itself is part of what is measured (a few ns of latency); the reference `nothing` tells how much.

use std::hint::black_box;

use crate::scenes::{BANK_SIZE, BANK_STRIDE, WINDOW_SIZE, WINDOW_STRIDE, WINDOWS_BASE};

/// How many look-ups one call of [`throughput`] or [`latency`] does.
pub const LOOKUPS: usize = 20_000;

/// Windows at regular distances.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    base: u64,
    stride: u64,
    count: u64,
    offsets: u64,
}

impl Pattern {
    /// Anywhere in any of so many [`Windows`](crate::scenes::Windows).
    pub fn windows(count: usize) -> Pattern {
        Pattern {
            base: WINDOWS_BASE,
            stride: WINDOW_STRIDE,
            count: count as u64,
            offsets: WINDOW_SIZE,
        }
    }

    /// Anywhere in any of so many [`Banks`](crate::scenes::Banks).
    pub fn banks(count: usize) -> Pattern {
        Pattern {
            base: 0,
            stride: BANK_STRIDE,
            count: count as u64,
            offsets: BANK_SIZE,
        }
    }

    /// Anywhere in the middle one of so many [`Banks`](crate::scenes::Banks).
    pub fn one_bank(count: usize) -> Pattern {
        Pattern {
            base: count as u64 / 2 * BANK_STRIDE,
            count: 1,
            ..Pattern::banks(count)
        }
    }

    #[inline(always)]
    fn address(&self, random: u64) -> u64 {
        let index = ((random >> 32) * self.count) >> 32;
        self.base + index * self.stride + (random >> 8 & (self.offsets - 1) & !7)
    }
}

#[inline(always)]
fn step(state: u64) -> u64 {
    state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

/// [`LOOKUPS`] look-ups that do not depend on each other.
#[inline(never)]
pub fn throughput(pattern: Pattern, mut find: impl FnMut(u64) -> u64) {
    let pattern = black_box(pattern);
    let (mut state, mut sum) = (black_box(1), 0_u64);
    for _ in 0..LOOKUPS {
        state = step(state);
        sum = sum.wrapping_add(find(pattern.address(state)));
    }
    black_box(sum);
}

/// As [`throughput`], all within the first window of the pattern, one word after the other.
#[inline(never)]
pub fn sequential(pattern: Pattern, mut find: impl FnMut(u64) -> u64) {
    let pattern = black_box(pattern);
    let mut sum = 0_u64;
    let mut offset = 0;
    for _ in 0..LOOKUPS {
        offset = (offset + 8) & (pattern.offsets - 1);
        sum = sum.wrapping_add(find(pattern.base + offset));
    }
    black_box(sum);
}

/// [`LOOKUPS`] look-ups of which each has to wait for the one before.
#[inline(never)]
pub fn latency(pattern: Pattern, mut find: impl FnMut(u64) -> u64) {
    let pattern = black_box(pattern);
    let mut state = black_box(1_u64);
    for _ in 0..LOOKUPS {
        state = step(state).wrapping_add(find(pattern.address(state)));
    }
    black_box(state);
}
