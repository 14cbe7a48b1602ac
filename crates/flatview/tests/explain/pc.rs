//! Whole texts, for a map like that of a PC.

use flatview::{Region, Size};

use crate::support::Board;
use crate::{explain, rival_text};

/// A PC: RAM below and above 4 GiB, a window of the PAM registers, the VGA's in front of the RAM, firmware and
/// its copy below 1 MiB, and a card whose BAR is disabled.
struct Pc {
    board: Board,
    ram: Region,
    bar: Region,
}

impl Pc {
    fn new() -> Pc {
        let board = Board::new();
        let ram = board.ram("pc.ram", 0x1_8000_0000);
        let pci = board.container("pci", Size::MAX);
        let bios = board
            .memory
            .region("pc.bios")
            .rom(flatview::RamBlock::unbacked(0x4_0000));
        let isa_bios = board.alias("isa-bios", &bios, 0x2_0000, 0x2_0000);
        let vga = board.io("vga-lowmem", 0x2_0000);
        let bar = board.io("nic.mmio", 0x2_0000);
        let low = board.alias("ram-below-4g", &ram, 0, 0xc000_0000u64);
        let high = board.alias("ram-above-4g", &ram, 0xc000_0000, 0xc000_0000u64);
        let pam_rom = board.alias("pam-rom", &ram, 0xc_8000, 0x4000u64);
        let pam_pci = board.alias("pam-pci", &pci, 0xc_8000, 0x4000u64);
        let smram = board.alias("smram-region", &pci, 0xa_0000, 0x2_0000u64);
        let system = board.system.clone();
        board.update(|tx| {
            tx.add_subregion(&system, 0, &low)?;
            tx.add_subregion(&system, 0x1_0000_0000, &high)?;
            tx.add_subregion_overlap(&system, 0, &pci, -1)?;
            tx.add_subregion_overlap(&system, 0xa_0000, &smram, 1)?;
            tx.set_readonly(&pam_rom, true)?;
            tx.set_enabled(&pam_pci, false)?;
            tx.add_subregion_overlap(&system, 0xc_8000, &pam_pci, 1)?;
            tx.add_subregion_overlap(&system, 0xc_8000, &pam_rom, 1)?;
            tx.add_subregion_overlap(&pci, 0xa_0000, &vga, 1)?;
            tx.set_readonly(&isa_bios, true)?;
            tx.add_subregion_overlap(&pci, 0xe_0000, &isa_bios, 1)?;
            tx.add_subregion(&pci, 0xfffc_0000, &bios)?;
            tx.set_enabled(&bar, false)?;
            tx.add_subregion_overlap(&pci, 0xfebc_0000, &bar, 1)
        });
        Pc { board, ram, bar }
    }

    #[track_caller]
    fn says(&self, address: u64, expected: &str) {
        let text = explain(&self.board.space, address).to_string();
        assert_eq!(text, expected, "\n{text}");
    }
}

#[test]
fn ram_below_4g() {
    let pc = Pc::new();
    pc.says(
        0x1000,
        "0x1000 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0x1000
    ram-below-4g (alias, 0x0-0xbfffffff, prio 0) at its byte 0x1000
      pc.ram (ram, 0x0-0x17fffffff) at its byte 0x1000, which is 0x1000 + 0x0
is answered by pc.ram at its byte 0x1000
  in the view 0x0-0x9ffff
",
    );
    pc.says(
        0x1_0000_2000,
        "0x100002000 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0x100002000
    ram-above-4g (alias, 0x100000000-0x1bfffffff, prio 0) at its byte 0x2000
      pc.ram (ram, 0x40000000-0x1bfffffff) at its byte 0xc0002000, which is 0x2000 + 0xc0000000
is answered by pc.ram at its byte 0xc0002000
  in the view 0x100000000-0x1bfffffff
",
    );
}

#[test]
fn the_vga_window() {
    Pc::new().says(
        0xa_0010,
        "0xa0010 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0xa0010
    smram-region (alias, 0xa0000-0xbffff, prio 1) at its byte 0x10
      pci (container, 0x0-0xffffffffffffffff) at its byte 0xa0010, which is 0x10 + 0xa0000
        vga-lowmem (i/o, 0xa0000-0xbffff, prio 1) at its byte 0x10
is answered by vga-lowmem at its byte 0x10
  in the view 0xa0000-0xbffff
overruled:
  ram-below-4g (alias, 0x0-0xbfffffff, prio 0) at its byte 0xa0010
    pc.ram (ram, 0x0-0x17fffffff) at its byte 0xa0010, which is 0xa0010 + 0x0
    within system: lower priority than smram-region (prio 1)
  pci (container, 0x0-0xffffffffffffffff, prio -1) at its byte 0xa0010
    vga-lowmem (i/o, 0xa0000-0xbffff, prio 1) at its byte 0x10
    within system: lower priority than smram-region (prio 1)
",
    );
}

/// The alias that shows PCI has a hole there, and is disabled: of `pci` nothing is told.
#[test]
fn a_pam_window() {
    Pc::new().says(
        0xc_9000,
        "0xc9000 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0xc9000
    pam-rom (alias, 0xc8000-0xcbfff, prio 1, readonly) at its byte 0x1000
      pc.ram (ram, 0x0-0x17fffffff) at its byte 0xc9000, which is 0x1000 + 0xc8000
is answered by pc.ram at its byte 0xc9000
  in the view 0xc8000-0xcbfff
  readonly by pam-rom
overruled:
  ram-below-4g (alias, 0x0-0xbfffffff, prio 0) at its byte 0xc9000
    pc.ram (ram, 0x0-0x17fffffff) at its byte 0xc9000, which is 0xc9000 + 0x0
    within system: lower priority than pam-rom (prio 1)
",
    );
}

#[test]
fn firmware_behind_ram_and_at_its_own_place() {
    let pc = Pc::new();
    pc.says(
        0xe_1000,
        "0xe1000 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0xe1000
    ram-below-4g (alias, 0x0-0xbfffffff, prio 0) at its byte 0xe1000
      pc.ram (ram, 0x0-0x17fffffff) at its byte 0xe1000, which is 0xe1000 + 0x0
is answered by pc.ram at its byte 0xe1000
  in the view 0xcc000-0xbfffffff
overruled:
  pci (container, 0x0-0xffffffffffffffff, prio -1) at its byte 0xe1000
    isa-bios (alias, 0xe0000-0xfffff, prio 1, readonly) at its byte 0x1000
      pc.bios (ram, 0xc0000-0xfffff, readonly) at its byte 0x21000, which is 0x1000 + 0x20000
    within system: lower priority than ram-below-4g (prio 0)
",
    );
    pc.says(
        0xffff_fff0,
        "0xfffffff0 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0xfffffff0
    pci (container, 0x0-0xffffffffffffffff, prio -1) at its byte 0xfffffff0
      pc.bios (ram, 0xfffc0000-0xffffffff, prio 0, readonly) at its byte 0x3fff0
is answered by pc.bios at its byte 0x3fff0
  in the view 0xfffc0000-0xffffffff
  readonly by pc.bios
overruled:
  ram-above-4g (alias, 0x100000000-0x1bfffffff, prio 0)
    pc.ram (ram, 0x40000000-0x1bfffffff) at its byte 0xbffffff0
    within system: cut off by ram-above-4g, which is 0x100000000-0x1bfffffff
",
    );
}

#[test]
fn a_disabled_bar() {
    let pc = Pc::new();
    pc.says(
        0xfebc_0010,
        "0xfebc0010 of address space `memory`
  system (container, 0x0-0xffffffffffffffff) at its byte 0xfebc0010
is answered by nobody: system lets it through
  in the hole 0xc0000000-0xfffbffff of the view, between pc.ram and pc.bios
overruled:
  ram-below-4g (alias, 0x0-0xbfffffff, prio 0)
    pc.ram (ram, 0x0-0x17fffffff) at its byte 0xfebc0010
    within system: cut off by ram-below-4g, which is 0x0-0xbfffffff
  pci (container, 0x0-0xffffffffffffffff, prio -1) at its byte 0xfebc0010
    within system: lets the address through: nothing in it answers here
  nic.mmio (i/o, 0xfebc0000-0xfebdffff, prio 1, disabled) at its byte 0x10
    within pci: nic.mmio is disabled
",
    );
    // Enabled, it answers.
    pc.board.update(|tx| tx.set_enabled(&pc.bar, true));
    assert_eq!(explain(&pc.board.space, 0xfebc_0010).region(), Some(&pc.bar));
    // Mapped where RAM is, it is behind that, and says so even while it is disabled, too.
    pc.board.update(|tx| {
        tx.set_address(&pc.bar, 0x8000_0000)?;
        tx.set_enabled(&pc.bar, false)
    });
    let explanation = explain(&pc.board.space, 0x8000_0010);
    assert_eq!(explanation.region(), Some(&pc.ram));
    assert_eq!(
        rival_text(&explanation),
        (
            vec!["pci", "nic.mmio"],
            vec![
                "lower priority than ram-below-4g (prio 0)".to_owned(),
                "nic.mmio is disabled".to_owned()
            ]
        )
    );
}

#[cfg(feature = "serde")]
#[test]
fn explanations_can_be_serialised() {
    let pc = Pc::new();
    let explanation = explain(&pc.board.space, 0xc_9000);
    let json = serde_json::to_value(&explanation).expect("plain data");
    assert_eq!(json["address"], 0xc_9000);
    assert_eq!(json["view_root"], "system");
    assert_eq!(json["way"][0]["span"]["start"], "0x0");
    assert_eq!(json["way"][0]["span"]["end"], "0x10000000000000000");
    assert_eq!(json["way"][1]["alias"]["offset"], 0xc_8000);
    assert_eq!(json["way"][2]["kind"], "ram");
    let answer = &json["outcome"]["Answered"];
    assert_eq!(answer["name"], "pc.ram");
    assert_eq!(answer["range"]["last"], 0xc_bfff);
    assert!(answer.get("region").is_none());
    assert_eq!(
        json["overruled"][0]["reasons"][0]["LowerPriority"]["than"],
        "pam-rom"
    );
}
