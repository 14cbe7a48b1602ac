//! The memory of a view, for those who may write all of it.

use flatview::{AddressSpace, FlatRange, FlatView, RamBlock, RamWindow, RegionKind, ViewRef};
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::Result;
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryError, GuestMemoryRegion, GuestMemoryRegionBytes,
    GuestUsize, MemoryRegionAddress, VolatileSlice,
};

use crate::bitmap::{BlockBitmap, BlockBitmapSlice};
use crate::slice::slice_of;

/// The RAM and ROM that a space showed at one moment, as `GuestMemoryBackend`: for loaders, which write ROM, and
/// for the kernel's vhost devices.
///
/// In it are RAM, ROM and ROM devices that are read directly, each range a window onto its block. Not in it are
/// devices, IOMMU regions, RAM devices (they want accesses of exact width, rule A11) and blocks without memory that
/// accesses reach, or that is mapped for reading only; these are holes. **Nothing is read-only**: a virtio device, which the guest directs, gets a
/// [`DmaView`](crate::DmaView) instead.
///
/// While it lives the view is in use, so receipts wait for it. Making one costs a step for each range.
///
/// ```
/// use flatview::{Memory, RamBlock, Size};
/// use flatview_vm_memory::RamView;
/// use vm_memory::{Bytes, GuestAddress};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("memory", &system)?;
/// let rom = memory.region("bios").rom(RamBlock::anonymous(0x1_0000)?);
/// memory.update(|tx| tx.add_subregion(&system, 0xf_0000, &rom))?;
///
/// let ram = RamView::new(&space);
/// ram.write_obj(0xea_u8, GuestAddress(0xf_fff0))?;
/// assert_eq!(ram.read_obj::<u8>(GuestAddress(0xf_fff0))?, 0xea);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RamView {
    /// Ascending and disjoint.
    ranges: Box<[RamRange]>,
    view: ViewRef,
}

impl RamView {
    /// What the space shows now.
    pub fn new(space: &AddressSpace) -> RamView {
        let view = space.view();
        RamView {
            ranges: view.iter().filter_map(RamRange::of).collect(),
            view,
        }
    }

    /// The whole view, devices included.
    pub fn view(&self) -> &FlatView {
        &self.view
    }

    /// The ranges of memory, ascending.
    pub fn ranges(&self) -> &[RamRange] {
        &self.ranges
    }
}

impl GuestMemoryBackend for RamView {
    type R = RamRange;

    fn num_regions(&self) -> usize {
        self.ranges.len()
    }

    #[inline]
    fn find_region(&self, addr: GuestAddress) -> Option<&RamRange> {
        let after = self.ranges.partition_point(|range| range.start <= addr.0);
        let range = self.ranges.get(after.checked_sub(1)?)?;
        (addr.0 - range.start < range.window.size()).then_some(range)
    }

    fn iter(&self) -> impl Iterator<Item = &RamRange> {
        self.ranges.iter()
    }

    fn last_addr(&self) -> GuestAddress {
        let last = self.ranges.last();
        last.map_or(GuestAddress(0), GuestMemoryRegion::last_addr)
    }
}

/// The memory that a range of a view shows: a window onto a RAM block, at an address.
#[derive(Clone, Debug)]
pub struct RamRange {
    start: u64,
    /// Not empty.
    window: RamWindow,
    readonly: bool,
}

impl RamRange {
    /// `None` if it is no memory that accesses reach.
    fn of(range: &FlatRange) -> Option<RamRange> {
        // A slice could be written, and vm-memory knows no region that is read-only.
        let block = memory_behind(range).filter(|block| !block.is_readonly())?;
        let offset = range.offset_in_region();
        // No block has 2^64 bytes.
        let len = (range.last() - range.start()).saturating_add(1);
        Some(RamRange {
            start: range.start(),
            window: block.window(offset, within(block, offset, len)?)?,
            readonly: range.is_readonly(),
        })
    }

    /// The bytes.
    pub fn window(&self) -> &RamWindow {
        &self.window
    }

    /// Whether the guest finds it read-only: ROM, or RAM seen through something readonly. This view writes it all the
    /// same.
    pub fn is_readonly(&self) -> bool {
        self.readonly
    }
}

/// The block that is read directly at a range.
#[inline]
pub(crate) fn memory_behind(range: &FlatRange) -> Option<&RamBlock> {
    let region = range.region();
    match region.kind() {
        RegionKind::Ram => region.ram_block(),
        RegionKind::RomDevice if range.is_romd() => region.ram_block(),
        _ => None,
    }
}

/// How many of `len` bytes from `offset` on the block has: a region may be larger than its block.
#[inline]
pub(crate) fn within(block: &RamBlock, offset: u64, len: u64) -> Option<u64> {
    if block.host_ptr(offset, len).is_some() {
        return Some(len);
    }
    let size = u64::try_from(block.size().bytes()).ok()?;
    let left = size.checked_sub(offset)?.min(len);
    (left > 0 && block.is_accessible()).then_some(left)
}

impl GuestMemoryRegion for RamRange {
    type B = BlockBitmap;

    #[inline]
    fn len(&self) -> GuestUsize {
        self.window.size()
    }

    #[inline]
    fn start_addr(&self) -> GuestAddress {
        GuestAddress(self.start)
    }

    #[inline]
    fn bitmap(&self) -> BS<'_, BlockBitmap> {
        BlockBitmapSlice::new(self.window.block(), self.window.offset_in_block())
    }

    fn get_host_address(&self, addr: MemoryRegionAddress) -> Result<*mut u8> {
        let byte = self.slice(addr.0, 1)?;
        Ok(byte.ptr_guard_mut().as_ptr())
    }

    #[inline]
    fn get_slice(
        &self,
        offset: MemoryRegionAddress,
        count: usize,
    ) -> Result<VolatileSlice<'_, BS<'_, BlockBitmap>>> {
        self.slice(offset.0, count)
    }
}

impl RamRange {
    #[inline]
    fn slice(&self, offset: u64, count: usize) -> Result<VolatileSlice<'_, BlockBitmapSlice<'_>>> {
        let left = self.window.size().checked_sub(offset);
        if left.is_none_or(|left| count as u64 > left) {
            return Err(GuestMemoryError::InvalidBackendAddress);
        }
        slice_of(self.window.block(), self.window.offset_in_block() + offset, count)
            .ok_or(GuestMemoryError::InvalidBackendAddress)
    }
}

/// Lets vm-memory implement `Bytes` by way of slices.
impl GuestMemoryRegionBytes for RamRange {}
