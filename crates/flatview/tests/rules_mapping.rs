//! Group N of the reference: cached windows, mappings and bounce buffers.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use flatview::{
    AddressRange, DirtyClients, Endianness, MapError, MemTxAttrs, MemTxError, MemoryRegionCache,
    MemoryRegionOps, RamBlock, Region,
};
use support::registers::Registers;
use support::{Board, Noting};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LE: Endianness = Endianness::Little;

fn ram(board: &Board, name: &str, size: u64) -> (Region, RamBlock) {
    let block = RamBlock::anonymous(size).unwrap();
    (board.memory.region(name).ram(block.clone()), block)
}

/// 4 KiB of RAM at 0, a device at 0x1000, 4 KiB of ROM at 0x2000.
fn board() -> (Board, RamBlock, Arc<Registers>) {
    let (board, ops) = (Board::new(), Registers::plain());
    let (low, block) = ram(&board, "ram", 0x1000);
    let device = board
        .memory
        .region("device")
        .io(0x1000, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    let rom = board
        .memory
        .region("rom")
        .rom(RamBlock::anonymous(0x1000).unwrap());
    board.map(&board.system, 0, &low);
    board.map(&board.system, 0x1000, &device);
    board.map(&board.system, 0x2000, &rom);
    (board, block, ops)
}

fn dirty(block: &RamBlock, start: u64, size: u64) -> bool {
    block.is_dirty(AddressRange::new(start, size).unwrap(), DirtyClients::VGA)
}

/// N7, N8: memory is mapped itself, up to its end, and marked as far as it was written.
#[test]
fn memory_is_mapped_as_it_is() {
    let (board, block, _) = board();
    let region = board.space.view().find(0).unwrap().region().clone();
    board.update(|tx| tx.set_log(&region, true));
    let clean = || {
        let all = AddressRange::new(0, 0x1000).unwrap();
        board.memory.reset_dirty(&region, all, DirtyClients::VGA).unwrap();
    };
    let mapping = board.space.map(0x800, 0x4000, true, ATTRS).unwrap();
    assert_eq!((mapping.size(), mapping.is_bounced()), (0x800, false));
    assert_eq!(
        mapping.window().as_ptr().addr(),
        block.host_address().unwrap() + 0x800
    );
    clean();
    mapping.unmap(1).unwrap();
    assert!(dirty(&block, 0x800, 1));
    clean();
    board.space.map(0, 0x10, true, ATTRS).unwrap().unmap(0).unwrap();
    board
        .space
        .map(0, 0x10, false, ATTRS)
        .unwrap()
        .unmap(0x10)
        .unwrap();
    assert!(!dirty(&block, 0, 0x1000), "nothing was written");
    drop(board.space.map(0, 0x10, true, ATTRS));
    assert!(dirty(&block, 0, 1), "nobody knows how much");
    assert_eq!(
        board.space.map(5, 0, true, ATTRS).unwrap_err(),
        MapError::Empty { address: 5 }
    );
}

/// N1, N7: ranges that continue each other are mapped in one piece; others are not.
#[test]
fn a_mapping_reaches_across_ranges_of_one_region() {
    let board = Board::new();
    let (ram, block) = ram(&board, "ram", 0x4000);
    let part = |name, offset| board.alias(name, &ram, offset, 0x1000);
    let apart = part("apart", 0x1000);
    board.map(&board.system, 0, &part("first", 0));
    board.map(&board.system, 0x1000, &apart);
    board.map(&board.system, 0x2000, &part("third", 0x3000));
    board.update(|tx| tx.set_unmergeable(&apart, true));
    assert_eq!(board.space.view().len(), 3);
    let mapping = board.space.map(0x100, 0x3000, false, ATTRS).unwrap();
    assert_eq!(mapping.size(), 0x1f00);
    assert_eq!(mapping.window().block(), &block);
}

/// N7, N8, N12: what is no memory is mapped as a copy, which is written back with the attributes of the mapping.
#[test]
fn a_device_is_mapped_as_a_copy() {
    let (board, _, ops) = board();
    let mapping = board.space.map(0x1000, 8, false, ATTRS).unwrap();
    assert!(mapping.is_bounced());
    assert_eq!(
        mapping.window().load::<u64>(0),
        Ok(u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]))
    );
    assert_eq!(ops.calls(), ["r8@0"]);
    mapping.unmap(8).unwrap();
    let mapping = board.space.map(0x1010, 8, true, ATTRS).unwrap();
    mapping.window().write(0, &[9, 8, 7, 6]).unwrap();
    mapping.unmap(4).unwrap();
    assert_eq!(ops.calls(), ["w4@10=6070809"]);
    drop(board.space.map(0x1010, 8, true, ATTRS));
    assert_eq!(ops.calls(), [""; 0], "nobody said that something was written");

    let rom = board.space.map(0x2000, 8, true, ATTRS).unwrap();
    rom.window().fill(0, 0xff, 8).unwrap();
    assert_eq!(
        rom.unmap(8),
        Err(MemTxError::DECODE_ERROR),
        "N12, but not silently"
    );
    assert_eq!(board.space.load::<u8>(0x2000, LE, ATTRS), Ok(0));
    assert!(
        !board.space.map(0x2000, 8, false, ATTRS).unwrap().is_bounced(),
        "ROM can be read"
    );
    assert!(
        board.space.map(0x8000, 8, false, ATTRS).unwrap().is_bounced(),
        "there is nobody"
    );
}

/// N8 has a bug: the attributes are lost on the way back.
#[test]
fn a_copy_keeps_its_attributes() {
    let (board, ops) = (Board::new(), Arc::new(Noting::new(|_| true)));
    let region = board
        .memory
        .region("notes")
        .io(8, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0, &region);
    let attrs = MemTxAttrs {
        requester_id: 0x55,
        ..MemTxAttrs::default()
    };
    board.space.map(0, 4, false, attrs).unwrap().unmap(0).unwrap();
    board.space.map(0, 4, true, attrs).unwrap().unmap(4).unwrap();
    assert_eq!(ops.take(), [attrs, attrs]);
}

/// N9, N10: copies are limited by their sum; who waits is told once when there is room.
#[test]
fn copies_have_a_limit() {
    let (board, _, _) = board();
    let space = &board.space;
    let calls = Arc::new(AtomicUsize::new(0));
    let wait = || {
        let calls = Arc::clone(&calls);
        space.register_map_client(move || {
            calls.fetch_add(1, Ordering::Relaxed);
        })
    };
    wait();
    assert_eq!(calls.load(Ordering::Relaxed), 1, "there is room already");
    let first = space.map(0x1000, 0xc00, true, ATTRS).unwrap();
    let second = space.map(0x1000, 0xc00, true, ATTRS).unwrap();
    assert_eq!(
        (first.size(), second.size()),
        (0xc00, 0x400),
        "what is left of 4 KiB"
    );
    let none = space.map(0x1000, 8, true, ATTRS).unwrap_err();
    let expected = MapError::NoBounceSpace {
        address: 0x1000,
        size: 8,
        used: 0x1000,
        limit: 0x1000,
    };
    assert_eq!(none, expected);
    assert_eq!(
        none.to_string(),
        "0x8 bytes at 0x1000 are no memory, and 0x1000 of 0x1000 bytes of bounce buffers are in use"
    );
    assert!(
        !space.map(0, 8, true, ATTRS).unwrap().is_bounced(),
        "memory needs none"
    );
    wait();
    let leaves = wait();
    assert!(space.unregister_map_client(leaves) && !space.unregister_map_client(leaves));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    second.unmap(0).unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 2);
    drop(first);
    assert_eq!(calls.load(Ordering::Relaxed), 2, "once");
    space.set_max_bounce_buffer_size(0x4000);
    assert_eq!(space.map(0x1000, 0x8000, false, ATTRS).unwrap().size(), 0x4000);
    space.set_max_bounce_buffer_size(0);
    assert!(space.map(0x1000, 1, false, ATTRS).is_err());
    wait();
    space.set_max_bounce_buffer_size(1);
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

/// A mapping keeps what it maps, and the receipt of an unplug waits for it.
#[test]
fn unplugging_waits_for_mappings() {
    let (board, block, _) = board();
    let region = board.space.view().find(0).unwrap().region().clone();
    let mapping = board.space.map(0, 0x1000, true, ATTRS).unwrap();
    let unplugged = board.unmap(&board.system, &region);
    assert!(!unplugged.is_quiesced());
    mapping.window().store(0, 1_u8).unwrap();
    mapping.unmap(1).unwrap();
    assert!(unplugged.is_quiesced());
    assert_eq!(block.window(0, 1).unwrap().load::<u8>(0), Ok(1));
}

/// N1 to N6: a cached window is memory where it can be, and notices when it is not any more.
#[test]
fn a_cached_window_follows_the_view() {
    let (board, block, ops) = board();
    let region = board.space.view().find(0).unwrap().region().clone();
    board.update(|tx| tx.set_log(&region, true));
    board
        .memory
        .reset_dirty(&region, AddressRange::new(0, 0x1000).unwrap(), DirtyClients::VGA)
        .unwrap();
    let mut cache = MemoryRegionCache::new(&board.space, 0xff8, 0x20, ATTRS);
    assert_eq!((cache.address(), cache.size()), (0xff8, 0x20));
    cache.store(0, 0x1234_5678_u32, LE).unwrap();
    assert!(dirty(&block, 0xff8, 1), "N4: nobody has to say so");
    assert_eq!(cache.load::<u16>(2, Endianness::Big), Ok(0x3412));
    assert_eq!(cache.load::<u32>(6, LE), Ok(0x0100_0000), "across the end");
    assert_eq!(cache.load::<u8>(9, LE), Ok(1), "N3");
    ops.calls();
    cache.write(4, &[7; 6]).unwrap();
    assert_eq!(ops.calls(), ["w2@0=707"]);
    let mut bytes = [0; 5];
    cache.read(5, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 5]);
    for (offset, size) in [(0x1d, 4), (0x20, 1), (u64::MAX, 4)] {
        let outside = Err(MemTxError::ACCESS_ERROR);
        assert_eq!(
            cache.read(offset, &mut vec![0; size]),
            outside,
            "N2: beyond the window"
        );
        assert_eq!(cache.write(offset, &vec![0; size]), outside);
    }
    let (other, _) = ram(&board, "other", 0x1000);
    board.overlap(&board.system, 0, &other, 1);
    assert_eq!(cache.load::<u32>(0, LE), Ok(0), "N6: nobody had to renew it");
    board.update(|tx| tx.set_readonly(&other, true));
    assert_eq!(cache.store(0, 1_u8, LE), Err(MemTxError::DECODE_ERROR));
    let unplugged = board.unmap(&board.system, &other);
    assert!(!unplugged.is_quiesced());
    cache.release();
    assert!(unplugged.is_quiesced());
    assert_eq!(cache.load::<u32>(0, LE), Ok(0x1234_5678));
}
