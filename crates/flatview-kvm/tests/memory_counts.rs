//! How often the kernel is asked, and when it is not: what a split costs, a merge, an attribute, a log (rules W5 to
//! W10).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;

use flatview::{GlobalDirty, Region, UnassignedIo};
use flatview_accel::Accelerator;
use flatview_kvm::{KvmAccelerator, KvmConfig, KvmError};
use support::trace::slot_ioctls;
use support::{Board, slots};

/// Slots created, deleted, changed in place.
fn counts(kvm: &KvmAccelerator, action: impl FnOnce()) -> [u64; 3] {
    let before = kvm.statistics();
    action();
    let after = kvm.statistics();
    [
        after.slots_created - before.slots_created,
        after.slots_deleted - before.slots_deleted,
        after.slots_changed - before.slots_changed,
    ]
}

/// 64 KiB of memory at 1 MiB, in the kernel.
fn machine() -> Option<(KvmAccelerator, Board, Region)> {
    let kvm = support::accelerator(KvmConfig::default())?;
    let board = Board::new();
    let ram = board.map_ram("ram", 0x10_0000, 0x1_0000, 0);
    board.attach_to(&kvm);
    Some((kvm, board, ram))
}

fn device(board: &Board, size: u64) -> Region {
    board.memory.region("device").io(size, Arc::new(UnassignedIo))
}

#[test]
fn a_split_costs_one_delete_and_two_creates_and_a_merge_the_reverse() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    let hole = device(&board, 0x1000);
    assert_eq!(counts(&kvm, || board.map(&hole, 0x10_8000, 1)), [2, 1, 0]);
    assert_eq!(slots(&kvm), ["0: 0x100000 0x8000 0", "1: 0x109000 0x7000 0"]);
    let merge = || board.update(|tx| tx.set_enabled(&hole, false));
    assert_eq!(counts(&kvm, merge), [1, 2, 0]);
    assert_eq!(slots(&kvm), ["0: 0x100000 0x10000 0"]);
}

/// The page that is only in part memory has no slot whatever the part is (W7).
#[test]
fn a_hole_that_grows_within_its_page_costs_nothing() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    let hole = device(&board, 0x10);
    assert_eq!(counts(&kvm, || board.map(&hole, 0x10_8800, 1)), [2, 1, 0]);
    assert_eq!(slots(&kvm), ["0: 0x100000 0x8000 0", "1: 0x109000 0x7000 0"]);
    let grow = || board.update(|tx| tx.set_size(&hole, 0x700));
    assert_eq!(counts(&kvm, grow), [0, 0, 0]);
    let shift = || board.update(|tx| tx.set_address(&hole, 0x10_8100));
    assert_eq!(counts(&kvm, shift), [0, 0, 0]);
    let beyond = || board.update(|tx| tx.set_size(&hole, 0xf01));
    assert_eq!(
        counts(&kvm, beyond),
        [1, 1, 0],
        "one byte of the next page is hidden"
    );
    assert_eq!(slots(&kvm), ["0: 0x100000 0x8000 0", "1: 0x10a000 0x6000 0"]);
}

#[test]
fn what_the_kernel_does_not_see_costs_nothing() {
    let Some((kvm, board, ram)) = machine() else {
        return;
    };
    for change in [true, false] {
        let nonvolatile = || board.update(|tx| tx.set_nonvolatile(&ram, change));
        assert_eq!(counts(&kvm, nonvolatile), [0, 0, 0]);
        let unmergeable = || board.update(|tx| tx.set_unmergeable(&ram, change));
        assert_eq!(counts(&kvm, unmergeable), [0, 0, 0]);
    }
    let elsewhere = device(&board, 0x1000);
    assert_eq!(counts(&kvm, || board.map(&elsewhere, 0x20_0000, 0)), [0, 0, 0]);
    let moved = || board.update(|tx| tx.set_address(&elsewhere, 0));
    assert_eq!(counts(&kvm, moved), [0, 0, 0]);
}

/// Taken out and put back within one transaction.
#[test]
fn what_comes_back_as_it_was_costs_nothing() {
    let Some((kvm, board, ram)) = machine() else {
        return;
    };
    let back = || {
        board.update(|tx| {
            tx.del_subregion(&board.system, &ram)?;
            tx.add_subregion_overlap(&board.system, 0x10_0000, &ram, 7)
        });
    };
    assert_eq!(counts(&kvm, back), [0, 0, 0]);
    let alias = board.memory.region("alias").alias(&ram, 0, 0x1_0000).unwrap();
    let through_an_alias = || {
        board.update(|tx| {
            tx.del_subregion(&board.system, &ram)?;
            tx.add_subregion(&board.system, 0x10_0000, &alias)
        });
    };
    assert_eq!(counts(&kvm, through_an_alias), [0, 0, 0]);
}

#[test]
fn w9_w10_a_log_is_switched_in_place() {
    let Some((kvm, board, ram)) = machine() else {
        return;
    };
    let log = |on| board.update(|tx| tx.set_log(&ram, on));
    assert_eq!(counts(&kvm, || log(true)), [0, 0, 1]);
    assert_eq!(slots(&kvm), ["0: 0x100000 0x10000 1"]);
    // A second client: the kernel logs already.
    let migrate = || {
        drop(
            board
                .memory
                .global_dirty_log_start(GlobalDirty::MIGRATION)
                .unwrap(),
        )
    };
    assert_eq!(counts(&kvm, migrate), [0, 0, 0]);
    assert_eq!(counts(&kvm, || log(false)), [0, 0, 0]);
    let stop = || {
        drop(
            board
                .memory
                .global_dirty_log_stop(GlobalDirty::MIGRATION)
                .unwrap(),
        )
    };
    assert_eq!(counts(&kvm, stop), [0, 0, 1]);
    assert_eq!(slots(&kvm), ["0: 0x100000 0x10000 0"]);

    // New memory is logged from the beginning; so are its parts.
    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    board.map_ram("more", 0x20_0000, 0x4000, 0);
    board.map(&device(&board, 0x1000), 0x20_1000, 1);
    assert_eq!(
        slots(&kvm),
        [
            "0: 0x100000 0x10000 1",
            "1: 0x200000 0x1000 1",
            "2: 0x202000 0x2000 1"
        ]
    );
}

/// The kernel refuses to change it in place.
#[test]
fn w9_read_only_is_switched_by_a_new_slot() {
    let Some((kvm, board, ram)) = machine() else {
        return;
    };
    let readonly = slot_ioctls(|| board.update(|tx| tx.set_readonly(&ram, true)));
    assert_eq!(readonly, ["delete 0", "0: 0x100000 0x10000 2"]);
    let both = slot_ioctls(|| {
        board.update(|tx| {
            tx.set_readonly(&ram, false)?;
            tx.set_log(&ram, true)
        });
    });
    assert_eq!(both, ["delete 0", "0: 0x100000 0x10000 1"]);
}

#[test]
fn w6_a_rom_device_has_a_slot_while_it_is_read_directly() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    let block = flatview::RamBlock::anonymous(0x2000).unwrap();
    let flash = board
        .memory
        .region("flash")
        .rom_device(block, Arc::new(UnassignedIo));
    board.map(&flash, 0x20_0000, 0);
    assert_eq!(slots(&kvm)[1], "1: 0x200000 0x2000 2");
    board.update(|tx| tx.rom_device_set_romd(&flash, false));
    assert_eq!(slots(&kvm).len(), 1);
    board.update(|tx| tx.rom_device_set_romd(&flash, true));
    assert_eq!(slots(&kvm)[1], "1: 0x200000 0x2000 2");
}

#[test]
fn w8_w14_what_is_larger_than_a_slot_becomes_several() {
    let config = || {
        let mut config = KvmConfig::default();
        config.max_slot_size = Some(0x4000);
        config
    };
    let Some(kvm) = support::accelerator(config()) else {
        return;
    };
    let board = Board::new();
    board.map_ram("ram", 0x10_0000, 0x9800, 0);
    board.map_ram("unaligned", 0x20_0800, 0x3000, 0);
    board.attach_to(&kvm);
    assert_eq!(
        slots(&kvm),
        [
            "0: 0x100000 0x4000 0",
            "1: 0x104000 0x4000 0",
            "2: 0x108000 0x1000 0"
        ],
        "memory that lies askew in its pages has no slot"
    );
    let block = kvm.slots(0)[0].block.host_address().unwrap();
    let hosts: Vec<usize> = kvm
        .slots(0)
        .iter()
        .map(|slot| slot.host_address - block)
        .collect();
    assert_eq!(hosts, [0, 0x4000, 0x8000]);
    // As QEMU marks them: the first slot is as large as a slot can be.
    let view = board.space.view();
    let marked: Vec<bool> = view
        .iter()
        .map(|range| kvm.has_memory(&board.space, range))
        .collect();
    assert_eq!(marked, [true, false]);

    for bad in [0, 0x800, 0x5000, 1 << 43] {
        let mut config = config();
        config.max_slot_size = Some(bad);
        let refused = KvmAccelerator::new(config).unwrap_err();
        assert!(matches!(refused, KvmError::BadOption { value, .. } if value == bad));
    }
}

/// No vCPU has more than 52 bits of physical addresses, and a guest may put memory there all the same: a BAR while its
/// size is asked for.
#[test]
fn memory_where_no_vcpu_gets_has_no_slot() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    let top = board.map_ram("top", u64::MAX - 0xffff, 0x1_0000, 0);
    assert_eq!(slots(&kvm).len(), 1);
    board.update(|tx| tx.set_address(&top, (1 << 52) - 0x1_0000 + (1 << 52)));
    assert_eq!(slots(&kvm).len(), 1);
    board.update(|tx| tx.set_address(&top, 1 << 40));
    assert_eq!(slots(&kvm).len(), 2);
}

#[test]
fn memory_that_nobody_vouches_for_has_no_slot() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    for block in [
        flatview::RamBlock::unbacked(0x1000),
        flatview::RamBlock::foreign(0x1000, 0x7f00_0000_0000),
    ] {
        let region = board.memory.region("no memory").ram(block);
        board.map(&region, 0x20_0000, 0);
        assert_eq!(slots(&kvm).len(), 1);
        board.update(|tx| tx.del_subregion(&board.system, &region));
    }
    // Larger than its block: as much as there is (B6).
    let small = board.map_ram("small", 0x30_0000, 0x2000, 0);
    board.update(|tx| tx.set_size(&small, 0x10_0000));
    assert_eq!(slots(&kvm)[1], "1: 0x300000 0x2000 0");
}

#[test]
fn the_spaces_are_those_of_the_first_who_attaches() {
    let Some((kvm, board, _ram)) = machine() else {
        return;
    };
    board.attach_to(&kvm);
    assert_eq!(kvm.statistics().slots_created, 1);
    let refused = kvm
        .attach(&board.memory, &board.ports, &board.ports, None)
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains(r#"["memory", "I/O"], and cannot follow ["I/O", "I/O"]"#),
        "{refused}"
    );
}
