//! Memory slots: what the kernel was told of a guest's memory.

use std::collections::{BTreeMap, BTreeSet};

use bitflags::bitflags;
use flatview::RamBlock;

bitflags! {
    /// Flags of a memory slot (`KVM_MEM_…`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SlotFlags: u32 {
        /// The kernel notes which pages the guest writes.
        const LOG_DIRTY_PAGES = kvm_bindings::KVM_MEM_LOG_DIRTY_PAGES;
        /// What the guest writes comes out as an exit.
        const READONLY = kvm_bindings::KVM_MEM_READONLY;
    }
}

/// A memory slot that the kernel has.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Slot {
    /// Its number, with that of its address space in bits 16 and up (rule W2).
    pub id: u32,
    /// Where the guest sees it, in bytes.
    pub gpa: u64,
    /// Its bytes.
    pub size: u64,
    /// Where its memory is in this process.
    pub host_address: usize,
    /// Its flags.
    pub flags: SlotFlags,
    /// Whose memory it is.
    pub block: RamBlock,
    /// Where in the block it begins.
    pub block_offset: u64,
}

/// The smallest pages of x86, in bytes: what slots and their dirty logs consist of.
pub(crate) const PAGE_SIZE: u64 = 4096;

impl Slot {
    /// Whether the kernel notes what the guest writes to it.
    pub(crate) fn logs(&self) -> bool {
        self.flags.contains(SlotFlags::LOG_DIRTY_PAGES)
    }

    /// Behind its last byte.
    pub(crate) fn end(&self) -> u64 {
        // A slot ends at most at 2^64, and 2^64 itself is refused by the kernel.
        self.gpa.saturating_add(self.size)
    }
}

/// The slots of one address space, and which numbers are free.
#[derive(Debug)]
pub(crate) struct SlotTable {
    address_space: u32,
    most: u32,
    by_address: BTreeMap<u64, Slot>,
    /// Numbers below `next` that are free.
    free: BTreeSet<u32>,
    next: u32,
}

impl SlotTable {
    /// Of address space `address_space`, which can have `most` slots.
    pub(crate) fn new(address_space: u32, most: u32) -> SlotTable {
        SlotTable {
            address_space,
            most,
            by_address: BTreeMap::new(),
            free: BTreeSet::new(),
            next: 0,
        }
    }

    /// How many there can be.
    pub(crate) fn most(&self) -> usize {
        self.most as usize
    }

    pub(crate) fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Ascending by address.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.by_address.values()
    }

    /// The slot that begins at `gpa`.
    pub(crate) fn at(&self, gpa: u64) -> Option<&Slot> {
        self.by_address.get(&gpa)
    }

    pub(crate) fn at_mut(&mut self, gpa: u64) -> Option<&mut Slot> {
        self.by_address.get_mut(&gpa)
    }

    /// The slots that have a byte from `start` to `last`, ascending.
    pub(crate) fn meeting(&self, start: u64, last: u64) -> impl Iterator<Item = &Slot> {
        let before = self.by_address.range(..start).next_back();
        let before = before.filter(|(_, slot)| slot.end() > start);
        before
            .into_iter()
            .chain(self.by_address.range(start..=last))
            .map(|(_, slot)| slot)
    }

    /// The number that the next slot gets: the lowest that is free (rule W3).
    pub(crate) fn next_id(&self) -> Option<u32> {
        let number = match self.free.first() {
            Some(&number) => number,
            None if self.next < self.most => self.next,
            None => return None,
        };
        Some(number | self.address_space << 16)
    }

    /// Notes a slot that the kernel has now.
    pub(crate) fn insert(&mut self, slot: Slot) {
        let number = slot.id & 0xffff;
        if !self.free.remove(&number) {
            self.next = self.next.max(number + 1);
        }
        self.by_address.insert(slot.gpa, slot);
    }

    /// Forgets a slot that the kernel has no more.
    pub(crate) fn remove(&mut self, gpa: u64) -> Option<Slot> {
        let slot = self.by_address.remove(&gpa)?;
        self.free.insert(slot.id & 0xffff);
        Some(slot)
    }
}
