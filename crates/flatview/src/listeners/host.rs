//! Where the memory that a range shows is in this process.

use crate::address::{AddressRange, Size};
use crate::view::FlatRange;

/// The part of a [`FlatRange`] that has host memory behind it, and where.
///
/// A region may be larger than its block, and a block may have no host memory: what has none is left out.
///
/// ```
/// use flatview::listeners::HostMemory;
/// use flatview::{Memory, RamBlock, Size};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("memory", &system)?;
/// let ram = memory.region("ram").ram(RamBlock::foreign(0x2000, 0x7f00_0000_0000));
/// let high = memory.region("high").alias(&ram, 0x1000, 0x1000)?;
/// memory.update(|tx| tx.add_subregion(&system, 0x10_0000, &high))?;
///
/// let part = HostMemory::behind(space.view().find(0x10_0000).unwrap()).unwrap();
/// assert_eq!(part.range().to_string(), "0x100000-0x100fff");
/// assert_eq!(part.address(), 0x7f00_0000_1000);
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HostMemory {
    range: AddressRange,
    address: usize,
}

impl HostMemory {
    /// What is behind a range, if there is any host memory. Ranges of every kind that has a block have it:
    /// look at [`Region::kind`](crate::Region::kind) for whether it may be used.
    pub fn behind(range: &FlatRange) -> Option<HostMemory> {
        let part = part_in_block(range)?;
        let offset = usize::try_from(range.offset_in_region()).ok()?;
        let address = range.region().ram_block()?.host_address()?.checked_add(offset)?;
        // The host's address space ends somewhere, too.
        address.checked_add(usize::try_from(part.size().last_offset()?).ok()?)?;
        Some(HostMemory { range: part, address })
    }

    /// The addresses in the space.
    pub fn range(self) -> AddressRange {
        self.range
    }

    /// The number of bytes. It fits, because it is no more than a block has.
    pub fn size(self) -> u64 {
        self.range.last() - self.range.start() + 1
    }

    /// Where the first byte is in this process.
    pub fn address(self) -> usize {
        self.address
    }
}

/// The addresses of a range at which its block has bytes: a region may be larger than its block.
pub(super) fn part_in_block(range: &FlatRange) -> Option<AddressRange> {
    let block = range.region().ram_block()?;
    let left = block
        .size()
        .bytes()
        .checked_sub(range.offset_in_region().into())?;
    AddressRange::new(range.start(), range.size().min(Size::new(left)?))
}

#[cfg(test)]
#[path = "host_test.rs"]
mod tests;
