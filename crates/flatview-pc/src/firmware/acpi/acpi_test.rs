#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use flatview::AddressRange;

use super::super::{Cpu, MemoryHotplug, NumaNode};
use super::*;

const GIB: u64 = 1 << 30;
/// Where the firmware of these tests puts the files.
const TABLES_AT: u32 = 0x7ffe_0000;
const RSDP_AT: u32 = 0xf_5ac0;

/// A machine with everything.
fn large() -> FirmwareConfig {
    let node = |ram, distances: [u8; 2]| NumaNode {
        ram,
        distances: distances.to_vec(),
    };
    let mut config = FirmwareConfig::new(3 * GIB, 5 * GIB, 4);
    config.cpus[3] = Cpu {
        apic_id: 0x123,
        node: 1,
    };
    config.numa = vec![node(2 * GIB, [10, 25]), node(6 * GIB, [25, 10])];
    config.hpet = true;
    config.serial_ports = 4;
    config.suspend_to_ram = true;
    config.suspend_to_disk = true;
    config.memory_hotplug = Some(MemoryHotplug {
        port: 0xa00,
        slots: 256,
        memory: AddressRange::new(9 * GIB, 7 * GIB).unwrap(),
    });
    config.pci_hole64 = FirmwareConfig::pci_hole64_from(16 * GIB);
    config.check().unwrap();
    config
}

fn small() -> FirmwareConfig {
    let config = FirmwareConfig::new(0x800_0000, 0, 1);
    config.check().unwrap();
    config
}

/// Does what firmware does with the loader's commands, and returns the RSDP and the tables.
fn load(files: &AcpiFiles) -> (Vec<u8>, Vec<u8>) {
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap();
        String::from_utf8(bytes[..end].to_vec()).unwrap()
    };
    let contents = [(RSDP, RSDP_AT, &files.rsdp), (TABLES, TABLES_AT, &files.tables)];
    let mut memory: BTreeMap<String, (u32, Vec<u8>)> = BTreeMap::new();
    assert_eq!(files.loader.len() % 128, 0);
    for command in files.loader.chunks(128) {
        let file = name(&command[4..60]);
        match u32_at(command, 0) {
            1 => {
                let (_, at, bytes) = contents.into_iter().find(|&(name, ..)| name == file).unwrap();
                assert_eq!(at % u32_at(command, 60), 0, "aligned");
                assert_eq!(command[64], if file == RSDP { 2 } else { 1 });
                assert!(memory.insert(file, (at, bytes.clone())).is_none());
            }
            2 => {
                let target = memory[&name(&command[60..116])].0;
                let at = u32_at(command, 116) as usize;
                let field = &mut memory.get_mut(&file).unwrap().1[at..][..command[120].into()];
                let mut number = [0; 8];
                number[..field.len()].copy_from_slice(field);
                let number = u64::from_le_bytes(number) + u64::from(target);
                field.copy_from_slice(&number.to_le_bytes()[..field.len()]);
            }
            3 => {
                let bytes = &mut memory.get_mut(&file).unwrap().1;
                let [at, start, length] = [60, 64, 68].map(|field| u32_at(command, field) as usize);
                assert_eq!(bytes[at], 0, "added up once");
                let sum = bytes[start..start + length]
                    .iter()
                    .fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
                bytes[at] = sum.wrapping_neg();
            }
            other => panic!("command {other}"),
        }
    }
    (memory[RSDP].1.clone(), memory[TABLES].1.clone())
}

/// The tables as an operating system finds them, by signature. All checksums are right.
fn tables(config: &FirmwareConfig) -> BTreeMap<String, Vec<u8>> {
    let (rsdp, memory) = load(&AcpiFiles::new(config));
    let sum = |bytes: &[u8]| bytes.iter().fold(0_u8, |sum, &byte| sum.wrapping_add(byte));
    let at = |address: &[u8]| {
        let address = u32::from_le_bytes(address[..4].try_into().unwrap());
        let table = &memory[(address - TABLES_AT) as usize..];
        let length = u32::from_le_bytes(table[4..8].try_into().unwrap());
        let table = table[..length as usize].to_vec();
        (String::from_utf8(table[..4].to_vec()).unwrap(), table)
    };
    assert_eq!(sum(&rsdp), 0);
    assert_eq!((rsdp.len(), &rsdp[..8]), (20, b"RSD PTR ".as_slice()));
    let mut tables = BTreeMap::new();
    let (name, rsdt) = at(&rsdp[16..]);
    assert_eq!(name, "RSDT");
    for entry in rsdt[36..].chunks(4) {
        let (name, table) = at(entry);
        if name == "FACP" {
            for (field, wide) in [(36, 132), (40, 140)] {
                assert_eq!(table[field..field + 4], table[wide..wide + 4]);
                assert_eq!(table[wide + 4..wide + 8], [0; 4]);
                let (name, table) = at(&table[field..]);
                tables.insert(name, table);
            }
        }
        assert!(tables.insert(name, table).is_none());
    }
    tables.insert(name, rsdt);
    for (name, table) in tables.iter().filter(|(name, _)| *name != "FACS") {
        assert_eq!(sum(table), 0, "the checksum of {name}");
    }
    tables
}

#[test]
fn the_set_of_tables_is_that_of_qemu() {
    let names = |config: FirmwareConfig| tables(&config).into_keys().collect::<Vec<_>>().join(" ");
    assert_eq!(names(small()), "APIC DSDT FACP FACS RSDT WAET");
    assert_eq!(names(large()), "APIC DSDT FACP FACS HPET RSDT SLIT SRAT WAET");
}

/// What `iasl` says of the machine's tables, which it can take apart and put together again.
fn disassemble(config: &FirmwareConfig, folder: &Path) -> Option<BTreeMap<String, String>> {
    let iasl = flatview_testkit::program("iasl", "iasl")?;
    let run = |arguments: &[&str]| {
        let output = Command::new(&iasl)
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(output.status.success(), "iasl {arguments:?}:\n{text}");
        text
    };
    let mut sources = BTreeMap::new();
    for (name, table) in tables(config) {
        let file = |kind: &str| format!("{name}.{kind}");
        fs::write(folder.join(file("dat")), &table).unwrap();
        run(&["-d", &file("dat")]);
        let source = fs::read_to_string(folder.join(file("dsl"))).unwrap();
        assert!(!source.contains("Incorrect checksum"), "{source}");
        let text = run(&["-oa", "-p", "again", &file("dsl")]);
        assert!(
            text.contains("0 Errors, 0 Warnings") || !text.contains("Warnings"),
            "{text}\n{source}"
        );
        // The compiler puts its own name in the header, and knows not the address of the FACS.
        let again = fs::read(folder.join("again.aml")).unwrap();
        assert_eq!(again[36..], table[36..], "{name} {source}");
        sources.insert(name, source);
    }
    Some(sources)
}

#[test]
fn acpica_takes_the_tables_apart_and_puts_them_together_again() {
    for config in [small(), large()] {
        let folder = tempfile::tempdir().unwrap();
        let Some(sources) = disassemble(&config, folder.path()) else {
            return;
        };
        let dsdt = &sources["DSDT"];
        assert!(dsdt.contains("DefinitionBlock (\"\", \"DSDT\", 2, \"FLATVW\", \"FLATVWPC\", 0x00000001)"));
        assert_eq!(dsdt.contains("Device (HPET)"), config.hpet);
        assert_eq!(dsdt.contains("Method (_E03"), config.memory_hotplug.is_some());
        assert_eq!(dsdt.contains("_S3"), config.suspend_to_ram);
        assert_eq!(dsdt.matches("(_HID, \"ACPI0007\"").count(), config.cpus.len());
    }
}

#[test]
fn fields_of_the_fixed_table_are_where_acpica_looks() {
    let folder = tempfile::tempdir().unwrap();
    let Some(sources) = disassemble(&small(), folder.path()) else {
        return;
    };
    let fadt = &sources["FACP"];
    for line in [
        "SCI Interrupt : 0009",
        "SMI Command Port : 000000B2",
        "ACPI Enable Value : F1",
        "ACPI Disable Value : F0",
        "PM1A Event Block Address : 00000600",
        "PM1A Control Block Address : 00000604",
        "PM Timer Block Address : 00000608",
        "GPE0 Block Address : 0000AFE0",
        "GPE0 Block Length : 04",
        "RTC Century Index : 32",
        "8042 Present on ports 60/64 (V2) : 1",
        "Reset Register Supported (V2) : 1",
        "Value to cause reset : 0F",
        "Address : 0000000000000CF9",
    ] {
        assert!(fadt.contains(line), "{line}: {fadt}");
    }
}

#[test]
fn memory_of_nodes_leaves_the_holes_out() {
    // Flags, node, start, size of each memory entry.
    let memory = |config: &FirmwareConfig| {
        let srat = &tables(config)["SRAT"];
        let mut entries = &srat[48..];
        let mut found = Vec::new();
        while !entries.is_empty() {
            let (entry, rest) = entries.split_at(entries[1].into());
            if entry[0] == 1 {
                let number = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
                found.push((entry[28], entry[2], number(8), number(16)));
            }
            entries = rest;
        }
        found
    };
    let mut config = large();
    assert_eq!(
        memory(&config),
        [
            (1, 0, 0, 0xa_0000),
            (1, 0, 0x10_0000, 2 * GIB - 0x10_0000),
            (1, 1, 2 * GIB, GIB),
            (1, 1, 4 * GIB, 5 * GIB),
            (3, 1, 9 * GIB, 7 * GIB),
        ]
    );
    let node = |ram| NumaNode {
        ram,
        distances: vec![],
    };
    // One that ends in the hole of the display, one without RAM, and one across the hole of PCI.
    config.numa = vec![node(0xb_0000), node(0), node(8 * GIB - 0xb_0000)];
    config.memory_hotplug = None;
    config.check().unwrap();
    assert_eq!(
        memory(&config),
        [
            (1, 0, 0, 0xa_0000),
            (1, 2, 0x10_0000, 3 * GIB - 0x10_0000),
            (1, 2, 4 * GIB, 5 * GIB),
        ]
    );
}

#[test]
fn pins_are_wired_as_in_qemu() {
    let mut bytes = Vec::new();
    acpi_tables::Aml::to_aml_bytes(&links::routing(), &mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let letters: String = text
        .split("LNK")
        .skip(1)
        .filter_map(|link| link.chars().next())
        .collect();
    assert_eq!(letters.len(), 128);
    assert_eq!(letters[..16], *"DABCSBCDBCDACDAB", "devices 0 to 3");
    assert_eq!(letters[16..32], *"DABCABCDBCDACDAB", "devices 4 to 7");
}
