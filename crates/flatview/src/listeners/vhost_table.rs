//! The table of a vhost device, as a function of the view.

use std::fmt;

use super::host::HostMemory;
use super::vhost::VhostBackend;
use crate::address::AddressRange;
use crate::dirty::DirtyClients;
use crate::ram::RamBlock;
use crate::view::{FlatRange, FlatView};

/// One entry of a memory table; the fields are those of the kernel's `struct vhost_memory_region`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VhostMemoryRegion {
    /// The first guest physical address.
    pub guest_phys_addr: u64,
    /// The number of bytes.
    pub memory_size: u64,
    /// Where the first byte is in this process.
    pub userspace_addr: u64,
}

impl VhostMemoryRegion {
    /// Whether `next` continues this entry, both in the guest and in this process.
    fn abuts(&self, next: &VhostMemoryRegion) -> bool {
        self.guest_phys_addr.checked_add(self.memory_size) == Some(next.guest_phys_addr)
            && self.userspace_addr.checked_add(self.memory_size) == Some(next.userspace_addr)
    }

    /// Where `range` is in this process, if all of it lies within.
    fn find(&self, range: AddressRange) -> Option<u64> {
        let all = AddressRange::new(self.guest_phys_addr, self.memory_size)?;
        all.contains_range(range)
            .then(|| self.userspace_addr + (range.start() - all.start()))
    }
}

impl fmt::Debug for VhostMemoryRegion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VhostMemoryRegion {
            guest_phys_addr,
            memory_size,
            userspace_addr,
        } = self;
        write!(f, "{guest_phys_addr:#x}+{memory_size:#x} at {userspace_addr:#x}")
    }
}

/// What a backend has, or is about to get.
#[derive(Default)]
pub(super) struct Table {
    /// Ascending, disjoint.
    pub(super) regions: Vec<VhostMemoryRegion>,
    /// The memory that must stay for as long as the backend has the table.
    #[expect(dead_code, reason = "held only to be dropped")]
    blocks: Vec<RamBlock>,
}

impl Table {
    pub(super) fn of(view: &FlatView, backend: &impl VhostBackend) -> Table {
        let mut regions: Vec<VhostMemoryRegion> = Vec::new();
        let mut blocks: Vec<RamBlock> = Vec::new();
        let mut before: Option<&FlatRange> = None;
        for range in view.iter().filter(|range| is_usable(range)) {
            let block = range.region().ram_block().filter(|block| backend.accepts(block));
            let (Some(block), Some(memory)) = (block, HostMemory::behind(range)) else {
                continue;
            };
            let entry = VhostMemoryRegion {
                guest_phys_addr: range.start(),
                memory_size: memory.size(),
                userspace_addr: memory.address() as u64,
            };
            match regions.last_mut() {
                Some(last) if last.abuts(&entry) && before.is_some_and(|before| may_merge(before, range)) => {
                    last.memory_size += entry.memory_size;
                }
                _ => regions.push(entry),
            }
            if blocks.last() != Some(block) {
                blocks.push(block.clone());
            }
            before = Some(range);
        }
        Table { regions, blocks }
    }

    /// Where `range` is in this process, if all of it lies within one region.
    pub(super) fn find(&self, range: AddressRange) -> Option<u64> {
        let next = self
            .regions
            .partition_point(|region| region.guest_phys_addr <= range.start());
        self.regions.get(next.checked_sub(1)?)?.find(range)
    }
}

/// Rule X2. The device marks what it writes for migration only, and translated code is not its business.
fn is_usable(range: &FlatRange) -> bool {
    let is_ram = range.region().kind().is_ram();
    let harmless = DirtyClients::MIGRATION | DirtyClients::CODE;
    is_ram && !range.is_readonly() && harmless.contains(range.dirty_log_mask())
}

/// Rule X3, less the addresses.
fn may_merge(before: &FlatRange, range: &FlatRange) -> bool {
    before.region() == range.region() && !before.is_unmergeable() && !range.is_unmergeable()
}

#[cfg(test)]
#[path = "vhost_table_test.rs"]
mod tests;
