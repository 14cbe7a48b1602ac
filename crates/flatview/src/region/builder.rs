//! Making regions.

use std::sync::Arc;

use super::{Backing, DeviceOps, Owner, Region};
use crate::access::MemoryRegionOps;
use crate::address::Size;
use crate::error::Error;
use crate::iommu::{Iommu, IommuOps};
use crate::memory::Memory;
use crate::ram::RamBlock;
use crate::tree::Attributes;

/// A region about to be made: attributes first, then the kind, which makes it.
///
/// ```
/// use flatview::{Memory, RamBlock, Size};
/// let memory = Memory::new();
/// let system = memory.region("system").container(Size::MAX);
/// let bios = memory.region("pc.bios").rom(RamBlock::unbacked(0x4_0000));
/// let isa_bios = memory.region("isa-bios").readonly(true).alias(&bios, 0x2_0000, 0x2_0000)?;
/// # Ok::<(), flatview::Error>(())
/// ```
///
/// A new region is mapped nowhere and enabled (rule A19). Regions may be made at any time, also while a
/// transaction runs.
#[derive(Debug)]
#[must_use = "a builder makes nothing until a kind is chosen"]
pub struct RegionBuilder<'a> {
    pub(super) memory: &'a Memory,
    pub(super) name: Box<str>,
    pub(super) owner: Option<Owner>,
    pub(super) parent: Option<Owner>,
    pub(super) is_guarded: bool,
    pub(crate) attributes: Attributes,
}

impl<'a> RegionBuilder<'a> {
    pub(crate) fn new(memory: &'a Memory, name: &str) -> RegionBuilder<'a> {
        RegionBuilder {
            memory,
            name: name.into(),
            owner: None,
            parent: None,
            is_guarded: true,
            attributes: Attributes::default(),
        }
    }

    /// The device or object the region belongs to.
    pub fn owner(mut self, owner: &Owner) -> Self {
        self.owner = Some(owner.clone());
        self
    }

    /// The object that has the region in the tree of objects, where that is not the owner (rule A24). Only
    /// `info mtree -o` shows it.
    pub fn parent(mut self, parent: &Owner) -> Self {
        self.parent = Some(parent.clone());
        self
    }

    /// Whether the region begins its life enabled; it does unless this says otherwise.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.attributes.enabled = enabled;
        self
    }

    /// Whether what is seen through the region is read-only (rule C16).
    pub fn readonly(mut self, readonly: bool) -> Self {
        self.attributes.readonly = readonly;
        self
    }

    /// Whether what is seen through the region is non-volatile memory (rule C17).
    pub fn nonvolatile(mut self, nonvolatile: bool) -> Self {
        self.attributes.nonvolatile = nonvolatile;
        self
    }

    /// Whether what is seen through the region stays apart from its neighbours (rule C18).
    pub fn unmergeable(mut self, unmergeable: bool) -> Self {
        self.attributes.unmergeable = unmergeable;
        self
    }

    /// Whether accesses are refused that a thread makes while it is in an access to a region of the same owner
    /// (rule K12); they are unless this says otherwise (rule D10). A region without an owner is guarded by itself.
    pub fn reentrancy_guard(mut self, guarded: bool) -> Self {
        self.is_guarded = guarded;
        self
    }

    /// A container: no memory of its own, only children (rule A1).
    pub fn container(self, size: impl Into<Size>) -> Region {
        self.make(size.into(), Backing::Container)
    }

    /// RAM of the block's size (rule A4). If the block is mapped for reading only, it is ROM (rule A8).
    pub fn ram(mut self, block: RamBlock) -> Region {
        self.attributes.readonly |= block.is_readonly();
        self.make(block.size(), Backing::Ram(block))
    }

    /// ROM of the block's size: RAM with the readonly attribute (rule A12).
    pub fn rom(self, block: RamBlock) -> Region {
        self.readonly(true).ram(block)
    }

    /// RAM of a device, such as a BAR that the guest may map (rule A11).
    pub fn ram_device(self, block: RamBlock) -> Region {
        self.make(block.size(), Backing::RamDevice(block))
    }

    /// Memory that is read directly and written through a device, such as flash (rule A13). It begins in
    /// romd mode.
    pub fn rom_device(self, block: RamBlock, ops: Arc<dyn MemoryRegionOps>) -> Region {
        self.make(block.size(), Backing::RomDevice(block, DeviceOps::new(ops)))
    }

    /// MMIO or ports: a device answers (rule A2).
    pub fn io(self, size: impl Into<Size>, ops: Arc<dyn MemoryRegionOps>) -> Region {
        self.make(size.into(), Backing::Mmio(DeviceOps::new(ops)))
    }

    /// A reservation: hides what is below, and nobody answers (rule A3).
    pub fn reservation(self, size: impl Into<Size>) -> Region {
        self.make(size.into(), Backing::Reservation)
    }

    /// A window of `size` bytes onto `target`, beginning at its byte `offset` (rule A14). The target may be
    /// of any kind, mapped or not, and smaller than the window.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignRegion`] if `target` belongs to another [`Memory`]; [`Error::AliasChainTooLong`].
    pub fn alias(mut self, target: &Region, offset: u64, size: impl Into<Size>) -> Result<Region, Error> {
        self.memory.check(target)?;
        self.memory.check_alias_chain(target)?;
        self.attributes.alias_offset = offset;
        Ok(self.make(size.into(), Backing::Alias(target.clone())))
    }

    /// An IOMMU: accesses are translated and go on elsewhere (rule A15).
    pub fn iommu(self, size: impl Into<Size>, ops: Arc<dyn IommuOps>) -> Region {
        self.make(size.into(), Backing::Iommu(Box::new(Iommu::new(ops))))
    }

    fn make(mut self, size: Size, backing: Backing) -> Region {
        self.attributes.size = size;
        self.memory.shared().insert(self, backing)
    }
}
