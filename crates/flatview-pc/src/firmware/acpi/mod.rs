//! The ACPI tables of the machine: what hardware there is that cannot be found by asking it.
//!
//! - The RSDP is what an operating system looks for; it leads to the RSDT, and that to all others.
//! - The FADT ([`fixed`]) says where power management and reset are, and where the DSDT is.
//! - The DSDT ([`dsdt`]) is a program, in AML: the devices, how interrupts are routed ([`links`]), what is behind the
//!   ISA bridge ([`isa`]), slots for memory ([`hotplug`]).
//! - The MADT ([`madt`]) has the CPUs and the interrupt controllers, SRAT and SLIT ([`numa`]) the NUMA nodes.
//!
//! The tables are those of QEMU 10.0's `pc`, and say the same of the hardware, with one deviation: QEMU's FADT has
//! revision 1, for Windows 2000, and so no reset register. What is not there are slots for CPUs and for PCI devices
//! plugged while the guest runs.
//!
//! "ACPI" with a number is a section of the specification, version 6.4.

mod aml;
mod dsdt;
mod fixed;
mod hotplug;
mod isa;
mod links;
mod madt;
mod numa;
mod table;

use super::FirmwareConfig;
use super::loader::{Place, TableLoader, Zone};
use table::{CHECKSUM, TableBuilder, offset_u32};

pub(super) use fixed::hpet_item;
pub use fixed::{ACPI_DISABLE, ACPI_ENABLE};

/// The names of the files, which are QEMU's.
const TABLES: &str = "etc/acpi/tables";
/// The size of that file is a multiple of this, in bytes.
const TABLES_SIZE: usize = 0x2_0000;
const RSDP: &str = "etc/acpi/rsdp";

/// The tables, as files of fw_cfg.
#[derive(Clone, Debug)]
pub(super) struct AcpiFiles {
    /// `etc/acpi/tables`.
    pub(super) tables: Vec<u8>,
    /// `etc/acpi/rsdp`.
    pub(super) rsdp: Vec<u8>,
    /// `etc/table-loader`.
    pub(super) loader: Vec<u8>,
}

impl AcpiFiles {
    pub(super) const NAMES: [&str; 3] = [TABLES, RSDP, "etc/table-loader"];

    pub(super) fn new(config: &FirmwareConfig) -> AcpiFiles {
        let mut files = Files::new();
        let facs = files.add_unsigned(&fixed::facs());
        let dsdt = files.add(dsdt::dsdt(config));
        let fadt = files.add(fixed::fadt());
        for (field, size, table) in [(36, 4, facs), (40, 4, dsdt), (132, 8, facs), (140, 8, dsdt)] {
            files.point(fadt + field, size, table);
        }
        let mut listed = vec![fadt, files.add(madt::madt(config))];
        if config.hpet {
            listed.push(files.add(fixed::hpet()));
        }
        if !config.numa.is_empty() {
            listed.push(files.add(numa::srat(config)));
        }
        if config.has_distances() {
            listed.push(files.add(numa::slit(config)));
        }
        listed.push(files.add(fixed::waet()));

        let mut rsdt = TableBuilder::new(*b"RSDT", 1);
        for _ in &listed {
            rsdt.u32(0);
        }
        let rsdt = files.add(rsdt);
        for (field, table) in (rsdt + table::HEADER_BYTES..).step_by(4).zip(listed) {
            files.point(field, 4, table);
        }
        files.finish(rsdt)
    }
}

/// The tables one after the other, and the commands for them.
struct Files {
    tables: Vec<u8>,
    loader: TableLoader,
    /// Where they go, and of what they are: the first byte and how many.
    checksums: Vec<(Place, u32, u32)>,
}

impl Files {
    fn new() -> Files {
        let mut loader = TableLoader::new();
        loader.allocate(RSDP, 16, Zone::FSeg);
        // As the FACS needs it, which is the first (ACPI 5.2.10).
        loader.allocate(TABLES, 64, Zone::High);
        Files {
            tables: Vec::new(),
            loader,
            checksums: Vec::new(),
        }
    }

    /// Adds a table without a checksum, and says where it is.
    fn add_unsigned(&mut self, table: &[u8]) -> u32 {
        let start = offset_u32(self.tables.len());
        self.tables.extend(table);
        start
    }

    /// Adds a table, and says where it is.
    fn add(&mut self, table: TableBuilder) -> u32 {
        let table = table.finish();
        let start = self.add_unsigned(&table);
        let checksum = Place {
            file: TABLES,
            offset: start + CHECKSUM,
        };
        // The file has offsets where there will be addresses: the firmware adds up the checksum when all are there.
        self.checksums.push((checksum, start, offset_u32(table.len())));
        start
    }

    /// Has the number of `size` bytes at `field` be the address of what is at `target`.
    fn point(&mut self, field: u32, size: u8, target: u32) {
        let begin = field as usize;
        self.tables[begin..][..4].copy_from_slice(&target.to_le_bytes());
        let at = Place {
            file: TABLES,
            offset: field,
        };
        self.loader.add_pointer(at, size, TABLES);
    }

    fn finish(mut self, rsdt: u32) -> AcpiFiles {
        for (place, start, length) in self.checksums {
            self.loader.add_checksum(place, start, length);
        }
        // ACPI 5.2.5.3: the 20 bytes of revision 0.
        let rsdp = [b"RSD PTR \0", &table::OEM_ID[..], &[0], &rsdt.to_le_bytes()].concat();
        let at = |offset| Place { file: RSDP, offset };
        self.loader.add_pointer(at(16), 4, TABLES);
        self.loader.add_checksum(at(8), 0, offset_u32(rsdp.len()));
        // The firmware takes the top of RAM for them. With QEMU's granularity the guest finds as much RAM as there.
        self.tables
            .resize(self.tables.len().next_multiple_of(TABLES_SIZE), 0);
        AcpiFiles {
            tables: self.tables,
            rsdp,
            loader: self.loader.into_bytes(),
        }
    }
}

#[cfg(test)]
mod acpi_test;
