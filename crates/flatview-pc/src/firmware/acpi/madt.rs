//! The Multiple APIC Description Table (ACPI 5.2.12): CPUs and interrupt controllers.

use super::super::FirmwareConfig;
use super::super::config::IOAPIC;
use super::table::TableBuilder;

const LOCAL_APIC_ADDRESS: u32 = 0xfee0_0000;
/// There are two PICs as well (table 5.20).
const PC_AT_COMPATIBLE: u32 = 1;
/// The CPU is there (table 5.22).
const ENABLED: u32 = 1;
/// Flags of an interrupt (table 5.26): active high, and level triggered.
const ACTIVE_HIGH_LEVEL: u16 = 0b1101;
/// As the bus has it: an edge, for ISA.
const AS_THE_BUS: u16 = 0;
/// 8-bit ids mean a CPU below this.
const X2APIC_FROM: u32 = 255;
/// Those that PCI interrupts are routed to, and the SCI.
const LEVEL_TRIGGERED: [u8; 4] = [5, 9, 10, 11];

pub(super) fn madt(config: &FirmwareConfig) -> TableBuilder {
    let mut madt = TableBuilder::new(*b"APIC", 3);
    madt.u32(LOCAL_APIC_ADDRESS);
    madt.u32(PC_AT_COMPATIBLE);
    for (number, cpu) in config.cpus.iter().enumerate() {
        match u8::try_from(cpu.apic_id) {
            Ok(apic_id) if cpu.apic_id < X2APIC_FROM => {
                madt.bytes(&[0, 8, processor_uid(number), apic_id]);
                madt.u32(ENABLED);
            }
            _ => {
                madt.bytes(&[9, 16, 0, 0]);
                madt.u32(cpu.apic_id);
                madt.u32(ENABLED);
                madt.u32(processor_uid(number).into());
            }
        }
    }
    madt.bytes(&[1, 12, 0, 0]);
    madt.u32(IOAPIC);
    madt.u32(0);
    source_override(&mut madt, 0, 2, AS_THE_BUS);
    for source in LEVEL_TRIGGERED {
        source_override(&mut madt, source, source.into(), ACTIVE_HIGH_LEVEL);
    }
    // LINT1 of all CPUs is NMI.
    if config.apic_id_limit() > X2APIC_FROM {
        madt.bytes(&[0xa, 12]);
        madt.u16(AS_THE_BUS);
        madt.u32(u32::MAX);
        madt.bytes(&[1, 0, 0, 0]);
    } else {
        madt.bytes(&[4, 6, u8::MAX]);
        madt.u16(AS_THE_BUS);
        madt.u8(1);
    }
    madt
}

/// The id by which MADT and DSDT mean the same CPU.
pub(super) fn processor_uid(number: usize) -> u8 {
    u8::try_from(number).expect("a checked configuration has 255 CPUs at most")
}

/// ISA interrupt `source` is input `input` of the IOAPIC.
fn source_override(madt: &mut TableBuilder, source: u8, input: u32, flags: u16) {
    madt.bytes(&[2, 10, 0, source]);
    madt.u32(input);
    madt.u16(flags);
}
