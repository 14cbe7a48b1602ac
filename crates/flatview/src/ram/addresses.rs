//! RAM addresses: one space of numbers in which every block of a memory has its place.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::dirty::PAGE_SIZE;

/// The place of a block in the list (rule Q6): the largest first, then in order of arrival.
pub(super) type Place = (Reverse<u64>, u64);

/// Blocks begin at multiples of this (rule Q5): so that they share no word of a bitmap of pages.
const STEP: u64 = 64 * PAGE_SIZE;

/// Rule Q5: a block goes where the room behind another one is least and enough. At equal room it goes behind the
/// block that is first in the list. Room before all blocks is used only when there are none.
#[derive(Default)]
pub(super) struct RamAddresses {
    /// By their first addresses.
    blocks: BTreeMap<u64, Block>,
    /// Room, behind which block, where it begins.
    gaps: BTreeSet<(u64, Place, u64)>,
}

struct Block {
    place: Place,
    size: u64,
}

impl Block {
    /// Where the next block may begin, if this one begins at `start`.
    fn end(&self, start: u64) -> Option<u64> {
        start.checked_add(self.size)?.checked_next_multiple_of(STEP)
    }
}

impl RamAddresses {
    /// Finds room for a block; `None` if there is none, and for a block of no size.
    pub(super) fn insert(&mut self, place: Place, size: u64) -> Option<u64> {
        if size == 0 {
            return None;
        }
        let start = if self.blocks.is_empty() {
            0
        } else {
            let least = (size, (Reverse(u64::MAX), 0), 0);
            let gap = *self.gaps.range(least..).next()?;
            self.gaps.remove(&gap);
            gap.2
        };
        self.blocks.insert(start, Block { place, size });
        self.gaps.extend(self.gap_behind(start));
        Some(start)
    }

    /// Lets a block go.
    pub(super) fn remove(&mut self, start: u64) {
        if let Some(gap) = self.gap_behind(start) {
            self.gaps.remove(&gap);
        }
        let before = self.blocks.range(..start).next_back().map(|(&start, _)| start);
        if let Some(gap) = before.and_then(|before| self.gap_behind(before)) {
            self.gaps.remove(&gap);
        }
        self.blocks.remove(&start);
        self.gaps
            .extend(before.and_then(|before| self.gap_behind(before)));
    }

    /// The block that has an address, and which of its bytes that is.
    pub(super) fn find(&self, address: u64) -> Option<(Place, u64)> {
        let (start, block) = self.blocks.range(..=address).next_back()?;
        let offset = address - start;
        (offset < block.size).then_some((block.place, offset))
    }

    /// The room behind the block that begins at `start`.
    fn gap_behind(&self, start: u64) -> Option<(u64, Place, u64)> {
        let block = self.blocks.get(&start)?;
        let end = block.end(start)?;
        let next = self.blocks.range(start + 1..).next();
        let room = next.map_or(u64::MAX, |(&next, _)| next) - end;
        (room > 0).then_some((room, block.place, end))
    }
}

#[cfg(test)]
#[path = "addresses_test.rs"]
mod tests;
