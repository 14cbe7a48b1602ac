//! What SeaBIOS says on our machine, against what it says on QEMU 10.0 (`golden/`).
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fs;

use flatview_pc::machine::End;
use support::{Guest, disk, seabios};

/// What may differ, and why. `*` stands for a number.
const DIFFERENT: &[(&str, &str)] = &[
    // Where tables end up depends on how long ours are.
    ("Copying PIR from ", "Copying PIR from * to *"),
    ("Copying MPTABLE from ", "Copying MPTABLE from * to *"),
    ("Copying SMBIOS from ", "Copying SMBIOS from * to *"),
    ("table(50434146)=", "table(50434146)=* (via rsdt)"),
    ("ACPI: parse DSDT at ", "ACPI: parse DSDT at * (len *)"),
    ("Returned ", "Returned * bytes of ZoneHigh"),
    (
        "drive 0x",
        "drive * PCHS=2/16/63 translation=none LCHS=2/16/63 s=2048",
    ),
    ("Space available for UMB: ", "Space available for UMB: *"),
    ("VGA stack allocated at ", "VGA stack allocated at *"),
];

/// What only QEMU has: it adds an option ROM of its own, `kvmvapic.bin`.
const ONLY_QEMU: &[&str] = &[
    "Searching bootorder for: /rom@genroms/kvmvapic.bin",
    "Running option rom at ca00:0003",
];

fn lines(log: &str) -> Vec<String> {
    let kept = log.lines().filter(|line| !ONLY_QEMU.contains(line));
    kept.map(|line| {
        let different = DIFFERENT.iter().find(|(start, _)| line.starts_with(start));
        let line = different.map_or(line, |(_, same)| same);
        // Our disks do not say that they are QEMU's.
        line.replace("FLATVIEW HARDDISK", "QEMU HARDDISK")
    })
    .collect()
}

/// The machine of `golden/README.md`, after it has booted.
fn booted(megabytes: u64) -> Option<Guest> {
    let mut image = vec![0; 1 << 20];
    image[..2].copy_from_slice(&[0xfa, 0xf4]); // cli; hlt
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let (bios, vga) = seabios()?;
    let drives = vec![disk(image)];
    let mut guest = Guest::with(megabytes, bios, Some(vga), drives, |config| config.serial = None);
    assert_eq!(
        guest.run_until(100, "boot", |_| false),
        Some(End::Halted { cs: 0, rip: 0x7c02 }),
        "{}",
        guest.debugcon.get()
    );
    Some(guest)
}

fn same_as_qemu(name: &str, megabytes: u64) {
    let Some(guest) = booted(megabytes) else { return };
    let path = format!(
        "{}/tests/golden/qemu10-seabios-{name}.log",
        env!("CARGO_MANIFEST_DIR")
    );
    let (ours, qemus) = (
        lines(&guest.debugcon.get()),
        lines(&fs::read_to_string(path).unwrap()),
    );
    let differ = ours.iter().zip(&qemus).position(|(ours, qemus)| ours != qemus);
    assert!(
        differ.is_none() && ours.len() == qemus.len(),
        "line {differ:?} differs\nours:\n{}\nQEMU's:\n{}",
        ours.join("\n"),
        qemus.join("\n")
    );
    // Below: that the normalization hides nothing that is asked for.
    for asked in [
        "qemu/e820: addr",
        "PCI: map device bdf=00:02.0  bar 0, addr fd000000",
        "e820 map has",
    ] {
        assert!(ours.iter().any(|line| line.starts_with(asked)), "{asked}");
    }
}

#[test]
fn with_64_mib() {
    same_as_qemu("64m", 64);
}

#[test]
fn with_1_gib() {
    same_as_qemu("1g", 1024);
}

#[test]
fn with_3584_mib() {
    same_as_qemu("3584m", 3584);
}

#[test]
fn with_4_gib() {
    same_as_qemu("4g", 4096);
}

#[test]
fn with_8_gib() {
    same_as_qemu("8g", 8192);
}

/// The states of PAM, SMRAM and the BARs after the firmware is done: the view of memory, range by range, as QEMU 10.0
/// shows it (`info mtree -f`).
#[test]
fn the_memory_map_after_boot_is_qemus() {
    let Some(guest) = booted(64) else { return };
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/golden/qemu10-seabios-64m.mtree-f.txt"
    );
    let qemus = fs::read_to_string(path).unwrap();
    let ours = guest.pc.memory_space().mtree_flat().unwrap().to_string();
    assert_eq!(view(&ours), view(&qemus));
}

/// The lines of the view `memory`, without what QEMU has and we have not: the option ROM kvmvapic, which it leaves
/// writable, and HPET; and with a BAR's parts as one.
fn view(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| !line.contains("AS \"memory\""));
    let lines = lines.take_while(|line| !line.is_empty());
    let ranges = lines.filter(|line| line.starts_with("  0")).map(str::trim);
    let mut view: Vec<String> = Vec::new();
    for line in ranges {
        let (range, name) = (line.split(' ').next().unwrap(), line.split("): ").nth(1).unwrap());
        let kind = line
            .split(", ")
            .nth(1)
            .and_then(|rest| rest.split(')').next())
            .unwrap();
        let name = name.split(" @").next().unwrap();
        let first = u64::from_str_radix(&range[..16], 16).unwrap();
        if name == "hpet" || name.starts_with("kvmvapic") {
            continue;
        }
        // Below 1 MiB, ranges of RAM end where the option ROMs do: tell what PAM says, 16 KiB each.
        let line = match first {
            0xfebf_0000..0xfebf_1000 => "febf0000 the registers of the screen".into(),
            0xc_0000..0xf_0000 => continue,
            _ => format!("{range} {kind} {name}"),
        };
        if view.last() != Some(&line) {
            view.push(line);
        }
    }
    view
}
