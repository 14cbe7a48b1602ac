//! Group K of the reference: how an access meets a device. The device of these tests is a row of bytes whose
//! byte `i` is `i` and which writes its calls down.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

mod support;

use std::sync::Arc;

use flatview::{
    AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, UnassignedIo,
};
use support::registers::{Registers, rules, sizes, unaligned};
use support::{Board, Noting};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const ANY: Option<AccessSizes> = None;
use Endianness::{Big, Little};

/// A board with the device at 0x1000.
fn board(rules: AccessRules) -> (Board, Arc<Registers>) {
    let (board, device) = (Board::new(), Registers::new(rules));
    let region = board
        .memory
        .region("device")
        .io(0x100, Arc::clone(&device) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0x1000, &region);
    (board, device)
}

fn load(board: &Board, offset: u64, size: u32) -> Result<u64, MemTxError> {
    let (space, at) = (&board.space, 0x1000 + offset);
    match size {
        1 => space.load::<u8>(at, Little, ATTRS).map(u64::from),
        2 => space.load::<u16>(at, Little, ATTRS).map(u64::from),
        4 => space.load::<u32>(at, Little, ATTRS).map(u64::from),
        _ => space.load::<u64>(at, Little, ATTRS),
    }
}

fn store(board: &Board, offset: u64, size: u32, value: u64) -> Result<(), MemTxError> {
    let bytes = value.to_le_bytes();
    let (space, at) = (&board.space, 0x1000 + offset);
    match size {
        1 => space.store(at, bytes[0], Little, ATTRS),
        2 => space.store(at, value as u16, Little, ATTRS),
        4 => space.store(at, value as u32, Little, ATTRS),
        _ => space.store(at, value, Little, ATTRS),
    }
}

/// K3, K7, K8, K9, AB13: which accesses go through, in which pieces, and what they find. Whatever the device's
/// byte order and the pieces, the bytes are those at the addresses that were asked for.
#[test]
fn accesses_reach_a_device_in_pieces_that_it_implements() {
    /// Valid and implemented sizes, offset and size, calls.
    type Case = (
        Option<AccessSizes>,
        AccessSizes,
        u64,
        u32,
        &'static [&'static str],
    );
    let cases: &[Case] = &[
        // AB13.
        (
            Some(sizes(1, 4)),
            sizes(1, 1),
            0,
            4,
            &["r1@0", "r1@1", "r1@2", "r1@3"],
        ),
        (Some(sizes(4, 4)), sizes(1, 4), 0, 4, &["r4@0"]),
        (ANY, sizes(1, 4), 8, 8, &["r4@8", "r4@c"]),
        // K7: one access is enough where the device has that size.
        (ANY, sizes(1, 8), 8, 8, &["r8@8"]),
        (Some(sizes(1, 8)), sizes(2, 4), 6, 2, &["r2@6"]),
        (
            Some(sizes(1, 8)),
            sizes(2, 2),
            8,
            8,
            &["r2@8", "r2@a", "r2@c", "r2@e"],
        ),
        // K10, narrow accesses: within what the device implements, aligned down.
        (Some(sizes(1, 4)), sizes(4, 4), 1, 1, &["r4@0"]),
        (Some(sizes(1, 8)), sizes(8, 8), 6, 2, &["r8@0"]),
        (Some(sizes(1, 4)), sizes(4, 4), 2, 2, &["r4@0"]),
        // K11, unaligned accesses: made of aligned ones, unless the device can.
        (Some(unaligned(1, 4)), sizes(1, 4), 2, 4, &["r2@2", "r2@4"]),
        (
            Some(unaligned(1, 8)),
            sizes(1, 8),
            1,
            8,
            &["r1@1", "r2@2", "r4@4", "r1@8"],
        ),
        (Some(unaligned(1, 4)), unaligned(1, 4), 3, 4, &["r4@3"]),
        (Some(unaligned(1, 4)), sizes(4, 4), 3, 4, &["r4@0", "r4@4"]),
        (
            Some(unaligned(1, 8)),
            sizes(4, 4),
            2,
            8,
            &["r4@0", "r4@4", "r4@8"],
        ),
        (Some(unaligned(1, 8)), unaligned(1, 4), 5, 8, &["r4@5", "r4@9"]),
    ];
    for &(valid, implemented, offset, size, calls) in cases {
        for order in [Little, Big] {
            let (board, device) = board(rules(valid, implemented, order));
            let bytes = (offset..).take(size as usize);
            let expected = bytes
                .zip(0..)
                .fold(0, |value, (byte, place)| value | byte << (8 * place));
            let case = format!("{valid:?} {implemented:?} {order:?}: {size} at {offset}");
            assert_eq!(load(&board, offset, size), Ok(expected), "{case}");
            assert_eq!(device.calls(), calls, "{case}");
        }
    }
}

/// K8, K10: a write that is narrower than what the device implements leaves the bytes around it.
#[test]
fn narrow_writes_leave_what_is_around_them() {
    for order in [Little, Big] {
        let (board, device) = board(rules(Some(unaligned(1, 8)), sizes(4, 4), order));
        assert_eq!(store(&board, 1, 2, 0xbbaa), Ok(()));
        assert_eq!(device.bytes(0..8), [0, 0xaa, 0xbb, 3, 4, 5, 6, 7]);
        assert_eq!(device.calls().len(), 2, "a read and a write");
        assert_eq!(store(&board, 6, 4, 0xffee_ddcc), Ok(()));
        assert_eq!(device.bytes(4..12), [4, 5, 0xcc, 0xdd, 0xee, 0xff, 10, 11]);
        assert_eq!(store(&board, 8, 4, 0x0b0a_0908), Ok(()));
        assert_eq!(
            device.calls().last().unwrap(),
            &format!(
                "w4@8={:x}",
                match order {
                    Little => 0x0b0a_0908_u32,
                    Big => 0x0809_0a0b,
                }
            )
        );
    }
}

/// K10: where the bytes around cannot be read they would be lost, so nothing is written.
#[test]
fn a_narrow_write_is_not_made_if_what_is_around_cannot_be_read() {
    let (board, device) = board(rules(Some(sizes(1, 4)), sizes(4, 4), Little));
    device.fail_at(4, MemTxError::ERROR);
    assert_eq!(store(&board, 5, 1, 0xff), Err(MemTxError::ERROR));
    assert_eq!(device.calls(), ["r4@4"]);
    assert_eq!(device.bytes(4..8), [4, 5, 6, 7]);
}

/// K3, K4, AB13: what a device does not take never reaches it.
#[test]
fn invalid_accesses_are_refused() {
    let cases = [
        (Some(sizes(4, 4)), 0, 2),
        (Some(sizes(4, 4)), 0, 8),
        (Some(sizes(1, 4)), 2, 4),
        (Some(unaligned(2, 8)), 0, 1),
        (ANY, 1, 2),
        (ANY, 4, 8),
        // The size of none says nothing of alignment, and none of size.
        (
            Some(AccessSizes {
                min: 4,
                max: 0,
                unaligned: false,
            }),
            2,
            4,
        ),
    ];
    for (valid, offset, size) in cases {
        let (board, device) = board(rules(valid, sizes(1, 4), Little));
        assert_eq!(
            load(&board, offset, size),
            Err(MemTxError::DECODE_ERROR),
            "{valid:?} {size}@{offset}"
        );
        assert_eq!(store(&board, offset, size, 1), Err(MemTxError::DECODE_ERROR));
        assert_eq!(device.calls(), [""; 0]);
        let mut bytes = [0xff; 8];
        let refused = board.space.read(0x2000, &mut bytes, ATTRS);
        assert_eq!(
            (refused, bytes),
            (Err(MemTxError::DECODE_ERROR), [0; 8]),
            "K4: zeros"
        );
    }
    let any = Some(AccessSizes {
        min: 4,
        max: 0,
        unaligned: true,
    });
    let (board, device) = board(rules(any, unaligned(1, 4), Little));
    assert_eq!(
        load(&board, 3, 2),
        Ok(0x0403),
        "K3: without a greatest size there is no least"
    );
    assert_eq!(device.calls(), ["r2@3"]);
}

/// K3, K5: the device is asked before anything else, and again for each access.
#[test]
fn a_device_may_refuse_an_access_by_itself() {
    let (board, device) = board(rules(ANY, sizes(1, 4), Little));
    device.refuse_at(4);
    assert_eq!(load(&board, 4, 4), Err(MemTxError::DECODE_ERROR));
    assert_eq!(load(&board, 5, 1), Ok(5));
    assert_eq!(device.calls(), ["r1@5"]);
    assert!(
        !board.space.access_valid(0x1004, 4, false, ATTRS),
        "K5: asked without an access"
    );
    assert!(board.space.access_valid(0x1008, 4, true, ATTRS));
    assert_eq!(device.calls(), [""; 0]);
}

/// K14: all pieces are made, their results ORed, and what failed reads as zero.
#[test]
fn the_results_of_the_pieces_are_put_together() {
    let (board, device) = board(rules(Some(sizes(1, 8)), sizes(1, 2), Little));
    device.fail_at(2, MemTxError::ERROR);
    device.fail_at(6, MemTxError::ACCESS_ERROR);
    assert_eq!(
        load(&board, 0, 8),
        Err(MemTxError::ERROR | MemTxError::ACCESS_ERROR)
    );
    assert_eq!(device.calls(), ["r2@0", "r2@2", "r2@4", "r2@6"]);
    let mut bytes = [0xff; 8];
    let result = board.space.read(0x1000, &mut bytes, ATTRS);
    assert_eq!(result, Err(MemTxError::ERROR | MemTxError::ACCESS_ERROR));
    assert_eq!(bytes, [0, 1, 0, 0, 4, 5, 0, 0]);
    device.calls();
    assert_eq!(
        store(&board, 0, 8, u64::MAX),
        Err(MemTxError::ERROR | MemTxError::ACCESS_ERROR)
    );
    assert_eq!(device.bytes(0..8), [0xff, 0xff, 2, 3, 0xff, 0xff, 6, 7]);
}

/// K9, L11: the byte order of the access and that of the device are two things.
#[test]
fn words_are_in_the_order_that_is_asked_for() {
    for order in [Little, Big] {
        let (board, device) = board(rules(ANY, sizes(1, 4), order));
        assert_eq!(board.space.load::<u32>(0x1004, Little, ATTRS), Ok(0x0706_0504));
        assert_eq!(board.space.load::<u32>(0x1004, Big, ATTRS), Ok(0x0405_0607));
        board.space.store(0x1000, 0x1122_u16, Big, ATTRS).unwrap();
        assert_eq!(device.bytes(0..2), [0x11, 0x22]);
        device.calls();
        board.space.store(0x1000, 0x1122_u16, Little, ATTRS).unwrap();
        assert_eq!(device.bytes(0..2), [0x22, 0x11]);
        let value = if order == Little { "1122" } else { "2211" };
        assert_eq!(
            device.calls(),
            [format!("w2@0={value}")],
            "the device sees its own order"
        );
    }
}

/// K16: attributes arrive as they were given.
#[test]
fn a_device_is_told_who_accesses() {
    let (board, device) = (Board::new(), Arc::new(Noting::new(|attrs| attrs.secure)));
    let region = board
        .memory
        .region("asks")
        .io(0x10, Arc::clone(&device) as Arc<dyn MemoryRegionOps>);
    board.map(&board.system, 0, &region);
    let attrs = MemTxAttrs {
        secure: true,
        requester_id: 0x1234,
        pid: 7,
        ..MemTxAttrs::default()
    };
    board.space.store(0, 1_u8, Little, attrs).unwrap();
    board.space.read(0, &mut [0], attrs).unwrap();
    assert_eq!(device.take(), [attrs, attrs]);
    let refused = board.space.load::<u8>(0, Little, ATTRS);
    assert_eq!(refused, Err(MemTxError::DECODE_ERROR), "K5");
}

/// K17: who insists on RAM gets nothing else; here loads and stores insist, too.
#[test]
fn an_access_may_insist_on_ram() {
    let (board, device) = board(rules(ANY, sizes(1, 4), Little));
    let attrs = MemTxAttrs {
        memory: true,
        ..MemTxAttrs::default()
    };
    let error = Err(MemTxError::ACCESS_ERROR);
    assert_eq!(board.space.load::<u32>(0x1000, Little, attrs).map(|_| ()), error);
    assert_eq!(board.space.store(0x1000, 1_u8, Little, attrs), error);
    let mut bytes = [0xff; 16];
    assert_eq!(board.space.read(0x1000, &mut bytes, attrs), error);
    assert_eq!(bytes, [0; 16]);
    assert_eq!(
        board.space.write(0x8000, &bytes, attrs),
        error,
        "nobody is no RAM either"
    );
    assert_eq!(device.calls(), [""; 0]);
}

/// K19, AB15: nobody reads as zero and fails. K20: the ports are a region whose bytes are ones, beyond which there
/// is nobody.
#[test]
fn where_nobody_is() {
    let board = Board::new();
    let mut bytes = [0xff; 3];
    assert_eq!(
        board.space.read(0x1234, &mut bytes, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
    assert_eq!(bytes, [0; 3]);
    assert_eq!(
        board.space.load::<u64>(0, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
    assert_eq!(board.space.write(0, &bytes, ATTRS), Err(MemTxError::DECODE_ERROR));
    board.map(
        &board.system,
        0,
        &board.memory.region("reserved").reservation(0x1000),
    );
    assert_eq!(
        board.space.load::<u8>(0, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR),
        "A3"
    );

    let memory = Memory::new();
    let io = memory.region("io").io(0x1_0000, Arc::new(UnassignedIo));
    let ports = memory.create_address_space("I/O", &io).unwrap();
    let device = Registers::new(rules(ANY, sizes(1, 4), Little));
    let com1 = memory
        .region("com1")
        .io(8, Arc::clone(&device) as Arc<dyn MemoryRegionOps>);
    memory.update(|tx| tx.add_subregion(&io, 0x3f8, &com1)).unwrap();
    assert_eq!(ports.load::<u8>(0x3f9, Little, ATTRS), Ok(1));
    assert_eq!(ports.load::<u8>(0x80, Little, ATTRS), Ok(0xff));
    assert_eq!(ports.load::<u32>(0x510, Little, ATTRS), Ok(u32::MAX));
    assert_eq!(ports.store(0x80, 1_u8, Little, ATTRS), Ok(()));
    assert_eq!(
        ports.load::<u8>(0x1_0000, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
}

/// K22: an access to a device goes to it as a whole, also if it ends behind the range: 0xcf8 is four bytes, and
/// the byte at 0xcf9 is somebody else's when it is accessed by itself.
#[test]
fn an_access_to_a_device_is_not_cut_at_the_end_of_its_range() {
    let board = Board::new();
    let (address, reset) = (Registers::plain(), Registers::plain());
    let ops = |device: &Arc<Registers>| Arc::clone(device) as Arc<dyn MemoryRegionOps>;
    board.map(
        &board.system,
        0xcf8,
        &board.memory.region("conf").io(4, ops(&address)),
    );
    board.overlap(
        &board.system,
        0xcf9,
        &board.memory.region("reset").io(1, ops(&reset)),
        1,
    );
    assert_eq!(board.space.load::<u32>(0xcf8, Little, ATTRS), Ok(0x0302_0100));
    assert_eq!(board.space.write(0xcf8, &[9; 4], ATTRS), Ok(()));
    assert_eq!(address.calls(), ["r4@0", "w4@0=9090909"]);
    assert_eq!(board.space.load::<u8>(0xcf9, Little, ATTRS), Ok(0));
    assert_eq!(
        (reset.calls(), address.calls()),
        (vec!["r1@0".to_owned()], vec![])
    );
}

/// Sizes that do not exist are taken for the nearest that do.
#[test]
fn rules_that_make_no_sense_are_made_sane() {
    for (implemented, calls) in [
        (sizes(0, 0), ["r2@0"].as_slice()),
        (sizes(0, 1), ["r1@0", "r1@1"].as_slice()),
        (sizes(3, 7), ["r4@0"].as_slice()),
        (sizes(200, 255), ["r8@0"].as_slice()),
        (sizes(8, 2), ["r2@0"].as_slice()),
    ] {
        let (board, device) = board(rules(Some(sizes(0, 255)), implemented, Little));
        assert_eq!(load(&board, 0, 2), Ok(0x0100));
        assert_eq!(device.calls(), calls, "{implemented:?}");
    }
}

/// K1, K2: a region can be asked by itself, mapped or not, and through aliases, which do not cut.
#[test]
fn a_region_is_accessed_wherever_it_is_mapped() {
    let board = Board::new();
    let ops = Registers::new(rules(Some(sizes(1, 4)), sizes(1, 4), Big));
    let device = board
        .memory
        .region("device")
        .io(0x100, Arc::clone(&ops) as Arc<dyn MemoryRegionOps>);
    let inner = board.alias("inner", &device, 0x10, 0x20);
    let outer = board.alias("outer", &inner, 0x4, 0x8);
    assert_eq!(device.dispatch_read::<u16>(2, Little, ATTRS), Ok(0x0302));
    assert_eq!(outer.dispatch_read::<u16>(2, Big, ATTRS), Ok(0x1617));
    assert_eq!(
        outer.dispatch_read::<u8>(0x10, Big, ATTRS),
        Ok(0x24),
        "beyond its end"
    );
    assert_eq!(
        outer.dispatch_write(0_u64.wrapping_sub(0x14), 0xaa_u8, Little, ATTRS),
        Ok(())
    );
    assert_eq!(ops.bytes(0..1), [0xaa]);
    assert_eq!(
        outer.dispatch_read::<u32>(1, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR),
        "K3"
    );
    let ram = board.ram("ram", 0x1000);
    assert_eq!(
        ram.dispatch_read::<u8>(0, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
    drop(board);
    assert_eq!(
        outer.dispatch_read::<u8>(0, Little, ATTRS),
        Err(MemTxError::DECODE_ERROR)
    );
    assert_eq!(
        device.dispatch_read::<u8>(0, Little, ATTRS),
        Ok(0xaa),
        "nobody else is needed"
    );
}
