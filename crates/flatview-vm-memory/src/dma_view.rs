//! The memory of a view as a bus master reaches it.

use std::iter::FusedIterator;

use flatview::{AddressSpace, FlatView, IommuStep, MemTxAttrs, RegionKind, ViewRef};
use vm_memory::bitmap::BS;
use vm_memory::guest_memory::{GuestMemorySliceIterator, Result};
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, Permissions, VolatileSlice};

use crate::bitmap::{BlockBitmap, BlockBitmapSlice};
use crate::iommu::{Targets, wanted};
use crate::ram_view::{RamView, memory_behind, within};
use crate::slice::slice_of;

/// The memory that a bus master reached at one moment, as `GuestMemory`: for devices on `virtio-queue`.
///
/// It does what the guest told the device to do, so it obeys the map: writes to ROM, to ROM devices and to what is
/// seen through something readonly are refused, and so are holes, devices and RAM devices, in both directions. vm-memory
/// hands out host memory, which a device does not have: what has to reach MMIO, as QEMU's bounce buffers do, calls
/// [`AddressSpace::map`] or [`AddressSpace::write`].
///
/// At an [IOMMU region](flatview::IommuOps) the translation is asked for, each time, with the attributes of the bus
/// master, and the access goes on in the target space. A page that is not mapped, or not for this direction, is
/// refused. Pages are marked dirty where they are in their block, not at the address that the device used.
///
/// Every refusal is `GuestMemoryError::InvalidGuestAddress` with the address that the device used. As vm-memory has it, an
/// access that begins well and then meets a refusal has done its first part (`PartialBuffer`).
///
/// While it lives the view is in use, and so are the views of the targets that it was led to, each from the first time
/// on: receipts wait for it. So a device takes one for a batch of requests, and drops it before it waits for the next.
/// Making one costs about a hundred nanoseconds, however many ranges there are.
///
/// ```
/// use flatview::{MemTxAttrs, Memory, RamBlock, Size};
/// use flatview_vm_memory::DmaView;
/// use vm_memory::{Bytes, GuestAddress};
///
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let space = memory.create_address_space("bus master", &system)?;
/// let ram = memory.region("ram").ram(RamBlock::anonymous(0x2000)?);
/// let rom = memory.region("rom").rom(RamBlock::anonymous(0x1000)?);
/// memory.update(|tx| {
///     tx.add_subregion(&system, 0, &ram)?;
///     tx.add_subregion(&system, 0x2000, &rom)
/// })?;
///
/// let dma = DmaView::new(&space, MemTxAttrs::UNSPECIFIED);
/// dma.write_obj(0x1234_u16, GuestAddress(0x1ff0))?;
/// assert!(dma.read_obj::<u16>(GuestAddress(0x2000)).is_ok());
/// assert!(dma.write_obj(0_u16, GuestAddress(0x2000)).is_err(), "ROM");
/// assert!(dma.read_obj::<u16>(GuestAddress(0x3000)).is_err(), "nobody there");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DmaView {
    view: ViewRef,
    targets: Targets,
    attrs: MemTxAttrs,
    space: AddressSpace,
}

impl DmaView {
    /// What the space shows now, for a bus master whose accesses have these attributes: an IOMMU may want the
    /// requester's number.
    pub fn new(space: &AddressSpace, attrs: MemTxAttrs) -> DmaView {
        DmaView {
            view: space.view(),
            targets: Targets::default(),
            attrs,
            space: space.clone(),
        }
    }

    /// The whole view, devices included.
    pub fn view(&self) -> &FlatView {
        &self.view
    }

    /// The attributes of the bus master's accesses.
    pub fn attrs(&self) -> MemTxAttrs {
        self.attrs
    }

    /// The memory at `address` for this access, up to `len` bytes of it, through any IOMMUs. `None` is a refusal.
    #[inline]
    fn piece(
        &self,
        address: u64,
        len: usize,
        access: Permissions,
    ) -> Option<VolatileSlice<'_, BlockBitmapSlice<'_>>> {
        let (mut view, mut address, mut left) = (&*self.view, address, len as u64);
        for iommus in 0..=IommuStep::MAX {
            let range = view.find(address)?;
            let skipped = address - range.start();
            left = left.min((range.last() - address).saturating_add(1));
            let offset = range.offset_in_region() + skipped;
            let region = range.region();
            if region.kind() != RegionKind::Iommu {
                let is_rom = range.is_readonly() || region.kind() != RegionKind::Ram;
                if access.has_write() && is_rom {
                    return None;
                }
                let block = memory_behind(range)?;
                if access.has_write() && block.is_readonly() {
                    return None;
                }
                let left = within(block, offset, left)?;
                return slice_of(block, offset, usize::try_from(left).ok()?);
            }
            if iommus == IommuStep::MAX {
                return None;
            }
            let step = region.iommu_step(offset, wanted(access), self.attrs);
            left = left.min(step.size());
            address = step.address;
            let target = step.target?;
            view = match target == self.space {
                true => &self.view,
                false => self.targets.view_of(&target),
            };
        }
        None
    }
}

impl GuestMemory for DmaView {
    type PhysicalMemory = RamView;
    type Bitmap = BlockBitmap;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        DmaSlices::new(self, addr, count, access).all(|slice| slice.is_ok())
    }

    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, BS<'a, BlockBitmap>>> {
        Ok(DmaSlices::new(self, addr, count, access))
    }
}

/// The pieces of memory behind a run of addresses, ascending; ends after the first refusal.
#[derive(Debug)]
struct DmaSlices<'a> {
    dma: &'a DmaView,
    address: u64,
    left: usize,
    access: Permissions,
}

impl<'a> DmaSlices<'a> {
    #[inline]
    fn new(dma: &'a DmaView, address: GuestAddress, left: usize, access: Permissions) -> DmaSlices<'a> {
        DmaSlices {
            dma,
            address: address.0,
            left,
            access,
        }
    }
}

impl<'a> Iterator for DmaSlices<'a> {
    type Item = Result<VolatileSlice<'a, BlockBitmapSlice<'a>>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let Some(piece) = self.dma.piece(self.address, self.left, self.access) else {
            self.left = 0;
            return Some(Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(
                self.address,
            ))));
        };
        self.left -= piece.len();
        match self.address.checked_add(piece.len() as u64) {
            Some(next) => self.address = next,
            // The last byte of all; nothing lies behind it.
            None if self.left == 0 => {}
            None => {
                self.left = 0;
                return Some(Err(GuestMemoryError::GuestAddressOverflow));
            }
        }
        Some(Ok(piece))
    }
}

impl FusedIterator for DmaSlices<'_> {}

impl<'a> GuestMemorySliceIterator<'a, BlockBitmapSlice<'a>> for DmaSlices<'a> {}
