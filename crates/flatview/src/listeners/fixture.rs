//! What the tests of listeners share: a machine with one space.

use std::sync::Arc;

use crate::{
    AddressSpace, Error, FlatRange, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs, MemTxError, Memory,
    MemoryRegionOps, RamBlock, Region, Size, Transaction,
};

pub(super) struct Machine {
    pub(super) memory: Memory,
    pub(super) system: Region,
    pub(super) space: AddressSpace,
}

/// Neither a device nor an IOMMU worth the name.
pub(super) struct Nothing;

impl MemoryRegionOps for Nothing {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

impl IommuOps for Nothing {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: 0,
            address_mask: 0xfff,
            permission: IommuAccess::empty(),
        }
    }
}

impl Machine {
    pub(super) fn new() -> Machine {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let space = memory.create_address_space("memory", &system).unwrap();
        Machine {
            memory,
            system,
            space,
        }
    }

    pub(super) fn ram(&self, name: &str, size: u64, host: usize) -> Region {
        self.memory.region(name).ram(RamBlock::foreign(size, host))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) {
        self.memory.update(change).unwrap();
    }

    /// Maps a region above all others.
    pub(super) fn map(&self, address: u64, region: &Region) {
        self.update(|tx| tx.add_subregion_overlap(&self.system, address, region, 1));
    }

    pub(super) fn try_map(&self, address: u64, region: &Region) -> Result<(), Error> {
        let mapped = self
            .memory
            .update(|tx| tx.add_subregion_overlap(&self.system, address, region, 1));
        mapped.map(|_| ())
    }

    pub(super) fn unmap(&self, region: &Region) {
        self.update(|tx| tx.del_subregion(&self.system, region));
    }

    pub(super) fn reservation(&self, size: impl Into<Size>) -> Region {
        self.memory.region("reservation").reservation(size)
    }

    pub(super) fn rom_device(&self, size: u64, host: usize) -> Region {
        let ops = Arc::new(Nothing);
        self.memory
            .region("flash")
            .rom_device(RamBlock::foreign(size, host), ops)
    }

    pub(super) fn iommu(&self, size: impl Into<Size>) -> Region {
        self.memory.region("iommu").iommu(size, Arc::new(Nothing))
    }

    /// A copy of every range of the space.
    pub(super) fn ranges(&self) -> Vec<FlatRange> {
        self.space.view().iter().cloned().collect()
    }
}
