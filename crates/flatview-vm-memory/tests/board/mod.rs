//! A machine with little in it, shared by the tests.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses a part of it, and helpers fail as tests do"
)]

use std::sync::{Arc, Mutex};

use flatview::{
    AddressSpace, DirtyClients, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs, MemTxError, Memory,
    MemoryRegionOpsMut, PAGE_SIZE, RamBlock, Receipt, Region, Size, Transaction,
};

pub const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

pub struct Board {
    pub memory: Memory,
    pub system: Region,
    pub space: AddressSpace,
}

impl Board {
    pub fn new() -> Board {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let space = memory.create_address_space("memory", &system).unwrap();
        Board {
            memory,
            system,
            space,
        }
    }

    pub fn update(
        &self,
        change: impl FnOnce(&mut Transaction<'_>) -> Result<(), flatview::Error>,
    ) -> Receipt<()> {
        self.memory.update(change).unwrap()
    }

    pub fn map(&self, address: u64, region: &Region) -> Receipt<()> {
        self.update(|tx| tx.add_subregion(&self.system, address, region))
    }

    pub fn ram(&self, name: &str, size: u64) -> Region {
        let block = RamBlock::anonymous(size).unwrap();
        self.memory.region(name).ram(block)
    }

    pub fn rom(&self, name: &str, size: u64) -> Region {
        let block = RamBlock::anonymous(size).unwrap();
        self.memory.region(name).rom(block)
    }

    /// A window onto `size` bytes of `target` from `offset` on.
    pub fn alias(&self, target: &Region, offset: u64, size: u64) -> Region {
        self.memory.region("alias").alias(target, offset, size).unwrap()
    }

    pub fn device(&self, size: u64) -> Region {
        self.memory
            .region("device")
            .io(size, Arc::new(Mutex::new(Untouched)))
    }

    /// Takes the pages of a region that are dirty for a client, as page numbers.
    pub fn harvest(&self, ram: &Region, client: DirtyClients) -> Vec<u64> {
        let size = ram.state().unwrap().size;
        let all = flatview::AddressRange::new(0, size).unwrap();
        let bitmap = self.memory.snapshot_and_clear_dirty(ram, all, client).unwrap();
        bitmap.pages().map(|at| at / PAGE_SIZE).collect()
    }
}

/// A device that must not be reached.
pub struct Untouched;

impl MemoryRegionOpsMut for Untouched {
    fn read(&mut self, offset: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        panic!("the device is read at {offset:#x}")
    }

    fn write(&mut self, offset: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        panic!("the device is written at {offset:#x}")
    }
}

/// An IOMMU with one table of pages.
#[derive(Default)]
pub struct Pages {
    table: Mutex<Vec<(u64, u64, IommuAccess, AddressSpace)>>,
    /// The tables that accesses asked for.
    pub asked: Mutex<Vec<u32>>,
}

impl Pages {
    pub fn map(&self, iova: u64, to: u64, permission: IommuAccess, target: &AddressSpace) {
        let mut table = self.table.lock().unwrap();
        table.retain(|page| page.0 != iova);
        table.push((iova, to, permission, target.clone()));
    }

    pub fn unmap(&self, iova: u64) {
        self.table.lock().unwrap().retain(|page| page.0 != iova);
    }
}

impl IommuOps for Pages {
    fn translate(&self, iova: u64, _: IommuAccess, index: u32) -> IotlbEntry {
        self.asked.lock().unwrap().push(index);
        let page = iova & !(PAGE_SIZE - 1);
        let table = self.table.lock().unwrap();
        let found = table.iter().find(|entry| entry.0 == page);
        IotlbEntry {
            target: found.map(|entry| entry.3.clone()),
            iova: page,
            translated_address: found.map_or(0, |entry| entry.1),
            address_mask: PAGE_SIZE - 1,
            permission: found.map_or(IommuAccess::empty(), |entry| entry.2),
        }
    }

    fn attrs_to_index(&self, attrs: MemTxAttrs) -> u32 {
        attrs.requester_id.into()
    }
}
