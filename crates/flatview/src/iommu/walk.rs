//! From an address through all IOMMUs to what is behind them.

use std::sync::Arc;

use super::{DEFAULT_PAGE_SIZE, IommuAccess, IommuStep, IotlbEntry, IotlbError};
use crate::access::{MemTxAttrs, MemTxError};
use crate::address::{AddressRange, Size};
use crate::discard::RamDiscardManager;
use crate::ram::RamWindow;
use crate::region::RegionKind;
use crate::space::AddressSpace;
use crate::view::FlatRange;

/// What is behind all IOMMUs.
struct Walked {
    range: FlatRange,
    space: AddressSpace,
    /// The address in that space.
    address: u64,
    /// How many bytes follow the one at the address without any of the translations or ranges ending.
    following: u64,
    /// The block around the address for which that holds: its size minus one.
    mask: u64,
    /// What all translations permit. Whether the range may be written is another question.
    permission: IommuAccess,
}

/// Follows IOMMUs from `address` of `space` on (rule O2). `None` if one refuses, or nobody is there.
fn walk(space: &AddressSpace, mut address: u64, wanted: IommuAccess, attrs: MemTxAttrs) -> Option<Walked> {
    let mut space = space.clone();
    let mut permission = IommuAccess::all();
    let (mut mask, mut following) = (u64::MAX, u64::MAX);
    for iommus in 0..=IommuStep::MAX {
        let view = space.view();
        let range = view.find(address)?;
        following = following.min(range.last() - address);
        while !range.range().contains_range(block(address, mask)) {
            mask >>= 1;
        }
        if range.region().kind() != RegionKind::Iommu {
            if iommus == 0 {
                mask = mask.min(DEFAULT_PAGE_SIZE - 1);
            }
            let range = range.clone();
            return Some(Walked {
                range,
                space,
                address,
                following,
                mask,
                permission,
            });
        }
        if iommus == IommuStep::MAX {
            return None;
        }
        let offset = range.offset_at(address);
        let step = range.region().iommu_step(offset, wanted, attrs);
        let target = step.target?;
        permission &= step.permission;
        following = following.min(step.following);
        // Blocks of the region are blocks of the space only up to where the two differ.
        mask = low_ones(mask & step.address_mask & !(address ^ offset));
        address = step.address;
        drop(view);
        space = target;
    }
    None
}

/// The addresses that differ from this one in the mask only.
fn block(address: u64, mask: u64) -> AddressRange {
    AddressRange::from_bounds(address & !mask, address | mask).unwrap_or(AddressRange::ALL)
}

/// The ones below the lowest zero.
fn low_ones(mask: u64) -> u64 {
    match mask.trailing_ones() {
        64 => u64::MAX,
        ones => (1 << ones) - 1,
    }
}

impl AddressSpace {
    /// The translation of `address` through all IOMMUs on its way, for a device that caches translations itself
    /// (rule O16).
    ///
    /// The entry's target is the space in which the address was found that nobody translates further; this one, with
    /// a page of 4 KiB, if nobody translates at all. The block is never larger than the smallest page on the way, and
    /// ends where a range does.
    ///
    /// Permitted is what every translation on the way permits, and no writing to what is read-only. (QEMU says that
    /// everything is.) An IOMMU may keep to itself what was not asked for: who asks for reading may hear that reading
    /// is permitted, and of writing nothing.
    ///
    /// # Errors
    ///
    /// [`MemTxError::DECODE_ERROR`] if an access would be refused, or nobody is there.
    pub fn iotlb_entry(
        &self,
        address: u64,
        is_write: bool,
        attrs: MemTxAttrs,
    ) -> Result<IotlbEntry, MemTxError> {
        let wanted = match is_write {
            true => IommuAccess::WRITE,
            false => IommuAccess::READ,
        };
        let found = walk(self, address, wanted, attrs).ok_or(MemTxError::DECODE_ERROR)?;
        let mut permission = found.permission;
        if found.range.is_readonly() && found.range.region().kind().is_ram() {
            permission -= IommuAccess::WRITE;
        }
        let is_somebody = found.range.region().kind() != RegionKind::Reservation;
        if !is_somebody || !permission.contains(wanted) {
            return Err(MemTxError::DECODE_ERROR);
        }
        Ok(IotlbEntry {
            target: Some(found.space),
            iova: address & !found.mask,
            translated_address: found.address & !found.mask,
            address_mask: found.mask,
            permission,
        })
    }
}

/// The memory that a translation leads to: what a VFIO container maps for its device.
///
/// It keeps the region alive, as all who show memory to others must.
#[derive(Clone)]
pub struct IotlbMemory {
    range: FlatRange,
    readonly: bool,
    manager: Option<Arc<dyn RamDiscardManager>>,
}

impl IotlbEntry {
    /// The memory that the entry's block leads to in its target, further IOMMUs there included (rule O17).
    ///
    /// RAM and RAM of devices are memory; ROM devices are not, as in QEMU. The discard manager of RAM is asked
    /// whether all of it is there (rule S12).
    ///
    /// # Errors
    ///
    /// [`IotlbError`].
    pub fn memory(&self) -> Result<IotlbMemory, IotlbError> {
        let not_mapped = || IotlbError::NotMapped { iova: self.iova };
        let target = self.target.as_ref().ok_or_else(not_mapped)?;
        if self.permission.is_empty() {
            return Err(not_mapped());
        }
        let address = self.translated_address;
        let not_memory = || IotlbError::NotMemory { address };
        let everything = IommuAccess::empty();
        let found = walk(target, address, everything, MemTxAttrs::UNSPECIFIED).ok_or_else(not_memory)?;
        let permission = self.permission & found.permission;
        if permission.is_empty() || !found.range.region().kind().is_ram() {
            return Err(not_memory());
        }
        if found.following < self.address_mask {
            return Err(IotlbError::Granularity {
                address,
                address_mask: self.address_mask,
                contiguous: found.following + 1,
            });
        }
        let last = found.address.saturating_add(self.address_mask);
        let range = AddressRange::from_bounds(found.address, last)
            .and_then(|part| found.range.clipped(part))
            .ok_or_else(not_memory)?;
        let memory = IotlbMemory {
            readonly: !permission.contains(IommuAccess::WRITE) || range.is_readonly(),
            manager: range.region().ram_discard_manager(),
            range,
        };
        let bytes = memory.bytes().ok_or_else(not_memory)?;
        let block = memory
            .range
            .region()
            .ram_block()
            .map(|block| block.size().bytes());
        if block.is_none_or(|size| size <= u128::from(bytes.last())) {
            return Err(not_memory());
        }
        if memory
            .manager
            .as_ref()
            .is_some_and(|manager| !manager.is_populated(bytes))
        {
            return Err(IotlbError::Discarded { address });
        }
        Ok(memory)
    }
}

impl IotlbMemory {
    /// The memory: where it is in the last space, and in which region.
    pub fn range(&self) -> &FlatRange {
        &self.range
    }

    /// The number of bytes: that of the entry's block.
    pub fn size(&self) -> Size {
        self.range.size()
    }

    /// Whether a device may only read it.
    pub fn is_readonly(&self) -> bool {
        self.readonly
    }

    /// Where the first byte is in this process, if there is host memory.
    pub fn host_address(&self) -> Option<usize> {
        let start = self.range.region().ram_block()?.host_address()?;
        start.checked_add(usize::try_from(self.range.offset_in_region()).ok()?)
    }

    /// The bytes, if this process may touch them.
    pub fn window(&self) -> Option<RamWindow> {
        let block = self.range.region().ram_block()?;
        block.window(self.range.offset_in_region(), self.size().to_u64()?)
    }

    /// Who says which parts of the RAM are there: parts of what was mapped may go later.
    pub fn ram_discard_manager(&self) -> Option<&Arc<dyn RamDiscardManager>> {
        self.manager.as_ref()
    }

    /// Offsets in the region.
    fn bytes(&self) -> Option<AddressRange> {
        AddressRange::new(self.range.offset_in_region(), self.range.size())
    }
}

impl std::fmt::Debug for IotlbMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IotlbMemory")
            .field("range", &self.range)
            .field("readonly", &self.readonly)
            .field("has_discard_manager", &self.manager.is_some())
            .finish()
    }
}
