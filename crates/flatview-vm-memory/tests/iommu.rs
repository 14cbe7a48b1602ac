//! Devices behind IOMMU regions.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod board;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use board::{ATTRS, Board, Pages};
use flatview::{AddressSpace, DirtyClients, IommuAccess, IommuOps, IotlbEntry, MemTxAttrs, Region, Size};
use flatview_vm_memory::{DmaSpace, DmaView, RamView};
use vm_memory::{
    Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryBackend, GuestMemoryError, Permissions,
};

const READ: IommuAccess = IommuAccess::READ;
const WRITE: IommuAccess = IommuAccess::WRITE;
const BOTH: IommuAccess = IommuAccess::all();
const AT: fn(u64) -> GuestAddress = GuestAddress;

/// RAM of 16 pages, and a device that sees it through an IOMMU.
fn behind_iommu() -> (Board, Region, Arc<Pages>, AddressSpace) {
    let board = Board::new();
    let (ram, pages) = (board.ram("ram", 0x1_0000), Arc::new(Pages::default()));
    board.map(0, &ram);
    let iommu = board.memory.region("iommu").iommu(Size::MAX, pages.clone());
    let device = board.memory.create_address_space("device", &iommu).unwrap();
    (board, ram, pages, device)
}

/// Pages that lie apart are one buffer to the device.
#[test]
fn a_buffer_across_pages_is_translated_page_by_page() {
    let (board, ram, pages, device) = behind_iommu();
    pages.map(0x8000_0000, 0x5000, BOTH, &board.space);
    pages.map(0x8000_1000, 0x2000, BOTH, &board.space);
    board.update(|tx| tx.set_log(&ram, true));
    board.harvest(&ram, DirtyClients::VGA);

    let dma = DmaView::new(&device, ATTRS);
    dma.write_slice(&[1, 2, 3, 4], AT(0x8000_0ffe)).unwrap();
    assert_eq!(
        board.harvest(&ram, DirtyClients::VGA),
        [2, 5],
        "where they are, not where the device says"
    );
    let mut bytes = [0; 2];
    board.space.read(0x5ffe, &mut bytes, ATTRS).unwrap();
    assert_eq!(bytes, [1, 2]);
    board.space.read(0x2000, &mut bytes, ATTRS).unwrap();
    assert_eq!(bytes, [3, 4]);
    assert_eq!(dma.read_obj::<u32>(AT(0x8000_0ffe)).unwrap(), 0x0403_0201);

    let lengths = dma
        .get_slices(AT(0x8000_0800), 0x1000, Permissions::Read)
        .unwrap();
    let lengths: Vec<_> = lengths.map(|slice| slice.unwrap().len()).collect();
    assert_eq!(lengths, [0x800, 0x800]);
}

/// What is not mapped, or not for this direction, is refused at the address that the device used.
#[test]
fn what_is_not_permitted_is_denied() {
    let (board, _, pages, device) = behind_iommu();
    pages.map(0x1000, 0x5000, READ, &board.space);
    pages.map(0x2000, 0x6000, WRITE, &board.space);
    pages.map(0x3000, 0x10_0000, BOTH, &board.space);
    let dma = DmaView::new(&device, ATTRS);
    assert!(dma.read_obj::<u8>(AT(0x1000)).is_ok());
    assert!(dma.write_obj(0_u8, AT(0x2000)).is_ok());
    let denied = |result: Result<(), GuestMemoryError>, address| {
        assert!(matches!(result, Err(GuestMemoryError::InvalidGuestAddress(at)) if at == AT(address)));
    };
    denied(dma.write_obj(0_u8, AT(0x1000)), 0x1000);
    denied(dma.read_obj::<u8>(AT(0x2fff)).map(drop), 0x2fff);
    denied(dma.read_obj::<u8>(AT(0x3000)).map(drop), 0x3000);
    denied(dma.read_obj::<u8>(AT(0x4000)).map(drop), 0x4000);
    assert!(!dma.check_range(AT(0x1fff), 2, Permissions::Read));
    assert!(!dma.check_range(AT(0x1000), 1, Permissions::ReadWrite));

    // The translation is asked for each time.
    pages.unmap(0x1000);
    denied(dma.read_obj::<u8>(AT(0x1000)).map(drop), 0x1000);
    pages.map(0x1000, 0x5000, BOTH, &board.space);
    dma.write_obj(0_u8, AT(0x1000)).unwrap();
}

/// ROM behind an IOMMU is ROM, and a device is no memory.
#[test]
fn beyond_the_iommu_the_map_counts() {
    let (board, _, pages, device) = behind_iommu();
    board.map(0x10_0000, &board.rom("rom", 0x1000));
    board.map(0x10_1000, &board.device(0x1000));
    pages.map(0, 0x10_0000, BOTH, &board.space);
    pages.map(0x1000, 0x10_1000, BOTH, &board.space);
    let dma = DmaView::new(&device, ATTRS);
    assert!(dma.read_obj::<u8>(AT(0)).is_ok());
    assert!(dma.write_obj(0_u8, AT(0)).is_err());
    assert!(dma.read_obj::<u8>(AT(0x1000)).is_err());
    assert_eq!(
        RamView::new(&device).num_regions(),
        0,
        "loaders do not go through IOMMUs"
    );
}

/// The IOMMU is asked with the attributes of the bus master.
#[test]
fn attributes_choose_the_table() {
    let (board, _, pages, device) = behind_iommu();
    pages.map(0, 0, BOTH, &board.space);
    let attrs = MemTxAttrs {
        requester_id: 0x18,
        ..MemTxAttrs::default()
    };
    let handle = DmaSpace::with_attrs(&device, attrs);
    handle.memory().read_obj::<u8>(AT(0)).unwrap();
    assert_eq!(handle.memory().attrs(), attrs);
    assert_eq!(*pages.asked.lock().unwrap(), [0x18]);
}

/// A snapshot keeps the views that it was led to, from the first time on.
#[test]
fn receipts_wait_for_targets_too() {
    let (board, ram, pages, device) = behind_iommu();
    let other = board.memory.create_address_space("other", &ram).unwrap();
    pages.map(0, 0, BOTH, &board.space);
    pages.map(0x1000, 0x1000, BOTH, &other);
    let handle = DmaSpace::new(&device);
    let (used, unused) = (handle.memory(), handle.memory());
    used.write_obj(1_u8, AT(0)).unwrap();
    used.write_obj(2_u8, AT(0x1000)).unwrap();

    let unplugged = board.update(|tx| tx.del_subregion(&board.system, &ram));
    assert_eq!(used.read_obj::<u8>(AT(0)).unwrap(), 1);
    assert_eq!(used.read_obj::<u8>(AT(0x1000)).unwrap(), 2);
    assert!(unused.read_obj::<u8>(AT(0)).is_err(), "it was led there later");
    assert!(!unplugged.is_quiesced());
    drop(used);
    assert!(unplugged.is_quiesced());
}

/// An IOMMU behind an IOMMU; each shortens the piece.
#[test]
fn two_iommus_in_a_row() {
    let (board, _, inner, middle) = behind_iommu();
    let outer = Arc::new(Pages::default());
    let region = board.memory.region("outer").iommu(0x10_0000_u64, outer.clone());
    let device = board.memory.create_address_space("device", &region).unwrap();
    outer.map(0x3000, 0x7000, BOTH, &middle);
    inner.map(0x7000, 0x1000, BOTH, &board.space);
    DmaView::new(&device, ATTRS).write_obj(9_u8, AT(0x3008)).unwrap();
    let mut byte = [0];
    board.space.read(0x1008, &mut byte, ATTRS).unwrap();
    assert_eq!(byte, [9]);
}

/// An IOMMU that leads to itself, at once or from within.
#[derive(Default)]
struct Ring {
    device: OnceLock<AddressSpace>,
    walks: bool,
}

impl IommuOps for Ring {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        let device = self.device.get().unwrap();
        if self.walks {
            let tables = DmaView::new(device, ATTRS);
            assert!(tables.read_obj::<u64>(AT(iova)).is_err());
        }
        IotlbEntry {
            target: Some(device.clone()),
            iova,
            translated_address: iova,
            address_mask: u64::MAX,
            permission: BOTH,
        }
    }
}

/// A guest can build that; it must end.
#[test]
fn rings_end() {
    for walks in [false, true] {
        let board = Board::new();
        let ring = Arc::new(Ring {
            walks,
            ..Ring::default()
        });
        let region = board.memory.region("ring").iommu(Size::MAX, ring.clone());
        let device = board.memory.create_address_space("device", &region).unwrap();
        ring.device.set(device.clone()).unwrap();
        assert!(DmaView::new(&device, ATTRS).read_obj::<u8>(AT(0)).is_err());
    }
}

/// An IOMMU that reads its tables through itself, by a snapshot.
struct Inward {
    device: OnceLock<AddressSpace>,
    target: AddressSpace,
    asked: AtomicU64,
}

impl IommuOps for Inward {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let tables = DmaView::new(self.device.get().unwrap(), ATTRS);
        assert!(tables.read_obj::<u64>(AT(iova)).is_err());
        IotlbEntry {
            target: Some(self.target.clone()),
            iova,
            translated_address: iova,
            address_mask: u64::MAX,
            permission: BOTH,
        }
    }
}

/// Accesses of a space and those of a snapshot look after each other.
#[test]
fn no_iommu_is_asked_while_it_is_asked() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(0, &ram);
    let inward = Arc::new(Inward {
        device: OnceLock::new(),
        target: board.space.clone(),
        asked: AtomicU64::new(0),
    });
    let region = board.memory.region("inward").iommu(Size::MAX, inward.clone());
    let device = board.memory.create_address_space("device", &region).unwrap();
    inward.device.set(device.clone()).unwrap();
    assert_eq!(device.read(0, &mut [0], ATTRS), Ok(()));
    assert_eq!(inward.asked.load(Ordering::Relaxed), 1);
    assert!(DmaView::new(&device, ATTRS).read_obj::<u8>(AT(0)).is_ok());
    assert_eq!(inward.asked.load(Ordering::Relaxed), 2);
}
