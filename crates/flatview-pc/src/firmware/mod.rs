//! What a machine gives its firmware: where the memory is, which chips there are, what to boot.
//!
//! [`FwCfg`] is the device through which the firmware asks. [`FirmwareConfig`] says what the machine is like, and
//! [`install`] makes from it all that QEMU's `pc` gives SeaBIOS:
//!
//! - numbers: how much RAM, how many CPUs, the UUID ([`FwCfgKey`]);
//! - `etc/e820`, the memory map;
//! - the ACPI tables, with the script by which the firmware puts them into memory ([`loader`]);
//! - the SMBIOS tables;
//! - what to boot and how long to wait for it.
//!
//! [`images`] finds the firmware itself.

mod acpi;
mod config;
mod e820;
mod fw_cfg;
pub mod images;
pub mod loader;
mod smbios;

pub use acpi::{ACPI_DISABLE, ACPI_ENABLE};
pub use config::{Cpu, FirmwareConfig, FirmwareError, MemoryHotplug, NumaNode};
pub use fw_cfg::{FwCfg, FwCfgError, FwCfgKey, FwCfgRegions};

use acpi::AcpiFiles;
use smbios::SmbiosFiles;

/// Puts everything about a machine into its fw_cfg.
///
/// # Errors
///
/// [`FirmwareError`]: the description makes no sense, and nothing is added; or fw_cfg has files of these names, or no
/// room for them.
pub fn install(fw_cfg: &FwCfg, config: &FirmwareConfig) -> Result<(), FirmwareError> {
    config.check()?;
    add_numbers(fw_cfg, config);
    fw_cfg.add_file("etc/e820", e820::e820(config))?;
    let acpi = AcpiFiles::new(config);
    for (name, bytes) in AcpiFiles::NAMES
        .into_iter()
        .zip([acpi.tables, acpi.rsdp, acpi.loader])
    {
        fw_cfg.add_file(name, bytes)?;
    }
    let smbios = SmbiosFiles::new(config);
    for (name, bytes) in SmbiosFiles::NAMES.into_iter().zip([smbios.tables, smbios.anchor]) {
        fw_cfg.add_file(name, bytes)?;
    }
    add_boot(fw_cfg, config)
}

fn add_numbers(fw_cfg: &FwCfg, config: &FirmwareConfig) {
    // Both are checked to be small.
    let u16_of = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    fw_cfg.add_bytes(FwCfgKey::UUID, config.uuid.to_vec());
    fw_cfg.add_u64(FwCfgKey::RAM_SIZE, config.ram());
    fw_cfg.add_u16(FwCfgKey::NOGRAPHIC, (!config.graphic).into());
    fw_cfg.add_u16(FwCfgKey::NB_CPUS, u16_of(config.cpus.len()));
    fw_cfg.add_u16(
        FwCfgKey::MAX_CPUS,
        u16::try_from(config.apic_id_limit()).unwrap_or(u16::MAX),
    );
    fw_cfg.add_u16(FwCfgKey::BOOT_MENU, config.boot_menu.into());
    fw_cfg.add_u32(FwCfgKey::IRQ0_OVERRIDE, 1);
    fw_cfg.add_bytes(FwCfgKey::NUMA, numa(config));
    if config.hpet {
        fw_cfg.add_bytes(FwCfgKey::HPET, acpi::hpet_item());
    }
}

/// [`FwCfgKey::NUMA`].
fn numa(config: &FirmwareConfig) -> Vec<u8> {
    let mut numbers = vec![config.numa.len() as u64];
    if !config.numa.is_empty() {
        // Of ids that no CPU has, nobody will ask.
        let mut nodes = vec![0; config.apic_id_limit() as usize];
        for cpu in &config.cpus {
            nodes[cpu.apic_id as usize] = u64::from(cpu.node);
        }
        numbers.extend(nodes);
        numbers.extend(config.numa.iter().map(|node| node.ram));
    }
    numbers.into_iter().flat_map(u64::to_le_bytes).collect()
}

/// What to boot, and when to wait or sleep.
fn add_boot(fw_cfg: &FwCfg, config: &FirmwareConfig) -> Result<(), FirmwareError> {
    let mut order = config.boot_order.join("\n").into_bytes();
    if !order.is_empty() {
        order.push(0);
    }
    fw_cfg.add_file("bootorder", order)?;
    let timeout = config.reboot_timeout.map_or(u32::MAX, u32::from);
    fw_cfg.add_file("etc/boot-fail-wait", timeout.to_le_bytes().to_vec())?;
    if let Some(time) = config.splash_time {
        fw_cfg.add_file("etc/boot-menu-wait", time.to_le_bytes().to_vec())?;
    }
    if let Some(hotplug) = config.memory_hotplug {
        // The firmware puts PCI devices behind this.
        let end = hotplug.memory.last().saturating_add(1);
        fw_cfg.add_file("etc/reserved-memory-end", end.to_le_bytes().to_vec())?;
    }
    // For S0 to S5: bit 7 if there is such a state, and what is written to sleep so.
    let state = |number: u8, is_there: bool| number | (u8::from(is_there) << 7);
    let (ram, disk) = (state(1, config.suspend_to_ram), state(2, config.suspend_to_disk));
    fw_cfg.add_file("etc/system-states", vec![0x80, 0, 0, ram, disk, 0x80])?;
    Ok(())
}

#[cfg(test)]
#[path = "firmware_test.rs"]
mod test;
