//! The worked vectors of the reference (`qemu-memory.md`, 1.AB), as far as they concern regions, views,
//! transactions and listeners.
//!
//! Left out: AB13 to AB15 are about accesses, which this release does not have, and so is the second half of
//! AB16 (which ioeventfd a write signals). Of AB12, a trace of KVM slots, the views are here.

mod support;

use std::sync::Arc;

use flatview::{DirtyClients, GlobalDirty, Memory, RamBlock, Region, Registration, Size};
use support::{
    Board, Log, Mark, NONVOLATILE, READONLY, Recorder, UNMERGEABLE, children, notifier, share_a_view, shows,
};

// AB1: the example of QEMU's documentation.
//
//        0      1000   2000   3000   4000   5000   6000   7000   8000
//        |------|------|------|------|------|------|------|------|
//  A:    [                                                       ]
//  C:    [CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC]                 priority 1
//  B:                  [                           ]                 priority 2
//  D:                  [DDDDD]
//  E:                                [EEEEE]
//
//  B a container:  [CCCCCCCCCCCC][DDDDD][CCCCC][EEEEE][CCCCC]
//  B terminates:   [CCCCCCCCCCCC][DDDDD][BBBBB][EEEEE][BBBBB]
fn documented_overlap(board: &Board, b: &Region) {
    let a = board.container("A", 0x8000);
    let (c, d, e) = (
        board.io("C", 0x6000),
        board.io("D", 0x1000),
        board.io("E", 0x1000),
    );
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &a)?;
        tx.add_subregion_overlap(&a, 0x2000, b, 2)?;
        tx.add_subregion_overlap(&a, 0, &c, 1)?;
        tx.add_subregion(b, 0, &d)?;
        tx.add_subregion(b, 0x2000, &e)
    });
}

/// C1, C25.
#[test]
fn ab1_lower_priorities_show_through_the_holes_of_a_container() {
    let board = Board::new();
    documented_overlap(&board, &board.container("B", 0x4000));
    board.shows(&[
        "0-1fff C@0",
        "2000-2fff D@0",
        "3000-3fff C@3000",
        "4000-4fff E@0",
        "5000-5fff C@5000",
    ]);
}

/// B13, C24.
#[test]
fn ab1_a_terminating_region_fills_its_own_holes() {
    let board = Board::new();
    documented_overlap(&board, &board.io("B", 0x4000));
    board.shows(&[
        "0-1fff C@0",
        "2000-2fff D@0",
        "3000-3fff B@1000",
        "4000-4fff E@0",
        "5000-5fff B@3000",
    ]);
}

// AB2: equal priority, then a move.
//
//        0      1000   2000   3000            0    800    1000   2000   2800 3000
//  X:    [XXXXXXXXXXXX]                  X:        [XXXXXXXXXXXXXXXXXXXX]
//  Y:           [YYYYYYYYYYYY]           Y:               [YYYYYYYYYYYYYYYYYY]
//
//        [XXXXXX][YYYYYYYYYYY]                     [XXXXXXXXXXXXXXXXXXXX][YYY]
/// B3, B4.
#[test]
fn ab2_of_equals_the_newest_or_last_moved_wins() {
    let board = Board::new();
    let (x, y) = (board.io("X", 0x2000), board.io("Y", 0x2000));
    board.map(&board.system, 0, &x);
    board.map(&board.system, 0x1000, &y);
    board.shows(&["0-fff X@0", "1000-2fff Y@0"]);

    board.update(|tx| tx.set_address(&x, 0x800));
    board.shows(&["800-27ff X@0", "2800-2fff Y@1800"]);

    // A move to where it is does not count as one: after Y comes back on top, X stays below.
    board.update(|tx| {
        tx.set_address(&y, 0x1001)?;
        tx.set_address(&y, 0x1000)
    });
    assert_eq!(children(&board.system), ["Y", "X"]);
    board.update(|tx| tx.set_address(&x, 0x800));
    assert_eq!(children(&board.system), ["Y", "X"]);
    board.shows(&["800-fff X@0", "1000-2fff Y@0"]);
}

// AB3: an alias of an alias of RAM.
//
//  r:    0      1000   2000   3000   4000   5000   6000   7000  …  10000
//        [rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr]
//  a2:                               [                    ]              0x3000 bytes from r+4000
//  a1:                                      [             ]…………………………    0x8000 bytes from a2+1000
//
//  system:  100000  [r@5000 r@6000] 101fff; the rest of a1 lies beyond the end of a2
/// C6, C7, C12, C13.
#[test]
fn ab3_an_alias_of_an_alias_shows_what_both_windows_show() {
    let board = Board::new();
    let r = board.ram("r", 0x1_0000);
    let a2 = board.alias("a2", &r, 0x4000, 0x3000);
    let a1 = board.alias("a1", &a2, 0x1000, 0x8000);
    board.map(&board.system, 0x10_0000, &a1);
    board.shows(&["100000-101fff r@5000"]);
}

// AB4: an alias of a region that is mapped elsewhere.
//
//        0      1000                       80000000
//  a:    [r@100 ]                   box:   [                ]
//                                   r:     [rrrrrrrrrrrrrrrr]
/// C3, C4, C5.
#[test]
fn ab4_an_alias_sees_its_target_and_nothing_around_it() {
    let board = Board::new();
    let (shelf, r) = (board.container("box", 0x1_0000), board.ram("r", 0x1_0000));
    let a = board.alias("a", &r, 0x100, 0x1000);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &shelf)?;
        tx.add_subregion(&shelf, 0x8000_0000, &r)?;
        tx.add_subregion_overlap(&board.system, 0, &a, 1)
    });
    // `box` clips r away altogether: a shows it all the same, and r's own address cancels out.
    board.shows(&["0-fff r@100"]);

    board.update(|tx| tx.set_enabled(&shelf, false));
    board.shows(&["0-fff r@100"]);

    board.update(|tx| tx.set_enabled(&r, false));
    board.shows(&[]);
}

// AB5: the alias shows the upper half, so r's byte 0 would lie at -0x8000.
//
//        -8000                 0                 8000
//  r:    [rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr]
//  alias:                      [                 ]
/// C5, C11.
#[test]
fn ab5_a_base_below_zero_is_no_special_case() {
    let board = Board::new();
    let r = board.ram("r", 0x1_0000);
    board.map(&board.system, 0, &board.alias("upper half", &r, 0x8000, 0x8000));
    board.shows(&["0-7fff r@8000"]);
}

// AB6: the child sticks out of its container.
//
//             10000     10800     11000     11800
//  container: [                   ]
//  child:               [ccccccccc|.........]
/// C9, C14, A17.
#[test]
fn ab6_a_container_clips_its_child() {
    let board = Board::new();
    let (container, child) = (board.container("container", 0x1000), board.io("child", 0x1000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0x1_0000, &container)?;
        tx.add_subregion(&container, 0x800, &child)
    });
    board.shows(&["10800-10fff child@0"]);

    board.update(|tx| tx.set_size(&container, 0));
    board.shows(&[]);
}

// AB7: the child would go on beyond the last byte there is.
//
//             fffffffffffff000    fffffffffffff800    2^64
//  container: [                                       |
//  child:                         [ccccccccccccccccccc|cccccccc…
/// C9, C10.
#[test]
fn ab7_nothing_wraps_around_at_the_top() {
    let board = Board::new();
    let (container, child) = (board.container("container", 0x1000), board.io("child", 0x1_0000));
    board.update(|tx| {
        tx.add_subregion(&board.system, 0xffff_ffff_ffff_f000, &container)?;
        tx.add_subregion(&container, 0x800, &child)
    });
    board.shows(&["fffffffffffff800-ffffffffffffffff child@0"]);
}

// AB8: two windows side by side onto one RAM.
//
//          0          1000         2000
//  low:    [ r@0     ]
//  high:              [ r@1000     ]
/// C35, C16 to C18.
#[test]
fn ab8_neighbours_merge_only_if_nobody_could_tell() {
    let (alike, swapped) = ([0, 0x1000], [0x1000, 0]);
    let no_mark: &[Mark] = &[];
    for (offsets, low_marks, high_marks, expected) in [
        (alike, no_mark, no_mark, &["0-1fff r@0"][..]),
        (swapped, no_mark, no_mark, &["0-fff r@1000", "1000-1fff r@0"]),
        (alike, no_mark, &[READONLY], &["0-fff r@0", "1000-1fff r@1000 ro"]),
        (alike, &[READONLY], &[READONLY], &["0-1fff r@0 ro"]),
        (
            alike,
            no_mark,
            &[NONVOLATILE],
            &["0-fff r@0", "1000-1fff r@1000 nv"],
        ),
        (alike, &[NONVOLATILE], &[NONVOLATILE], &["0-1fff r@0 nv"]),
        (
            alike,
            &[UNMERGEABLE],
            no_mark,
            &["0-fff r@0 unmergeable", "1000-1fff r@1000"],
        ),
        (
            alike,
            no_mark,
            &[UNMERGEABLE],
            &["0-fff r@0", "1000-1fff r@1000 unmergeable"],
        ),
        (
            alike,
            &[UNMERGEABLE],
            &[UNMERGEABLE],
            &["0-fff r@0 unmergeable", "1000-1fff r@1000 unmergeable"],
        ),
    ] {
        let board = Board::new();
        let r = board.ram("r", 0x2000);
        let [low, high] = offsets.map(|offset| board.alias("window", &r, offset, 0x1000));
        board.update(|tx| {
            tx.add_subregion(&board.system, 0, &low)?;
            tx.add_subregion(&board.system, 0x1000, &high)?;
            low_marks.iter().try_for_each(|mark| (mark.set)(tx, &low, true))?;
            high_marks.iter().try_for_each(|mark| (mark.set)(tx, &high, true))
        });
        board.shows(expected);
    }
}

// AB9: a bus master's container with an alias of all of system memory, as every PCI device has.
//
//  bus master space ──► c ──► [ alias of system, 2^64 bytes ]
//                       └───► [ second ] (later)
/// C30, C31, C34.
#[test]
fn ab9_spaces_that_see_the_same_share_the_view() {
    let board = Board::new();
    // Two of them: of a container with a single child the child would be the physical root.
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    board.map(&board.system, 0x4000, &board.io("mmio", 0x1000));
    let c = board.container("c", Size::MAX);
    let alias = board.alias("alias", &board.system, 0, Size::MAX);
    board.map(&c, 0, &alias);
    let master = board.look_at("bus master", &c);

    assert!(share_a_view(&master, &board.space));
    assert_eq!(master.view().root(), Some(&board.system));

    board.update(|tx| tx.set_enabled(&alias, false));
    shows(&master, &[]);
    assert_eq!(master.view().root(), None);
    board.shows(&["0-fff ram@0", "4000-4fff mmio@0"]);

    board.update(|tx| tx.set_enabled(&alias, true));
    assert!(share_a_view(&master, &board.space));

    let second = board.io("second", 0x1000);
    board.map(&c, 0x8000, &second);
    assert_eq!(master.view().root(), Some(&c));
    shows(
        &master,
        &["0-fff ram@0", "4000-4fff mmio@0", "8000-8fff second@0"],
    );
    board.shows(&["0-fff ram@0", "4000-4fff mmio@0"]);
}

// AB10: what the listeners hear when a page of MMIO is put over RAM.
//
//        0            4000   5000            10000
//  RAM:  [RRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRR]
//  m:                 [mmmmm]                      priority 1
/// F4, G2, G10; E7 as it is here.
#[test]
fn ab10_deletions_come_before_additions_and_priorities_turn_round_in_between() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("RAM", 0x1_0000));
    let other_root = board.container("other", 0x1000);
    board.map(&other_root, 0, &board.io("elsewhere", 0x1000));
    let other = board.look_at("other", &other_root);

    let log = Log::new();
    let (_l10, _r10) = Recorder::new("L10", 10, &log).on(&board.space);
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l5, _r5) = Recorder::new("L5", 5, &log).with_nops().on(&other);

    board.overlap(&board.system, 0x4000, &board.io("m", 0x1000), 1);
    // `prepare` is ours. L5 hears nothing, not even `region_nop`: its space did not change (E7 not copied).
    log.heard(&[
        "L0.prepare",
        "L10.prepare",
        "L0.begin",
        "L10.begin",
        "L10.region_del 0-ffff RAM@0",
        "L0.region_del 0-ffff RAM@0",
        "L0.region_add 0-3fff RAM@0",
        "L10.region_add 0-3fff RAM@0",
        "L0.region_add 4000-4fff m@0",
        "L10.region_add 4000-4fff m@0",
        "L0.region_add 5000-ffff RAM@5000",
        "L10.region_add 5000-ffff RAM@5000",
        "L0.commit",
        "L10.commit",
    ]);
}

fn two_listeners(board: &Board, log: &Arc<Log>) -> [(Arc<Recorder>, Registration); 2] {
    [("L0", 0), ("L10", 10)]
        .map(|(name, priority)| Recorder::new(name, priority, log).with_nops().on(&board.space))
}

/// P2, G5.
#[test]
fn ab11_a_display_that_logs_changes_nothing_but_the_mask() {
    let board = Board::new();
    let ram = board.ram("RAM", 0x1000);
    board.map(&board.system, 0, &ram);
    let log = Log::new();
    let _listeners = two_listeners(&board, &log);

    board.update(|tx| tx.set_log(&ram, true));
    log.heard(&[
        "L0.prepare",
        "L10.prepare",
        "L0.begin",
        "L10.begin",
        "L0.region_nop 0-fff RAM@0 log=1",
        "L10.region_nop 0-fff RAM@0 log=1",
        "L0.log_start 0-fff 0->1",
        "L10.log_start 0-fff 0->1",
        "L0.commit",
        "L10.commit",
    ]);

    board.update(|tx| tx.set_log(&ram, false));
    log.heard(&[
        "L0.prepare",
        "L10.prepare",
        "L0.begin",
        "L10.begin",
        "L0.region_nop 0-fff RAM@0",
        "L10.region_nop 0-fff RAM@0",
        "L10.log_stop 0-fff 1->0",
        "L0.log_stop 0-fff 1->0",
        "L0.commit",
        "L10.commit",
    ]);
}

/// C20, P4.
#[test]
fn ab11_the_mask_of_translated_code_stands_beside_the_others() {
    let board = Board::new();
    let ram = board.ram("RAM", 0x1000);
    board.map(&board.system, 0, &ram);
    board.update(|tx| {
        tx.set_code_logging(true);
        Ok(())
    });
    board.shows(&["0-fff RAM@0 log=2"]);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);

    board.update(|tx| tx.set_log(&ram, true));
    log.heard(&["L0.prepare", "L0.begin", "L0.log_start 0-fff 2->3", "L0.commit"]);
    assert_eq!(
        ram.state().unwrap().dirty_log_mask,
        DirtyClients::VGA | DirtyClients::CODE
    );
}

/// E13, P13, G5.
#[test]
fn ab11_tracking_all_of_memory_tells_everybody_then_every_range_of_memory() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("RAM", 0x1000));
    board.map(&board.system, 0x1000, &board.io("mmio", 0x1000));
    let log = Log::new();
    let _listeners = two_listeners(&board, &log);

    board
        .memory
        .global_dirty_log_start(GlobalDirty::MIGRATION)
        .unwrap();
    log.heard(&[
        "L0.log_global_start",
        "L10.log_global_start",
        "L0.prepare",
        "L10.prepare",
        "L0.begin",
        "L10.begin",
        "L0.region_nop 0-fff RAM@0 log=4",
        "L10.region_nop 0-fff RAM@0 log=4",
        "L0.log_start 0-fff 0->4",
        "L10.log_start 0-fff 0->4",
        "L0.region_nop 1000-1fff mmio@0",
        "L10.region_nop 1000-1fff mmio@0",
        "L0.commit",
        "L10.commit",
    ]);
}

// AB12: an i440FX switches the PAM window at 0xc4000 over the option ROMs.
//
//            c0000   c4000   c8000                        e0000
//  pc.rom:   [RRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRR]        ROM, in the PCI hole
//  pam-ram:          [rrrrrr]                                     alias of pc.ram, priority 1
//  pam-rom:          [rrrrrr]                                     the same, readonly
//
// The slots of the trace are these ranges: KVM has one for each, and the ranges that go and come are the
// slots that are deleted and made.
/// C36, D2; E14.
#[test]
fn ab12_a_pam_window_splits_the_option_rom_and_heals_it() {
    let board = Board::new();
    let memory: &Memory = &board.memory;
    let ram = board.ram("pc.ram", 0x800_0000);
    let rom = memory.region("pc.rom").rom(RamBlock::unbacked(0x2_0000));
    let low = board.alias("ram-below-4g", &ram, 0, 0xa_0000);
    let writable = memory
        .region("pam-ram")
        .enabled(false)
        .alias(&ram, 0xc_4000, 0x4000)
        .unwrap();
    let readonly = memory
        .region("pam-rom")
        .enabled(false)
        .readonly(true)
        .alias(&ram, 0xc_4000, 0x4000)
        .unwrap();
    board.update(|tx| {
        tx.add_subregion(&board.system, 0, &low)?;
        tx.add_subregion(&board.system, 0xc_0000, &rom)?;
        tx.add_subregion_overlap(&board.system, 0xc_4000, &writable, 1)?;
        tx.add_subregion_overlap(&board.system, 0xc_4000, &readonly, 1)
    });
    // A CPU looks through a container that will also hold SMRAM: a view of its own, which shows the same.
    let cpu_root = board.container("memory", Size::MAX);
    let smram = memory.region("smram").enabled(true).container(0);
    board.map(&cpu_root, 0, &board.alias("memory", &board.system, 0, Size::MAX));
    board.overlap(&cpu_root, 0, &smram, 10);
    let cpu = board.look_at("cpu-memory-0", &cpu_root);
    assert!(!share_a_view(&cpu, &board.space));

    let log = Log::new();
    let (_kvm, _registration) = Recorder::new("kvm", 10, &log).on(&cpu);
    let both_show = |expected: &[&str]| {
        board.shows(expected);
        shows(&cpu, expected);
    };
    let healed = ["0-9ffff pc.ram@0", "c0000-dffff pc.rom@0 ro"];
    both_show(&healed);

    board.update(|tx| tx.set_enabled(&writable, true));
    both_show(&[
        "0-9ffff pc.ram@0",
        "c0000-c3fff pc.rom@0 ro",
        "c4000-c7fff pc.ram@c4000",
        "c8000-dffff pc.rom@8000 ro",
    ]);
    log.heard(&[
        "kvm.prepare",
        "kvm.begin",
        "kvm.region_del c0000-dffff pc.rom@0 ro",
        "kvm.region_add c0000-c3fff pc.rom@0 ro",
        "kvm.region_add c4000-c7fff pc.ram@c4000",
        "kvm.region_add c8000-dffff pc.rom@8000 ro",
        "kvm.commit",
    ]);

    // Switched to read-only, only the window's own range is replaced; it says that it is (D2 not copied).
    board.update(|tx| {
        tx.set_enabled(&writable, false)?;
        tx.set_enabled(&readonly, true)
    });
    log.heard(&[
        "kvm.prepare",
        "kvm.begin",
        "kvm.region_del c4000-c7fff pc.ram@c4000",
        "kvm.region_add c4000-c7fff pc.ram@c4000 ro",
        "kvm.commit",
    ]);

    board.update(|tx| tx.set_enabled(&readonly, false));
    both_show(&healed);
}

/// I1, I2, I3, without I5.
#[test]
fn ab16_ioeventfds_sort_by_address_length_value_and_notifier() {
    let board = Board::new();
    let mr = board.io("MR", 0x1000);
    board.map(&board.system, 0x1000, &mr);
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (e1, e2, e3) = (notifier(), notifier(), notifier());

    board.update(|tx| {
        tx.add_eventfd(&mr, 0, 4, Some(6), &e2)?;
        tx.add_eventfd(&mr, 0, 4, Some(5), &e1)?;
        tx.add_eventfd(&mr, 0, 0, None, &e3)
    });
    let order: Vec<_> = mr
        .state()
        .unwrap()
        .ioeventfds
        .iter()
        .map(|one| one.notifier.clone())
        .collect();
    assert_eq!(order, [e3.clone(), e1.clone(), e2.clone()]);
    log.heard(&[
        "L0.prepare",
        "L0.begin",
        "L0.eventfd_add 1000/0",
        "L0.eventfd_add 1000/4=5",
        "L0.eventfd_add 1000/4=6",
        "L0.commit",
    ]);

    // Exact matching instead of I5: deleting the one for any length takes that one and no other.
    board.update(|tx| tx.del_eventfd(&mr, 0, 0, None, &e3));
    let left: Vec<_> = mr
        .state()
        .unwrap()
        .ioeventfds
        .iter()
        .map(|one| one.datamatch)
        .collect();
    assert_eq!(left, [Some(5), Some(6)]);
    log.heard(&["L0.prepare", "L0.begin", "L0.eventfd_del 1000/0", "L0.commit"]);
}
