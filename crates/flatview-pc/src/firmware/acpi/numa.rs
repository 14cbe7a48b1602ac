//! The NUMA nodes: what belongs to which (SRAT, ACPI 5.2.16), and how far they are from each other (SLIT, 5.2.17).

use super::super::FirmwareConfig;
use super::table::{TableBuilder, offset_u32};

/// The flag of entries that count (tables 5.55, 5.56 and 5.59), and that of memory that can come and go.
const ENABLED: u32 = 1;
const HOT_PLUGGABLE: u32 = 2;
/// 8-bit APIC ids are below this.
const X2APIC_FROM: u32 = 255;
/// Where the display is, and the BIOS: no RAM for the guest.
const HOLE: (u64, u64) = (0xa_0000, 0x10_0000);

pub(super) fn srat(config: &FirmwareConfig) -> TableBuilder {
    let mut srat = TableBuilder::new(*b"SRAT", 1);
    srat.u32(1);
    srat.zeros(8);
    for cpu in &config.cpus {
        let [lowest, higher @ ..] = cpu.node.to_le_bytes();
        match u8::try_from(cpu.apic_id) {
            Ok(apic_id) if cpu.apic_id < X2APIC_FROM => {
                srat.bytes(&[0, 16, lowest, apic_id]);
                srat.u32(ENABLED);
                srat.u8(0);
                srat.bytes(&higher);
                srat.zeros(4);
            }
            _ => {
                srat.bytes(&[2, 24, 0, 0]);
                srat.u32(cpu.node);
                srat.u32(cpu.apic_id);
                srat.u32(ENABLED);
                srat.zeros(8);
            }
        }
    }
    for (node, start, end) in memory(config) {
        memory_affinity(&mut srat, node, start, end - start, ENABLED);
    }
    if let Some(hotplug) = config.memory_hotplug {
        let size = hotplug.memory.size().to_u64().unwrap_or(u64::MAX);
        let last = offset_u32(config.numa.len()).saturating_sub(1);
        memory_affinity(
            &mut srat,
            last,
            hotplug.memory.start(),
            size,
            ENABLED | HOT_PLUGGABLE,
        );
    }
    srat
}

fn memory_affinity(srat: &mut TableBuilder, node: u32, start: u64, size: u64, flags: u32) {
    srat.bytes(&[1, 40]);
    srat.u32(node);
    srat.zeros(2);
    srat.u64(start);
    srat.u64(size);
    srat.zeros(4);
    srat.u32(flags);
    srat.zeros(8);
}

/// Which node has which addresses, without the end. The nodes share the RAM in order, including what the hole of the
/// display hides of it.
fn memory(config: &FirmwareConfig) -> Vec<(u32, u64, u64)> {
    let mut pieces = Vec::new();
    let mut begin = 0_u64;
    for (node, ram) in (0..).zip(config.numa.iter().map(|node| node.ram)) {
        let end = begin + ram;
        let mut ram_before = 0;
        for (address, size) in config.ram_ranges() {
            let first = begin.max(ram_before);
            let last = end.min(ram_before + size);
            let at = |ram: u64| address + (ram - ram_before);
            if first < last {
                let piece = (at(first), at(last));
                pieces.push((node, piece.0, piece.1.min(HOLE.0)));
                pieces.push((node, piece.0.max(HOLE.1), piece.1));
            }
            ram_before += size;
        }
        begin = end;
    }
    pieces.retain(|&(_, start, end)| start < end);
    pieces
}

pub(super) fn slit(config: &FirmwareConfig) -> TableBuilder {
    let mut slit = TableBuilder::new(*b"SLIT", 1);
    slit.u64(config.numa.len() as u64);
    for node in &config.numa {
        slit.bytes(&node.distances);
    }
    slit
}
