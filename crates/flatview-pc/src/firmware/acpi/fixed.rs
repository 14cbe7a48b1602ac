//! Tables that are almost the same in every machine: FADT, FACS, HPET, WAET.

use super::table::TableBuilder;

/// Written to port 0xb2: power management is the operating system's (QEMU's PIIX4).
pub const ACPI_ENABLE: u8 = 0xf1;
/// Written to port 0xb2: power management is the firmware's.
pub const ACPI_DISABLE: u8 = 0xf0;

/// The SCI of the PIIX4 is ISA interrupt 9 (PIIX4 datasheet, 7.1).
const SCI: u16 = 9;
/// The PIIX4's Advanced Power Management Control Port (PIIX4 datasheet, 3.3).
const SMI_COMMAND: u16 = 0xb2;
/// Where firmware for QEMU puts the PIIX4's power management registers (its PMBASE).
const PM_BASE: u16 = 0x600;
/// The registers of general purpose events, whose place is fixed in QEMU's PIIX4, with their size.
pub(super) const GPE0: u16 = 0xafe0;
pub(super) const GPE0_BYTES: u8 = 4;
/// The register of the CMOS RAM that has the century.
const CENTURY: u8 = 0x32;
/// Reset Control of the PIIX3 (PIIX3 datasheet, 2.5.7), and what resets all.
const RESET_PORT: u16 = 0xcf9;
const RESET_VALUE: u8 = 0x0f;
/// More than the allowed latency: there is no C2 and no C3 (ACPI 5.2.9, P_LVL2_LAT).
const NO_C_STATE: u16 = 0xfff;

/// ACPI 5.2.9, table 5.11: there are ISA devices, and a keyboard controller.
const LEGACY_DEVICES: u16 = 1 << 0;
const KEYBOARD_CONTROLLER: u16 = 1 << 1;

/// Flags (ACPI 5.2.9, table 5.10): WBINVD works; C1 on all CPUs; the sleep button, if any, is a device of the DSDT;
/// the RTC wakes from S4; there is a reset register; the PM timer is to be preferred to the CPU's counter.
const FLAGS: u32 = 1 << 0 | 1 << 2 | 1 << 5 | 1 << 7 | 1 << 10 | 1 << 15;

/// Where an HPET is, and its id: Intel, three timers of 64 bits that can replace RTC and PIT (HPET specification 1.0a,
/// 2.3.4).
pub(super) const HPET_ADDRESS: u32 = 0xfed0_0000;
const HPET_ID: u32 = 0x8086_a201;

/// The Fixed ACPI Description Table (ACPI 5.2.9) as of revision 3. The addresses of FACS and DSDT are left zero.
pub(super) fn fadt() -> TableBuilder {
    let (event, control, timer) = (PM_BASE, PM_BASE + 4, PM_BASE + 8);
    let mut fadt = TableBuilder::new(*b"FACP", 3);
    fadt.zeros(8);
    // Multiple APICs, as ACPI 1.0 had it; then an unspecified profile.
    fadt.bytes(&[1, 0]);
    fadt.u16(SCI);
    fadt.u32(SMI_COMMAND.into());
    fadt.bytes(&[ACPI_ENABLE, ACPI_DISABLE, 0, 0]);
    for port in [event, 0, control, 0, 0, timer, GPE0, 0] {
        fadt.u32(port.into());
    }
    // The sizes of these, the first GPE of GPE1, no change of C states.
    fadt.bytes(&[4, 2, 0, 4, GPE0_BYTES, 0, 0, 0]);
    fadt.u16(NO_C_STATE);
    fadt.u16(NO_C_STATE);
    fadt.zeros(4);
    fadt.bytes(&[0, 0, 0, 0, CENTURY]);
    fadt.u16(LEGACY_DEVICES | KEYBOARD_CONTROLLER);
    fadt.u8(0);
    fadt.u32(FLAGS);
    fadt.port(RESET_PORT, 1);
    fadt.bytes(&[RESET_VALUE, 0, 0, 0]);
    fadt.zeros(16);
    let registers = [
        (event, 4),
        (0, 0),
        (control, 2),
        (0, 0),
        (0, 0),
        (timer, 4),
        (GPE0, GPE0_BYTES),
        (0, 0),
    ];
    for (port, bytes) in registers {
        fadt.port(port, bytes);
    }
    fadt
}

/// The Firmware ACPI Control Structure (ACPI 5.2.10), which has no header.
pub(super) fn facs() -> [u8; 64] {
    let mut facs = [0; 64];
    facs[..8].copy_from_slice(b"FACS\x40\0\0\0");
    facs
}

/// The HPET Description Table (HPET specification 1.0a, 3.2.4).
pub(super) fn hpet() -> TableBuilder {
    let mut hpet = TableBuilder::new(*b"HPET", 1);
    hpet.u32(HPET_ID);
    // In system memory.
    hpet.zeros(4);
    hpet.u64(HPET_ADDRESS.into());
    // The first one; periods of any length; nothing about the page around it.
    hpet.zeros(4);
    hpet
}

/// What fw_cfg says of the HPETs: there is one of the 8 that there could be, its id, where it is, nothing about its
/// period and the page around it.
pub(in super::super) fn hpet_item() -> Vec<u8> {
    const ENTRY_BYTES: usize = 15;
    let mut item = vec![1];
    item.extend(HPET_ID.to_le_bytes());
    item.extend(u64::from(HPET_ADDRESS).to_le_bytes());
    item.resize(1 + 8 * ENTRY_BYTES, 0);
    item
}

/// The Windows ACPI Emulated Devices Table (Microsoft): one read of the PM timer is enough.
pub(super) fn waet() -> TableBuilder {
    let mut waet = TableBuilder::new(*b"WAET", 1);
    waet.u32(1 << 1);
    waet
}
