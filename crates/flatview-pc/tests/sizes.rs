//! However much RAM there is, the map of the firmware, SRAT and the RAM say the same.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use flatview::{AddressSpace, Endianness, MemTxAttrs};
use flatview_pc::layout::RamLayout;
use flatview_pc::machine::End;
use support::{Guest, disk, seabios};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// A machine with this RAM, after the demonstration printed the BIOS's map; and the RAM of it.
fn booted(size: u64, nodes: &[u64]) -> Option<(Guest, Vec<(u64, u64)>)> {
    let (bios, vga) = seabios()?;
    let drives = vec![disk(flatview_pc::demo::disk())];
    let mut guest = Guest::with(64, bios, Some(vga), drives, |config| {
        config.ram = RamLayout::new(size, nodes).unwrap();
    });
    let end = guest.run_until(200, "power-off", |_| false);
    assert_eq!(end, Some(End::PowerOff), "{}", guest.debugcon.get());
    let said = guest.serial.get();
    let range = |line: &str| {
        let (first, last) = line.trim().strip_suffix(" RAM")?.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        Some((number(first), number(last) + 1))
    };
    let ram = said.lines().filter_map(range).collect();
    Some((guest, ram))
}

fn is_ram(memory: &AddressSpace, address: u64) -> bool {
    let put = 0x5a_u8 ^ address.to_le_bytes()[1];
    memory
        .store(address, put, Endianness::Little, ATTRS)
        .unwrap_or(());
    memory.load::<u8>(address, Endianness::Little, ATTRS) == Ok(put)
}

/// What the BIOS keeps for itself at the end of low RAM: ACPI's tables.
const MOST_RESERVED: u64 = 256 << 10;

fn agrees(size: u64) {
    let Some((guest, ram)) = booted(size, &[]) else {
        return;
    };
    let memory = guest.pc.memory_space();
    let layout = RamLayout::new(size, &[]).unwrap();
    for &(first, end) in &ram {
        assert!(
            is_ram(memory, first) && is_ram(memory, end - 1),
            "{first:#x}-{end:#x}"
        );
    }
    let below = ram
        .iter()
        .map(|range| range.1)
        .filter(|end| *end <= 4 * GIB)
        .max()
        .unwrap();
    assert!(
        below <= layout.below_4g && layout.below_4g - below <= MOST_RESERVED,
        "{ram:x?}"
    );
    let above: Vec<_> = ram.iter().copied().filter(|range| range.0 >= 4 * GIB).collect();
    let expected = (4 * GIB, 4 * GIB + layout.above_4g);
    assert_eq!(
        above,
        if layout.above_4g == 0 {
            vec![]
        } else {
            vec![expected]
        }
    );
    for beyond in [layout.below_4g, expected.1] {
        assert!(!is_ram(memory, beyond), "{beyond:#x} is RAM");
    }
}

#[test]
fn odd_sizes() {
    for size in [
        2 * MIB,
        17 * MIB,
        100 * MIB + 0x3000,
        3583 * MIB,
        3584 * MIB,
        5 * GIB,
    ] {
        agrees(size);
    }
}

/// The smallest PC: there is nothing above 1 MiB, where SeaBIOS wants its tables.
#[test]
fn one_mebibyte_does_not_hang_the_host() {
    let Some((bios, vga)) = seabios() else { return };
    let mut guest = Guest::with(64, bios, Some(vga), vec![], |config| {
        config.ram = RamLayout::new(MIB, &[]).unwrap();
    });
    for _ in 0..2_000 {
        if guest.pc.machine().turn().unwrap().is_some() {
            break;
        }
    }
    assert!(guest.debugcon.get().contains("SeaBIOS (version"));
}

/// The table with this signature that the BIOS put into memory: by RSDP and RSDT (ACPI 6.5, 5.2.5 and 5.2.7).
fn table(memory: &AddressSpace, signature: &[u8; 4]) -> Vec<u8> {
    let bytes = |address: u64, len: usize| {
        let mut bytes = vec![0; len];
        memory.read(address, &mut bytes, ATTRS).unwrap();
        bytes
    };
    let u32_at = |address: u64| u64::from(memory.load::<u32>(address, Endianness::Little, ATTRS).unwrap());
    let rsdp = (0xe_0000..0x10_0000)
        .step_by(16)
        .find(|&at| bytes(at, 8) == b"RSD PTR ")
        .unwrap();
    let rsdt = u32_at(rsdp + 16);
    let tables = (rsdt + 36..rsdt + u32_at(rsdt + 4)).step_by(4).map(u32_at);
    let at = tables.into_iter().find(|&at| bytes(at, 4) == signature).unwrap();
    bytes(at, usize::try_from(u32_at(at + 4)).unwrap())
}

#[test]
fn numa_nodes_are_where_srat_says() {
    let Some((guest, ram)) = booted(4 * GIB, &[GIB, 3 * GIB]) else {
        return;
    };
    let memory = guest.pc.memory_space();
    let srat = table(memory, b"SRAT");
    let mut said = Vec::new();
    let mut rest = &srat[48..];
    while let [kind, len, ..] = *rest {
        let (entry, after) = rest.split_at(len.into());
        let number = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        if kind == 1 && entry[28] & 1 == 1 {
            said.push((entry[2], number(8), number(8) + number(16)));
        }
        rest = after;
    }
    let expected = [
        (0, 0, 0xa_0000),
        (0, MIB, GIB),
        (1, GIB, 3 * GIB),
        (1, 4 * GIB, 5 * GIB),
    ];
    assert_eq!(said, expected);
    // What the BIOS calls RAM is in a node, and what is in a node is in that node's block.
    for (first, end) in ram {
        let inside = |at| said.iter().any(|node| (node.1..node.2).contains(&at));
        assert!(inside(first) && inside(end - 1), "{first:#x}-{end:#x}");
    }
    let flat = memory.mtree_flat().unwrap().to_string();
    for (node, first, end) in said {
        let line = |at: u64| {
            let range = |line: &&str| {
                let (first, last) = line.trim().get(..33)?.split_once('-')?;
                let number = |text| u64::from_str_radix(text, 16).ok();
                Some((number(first)?..=number(last)?).contains(&at))
            };
            flat.lines()
                .find(|line| range(line) == Some(true))
                .unwrap_or_default()
        };
        for at in [first, end - 1] {
            assert!(
                line(at).contains(&format!("ram-node{node}")),
                "{at:#x}: {}",
                line(at)
            );
        }
    }
}
