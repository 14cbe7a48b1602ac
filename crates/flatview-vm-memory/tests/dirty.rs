//! Writes through vm-memory mark the page of the block, for everybody who logs and for nobody else.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod board;

use board::{ATTRS, Board};
use flatview::{AddressRange, DirtyClients, GlobalDirty, Region};
use flatview_vm_memory::{BlockBitmap, DmaView, RamView};
use vm_memory::bitmap::Bitmap;
use vm_memory::{
    Bytes, GuestAddress, GuestMemory, GuestMemoryBackend, GuestMemoryRegion, Permissions, ReadVolatile,
    VolatileMemory,
};

const VGA: DirtyClients = DirtyClients::VGA;
const MIGRATION: DirtyClients = DirtyClients::MIGRATION;
const AT: fn(u64) -> GuestAddress = GuestAddress;

/// 16 pages at 0, and a window onto pages 8 to 11 at `0x10_0000`.
fn board() -> (Board, Region) {
    let board = Board::new();
    let ram = board.ram("ram", 0x1_0000);
    board.map(0, &ram);
    board.map(0x10_0000, &board.alias(&ram, 0x8000, 0x4000));
    (board, ram)
}

/// Lets both log, and forgets what that made dirty.
fn log(board: &Board, ram: &Region) {
    board.update(|tx| tx.set_log(ram, true));
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    assert_eq!(board.harvest(ram, VGA).len(), 16);
    assert_eq!(board.harvest(ram, MIGRATION).len(), 16);
}

/// A write through the alias dirties the aliased page for VGA and for migration.
#[test]
fn writes_through_an_alias_mark_the_aliased_page() {
    let (board, ram) = board();
    log(&board, &ram);
    let (dma, loader) = (DmaView::new(&board.space, ATTRS), RamView::new(&board.space));
    let check = |pages: &[u64]| {
        assert_eq!(board.harvest(&ram, VGA), pages);
        assert_eq!(board.harvest(&ram, MIGRATION), pages);
    };
    dma.write_obj(1_u8, AT(0x10_1000)).unwrap();
    check(&[9]);
    loader.write_obj(1_u8, AT(0x10_2fff)).unwrap();
    check(&[10]);
    dma.write_slice(&[1; 0x1002], AT(0x10_0fff)).unwrap();
    check(&[8, 9, 10]);
    loader
        .store(1_u32, AT(0x10_3000), std::sync::atomic::Ordering::Relaxed)
        .unwrap();
    check(&[11]);
    let mut file = std::fs::File::open("/dev/zero").unwrap();
    dma.read_exact_volatile_from(AT(0x10_1ffe), &mut file, 4).unwrap();
    check(&[9, 10]);
    let slice = loader.get_slice(AT(0x10_0000), 0x2000).unwrap();
    slice.get_slice(0x1800, 0x10).unwrap().copy_from(&[1_u8; 16]);
    check(&[9]);
    slice.get_ref::<u16>(0x10).unwrap().store(1);
    check(&[8]);
    slice.get_array_ref::<u16>(0x1ffe, 1).unwrap().store(0, 1);
    check(&[9]);
    (&mut [1_u8; 3].as_slice())
        .read_volatile(&mut slice.subslice(0xffe, 3).unwrap())
        .unwrap();
    check(&[8, 9]);

    // Reading marks nothing.
    dma.read_obj::<u64>(AT(0x10_0000)).unwrap();
    dma.get_slices(AT(0x10_0000), 0x2000, Permissions::Write)
        .unwrap()
        .for_each(drop);
    check(&[]);
    // Failing neither.
    dma.write_obj(1_u8, AT(0x20_0000)).unwrap_err();
    check(&[]);
}

/// Nothing is kept when nobody logs, and only for those who do.
#[test]
fn only_who_logs_gets_marks() {
    let (board, ram) = board();
    let dma = DmaView::new(&board.space, ATTRS);
    let block = ram.ram_block().unwrap();
    dma.write_obj(1_u8, AT(0x3000)).unwrap();
    let range = RamView::new(&board.space);
    let bitmap = range.find_region(AT(0)).unwrap().bitmap();
    assert!(block.logged_by().is_empty());
    assert!(!bitmap.dirty_at(0x3000));

    log(&board, &ram);
    board
        .memory
        .global_dirty_log_stop(GlobalDirty::MIGRATION)
        .unwrap();
    dma.write_obj(1_u8, AT(0x4000)).unwrap();
    assert!(bitmap.dirty_at(0x4fff) && !bitmap.dirty_at(0x5000));
    assert_eq!(board.harvest(&ram, MIGRATION), [0; 0]);
    assert_eq!(board.harvest(&ram, VGA), [4]);
    board.update(|tx| tx.set_log(&ram, false));
    dma.write_obj(1_u8, AT(0x5000)).unwrap();
    let all = AddressRange::new(0, 0x1_0000_u64).unwrap();
    assert!(
        !block.is_dirty(all, VGA | MIGRATION),
        "nobody logs, nothing is stored"
    );
}

/// The bitmap itself: slices count from where they were cut, and what lies outside is not marked.
#[test]
fn the_bitmap_is_bounded() {
    let (board, ram) = board();
    log(&board, &ram);
    let block = ram.ram_block().unwrap();
    let bitmap = BlockBitmap::new(block.window(0x2000, 0x4000).unwrap());
    bitmap.mark_dirty(0x1000, 1);
    assert!(bitmap.dirty_at(0x1000) && !bitmap.dirty_at(0));
    bitmap.slice_at(0x1000).slice_at(0x1000).mark_dirty(0, 0x1001);
    assert_eq!(board.harvest(&ram, VGA), [3, 4, 5]);
    for (offset, len) in [(0xe000, 1), (usize::MAX, 1), (0, usize::MAX), (0, 0), (0xe000, 0)] {
        bitmap.mark_dirty(offset, len);
    }
    assert_eq!(board.harvest(&ram, VGA), [0; 0]);
    assert!(!bitmap.dirty_at(usize::MAX));
}

/// A block's own marks are checked, too.
#[test]
fn a_block_has_no_marks_outside() {
    let (board, ram) = board();
    log(&board, &ram);
    let block = ram.ram_block().unwrap();
    block.mark_dirty(0xfff, 2);
    assert_eq!(board.harvest(&ram, VGA), [0, 1]);
    block.mark_dirty(0xffff, 2);
    block.mark_dirty(u64::MAX, 2);
    assert_eq!(board.harvest(&ram, VGA), [0; 0]);
    assert!(block.host_ptr(0xffff, 2).is_none());
    assert_eq!(
        block.host_ptr(0x10, 1).map(|at| at.addr().get()),
        Some(block.host_address().unwrap() + 0x10)
    );
}
