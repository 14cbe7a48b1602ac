//! Group D of the reference: attributes that change while a region is in use. How they are inherited is in
//! `rules_rendering.rs` (C16 to C20).

mod support;

use std::sync::Arc;

use flatview::{DirtyClients, RamBlock, Region};
use support::{Board, Inert, Log, MARKS, Mark, Recorder};

/// D1, D2, D3, D6, D7: on any kind; the range says so, whoever has to obey.
#[test]
fn attributes_can_be_set_on_a_region_of_any_kind() {
    let board = Board::new();
    let memory = &board.memory;
    let block = || RamBlock::unbacked(0x1000);
    let ram = board.ram("ram", 0x1000);
    let container = board.container("container", 0x1000);
    board.map(&container, 0, &board.io("inside", 0x1000));
    let kinds = [
        memory.region("mmio").io(0x1000, Arc::new(Inert)),
        memory.region("reservation").reservation(0x1000),
        memory.region("ram device").ram_device(block()),
        memory.region("rom device").rom_device(block(), Arc::new(Inert)),
        memory.region("iommu").iommu(0x1000, Arc::new(Inert)),
        board.alias("alias", &ram, 0, 0x1000),
        ram,
        container,
    ];
    for region in &kinds {
        board.map(&board.system, 0, region);
        let plain = support::lines(&board.space.view());
        for Mark { word, set, get } in MARKS {
            board.update(|tx| set(tx, region, true));
            assert!(get(&region.state().unwrap()));
            board.shows(&[&format!("{}{word}", plain[0])]);
            board.update(|tx| set(tx, region, false));
            assert!(!get(&region.state().unwrap()));
            assert_eq!(support::lines(&board.space.view()), plain);
        }
        board.unmap(&board.system, region);
    }
}

/// C37, D1, D6, D7, G3: a range whose attributes change is gone and new; one whose attributes are set to what
/// they are is not touched.
#[test]
fn a_changed_attribute_replaces_the_range() {
    let board = Board::new();
    board.map(&board.system, 0, &board.io("beside", 0x1000));
    let io = board.io("io", 0x1000);
    board.map(&board.system, 0x1000, &io);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    for Mark { word, set, .. } in MARKS {
        let marked = format!("1000-1fff io@0{word}");
        board.update(|tx| set(tx, &io, true));
        log.heard(&[
            "L.prepare",
            "L.begin",
            "L.region_del 1000-1fff io@0",
            &format!("L.region_add {marked}"),
            "L.commit",
        ]);
        board.update(|tx| set(tx, &io, true));
        log.heard(&[]);
        board.update(|tx| set(tx, &io, false));
        log.heard(&[
            "L.prepare",
            "L.begin",
            &format!("L.region_del {marked}"),
            "L.region_add 1000-1fff io@0",
            "L.commit",
        ]);
    }
}

/// D4, C21: KVM makes and deletes a slot by this.
#[test]
fn a_rom_device_that_leaves_romd_mode_is_replaced_in_its_place() {
    let board = Board::new();
    let flash = board
        .memory
        .region("flash")
        .rom_device(RamBlock::unbacked(0x1000), Arc::new(Inert));
    board.map(&board.system, 0, &flash);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);

    board.update(|tx| tx.rom_device_set_romd(&flash, true));
    log.heard(&[]);
    board.update(|tx| tx.rom_device_set_romd(&flash, false));
    assert!(!flash.state().unwrap().romd_mode);
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 0-fff flash@0",
        "L.region_add 0-fff flash@0 romd-off",
        "L.commit",
    ]);
    board.update(|tx| tx.rom_device_set_romd(&flash, true));
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 0-fff flash@0 romd-off",
        "L.region_add 0-fff flash@0",
        "L.commit",
    ]);
}

/// D7: virtio-mem keeps each of its windows one slot by this.
#[test]
fn an_unmergeable_window_stays_one_range_while_its_neighbours_come_and_go() {
    let board = Board::new();
    let ram = board.ram("ram", 0x4000);
    let windows: Vec<Region> = (0..4u64)
        .map(|index| board.alias("window", &ram, index * 0x1000, 0x1000))
        .collect();
    board.update(|tx| {
        windows.iter().zip(0..).try_for_each(|(window, index)| {
            tx.set_unmergeable(window, true)?;
            tx.add_subregion(&board.system, index * 0x1000, window)
        })
    });
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    board.update(|tx| tx.set_enabled(&windows[1], false));
    log.heard(&[
        "L.prepare",
        "L.begin",
        "L.region_del 1000-1fff ram@1000 unmergeable",
        "L.commit",
    ]);
    // Once all of them may be merged they are one range.
    board.update(|tx| {
        tx.set_enabled(&windows[1], true)?;
        windows
            .iter()
            .try_for_each(|window| tx.set_unmergeable(window, false))
    });
    board.shows(&["0-3fff ram@0"]);
}

/// D12, P2: the first user switches the log on, the last one off.
#[test]
fn users_of_a_displays_log_are_counted() {
    let board = Board::new();
    let vram = board.ram("vram", 0x1000);
    board.map(&board.system, 0, &vram);
    let log = Log::new();
    let (_l, _registration) = Recorder::new("L", 0, &log).on(&board.space);
    let is_logging = || vram.state().unwrap().dirty_log_mask == DirtyClients::VGA;

    board.update(|tx| tx.set_log(&vram, true));
    log.heard(&["L.prepare", "L.begin", "L.log_start 0-fff 0->1", "L.commit"]);
    board.update(|tx| tx.set_log(&vram, true));
    board.update(|tx| tx.set_log(&vram, false));
    log.heard(&[]);
    assert!(is_logging());
    board.update(|tx| tx.set_log(&vram, false));
    log.heard(&["L.prepare", "L.begin", "L.log_stop 0-fff 1->0", "L.commit"]);
    assert!(!is_logging());
}

/// D12, G5: one client comes and another goes at the same time.
#[test]
fn a_range_hears_first_who_starts_logging_then_who_stops() {
    let board = Board::new();
    let ram = board.ram("ram", 0x1000);
    board.map(&board.system, 0, &ram);
    board.update(|tx| tx.set_log(&ram, true));
    let log = Log::new();
    let (_l0, _r0) = Recorder::new("L0", 0, &log).on(&board.space);
    let (_l1, _r1) = Recorder::new("L1", 1, &log).on(&board.space);
    board.update(|tx| {
        tx.set_code_logging(true);
        tx.set_log(&ram, false)
    });
    log.heard(&[
        "L0.prepare",
        "L1.prepare",
        "L0.begin",
        "L1.begin",
        "L0.log_start 0-fff 1->2",
        "L1.log_start 0-fff 1->2",
        "L1.log_stop 0-fff 1->2",
        "L0.log_stop 0-fff 1->2",
        "L0.commit",
        "L1.commit",
    ]);
}
