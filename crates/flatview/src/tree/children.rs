//! The children of one region: in rendering order, and by address when there are many.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::address::{AddressRange, Size};
use crate::region::{Region, RegionId};

/// Where a child stands among its siblings. Sorts in rendering order: the highest priority first, at equal
/// priority the newest first (rule B3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChildKey {
    priority: Reverse<i32>,
    sequence: Reverse<u64>,
}

impl ChildKey {
    pub(super) fn new(priority: i32, sequence: u64) -> ChildKey {
        ChildKey {
            priority: Reverse(priority),
            sequence: Reverse(sequence),
        }
    }
}

/// Below this number of children, looking at each of them is faster than keeping an index.
const INDEX_FROM: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Children {
    by_key: BTreeMap<ChildKey, Region>,
    by_address: Option<Box<SizeClassIndex>>,
    /// How many children are enabled, and the ids of those XORed: the id itself when it is one.
    enabled: u32,
    enabled_ids: u32,
}

impl Children {
    pub(super) const fn new() -> Children {
        Children {
            by_key: BTreeMap::new(),
            by_address: None,
            enabled: 0,
            enabled_ids: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Region> {
        self.by_key.values()
    }

    pub(super) fn take(&mut self) -> impl Iterator<Item = Region> {
        std::mem::take(self).by_key.into_values()
    }

    pub(super) fn insert(&mut self, key: ChildKey, child: Region, address: u64, size: Size, enabled: bool) {
        let id = child.id();
        self.by_key.insert(key, child);
        if let Some(index) = &mut self.by_address {
            index.insert(id, address, size);
        }
        if enabled {
            self.toggle_enabled(id, true);
        }
    }

    pub(super) fn remove(
        &mut self,
        key: ChildKey,
        address: u64,
        size: Size,
        enabled: bool,
    ) -> Option<Region> {
        let child = self.by_key.remove(&key)?;
        if let Some(index) = &mut self.by_address {
            index.remove(child.id(), address, size);
        }
        if self.by_key.len() < INDEX_FROM / 2 {
            self.by_address = None;
        }
        if enabled {
            self.toggle_enabled(child.id(), false);
        }
        Some(child)
    }

    /// Keeps the count of enabled children when one of them changes.
    pub(super) fn toggle_enabled(&mut self, id: RegionId, enabled: bool) {
        self.enabled_ids ^= id.0;
        if enabled {
            self.enabled += 1;
        } else {
            self.enabled -= 1;
        }
    }

    /// Keeps the index when the size of a child changes.
    pub(super) fn resize(&mut self, id: RegionId, address: u64, old: Size, new: Size) {
        if let Some(index) = &mut self.by_address {
            index.remove(id, address, old);
            index.insert(id, address, new);
        }
    }

    pub(super) fn enabled_count(&self) -> u32 {
        self.enabled
    }

    /// The one enabled child, if it is one.
    pub(super) fn only_enabled(&self) -> Option<RegionId> {
        (self.enabled == 1).then_some(RegionId(self.enabled_ids))
    }

    pub(super) fn wants_index(&self) -> bool {
        self.by_address.is_none() && self.by_key.len() >= INDEX_FROM
    }

    pub(super) fn set_index(&mut self, entries: impl Iterator<Item = (RegionId, u64, Size)>) {
        let mut index = Box::<SizeClassIndex>::default();
        for (id, address, size) in entries {
            index.insert(id, address, size);
        }
        self.by_address = Some(index);
    }

    pub(super) fn index(&self) -> Option<&SizeClassIndex> {
        self.by_address.as_deref()
    }
}

/// Finds the intervals that meet a range.
///
/// Intervals are kept by size class (the power of two below their size), then by start. Within a class, all
/// that meet a range start less than twice the class's size before it; so a look-up visits one short run
/// for each class that occurs, and needs no balancing of its own.
#[derive(Debug, Default)]
pub(super) struct SizeClassIndex {
    entries: BTreeSet<(u8, u64, RegionId)>,
    /// How many intervals each class has; class k holds sizes from 2^k to 2^(k+1)-1.
    population: BTreeMap<u8, u32>,
}

/// The size class of an interval; `None` for size zero, which meets nothing.
fn size_class(size: Size) -> Option<u8> {
    u8::try_from(size.bytes().checked_ilog2()?).ok()
}

impl SizeClassIndex {
    fn insert(&mut self, id: RegionId, address: u64, size: Size) {
        if let Some(class) = size_class(size) {
            self.entries.insert((class, address, id));
            *self.population.entry(class).or_default() += 1;
        }
    }

    fn remove(&mut self, id: RegionId, address: u64, size: Size) {
        let Some(class) = size_class(size) else { return };
        if self.entries.remove(&(class, address, id))
            && let Some(count) = self.population.get_mut(&class)
        {
            *count -= 1;
            if *count == 0 {
                self.population.remove(&class);
            }
        }
    }

    /// Every interval that may meet `range`; the caller looks at the exact size.
    pub(super) fn candidates(&self, range: AddressRange) -> impl Iterator<Item = RegionId> {
        self.population.keys().flat_map(move |&class| {
            let longest = (1u128 << (u32::from(class) + 1)) - 1;
            let reach = u64::try_from(longest - 1).unwrap_or(u64::MAX);
            let first = range.start().saturating_sub(reach);
            self.entries
                .range((class, first, RegionId(0))..=(class, range.last(), RegionId(u32::MAX)))
                .map(|&(_, _, id)| id)
        })
    }
}
