//! The DSDT (ACPI 5.2.11.1): the devices that are found in no other way, and the root of PCI.

use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, Memory32Fixed, Name, Package, Path,
    ResourceTemplate, Scope, ZERO,
};

use super::super::{FirmwareConfig, FwCfg};
use super::aml::{Encoded, eisa_device, ports, unique};
use super::fixed::{GPE0, GPE0_BYTES, HPET_ADDRESS};
use super::madt::processor_uid;
use super::table::TableBuilder;
use super::{hotplug, isa, links};

/// The registers of an HPET take 1 KiB (HPET specification 1.0a, 2.3.1).
const HPET_BYTES: u32 = 0x400;
/// All ports of fw_cfg: the selector, and the address for DMA.
const FW_CFG_PORTS: u8 = 12;
/// There, working, and not shown to the user (ACPI 6.3.7).
const HIDDEN: u8 = 0b1011;

/// Revision 2: integers have 64 bits.
pub(super) fn dsdt(config: &FirmwareConfig) -> TableBuilder {
    let mut system = Encoded::new(&[&links::links(), &pci_root(config)]);
    if config.hpet {
        let registers = Memory32Fixed::new(false, HPET_ADDRESS, HPET_BYTES);
        system.push(&eisa_device("HPET", "PNP0103", vec![&registers], &unique(&ZERO)));
    }
    for (number, cpu) in config.cpus.iter().enumerate() {
        system.push(&processor(
            processor_uid(number),
            (!config.numa.is_empty()).then_some(cpu.node),
        ));
    }
    let mut dsdt = TableBuilder::new(*b"DSDT", 2);
    let mut terms = Encoded::new(&[&Scope::new("\\_SB_".into(), vec![&system]), &sleep_states(config)]);
    if let Some(slots) = config.memory_hotplug {
        terms.push(&hotplug::slots(slots));
    }
    dsdt.bytes(&terms.0);
    dsdt
}

fn pci_root(config: &FirmwareConfig) -> Encoded {
    Encoded::new(&[&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A03")),
            &unique(&ZERO),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&windows(config)])),
            &Name::new("_PRT".into(), &links::routing()),
            &isa::bridge(config),
            &fw_cfg(),
            &event_registers(),
        ],
    )])
}

/// What PCI devices can be at: buses, ports, memory.
fn windows(config: &FirmwareConfig) -> Encoded {
    let mut windows = Encoded::new(&[
        &AddressSpace::new_bus_number(0_u16, 0xff),
        // Configuration space itself, and the ports around it.
        &ports(0xcf8, 8),
        &AddressSpace::new_io(0_u16, 0xcf7, None),
        &AddressSpace::new_io(0xd00_u16, 0xffff, None),
        &AddressSpace::new_memory(
            AddressSpaceCacheable::Cacheable,
            true,
            0xa_0000_u32,
            0xb_ffff,
            None,
        ),
    ]);
    if let Some(hole) = config.pci_hole
        && let (Ok(first), Ok(last)) = (u32::try_from(hole.start()), u32::try_from(hole.last()))
    {
        let uncached = AddressSpaceCacheable::NotCacheable;
        windows.push(&AddressSpace::new_memory(uncached, true, first, last, None));
    }
    if let Some(hole) = config.pci_hole64 {
        let cached = AddressSpaceCacheable::Cacheable;
        windows.push(&AddressSpace::new_memory(
            cached,
            true,
            hole.start(),
            hole.last(),
            None,
        ));
    }
    windows
}

/// The firmware configuration device, for the guest's driver.
fn fw_cfg() -> Encoded {
    hidden("FWCF", &"QEMU0002", &ZERO, FwCfg::CONTROL_PORT, FW_CFG_PORTS)
}

/// The ports of general purpose events, so that no device is put there.
fn event_registers() -> Encoded {
    hidden(
        "GPE0",
        &EISAName::new("PNP0A06"),
        &"GPE0 resources",
        GPE0,
        GPE0_BYTES,
    )
}

/// A device that is nothing but ports.
pub(super) fn hidden(name: &str, id: &dyn Aml, uid: &dyn Aml, first: u16, count: u8) -> Encoded {
    Encoded::new(&[&Device::new(
        name.into(),
        vec![
            &Name::new("_HID".into(), id),
            &unique(uid),
            &Name::new("_STA".into(), &HIDDEN),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports(first, count)])),
        ],
    )])
}

/// A CPU (ACPI 8.4); the MADT has the rest of it.
fn processor(uid: u8, node: Option<u32>) -> Encoded {
    let mut terms = Encoded::new(&[&Name::new("_HID".into(), &"ACPI0007"), &unique(&uid)]);
    if let Some(node) = node {
        terms.push(&Name::new("_PXM".into(), &node));
    }
    Encoded::new(&[&Device::new(Path::new(&format!("C{uid:03X}")), vec![&terms])])
}

/// What is written to sleep (ACPI 7.4.2): SLP_TYP of the PIIX4, which QEMU's has 0 for soft off, 1 for suspend to RAM
/// and 2 for suspend to disk.
fn sleep_states(config: &FirmwareConfig) -> Encoded {
    let mut states = Encoded::default();
    let states_there = [
        ("_S3_", 1_u8, config.suspend_to_ram),
        ("_S4_", 2, config.suspend_to_disk),
        ("_S5_", 0, true),
    ];
    for (name, value, _) in states_there.into_iter().filter(|&(_, _, is_there)| is_there) {
        let package = Package::new(vec![&value, &value, &ZERO, &ZERO]);
        states.push(&Name::new(name.into(), &package));
    }
    states
}
