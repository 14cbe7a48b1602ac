//! The slots of an i440FX as its firmware opens and closes the windows over the option ROMs (rules AB12, Y3).
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;

use flatview::{RamBlock, Region, Size, UnassignedIo};
use flatview_kvm::KvmConfig;
use support::trace::slot_ioctls;
use support::{Board, slots};

// As AB12 has it: four slots are there already when the option ROMs come.
//
//            c0000   c4000   c8000                        e0000
//  pc.rom:   [RRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRRR]        ROM, in the PCI hole
//  pam-ram:          [rrrrrr]                                     alias of pc.ram, priority 1
//  pam-rom:          [rrrrrr]                                     the same, read-only
#[test]
fn ab12_a_window_splits_the_option_rom_and_heals_it() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let ram = board.ram("pc.ram", 0x800_0000);
    let alias = |name: &str, offset: u64, size: u64, readonly: bool, enabled: bool| {
        let alias = board.memory.region(name).readonly(readonly).enabled(enabled);
        alias.alias(&ram, offset, size).unwrap()
    };
    board.map(&alias("ram-below-640k", 0, 0xa_0000, false, true), 0, 0);
    board.map(
        &alias("ram-above-1m", 0x10_0000, 0x7f0_0000, false, true),
        0x10_0000,
        0,
    );
    let bios = board
        .memory
        .region("pc.bios")
        .rom(RamBlock::anonymous(0x4_0000).unwrap());
    board.map(&bios, 0xfffc_0000, 0);
    let isa_bios = board.memory.region("isa-bios").readonly(true);
    board.map(&isa_bios.alias(&bios, 0x2_0000, 0x2_0000).unwrap(), 0xe_0000, 0);
    board.attach_to(&kvm);

    let rom = board
        .memory
        .region("pc.rom")
        .rom(RamBlock::anonymous(0x2_0000).unwrap());
    let writable = alias("pam-ram", 0xc_4000, 0x4000, false, false);
    let readonly = alias("pam-rom", 0xc_4000, 0x4000, true, false);
    board.update(|tx| {
        tx.add_subregion(&board.system, 0xc_0000, &rom)?;
        tx.add_subregion_overlap(&board.system, 0xc_4000, &writable, 1)?;
        tx.add_subregion_overlap(&board.system, 0xc_4000, &readonly, 1)
    });
    let healed = [
        "0: 0x0 0xa0000 0",
        "4: 0xc0000 0x20000 2",
        "1: 0xe0000 0x20000 2",
        "2: 0x100000 0x7f00000 0",
        "3: 0xfffc0000 0x40000 2",
    ];
    assert_eq!(slots(&kvm), healed);

    let opened = slot_ioctls(|| board.update(|tx| tx.set_enabled(&writable, true)));
    assert_eq!(
        opened,
        [
            "delete 4",
            "4: 0xc0000 0x4000 2",
            "5: 0xc4000 0x4000 0",
            "6: 0xc8000 0x18000 2",
        ]
    );

    // QEMU makes it again with flags 0, and the guest can write what is shown as ROM: D2 is not copied.
    let locked = slot_ioctls(|| {
        board.update(|tx| {
            tx.set_enabled(&writable, false)?;
            tx.set_enabled(&readonly, true)
        });
    });
    assert_eq!(locked, ["delete 5", "5: 0xc4000 0x4000 2"]);

    let closed = slot_ioctls(|| board.update(|tx| tx.set_enabled(&readonly, false)));
    assert_eq!(
        closed,
        ["delete 4", "delete 5", "delete 6", "4: 0xc0000 0x20000 2"]
    );
    assert_eq!(slots(&kvm), healed);
    assert_eq!(kvm.statistics().slots_changed, 0);
}

/// What a window shows, by the two bits of its register.
const PCI: usize = 0;
const READ_ONLY: usize = 1;
const RAM: usize = 3;

/// The 13 windows, each with its four aliases of which one is enabled.
struct Pam {
    board: Board,
    windows: Vec<[Region; 4]>,
}

impl Pam {
    fn new() -> Pam {
        let board = Board::new();
        let pci = board.memory.region("pci").container(Size::MAX);
        let ram = board.ram("pc.ram", 0x100_0000);
        let vga = board
            .memory
            .region("vga-lowmem")
            .io(0x2_0000, Arc::new(UnassignedIo));
        let rom = board
            .memory
            .region("pc.rom")
            .rom(RamBlock::anonymous(0x2_0000).unwrap());
        let bios = board
            .memory
            .region("pc.bios")
            .rom(RamBlock::anonymous(0x4_0000).unwrap());
        let isa_bios = board.memory.region("isa-bios").readonly(true);
        let isa_bios = isa_bios.alias(&bios, 0x2_0000, 0x2_0000).unwrap();
        board.map(&ram, 0, 0);
        let hole = board.memory.region("pci-hole").alias(&pci, 0xa_0000, 0x6_0000);
        board.map(&hole.unwrap(), 0xa_0000, 1);
        board.update(|tx| {
            tx.add_subregion(&pci, 0xa_0000, &vga)?;
            tx.add_subregion(&pci, 0xc_0000, &rom)?;
            tx.add_subregion(&pci, 0xe_0000, &isa_bios)
        });
        let of_16k = (0..12).map(|index| (0xc_0000 + index * 0x4000, 0x4000));
        let windows = [(0xf_0000, 0x1_0000)].into_iter().chain(of_16k);
        let windows = windows.map(|(address, size)| {
            let alias = |target: &Region, readonly| {
                let alias = board.memory.region("pam").enabled(false).readonly(readonly);
                let alias = alias.alias(target, address, size).unwrap();
                board.map(&alias, address, 2);
                alias
            };
            [
                alias(&pci, false),
                alias(&ram, true),
                alias(&ram, false),
                alias(&ram, false),
            ]
        });
        let windows = windows.collect();
        Pam { board, windows }
    }

    fn set(&self, window: usize, state: usize) {
        self.board.update(|tx| {
            for (index, alias) in self.windows[window].iter().enumerate() {
                tx.set_enabled(alias, index == state)?;
            }
            Ok(())
        });
    }
}

#[test]
fn y3_firmware_copies_itself_into_ram_and_locks_it() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let pam = Pam::new();
    pam.board.attach_to(&kvm);
    let closed = [
        "0: 0x0 0xa0000 0",
        "1: 0xc0000 0x20000 2",
        "2: 0xe0000 0x20000 2",
        "3: 0x100000 0xf00000 0",
    ];
    assert_eq!(slots(&kvm), closed);

    // To what shows the same already, as at reset: nothing is done.
    let before = kvm.statistics();
    (0..13).for_each(|window| pam.set(window, PCI));
    assert_eq!(kvm.statistics(), before);

    // From the top down, as firmware does that runs there. What has become one range is one slot.
    pam.set(0, RAM);
    assert_eq!(
        slots(&kvm),
        [
            "0: 0x0 0xa0000 0",
            "1: 0xc0000 0x20000 2",
            "2: 0xe0000 0x10000 2",
            "3: 0xf0000 0xf10000 0",
        ]
    );
    (9..13).rev().for_each(|window| pam.set(window, RAM));
    assert_eq!(
        slots(&kvm),
        [
            "0: 0x0 0xa0000 0",
            "1: 0xc0000 0x20000 2",
            "2: 0xe0000 0xf20000 0",
        ]
    );
    (1..9).for_each(|window| pam.set(window, RAM));
    assert_eq!(slots(&kvm), ["0: 0x0 0xa0000 0", "1: 0xc0000 0xf40000 0"]);

    // The windows at d0000 to d7fff stay as they are, for option ROMs that write their own memory.
    let locked = (0..13).filter(|window| !(5..7).contains(window));
    locked.for_each(|window| pam.set(window, READ_ONLY));
    assert_eq!(
        slots(&kvm),
        [
            "0: 0x0 0xa0000 0",
            "1: 0xc0000 0x10000 2",
            "4: 0xd0000 0x8000 0",
            "2: 0xd8000 0x28000 2",
            "3: 0x100000 0xf00000 0",
        ]
    );

    (0..13).for_each(|window| pam.set(window, PCI));
    let numbers: Vec<u32> = kvm.slots(0).iter().map(|slot| slot.id).collect();
    assert_eq!(
        numbers.iter().max(),
        Some(&3),
        "the lowest free number is taken: {numbers:?}"
    );
    let without_numbers = |lines: &[String]| -> Vec<String> {
        let after = |line: &String| line.split_once(' ').unwrap().1.to_owned();
        lines.iter().map(after).collect()
    };
    assert_eq!(
        without_numbers(&slots(&kvm)),
        without_numbers(&closed.map(str::to_owned))
    );
    let done = kvm.statistics();
    assert_eq!(done.slots_created - done.slots_deleted, 4);
    assert_eq!(done.kicks, 0, "there is nobody to be kept out");
}
