//! What the two snapshots reach, and how long they keep it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod board;

use std::sync::{Arc, Mutex};

use board::{ATTRS, Board, Untouched};
use flatview::RamBlock;
use flatview_vm_memory::{DmaSpace, DmaView, RamSpace, RamView};
use vm_memory::{
    Address, Bytes, GuestAddress, GuestAddressSpace, GuestMemory, GuestMemoryBackend, GuestMemoryError,
    GuestMemoryRegion, MemoryRegionAddress, Permissions,
};

const AT: fn(u64) -> GuestAddress = GuestAddress;

fn dma(board: &Board) -> DmaView {
    DmaView::new(&board.space, ATTRS)
}

/// Devices are told by the guest where to write: what the guest may not write, they may not.
#[test]
fn dma_to_rom_and_to_readonly_aliases_is_refused() {
    let board = Board::new();
    let (ram, rom) = (board.ram("ram", 0x2000), board.rom("rom", 0x1000));
    let window = board.memory.region("window").readonly(true);
    let window = window.alias(&ram, 0x1000, 0x1000_u64).unwrap();
    board.map(0, &ram);
    board.map(0x2000, &rom);
    board.map(0x8000, &window);
    board.space.write(0x1000, &[7], ATTRS).unwrap();

    let dma = dma(&board);
    for refused in [0x2000, 0x2fff, 0x8000] {
        let result = dma.write_obj(1_u8, AT(refused));
        assert!(matches!(result, Err(GuestMemoryError::InvalidGuestAddress(at)) if at == AT(refused)));
        assert!(dma.read_obj::<u8>(AT(refused)).is_ok());
        assert!(dma.check_range(AT(refused), 1, Permissions::Read));
        assert!(!dma.check_range(AT(refused), 1, Permissions::Write));
        assert!(!dma.check_range(AT(refused), 1, Permissions::ReadWrite));
    }
    assert_eq!(dma.read_obj::<u8>(AT(0x8000)).unwrap(), 7);
    assert_eq!(dma.read_obj::<u8>(AT(0x1000)).unwrap(), 7);

    // The first part is done, as vm-memory has it.
    let partial = dma.write_slice(&[9; 4], AT(0x1ffe));
    let two_of_four = GuestMemoryError::PartialBuffer {
        expected: 4,
        completed: 2,
    };
    assert_eq!(partial.unwrap_err().to_string(), two_of_four.to_string());
    assert_eq!(dma.read_obj::<u32>(AT(0x1ffe)).unwrap(), 0x0909);
}

/// A loader writes ROM, and RAM through what is readonly.
#[test]
fn a_loader_writes_rom() {
    let board = Board::new();
    let (ram, rom) = (board.ram("ram", 0x1000), board.rom("rom", 0x1000));
    board.map(0, &ram);
    board.map(0x1000, &rom);
    let view = RamView::new(&board.space);
    view.write_slice(&[5; 0x20], AT(0xff0)).unwrap();
    assert_eq!(
        dma(&board).read_obj::<u64>(AT(0x1008)).unwrap(),
        0x0505_0505_0505_0505
    );
    let readonly: Vec<bool> = view.ranges().iter().map(|range| range.is_readonly()).collect();
    assert_eq!(readonly, [false, true]);
}

/// Neither reaches a device, a hole, a RAM device, a reservation or a block without memory, nor past a block's end.
#[test]
fn what_is_no_memory_is_a_hole() {
    let board = Board::new();
    let block = || RamBlock::anonymous(0x1000).unwrap();
    let ops = Arc::new(Mutex::new(Untouched));
    let flash = board.memory.region("flash").rom_device(block(), ops);
    board.map(0x1000, &board.device(0x1000));
    board.map(0x2000, &board.memory.region("bar").ram_device(block()));
    board.map(0x3000, &board.memory.region("apic").reservation(0x1000_u64));
    board.map(
        0x4000,
        &board.memory.region("none").ram(RamBlock::unbacked(0x1000)),
    );
    board.map(
        0x5000,
        &board.memory.region("far").ram(RamBlock::foreign(0x1000, 0x1000)),
    );
    board.map(0x6000, &flash);
    let long = board.ram("long", 0x1000);
    board.map(0x8000, &long);
    board.update(|tx| tx.set_size(&long, 0x3000_u64));

    let check = |flash_is_read: bool| {
        let (dma, ram) = (dma(&board), RamView::new(&board.space));
        for hole in [0, 0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x7000, 0x9000, 0xa000] {
            assert!(dma.read_obj::<u8>(AT(hole)).is_err(), "{hole:#x}");
            assert!(dma.write_obj(0_u8, AT(hole)).is_err(), "{hole:#x}");
            assert!(ram.read_obj::<u8>(AT(hole)).is_err(), "{hole:#x}");
            assert!(ram.write_obj(0_u8, AT(hole)).is_err(), "{hole:#x}");
            assert!(ram.find_region(AT(hole)).is_none(), "{hole:#x}");
        }
        assert_eq!(dma.read_obj::<u8>(AT(0x6000)).is_ok(), flash_is_read);
        assert_eq!(ram.write_obj(0_u8, AT(0x6000)).is_ok(), flash_is_read);
        assert!(
            dma.write_obj(0_u8, AT(0x6000)).is_err(),
            "a device answers writes"
        );
        dma.write_obj(1_u64, AT(0x8ff8)).unwrap();
        ram.write_obj(1_u64, AT(0x8ff8)).unwrap();
        assert!(dma.write_obj(1_u64, AT(0x8ffc)).is_err(), "the block ends");
    };
    check(true);
    board.update(|tx| tx.rom_device_set_romd(&flash, false));
    check(false);
}

/// The ranges are windows onto blocks, ascending, with no copy of anything.
#[test]
fn ranges_are_windows() {
    let board = Board::new();
    let ram = board.ram("ram", 0x4000);
    board.map(0x10_0000, &board.alias(&ram, 0x1000, 0x2000));
    board.map(0x1000, &board.alias(&ram, 0, 0x1000));
    // These two go on where the other ended: one range.
    board.map(0x20_0000, &board.alias(&ram, 0, 0x1000));
    board.map(0x20_1000, &board.alias(&ram, 0x1000, 0x1000));
    let view = RamView::new(&board.space);
    let seen: Vec<_> = view
        .iter()
        .map(|range| {
            (
                range.start_addr().0,
                range.last_addr().0,
                range.window().offset_in_block(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0x1000, 0x1fff, 0),
            (0x10_0000, 0x10_1fff, 0x1000),
            (0x20_0000, 0x20_1fff, 0)
        ]
    );
    assert_eq!(view.num_regions(), 3);
    assert_eq!(view.last_addr(), AT(0x20_1fff));

    let block = ram.ram_block().unwrap();
    let host = |address| view.get_host_address(AT(address)).unwrap().addr();
    assert_eq!(host(0x10_0010), block.host_address().unwrap() + 0x1010);
    assert_eq!(host(0x10_0010), host(0x20_1010));

    let range = view.find_region(AT(0x10_1fff)).unwrap();
    assert!(range.get_slice(MemoryRegionAddress(0x1ffc), 4).is_ok());
    for (offset, count) in [(0x1ffd, 4), (0x2001, 0), (u64::MAX, 1), (1, usize::MAX)] {
        assert!(range.get_slice(MemoryRegionAddress(offset), count).is_err());
    }
    range.write_slice(&[1, 2], MemoryRegionAddress(0)).unwrap();
    assert_eq!(view.read_obj::<u16>(AT(0x20_1000)).unwrap(), 0x0201);
}

/// The end of the address space is no special case.
#[test]
fn the_last_byte_of_all() {
    let board = Board::new();
    let (low, high) = (board.ram("low", 0x1000), board.ram("high", 0x1000));
    board.map(0, &low);
    board.map(0xffff_ffff_ffff_f000, &high);
    let (dma, ram) = (dma(&board), RamView::new(&board.space));
    let last = AT(u64::MAX - 7);
    dma.write_obj(0x1122_3344_5566_7788_u64, last).unwrap();
    assert_eq!(ram.read_obj::<u64>(last).unwrap(), 0x1122_3344_5566_7788);
    assert_eq!(ram.last_addr(), AT(u64::MAX));
    assert!(dma.check_range(last, 8, Permissions::Write));
    assert!(!dma.check_range(last, 9, Permissions::Write), "no wrapping to 0");
    assert!(dma.check_range(last, 0, Permissions::Write));
    assert!(dma.check_range(AT(0x5000), 0, Permissions::Write));
    assert_eq!(last.checked_add(8), None);
}

/// A handle sees the new map, a snapshot keeps the old one, and the receipt waits for the snapshot.
#[test]
fn receipts_wait_for_snapshots() {
    let board = Board::new();
    let (ram, dimm) = (board.ram("ram", 0x1000), board.ram("dimm", 0x1000));
    board.map(0, &ram);
    board.map(0x1000, &dimm);
    let (dma, loader) = (DmaSpace::new(&board.space), RamSpace::new(&board.space));

    let unplug = || board.update(|tx| tx.del_subregion(&board.system, &dimm));
    let (old_dma, old_ram) = (dma.memory(), loader.memory());
    let slices = old_dma.get_slices(AT(0x1000), 4, Permissions::Write).unwrap();
    let slice = slices.map(|slice| slice.unwrap()).next().unwrap();
    let unplugged = unplug();
    assert!(dma.memory().read_obj::<u8>(AT(0x1000)).is_err());
    assert!(loader.memory().find_region(AT(0x1000)).is_none());
    old_dma.write_obj(3_u8, AT(0x1000)).unwrap();
    assert_eq!(old_ram.read_obj::<u8>(AT(0x1000)).unwrap(), 3);
    slice.write_obj(4_u8, 0).unwrap();
    assert!(!unplugged.is_quiesced());
    drop(old_dma);
    assert!(!unplugged.is_quiesced());
    drop(old_ram);
    assert!(unplugged.is_quiesced(), "the handles keep nothing");

    // Somebody else waits.
    board.map(0x1000, &dimm);
    let snapshot = dma.memory();
    let unplugged = unplug();
    std::thread::scope(|scope| {
        scope.spawn(|| unplugged.wait().unwrap());
        drop(snapshot);
    });
}

/// Snapshots outlive the space, and the machine.
#[test]
fn snapshots_outlive_the_machine() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(0, &ram);
    let (dma, handle) = (dma(&board), DmaSpace::new(&board.space));
    let loader = RamView::new(&board.space);
    drop(ram);
    drop(board);
    dma.write_obj(1_u8, AT(0)).unwrap();
    assert_eq!(loader.read_obj::<u8>(AT(0)).unwrap(), 1);
    assert!(handle.memory().read_obj::<u8>(AT(0)).is_err());
}

/// Devices have threads.
#[test]
fn snapshots_and_handles_go_to_other_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<RamView>();
    check::<DmaView>();
    check::<DmaSpace>();
    check::<RamSpace>();
}

/// An atomic store is one in guest memory, too, and has to be aligned.
#[test]
fn atomic_accesses() {
    use std::sync::atomic::Ordering;
    let board = Board::new();
    board.map(0x800, &board.ram("ram", 0x1000));
    let dma = dma(&board);
    dma.store(0x1234_u16, AT(0x802), Ordering::Release).unwrap();
    assert_eq!(dma.load::<u16>(AT(0x802), Ordering::Acquire).unwrap(), 0x1234);
    assert!(dma.load::<u16>(AT(0x803), Ordering::Acquire).is_err());
    assert!(dma.load::<u64>(AT(0x1800), Ordering::Acquire).is_err());
}

/// Memory that is mapped for reading only is read by devices, written by nobody, and no loader sees it.
#[test]
fn memory_mapped_for_reading_only() {
    let board = Board::new();
    let path = std::env::temp_dir().join(format!("flatview-vm-memory-{}", std::process::id()));
    std::fs::write(&path, vec![7; 0x1000]).unwrap();
    let block = RamBlock::builder(0x1000).readonly(true).file(&path, 0).unwrap();
    std::fs::remove_file(&path).unwrap();
    board.map(0, &board.memory.region("file").rom(block.clone()));
    board.map(0x1000, &board.memory.region("writable?").ram(block));
    let dma = dma(&board);
    for address in [0, 0x1000] {
        assert_eq!(dma.read_obj::<u8>(AT(address)).unwrap(), 7);
        assert!(dma.write_obj(0_u8, AT(address)).is_err());
    }
    assert_eq!(RamView::new(&board.space).num_regions(), 0);
}
