//! Group L of the reference: accesses to an address space, and D2, D3, D5: what attributes do to them.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::sync::Arc;

use flatview::{
    AddressSpace, AtomicOp, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps, RamBlock, Region, Size,
};
use support::Board;
use support::registers::{Registers, rules, sizes, unaligned};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const DEBUG: MemTxAttrs = MemTxAttrs {
    debug: true,
    ..MemTxAttrs::UNSPECIFIED
};
const DECODE: Result<(), MemTxError> = Err(MemTxError::DECODE_ERROR);
use Endianness::{Big, Little};

/// RAM with memory: byte `i` is the low byte of `i`, and never zero where that is not said.
fn ram(board: &Board, name: &str, size: u64) -> Region {
    board.memory.region(name).ram(block(size))
}

fn block(size: u64) -> RamBlock {
    let block = RamBlock::anonymous(size).unwrap();
    let bytes: Vec<u8> = (0..size).map(|at| (at % 255 + 1) as u8).collect();
    block.window(0, size).unwrap().write(0, &bytes).unwrap();
    block
}

fn device(board: &Board, name: &str, size: impl Into<Size>, ops: &Arc<Registers>) -> Region {
    board
        .memory
        .region(name)
        .io(size, Arc::clone(ops) as Arc<dyn MemoryRegionOps>)
}

fn read<const N: usize>(space: &AddressSpace, address: u64) -> ([u8; N], Result<(), MemTxError>) {
    let mut bytes = [0xee; N];
    let result = space.read(address, &mut bytes, ATTRS);
    (bytes, result)
}

/// L1, L3: a copy goes from range to range, on after errors, and device by device in the widest pieces.
#[test]
fn a_copy_goes_on_from_range_to_range() {
    let board = Board::new();
    let ops = Registers::plain();
    board.map(&board.system, 0, &ram(&board, "low", 0x1000));
    board.map(&board.system, 0x1004, &device(&board, "device", 8, &ops));
    board.map(&board.system, 0x100c, &ram(&board, "high", 0x1000));
    let (bytes, result) = read::<20>(&board.space, 0xffc);
    assert_eq!(result, DECODE, "there is nobody at 0x1000");
    assert_eq!(bytes[..4], [13, 14, 15, 16], "0xffc is 16 * 255 + 12");
    assert_eq!(bytes[4..8], [0; 4]);
    assert_eq!(bytes[8..16], [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bytes[16..], [1, 2, 3, 4]);
    assert_eq!(ops.calls(), ["r8@0"]);

    assert_eq!(board.space.write(0xffe, &[0xa5; 18], ATTRS), DECODE);
    assert_eq!(ops.calls(), ["w8@0=a5a5a5a5a5a5a5a5"]);
    assert_eq!(read::<2>(&board.space, 0xffe).0, [0xa5; 2]);
    assert_eq!(read::<5>(&board.space, 0x100c).0, [0xa5, 0xa5, 0xa5, 0xa5, 5]);
    assert_eq!(
        board.space.read(0x5000, &mut [], ATTRS),
        Ok(()),
        "no byte is no error"
    );
}

/// L1: addresses wrap at 2^64.
#[test]
fn addresses_wrap() {
    let board = Board::new();
    let top = 0_u64.wrapping_sub(0x1000);
    board.map(&board.system, top, &ram(&board, "top", 0x1000));
    board.map(&board.system, 0, &ram(&board, "bottom", 0x1000));
    let (bytes, result) = read::<8>(&board.space, u64::MAX - 3);
    assert_eq!((bytes, result), ([13, 14, 15, 16, 1, 2, 3, 4], Ok(())));
    assert_eq!(board.space.write(u64::MAX, &[7, 8], ATTRS), Ok(()));
    assert_eq!(
        board.space.load::<u16>(u64::MAX, Little, ATTRS),
        Ok(0x0807),
        "K23, across the end"
    );
}

/// L3, AB14: how copies are cut into words for a device.
#[test]
fn copies_are_cut_into_words_that_the_device_takes() {
    let cut = |valid, implemented, address: u64, len: usize| {
        let board = Board::new();
        let ops = Registers::new(rules(valid, implemented, Little));
        board.map(&board.system, 0, &device(&board, "device", 0x100, &ops));
        let mut bytes = vec![0xee; len];
        assert_eq!(board.space.read(address, &mut bytes, ATTRS), Ok(()));
        let expected: Vec<u8> = (0..len).map(|at| at as u8 + address as u8).collect();
        assert_eq!(bytes, expected);
        ops.calls()
    };
    let anywhere = Some(unaligned(1, 8));
    assert_eq!(
        cut(anywhere, sizes(1, 8), 1, 11),
        ["r1@1", "r2@2", "r4@4", "r4@8"]
    );
    assert_eq!(cut(anywhere, unaligned(1, 8), 1, 11), ["r8@1", "r2@9", "r1@b"]);
    assert_eq!(
        cut(None, sizes(1, 4), 1, 7),
        ["r1@1", "r2@2", "r4@4"],
        "L3: at most 4 if nothing is said"
    );
    assert_eq!(cut(Some(sizes(1, 2)), sizes(1, 4), 0, 4), ["r2@0", "r2@2"]);
}

/// L4: the first byte of a buffer is a register's low one, or its high one.
#[test]
fn the_order_of_a_buffer_is_that_of_addresses() {
    for (order, value) in [(Little, "44332211"), (Big, "11223344")] {
        let board = Board::new();
        let ops = Registers::new(rules(None, sizes(1, 4), order));
        board.map(&board.system, 0, &device(&board, "device", 0x100, &ops));
        board.space.write(0, &[0x11, 0x22, 0x33, 0x44], ATTRS).unwrap();
        assert_eq!(ops.calls(), [format!("w4@0={value}")]);
        assert_eq!(ops.bytes(0..4), [0x11, 0x22, 0x33, 0x44]);
    }
}

/// L5, L7, L8, K18, A3, A11 to A13: who is read and written directly, who through a device, who not at all.
#[test]
fn kinds_of_memory_differ_in_how_they_are_written() {
    let board = Board::new();
    let ops = Registers::plain();
    let rom_ops = Arc::clone(&ops) as Arc<dyn MemoryRegionOps>;
    let memory = &board.memory;
    let rom = memory.region("rom").rom(block(0x1000));
    let flash = memory.region("flash").rom_device(block(0x1000), rom_ops);
    let bar = memory.region("bar").ram_device(block(0x1000));
    let nothing = memory.region("unbacked").ram(RamBlock::unbacked(0x1000));
    for (address, region) in [(0, &rom), (0x1000, &flash), (0x2000, &bar), (0x3000, &nothing)] {
        board.map(&board.system, address, region);
    }
    let space = &board.space;

    assert_eq!(space.write(0x10, &[9, 9], ATTRS), DECODE, "L7");
    assert_eq!(space.store(0x10, 9_u8, Little, ATTRS), DECODE);
    assert_eq!(
        space.atomic(0x10, AtomicOp::Add, 1_u8, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
    assert_eq!(read::<2>(space, 0x10), ([17, 18], Ok(())), "nothing was changed");
    assert_eq!(space.write(0x10, &[9], DEBUG), Ok(()), "K18");
    assert_eq!(read::<2>(space, 0x10), ([9, 18], Ok(())));

    assert_eq!(space.load::<u8>(0x1000, Little, ATTRS), Ok(1), "romd mode");
    assert_eq!(space.store(0x1000, 0x66_u8, Little, ATTRS), Ok(()));
    assert_eq!(ops.calls(), ["w1@0=66"], "L8");
    assert_eq!(space.load::<u8>(0x1000, Little, ATTRS), Ok(1));
    assert_eq!(space.store(0x1000, 0x55_u8, Little, DEBUG), Ok(()), "K18");
    assert_eq!(space.load::<u8>(0x1000, Little, ATTRS), Ok(0x55));
    board.update(|tx| tx.rom_device_set_romd(&flash, false));
    assert_eq!(space.load::<u8>(0x1000, Little, ATTRS), Ok(0x66));
    assert_eq!(ops.calls(), ["r1@0"], "not romd mode");

    assert_eq!(space.store(0x2002, 0xbbaa_u16, Little, ATTRS), Ok(()), "A11");
    assert_eq!(read::<6>(space, 0x2000), ([1, 2, 0xaa, 0xbb, 5, 6], Ok(())));
    assert_eq!(
        space.load::<u8>(0x3000, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR),
        "no memory behind it"
    );
}

/// D2, D3: what is seen through something readonly is not written by anybody, devices excepted.
#[test]
fn readonly_binds_everybody_who_looks_through_it() {
    let board = Board::new();
    let ops = Registers::plain();
    let (pc_ram, device) = (
        ram(&board, "pc.ram", 0x2000),
        device(&board, "device", 0x1000, &ops),
    );
    let memory = &board.memory;
    let pam = memory
        .region("pam-rom")
        .readonly(true)
        .alias(&pc_ram, 0x1000, 0x1000)
        .unwrap();
    let view = memory
        .region("view")
        .readonly(true)
        .alias(&device, 0, 0x1000)
        .unwrap();
    board.map(&board.system, 0, &pc_ram);
    board.overlap(&board.system, 0x1000, &pam, 1);
    board.map(&board.system, 0x4000, &view);
    let mut reader = board.space.reader();
    assert_eq!(reader.store(0x1000, 9_u8, Little, ATTRS), DECODE, "D2");
    assert_eq!(
        reader.store(0x1000, 9_u8, Little, ATTRS),
        DECODE,
        "as well when the memory is known"
    );
    assert_eq!(reader.write(0xfff, &[8, 9], ATTRS), DECODE);
    assert_eq!(
        reader.load::<u16>(0xfff, Little, ATTRS),
        Ok(0x1108),
        "up to there it was written"
    );
    board.update(|tx| tx.set_readonly(&pam, false));
    assert_eq!(reader.store(0x1000, 9_u8, Little, ATTRS), Ok(()));
    assert_eq!(reader.store(0x4000, 9_u8, Little, ATTRS), Ok(()), "D3");
    assert_eq!(ops.calls(), ["w1@0=9"]);
}

/// L9: a loader writes memory of all kinds and skips the rest.
#[test]
fn a_loader_writes_rom() {
    let board = Board::new();
    let ops = Registers::plain();
    let flash = board
        .memory
        .region("flash")
        .rom_device(block(0x10), Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    let low = ram(&board, "ram", 0x10);
    let shadow = board
        .memory
        .region("shadow")
        .readonly(true)
        .alias(&low, 0, 0x10)
        .unwrap();
    board.map(&board.system, 0, &shadow);
    board.map(&board.system, 0x10, &device(&board, "device", 0x10, &ops));
    board.map(&board.system, 0x20, &board.memory.region("rom").rom(block(0x10)));
    board.map(&board.system, 0x40, &flash);
    let image: Vec<u8> = (0x80..0xd0).collect();
    assert_eq!(
        board.space.write_rom(0, &image),
        0x30,
        "the device and the hole are skipped"
    );
    assert_eq!(read::<4>(&board.space, 0).0, [0x80, 0x81, 0x82, 0x83]);
    assert_eq!(read::<4>(&board.space, 0x20).0, [0xa0, 0xa1, 0xa2, 0xa3]);
    assert_eq!(read::<4>(&board.space, 0x40).0, [0xc0, 0xc1, 0xc2, 0xc3]);
    assert_eq!(ops.calls(), [""; 0]);
}

/// L10.
#[test]
fn memory_is_filled_with_one_byte() {
    let board = Board::new();
    let ops = Registers::plain();
    board.map(&board.system, 0, &ram(&board, "ram", 0x1000));
    board.map(&board.system, 0x1000, &device(&board, "device", 0x1000, &ops));
    assert_eq!(board.space.fill(0xffd, 0x7f, 6, ATTRS), Ok(()));
    assert_eq!(read::<6>(&board.space, 0xffb).0, [12, 13, 0x7f, 0x7f, 0x7f, 0x7f]);
    assert_eq!(ops.calls()[..2], ["w2@0=7f7f", "w1@2=7f"]);
    assert_eq!(board.space.fill(0x10, 0, 300, ATTRS), Ok(()));
    assert_eq!(read::<300>(&board.space, 0x10).0, [0; 300]);
}

/// L16: nothing is accessed to find out.
#[test]
fn whether_a_copy_would_be_valid_can_be_asked() {
    let board = Board::new();
    let ops = Registers::new(rules(Some(sizes(2, 4)), sizes(1, 4), Little));
    board.map(&board.system, 0, &ram(&board, "ram", 0x1000));
    board.map(
        &board.system,
        0x1000,
        &board.memory.region("rom").rom(block(0x1000)),
    );
    board.map(&board.system, 0x2000, &device(&board, "device", 0x1000, &ops));
    let valid = |address, len, is_write| board.space.access_valid(address, len, is_write, ATTRS);
    assert!(valid(0xff0, 0x20, false) && !valid(0xff0, 0x20, true), "L7");
    assert!(
        valid(0x2000, 6, true) && !valid(0x2000, 7, true),
        "K3: no single byte"
    );
    assert!(!valid(0x5000, 1, false) && valid(0x5000, 0, false));
    assert_eq!(ops.calls(), [""; 0]);
}

/// K23: a word across the end of memory is made of what is on both sides.
#[test]
fn a_word_across_ranges_is_copied() {
    let board = Board::new();
    let ops = Registers::plain();
    board.map(&board.system, 0, &ram(&board, "ram", 0x1002));
    board.map(&board.system, 0x1002, &device(&board, "device", 0x100, &ops));
    let mut reader = board.space.reader();
    for _ in 0..2 {
        assert_eq!(reader.load::<u32>(0x1000, Little, ATTRS), Ok(0x0100_1211));
        assert_eq!(reader.load::<u32>(0x1000, Big, ATTRS), Ok(0x1112_0001));
        assert_eq!(ops.calls(), ["r2@0", "r2@0"]);
        assert_eq!(
            reader.load::<u8>(0x1001, Little, ATTRS),
            Ok(0x12),
            "and the last byte is remembered"
        );
    }
    assert_eq!(reader.store(0x1000, 0xddcc_bbaa_u32, Little, ATTRS), Ok(()));
    assert_eq!(ops.calls(), ["w2@0=ddcc"]);
    assert_eq!(reader.load::<u16>(0x1000, Little, ATTRS), Ok(0xbbaa));
}

/// What a LOCK prefix does, in both byte orders, in memory, across ranges and in a device.
#[test]
fn words_are_changed_in_place() {
    let board = Board::new();
    let ops = Registers::plain();
    board.map(&board.system, 0, &ram(&board, "ram", 0x1002));
    board.map(&board.system, 0x1002, &device(&board, "device", 0xffe, &ops));
    let mut reader = board.space.reader();
    for (address, order) in [
        (0x100, Little),
        (0x200, Big),
        (0x303, Little),
        (0x1000, Big),
        (0x1010, Little),
    ] {
        reader.store(address, 0x0102_0304_u32, order, ATTRS).unwrap();
        let mut atomic = |op, operand: u32| reader.atomic(address, op, operand, order, ATTRS).unwrap();
        assert_eq!(atomic(AtomicOp::Add, 0xff), 0x0102_0304);
        assert_eq!(atomic(AtomicOp::And, 0xffff_ff00), 0x0102_0403);
        assert_eq!(atomic(AtomicOp::Or, 0x10), 0x0102_0400);
        assert_eq!(atomic(AtomicOp::Xor, 0x30), 0x0102_0410);
        assert_eq!(atomic(AtomicOp::Swap, u32::MAX), 0x0102_0420);
        assert_eq!(atomic(AtomicOp::Add, 1), u32::MAX);
        let mut exchange = |current, new| {
            reader
                .compare_exchange::<u32>(address, current, new, order, ATTRS)
                .unwrap()
        };
        assert_eq!(exchange(7, 8), Err(0));
        assert_eq!(exchange(0, 0x1234), Ok(0));
        assert_eq!(
            reader.load::<u32>(address, order, ATTRS),
            Ok(0x1234),
            "at {address:#x}"
        );
    }
}

/// Copies from one space to another, through devices and holes.
#[test]
fn a_copy_between_spaces_reads_and_writes() {
    let board = Board::new();
    let ops = Registers::plain();
    board.map(&board.system, 0, &ram(&board, "ram", 0x4000));
    board.map(&board.system, 0x4000, &device(&board, "device", 0x100, &ops));
    let other = ram(&board, "other", 0x8000);
    let target = board.look_at("other", &other);
    assert_eq!(board.space.copy_to(0x100, &target, 0x3001, 0x2345, ATTRS), Ok(()));
    let mut bytes = [vec![0; 0x2345], vec![0; 0x2345]];
    board.space.read(0x100, &mut bytes[0], ATTRS).unwrap();
    target.read(0x3001, &mut bytes[1], ATTRS).unwrap();
    assert_eq!(bytes[0], bytes[1]);
    let (mut from, mut to) = (board.space.reader(), target.reader());
    assert_eq!(from.copy_to(0x40f8, &mut to, 0, 16, ATTRS), DECODE);
    assert_eq!(
        read::<16>(&target, 0).0[..9],
        [0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff, 0]
    );
    assert_eq!(to.copy_to(0, &mut from, 0x4000, 3, ATTRS), Ok(()));
    assert_eq!(ops.bytes(0..4), [0xf8, 0xf9, 0xfa, 3]);
}

/// L2: what a device changes during a copy is not seen by the rest of it.
#[test]
fn a_copy_sees_one_view() {
    struct Unplugs(std::sync::OnceLock<(flatview::WeakMemory, Region, Region)>);
    impl MemoryRegionOps for Unplugs {
        fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
            let (memory, system, ram) = self.0.get().unwrap();
            let memory = memory.upgrade().unwrap();
            memory.update(|tx| tx.del_subregion(system, ram)).unwrap();
            Ok(0)
        }
        fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
            Ok(())
        }
    }
    let board = Board::new();
    let ops = Arc::new(Unplugs(std::sync::OnceLock::new()));
    let region = board
        .memory
        .region("unplugs")
        .io(4, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    let after = ram(&board, "after", 0x1000);
    board.map(&board.system, 0, &region);
    board.map(&board.system, 4, &after);
    assert!(
        ops.0
            .set((board.memory.downgrade(), board.system.clone(), after.clone()))
            .is_ok()
    );
    let mut reader = board.space.reader();
    let mut bytes = [0xee; 8];
    assert_eq!(reader.read(0, &mut bytes, ATTRS), Ok(()));
    assert_eq!(bytes, [0, 0, 0, 0, 1, 2, 3, 4]);
    assert_eq!(reader.read(4, &mut bytes, ATTRS), DECODE, "the next one does");
    drop(ops);
    board.unmap(&board.system, &region);
}
