//! What listeners of group F hear of dirty logging, as far as group P of the reference asks for it here: who
//! brings dirty pages in, and that all of memory is tracked. The masks are in `rules_attributes.rs`.

mod support;

use flatview::{AddressRange, GlobalDirty, LogSync};
use support::{Board, Log, Recorder, busy_board};

/// F2, P9, P15, P16: each listener in its own way, then all are told that it is done.
#[test]
fn dirty_pages_are_brought_in_from_those_who_know() {
    let board = busy_board();
    let second = board.look_at("second", &board.alias("alias", &board.system, 0, 0x5000));
    let log = Log::new();
    let _listeners = [
        Recorder::new("none", 0, &log).on(&board.space),
        Recorder::new("sections", 1, &log)
            .with_sync(LogSync::PerSection)
            .on(&second),
        Recorder::new("global", 2, &log)
            .with_sync(LogSync::Global)
            .on(&board.space),
    ];
    for (last_stage, global) in [
        (false, "global.log_sync_global"),
        (true, "global.log_sync_global last"),
    ] {
        board.memory.global_dirty_log_sync(last_stage).unwrap();
        log.heard(&[
            "sections.log_sync 4000-4fff ram@0 log=1",
            global,
            "none.log_global_after_sync",
            "sections.log_global_after_sync",
            "global.log_global_after_sync",
        ]);
    }
}

/// P9, P12: of one region, wherever it is shown; clearing is cut down to the part that is meant.
#[test]
fn dirty_pages_of_one_region_are_brought_in_and_cleared() {
    let board = busy_board();
    let ram = board.ram("another ram", 0x4000);
    board.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.add_subregion(&board.system, 0x8000, &ram)?;
        tx.add_subregion(
            &board.system,
            0x1_0000,
            &board.alias("window", &ram, 0x1000, 0x1000),
        )
    });
    let log = Log::new();
    let (_l, _r) = Recorder::new("L", 0, &log)
        .with_sync(LogSync::PerSection)
        .on(&board.space);
    let (_g, _s) = Recorder::new("G", 1, &log)
        .with_sync(LogSync::Global)
        .on(&board.space);
    board.memory.sync_dirty_bitmap(&ram).unwrap();
    log.heard(&[
        "L.log_sync 8000-bfff another ram@0 log=1",
        "L.log_sync 10000-10fff another ram@1000 log=1",
        "G.log_sync_global",
    ]);
    let clear = |start, last| {
        let range = AddressRange::from_bounds(start, last).unwrap();
        board.memory.clear_dirty_bitmap(&ram, range).unwrap();
        log.take()
            .into_iter()
            .filter(|line| line.starts_with("L."))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        clear(0x800, 0x17ff),
        [
            "L.log_clear 8800-97ff another ram@800 log=1",
            "L.log_clear 10000-107ff another ram@1000 log=1"
        ]
    );
    assert_eq!(
        clear(0x2000, 0x2000),
        ["L.log_clear a000-a000 another ram@2000 log=1"]
    );
    assert_eq!(clear(0x4000, u64::MAX), [""; 0]);
    board.update(|tx| tx.set_log(&ram, false));
    log.take();
    assert_eq!(clear(0, u64::MAX), [""; 0], "what nobody logs is not cleared");
}

/// P9: everybody is asked, and the first failure is told.
#[test]
fn a_listener_that_cannot_sync_keeps_nobody_from_it() {
    let board = busy_board();
    let log = Log::new();
    let _listeners = ["a", "b"].map(|name| {
        Recorder::new(name, 0, &log)
            .with_sync(LogSync::PerSection)
            .on(&board.space)
    });
    log.fail_at("a.log_sync");
    let error = board.memory.global_dirty_log_sync(false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "listener `a` of address space `memory` failed in log_sync: told to fail"
    );
    log.heard(&[
        "a.log_sync 4000-4fff ram@0 log=1 FAILS",
        "b.log_sync 4000-4fff ram@0 log=1",
        "a.log_global_after_sync",
        "b.log_global_after_sync",
    ]);
}

/// P13, P14: the first reason starts it, the last one ends it; a reason that is not there ends nothing.
#[test]
fn memory_is_tracked_for_as_long_as_there_is_a_reason() {
    let board = Board::new();
    board.map(&board.system, 0, &board.ram("ram", 0x1000));
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&board.space);
    let memory = &board.memory;
    memory.global_dirty_log_stop(GlobalDirty::all()).unwrap();
    memory.global_dirty_log_start(GlobalDirty::empty()).unwrap();
    log.heard(&[]);
    memory.global_dirty_log_start(GlobalDirty::MIGRATION).unwrap();
    assert_eq!(log.take().len(), 10);
    memory.global_dirty_log_start(GlobalDirty::DIRTY_RATE).unwrap();
    memory.global_dirty_log_stop(GlobalDirty::MIGRATION).unwrap();
    memory.global_dirty_log_stop(GlobalDirty::MIGRATION).unwrap();
    log.heard(&[]);
    board.shows(&["0-fff ram@0 log=4"]);
    memory.global_dirty_log_stop(GlobalDirty::DIRTY_RATE).unwrap();
    log.heard(&[
        "L0.prepare",
        "L1.prepare",
        "L0.begin",
        "L1.begin",
        "L1.log_stop 0-fff 4->0",
        "L0.log_stop 0-fff 4->0",
        "L0.commit",
        "L1.commit",
        "L1.log_global_stop",
        "L0.log_global_stop",
    ]);
    board.shows(&["0-fff ram@0"]);
}
