//! The RAM that a dump of the guest would write.

use std::sync::Arc;

use super::host::{HostMemory, part_in_block};
use crate::address::AddressRange;
use crate::error::Error;
use crate::listener::{ListenerResult, MemoryListener, MemoryRegionSection};
use crate::primitive::Mutex;
use crate::region::{Region, RegionKind};
use crate::space::AddressSpace;
use crate::view::FlatRange;

/// Guest memory that is contiguous in the guest and in its region.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GuestPhysBlock {
    /// The guest physical addresses.
    pub range: AddressRange,
    /// Whose memory it is. It is kept alive, mapped or not.
    pub region: Region,
    /// Which byte of the region lies at the first address.
    pub offset_in_region: u64,
    /// Where the first byte is in this process, if there is host memory.
    pub host_address: Option<usize>,
}

/// Finds the RAM that a dump of the guest would write: a listener that joins, looks, and leaves (rule X15).
///
/// RAM and ROM are dumped; RAM devices are not, and neither is non-volatile memory, which outlives the guest
/// anyway and may be large. QEMU looks for the mark of the latter in the wrong place and dumps its NVDIMMs
/// (rule D6); that is not copied.
///
/// The same can be read off the space's [view](AddressSpace::view), without waiting for an update that runs.
///
/// ```
/// use flatview::listeners::GuestMemoryDump;
/// use flatview::{Memory, RamBlock, Size};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("memory", &system)?;
/// let ram = memory.region("ram").ram(RamBlock::unbacked(0x10_0000));
/// let nvdimm = memory.region("nvdimm").nonvolatile(true).ram(RamBlock::unbacked(0x10_0000));
/// memory.update(|tx| {
///     tx.add_subregion(&system, 0, &ram)?;
///     tx.add_subregion(&system, 0x1_0000_0000, &nvdimm)
/// })?;
///
/// let blocks = GuestMemoryDump::new().blocks(&space)?;
/// assert_eq!(blocks.len(), 1);
/// assert_eq!(blocks[0].range.to_string(), "0x0-0xfffff");
/// assert_eq!(GuestMemoryDump::new().with_nonvolatile().blocks(&space)?.len(), 2);
/// # Ok::<(), flatview::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct GuestMemoryDump {
    nonvolatile: bool,
}

impl GuestMemoryDump {
    /// A dump without non-volatile memory.
    pub fn new() -> GuestMemoryDump {
        GuestMemoryDump::default()
    }

    /// With non-volatile memory.
    pub fn with_nonvolatile(mut self) -> GuestMemoryDump {
        self.nonvolatile = true;
        self
    }

    /// What the space shows now: ascending, and contiguous memory in one block.
    ///
    /// # Errors
    ///
    /// [`Error::NestedUpdate`] within an update or a listener, [`Error::MemoryDropped`],
    /// [`Error::AddressSpaceDestroyed`], [`Error::Inconsistent`].
    pub fn blocks(&self, space: &AddressSpace) -> Result<Vec<GuestPhysBlock>, Error> {
        let collector = Arc::new(Collector {
            dump: *self,
            blocks: Mutex::new(Vec::new()),
        });
        space.register(collector.clone())?.unregister()?;
        let blocks = std::mem::take(&mut *collector.blocks.lock());
        Ok(blocks)
    }

    fn wants(self, range: &FlatRange) -> bool {
        range.region().kind() == RegionKind::Ram && (self.nonvolatile || !range.is_nonvolatile())
    }
}

struct Collector {
    dump: GuestMemoryDump,
    blocks: Mutex<Vec<GuestPhysBlock>>,
}

impl MemoryListener for Collector {
    fn name(&self) -> &str {
        "dump"
    }

    fn region_add(&self, section: &MemoryRegionSection<'_>) -> ListenerResult {
        let Some(range) = part_in_block(section).filter(|_| self.dump.wants(section)) else {
            return Ok(());
        };
        let next = GuestPhysBlock {
            range,
            region: section.region().clone(),
            offset_in_region: section.offset_in_region(),
            host_address: HostMemory::behind(section).map(HostMemory::address),
        };
        let mut blocks = self.blocks.lock();
        match blocks.last_mut() {
            Some(last) if last.is_continued_by(&next) => last.range = last.range.hull(range),
            last => {
                let ascends = last.is_none_or(|last| last.range.last() < range.start());
                debug_assert!(ascends, "ranges are added in ascending order");
                blocks.push(next);
            }
        }
        Ok(())
    }
}

impl GuestPhysBlock {
    /// Whether both are contiguous, in the guest and in the region, and so in this process.
    fn is_continued_by(&self, next: &GuestPhysBlock) -> bool {
        let offset = u128::from(self.offset_in_region) + self.range.size().bytes();
        self.range.abuts(next.range)
            && self.region == next.region
            && offset == u128::from(next.offset_in_region)
    }
}

#[cfg(test)]
#[path = "dump_test.rs"]
mod tests;
