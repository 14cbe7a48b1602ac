//! An IOMMU with page tables of two levels in guest RAM, which it walks through an address space.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use flatview::{
    AddressRange, AddressSpace, Endianness, IommuAccess, IommuError, IommuEvents, IommuNotifier, IommuOps,
    IommuReplay, IotlbEntry, IotlbEvent, ListenerResult, MemTxAttrs, RamBlock, Region, Size, WeakRegion,
};

use super::support::Board;

pub(crate) const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
/// What uses the second table.
pub(crate) const SECURE: MemTxAttrs = MemTxAttrs {
    unspecified: false,
    secure: true,
    ..MemTxAttrs::UNSPECIFIED
};
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const LARGE: u64 = 0x20_0000;
/// What the tables translate.
pub(crate) const REACH: u64 = 1 << 30;
pub(crate) const RAM: u64 = 0x100_0000;

/// Bits of an entry.
pub(crate) const R: u64 = 1;
pub(crate) const W: u64 = 2;
const BIG: u64 = 4;

pub(crate) struct Tables {
    /// Where the tables are.
    walked: AddressSpace,
    target: AddressSpace,
    /// The first level of each table.
    roots: [AtomicU64; 2],
    pub(crate) region: OnceLock<WeakRegion>,
    /// What the core told.
    pub(crate) told: Mutex<Vec<(IommuEvents, IommuEvents)>>,
    /// What is refused.
    pub(crate) cannot: Mutex<IommuEvents>,
    pub(crate) replays_itself: AtomicBool,
    pub(crate) translations: AtomicU64,
}

impl Tables {
    /// An IOMMU region of its own, named `name`.
    pub(crate) fn new(
        board: &Board,
        name: &str,
        walked: &AddressSpace,
        target: &AddressSpace,
        roots: [u64; 2],
    ) -> (Arc<Tables>, Region) {
        let tables = Arc::new(Tables {
            walked: walked.clone(),
            target: target.clone(),
            roots: roots.map(AtomicU64::new),
            region: OnceLock::new(),
            told: Mutex::default(),
            cannot: Mutex::new(IommuEvents::empty()),
            replays_itself: AtomicBool::new(false),
            translations: AtomicU64::new(0),
        });
        let region = board
            .memory
            .region(name)
            .iommu(REACH, Arc::clone(&tables) as Arc<dyn IommuOps>);
        tables.region.set(region.downgrade()).unwrap();
        (tables, region)
    }

    fn entry(&self, address: u64) -> u64 {
        self.walked
            .load(address, Endianness::Little, ATTRS)
            .unwrap_or_default()
    }

    /// The target address, the size of the block and the bits of its entries.
    fn walk(&self, iova: u64, index: u32) -> (u64, u64, u64) {
        let root = self.roots[index as usize].load(Ordering::Relaxed);
        let first = self.entry(root + (iova >> 21) * 8);
        if first & (R | W) == 0 {
            return (0, LARGE, 0);
        }
        if first & BIG != 0 {
            return (first & !(LARGE - 1), LARGE, first & (R | W));
        }
        let second = self.entry((first & !(PAGE - 1)) + ((iova >> 12) & 511) * 8);
        (second & !(PAGE - 1), PAGE, first & second & (R | W))
    }

    /// Tells every notifier that all of `range` is gone, and what is there now: an invalidation command.
    pub(crate) fn invalidate(&self, index: u32, range: AddressRange) {
        let region = self.region.get().unwrap().upgrade().unwrap();
        for notifier in region.iommu_notifiers().unwrap() {
            let Some(part) = notifier.range().intersection(range) else {
                continue;
            };
            if notifier.index() == index {
                notifier.notify(&IotlbEvent::unmap(part)).unwrap();
                self.tell_mapped(&notifier, part).unwrap();
            }
        }
    }

    fn tell_mapped(&self, notifier: &IommuNotifier, range: AddressRange) -> Result<(), IommuError> {
        let mut iova = range.start();
        while iova <= range.last() && iova < REACH {
            let entry = self.translate(iova, IommuAccess::empty(), notifier.index());
            let last = (iova | entry.address_mask).min(range.last());
            if !entry.permission.is_empty() {
                let skipped = iova - entry.iova;
                notifier.notify(&IotlbEvent::map(IotlbEntry {
                    iova,
                    translated_address: entry.translated_address + skipped,
                    address_mask: last - iova,
                    ..entry
                }))?;
            }
            iova = last + 1;
        }
        Ok(())
    }
}

impl IommuOps for Tables {
    fn translate(&self, iova: u64, _: IommuAccess, index: u32) -> IotlbEntry {
        self.translations.fetch_add(1, Ordering::Relaxed);
        let (translated_address, size, bits) = self.walk(iova, index);
        IotlbEntry {
            target: (bits != 0).then(|| self.target.clone()),
            iova: iova & !(size - 1),
            translated_address,
            address_mask: size - 1,
            permission: permission(bits),
        }
    }

    fn attrs_to_index(&self, attrs: MemTxAttrs) -> u32 {
        attrs.secure.into()
    }

    fn num_indexes(&self) -> u32 {
        2
    }

    fn notify_flag_changed(&self, old: IommuEvents, new: IommuEvents) -> ListenerResult {
        if new.intersects(*self.cannot.lock().unwrap()) {
            return Err("this IOMMU has no caching mode".into());
        }
        self.told.lock().unwrap().push((old, new));
        Ok(())
    }

    fn replay(&self) -> Option<&dyn IommuReplay> {
        self.replays_itself.load(Ordering::Relaxed).then_some(self)
    }
}

impl IommuReplay for Tables {
    fn replay(&self, notifier: &IommuNotifier) -> Result<(), IommuError> {
        self.tell_mapped(notifier, notifier.range())
    }
}

pub(crate) fn permission(bits: u64) -> IommuAccess {
    IommuAccess::from_bits_truncate(bits as u8)
}

pub(crate) fn range(start: u64, size: u64) -> AddressRange {
    AddressRange::new(start, size).unwrap()
}

/// RAM, an IOMMU that leads there, and a device behind it. Each page of RAM begins with its address.
pub(crate) struct World {
    pub(crate) board: Board,
    pub(crate) ram: Region,
    pub(crate) tables: Arc<Tables>,
    pub(crate) iommu: Region,
    pub(crate) dma: AddressSpace,
    next_table: Mutex<u64>,
}

pub(crate) const ROOTS: [u64; 2] = [0x80_0000, 0x80_1000];

impl World {
    pub(crate) fn new() -> World {
        let board = Board::new();
        let ram = board.memory.region("ram").ram(RamBlock::anonymous(RAM).unwrap());
        board.map(&board.system, 0, &ram);
        for page in (0..ROOTS[0]).step_by(PAGE as usize) {
            board.space.store(page, page, Endianness::Little, ATTRS).unwrap();
        }
        let (tables, iommu) = Tables::new(&board, "iommu", &board.space, &board.space, ROOTS);
        let root = board.container("device", Size::MAX);
        board.map(&root, 0, &iommu);
        let dma = board.look_at("dma", &root);
        World {
            board,
            ram,
            tables,
            iommu,
            dma,
            next_table: Mutex::new(ROOTS[1] + PAGE),
        }
    }

    pub(crate) fn poke(&self, address: u64, entry: u64) {
        self.board
            .space
            .store(address, entry, Endianness::Little, ATTRS)
            .unwrap();
    }

    /// Maps a page; what was there before, a large page as well, is gone.
    pub(crate) fn map(&self, index: u32, iova: u64, target: u64, bits: u64) {
        let place = ROOTS[index as usize] + (iova >> 21) * 8;
        let mut first: u64 = self.board.space.load(place, Endianness::Little, ATTRS).unwrap();
        if first == 0 || first & BIG != 0 {
            let mut next = self.next_table.lock().unwrap();
            first = *next | R | W;
            *next += PAGE;
            self.board
                .space
                .fill(first & !(PAGE - 1), 0, PAGE as usize, ATTRS)
                .unwrap();
            self.poke(place, first);
        }
        let second = (first & !(PAGE - 1)) + ((iova >> 12) & 511) * 8;
        self.poke(second, if bits == 0 { 0 } else { target | bits });
    }

    /// Maps a large page, or nothing if there are no bits.
    pub(crate) fn map_large(&self, index: u32, iova: u64, target: u64, bits: u64) {
        let place = ROOTS[index as usize] + (iova >> 21) * 8;
        self.poke(place, if bits == 0 { 0 } else { target | bits | BIG });
    }

    pub(crate) fn load(&self, iova: u64) -> Option<u64> {
        self.dma.load(iova, Endianness::Little, ATTRS).ok()
    }
}
