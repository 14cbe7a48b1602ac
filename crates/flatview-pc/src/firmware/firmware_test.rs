#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use flatview::{AddressRange, Memory, Size};
use flatview_testkit::Qtest;
use proptest::prelude::*;

use super::*;

const GIB: u64 = 1 << 30;

fn fw_cfg() -> Arc<FwCfg> {
    let machine = Memory::new();
    let system = machine.region("system").container(Size::MAX);
    FwCfg::new(machine.create_address_space("memory", &system).unwrap())
}

#[test]
fn the_files_are_those_of_qemu() {
    let fw_cfg = fw_cfg();
    let mut config = FirmwareConfig::new(3 * GIB, GIB, 2);
    config.reserved = vec![AddressRange::from_bounds(0xfd_0000_0000, 0xff_ffff_ffff).unwrap()];
    config.boot_order = vec!["/rom@first".to_owned(), "/pci@i0cf8/*@3".to_owned()];
    config.splash_time = Some(0x1234);
    config.reboot_timeout = Some(5000);
    config.memory_hotplug = Some(MemoryHotplug {
        port: 0xa00,
        slots: 4,
        memory: AddressRange::from_bounds(5 * GIB, 9 * GIB - 1).unwrap(),
    });
    config.pci_hole64 = FirmwareConfig::pci_hole64_from(9 * GIB);
    install(&fw_cfg, &config).unwrap();
    let file = |name| fw_cfg.file(name).unwrap();
    assert_eq!(file("bootorder"), b"/rom@first\n/pci@i0cf8/*@3\0");
    assert_eq!(file("etc/boot-fail-wait"), 5000_u32.to_le_bytes());
    assert_eq!(file("etc/boot-menu-wait"), [0x34, 0x12]);
    assert_eq!(file("etc/system-states"), [0x80, 0, 0, 1, 2, 0x80]);
    assert_eq!(file("etc/reserved-memory-end"), (9 * GIB).to_le_bytes());
    let range = |start: u64, size: u64, kind: u32| {
        [&start.to_le_bytes()[..], &size.to_le_bytes(), &kind.to_le_bytes()].concat()
    };
    let map = [
        range(0xfd_0000_0000, 3 << 32, 2),
        range(0, 3 * GIB, 1),
        range(4 * GIB, GIB, 1),
    ];
    assert_eq!(file("etc/e820"), map.concat());
    assert!(matches!(
        install(&fw_cfg, &config),
        Err(FirmwareError::FwCfg(FwCfgError::NameTaken { .. }))
    ));
}

#[test]
fn machines_that_cannot_be_described_are_refused() {
    let refused = |change: fn(&mut FirmwareConfig)| {
        let mut config = FirmwareConfig::new(GIB, 0, 2);
        config.numa = vec![NumaNode {
            ram: GIB,
            distances: vec![10],
        }];
        config.check().unwrap();
        change(&mut config);
        install(&fw_cfg(), &config).unwrap_err().to_string()
    };
    let node = |ram, distances: &[u8]| NumaNode {
        ram,
        distances: distances.to_vec(),
    };
    assert_eq!(
        refused(|config| config.below_4g = 0xff00_0000),
        "RAM of 0xff000000 bytes below 4 GiB and 0x0 above: it is 0x100000 to 0xfec00000 below",
    );
    assert!(refused(|config| config.above_4g = u64::MAX).starts_with("RAM of"));
    assert!(refused(|config| config.pci_hole = Some(AddressRange::ALL)).starts_with("the PCI holes"));
    assert!(refused(|config| config.pci_hole64 = Some(AddressRange::ALL)).starts_with("the PCI holes"));
    assert_eq!(
        refused(|config| config.cpus.clear()),
        "0 CPUs: there are 1 to 255"
    );
    assert_eq!(
        refused(|config| config.cpus = vec![Cpu::default(); 256]),
        "256 CPUs: there are 1 to 255"
    );
    assert_eq!(
        refused(|config| config.serial_ports = 5),
        "5 serial ports: 4 are the most"
    );
    let hotplug = |first, last| {
        Some(MemoryHotplug {
            port: 0xa00,
            slots: 1,
            memory: AddressRange::from_bounds(first, last - 1).unwrap(),
        })
    };
    let mut config = FirmwareConfig::new(GIB, GIB, 1);
    config.memory_hotplug = hotplug(4 * GIB, 5 * GIB);
    let error = config.check().unwrap_err().to_string();
    assert_eq!(
        error,
        "memory devices at 0x100000000-0x13fffffff: RAM ends at 0x140000000, and they are behind it"
    );
    config.memory_hotplug = hotplug(5 * GIB, 6 * GIB);
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "the PCI holes are behind memory: below 4 GiB from 0x40000000 to 0xffffffff, and from 0x180000000 on",
    );
    let slots = |config: &mut FirmwareConfig| {
        config.pci_hole64 = None;
        config.memory_hotplug = Some(MemoryHotplug {
            port: 0xa00,
            slots: 257,
            memory: AddressRange::from_bounds(1 << 40, 1 << 41).unwrap(),
        });
    };
    assert!(refused(slots).starts_with("257 slots for memory"));
    assert_eq!(
        refused(|config| config.cpus[1] = Cpu { apic_id: 7, node: 1 }),
        "the CPU with APIC id 0x7 is in NUMA node 1, and there are 1",
    );
    assert_eq!(
        refused(|config| config.numa[0].ram = 5),
        "the NUMA nodes have 0x5 bytes of RAM together, and the machine has 0x40000000",
    );
    assert!(
        refused(|config| config.numa[0].distances = vec![11]).starts_with("the distances of NUMA node 0")
    );
    assert!(refused(|config| config.numa[0].distances.push(20)).starts_with("the distances of NUMA node 0"));
    let mut config = FirmwareConfig::new(GIB, 0, 1);
    config.numa = vec![node(GIB, &[10, 20]), node(0, &[])];
    assert_eq!(config.check(), Err(FirmwareError::Distances { node: 1 }));
    config.numa = vec![node(0, &[]); 129];
    assert_eq!(config.check(), Err(FirmwareError::Nodes { nodes: 129 }));
}

proptest! {
    #[test]
    fn any_machine_is_described_or_refused(
        (below, above) in (any::<u32>(), prop_oneof![Just(0), 0..4 * GIB, any::<u64>()]),
        cpus in prop::collection::hash_map(0..0x1_0010_u32, 0..2_u32, 0..260),
        nodes in prop::collection::vec((any::<u64>(), prop_oneof![Just(vec![]), prop::collection::vec(10_u8..12, 2)]), 0..3),
        hotplug in any::<Option<(u8, u16, u64, u32)>>(),
        (serial_ports, hpet) in (0..6_u8, any::<bool>()),
    ) {
        let mut config = FirmwareConfig::new(below.into(), above, 0);
        config.cpus = cpus.into_iter().map(|(apic_id, node)| Cpu { apic_id, node }).collect();
        let mut left = config.ram();
        for (ram, distances) in nodes {
            let ram = ram.min(left);
            left -= ram;
            config.numa.push(NumaNode { ram, distances });
        }
        if let Some(node) = config.numa.last_mut() {
            node.ram += left;
        }
        if let Some((slots, port, size, gap)) = hotplug {
            let start = 4 * GIB + above.min(GIB << 30) + u64::from(gap);
            config.memory_hotplug = AddressRange::new(start, size).map(|memory| MemoryHotplug {
                port,
                slots: slots.into(),
                memory,
            });
            config.pci_hole64 = FirmwareConfig::pci_hole64_from(start.saturating_add(size));
        }
        (config.serial_ports, config.hpet) = (serial_ports, hpet);
        if install(&fw_cfg(), &config).is_ok() {
            prop_assert_eq!(config.check(), Ok(()));
        }
    }
}

/// The fw_cfg of a real QEMU, by its qtest socket.
struct QemuFwCfg(Qtest);

impl QemuFwCfg {
    fn item(&mut self, key: u16, len: usize) -> Vec<u8> {
        self.0.command(&format!("outw 0x510 {key:#x}"));
        self.read(len)
    }

    fn read(&mut self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| u8::try_from(self.0.number("inb 0x511")).unwrap())
            .collect()
    }

    /// At most `most` bytes of a file.
    fn file(&mut self, name: &str, most: usize) -> Vec<u8> {
        let count = u32::from_be_bytes(self.item(0x19, 4).try_into().unwrap());
        let entries: Vec<_> = (0..count).map(|_| self.read(64)).collect();
        let name = name.as_bytes();
        let entry = entries
            .iter()
            .find(|entry| entry[8..].starts_with(name) && entry[8 + name.len()] == 0);
        let entry = entry.unwrap();
        let size = u32::from_be_bytes(entry[..4].try_into().unwrap()) as usize;
        self.item(u16::from_be_bytes([entry[4], entry[5]]), size.min(most))
    }
}

/// Tables by signature, without their headers.
fn bodies(mut tables: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    while tables.first().is_some_and(|&byte| byte != 0) {
        let length = u32::from_le_bytes(tables[4..8].try_into().unwrap()) as usize;
        found.push((
            String::from_utf8(tables[..4].to_vec()).unwrap(),
            tables[36..length].to_vec(),
        ));
        tables = &tables[length..];
    }
    found
}

/// SMBIOS structures without their strings.
fn structures(mut tables: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while !tables.is_empty() {
        let length = usize::from(tables[1]);
        found.push(tables[..length].to_vec());
        let strings = tables[length..]
            .windows(2)
            .position(|zeros| zeros == [0, 0])
            .unwrap();
        tables = &tables[length + strings + 2..];
    }
    found
}

/// Starts a QEMU and sees whether it says the same of its hardware.
fn compare(arguments: &[&str], config: &FirmwareConfig) {
    // AMD's processors have a range that the machine must leave free.
    let vendor = ["-nodefaults", "-cpu", "qemu64,vendor=GenuineIntel"];
    let Some(mut qemu) = Qtest::start(&[&vendor, arguments].concat()).map(QemuFwCfg) else {
        return;
    };
    let mut config = config.clone();
    (config.suspend_to_ram, config.suspend_to_disk) = (true, true);
    let theirs = qemu.file("etc/smbios/smbios-tables", 4096);
    let processor = structures(&theirs)
        .into_iter()
        .find(|structure| structure[0] == 4)
        .unwrap();
    config.processor_id = u64::from_le_bytes(processor[8..16].try_into().unwrap());
    let fw_cfg = fw_cfg();
    install(&fw_cfg, &config).unwrap();

    for key in [
        FwCfgKey::SIGNATURE,
        FwCfgKey::ID,
        FwCfgKey::UUID,
        FwCfgKey::RAM_SIZE,
        FwCfgKey::NB_CPUS,
        FwCfgKey::NUMA,
        FwCfgKey::BOOT_MENU,
        FwCfgKey::MAX_CPUS,
        FwCfgKey::IRQ0_OVERRIDE,
    ] {
        let ours = fw_cfg.item(key).unwrap();
        assert_eq!(qemu.item(key.0, ours.len()), ours, "{key:x?}");
    }
    for name in ["etc/e820", "etc/system-states", "etc/boot-fail-wait", "bootorder"] {
        assert_eq!(qemu.file(name, 4096), fw_cfg.file(name).unwrap(), "{name}");
    }
    let ours = fw_cfg.file("etc/smbios/smbios-tables").unwrap();
    assert_eq!(structures(&ours), structures(&theirs));

    let theirs = bodies(&qemu.file("etc/acpi/tables", 0x4000));
    let ours = bodies(&fw_cfg.file("etc/acpi/tables").unwrap());
    let names =
        |tables: &[(String, Vec<u8>)]| tables.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs));
    for (ours, theirs) in ours.iter().zip(&theirs) {
        // These have addresses, other devices, a newer revision.
        if !["DSDT", "FACP", "RSDT"].contains(&ours.0.as_str()) {
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn a_small_machine_is_described_as_by_qemu() {
    let mut config = FirmwareConfig::new(128 << 20, 0, 1);
    config.uuid = *b"\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff\0";
    config.boot_menu = true;
    let arguments = ["-m", "128", "-M", "pc-i440fx-7.2,hpet=off", "-boot", "menu=on"];
    compare(
        &[&arguments[..], &["-uuid", "11223344-5566-7788-99aa-bbccddeeff00"]].concat(),
        &config,
    );
}

#[test]
fn numa_nodes_are_described_as_by_qemu() {
    let node = |ram, distances: [u8; 2]| NumaNode {
        ram,
        distances: distances.to_vec(),
    };
    let mut config = FirmwareConfig::new(3 * GIB, 2 * GIB, 3);
    config.hpet = true;
    config.cpus[2].node = 1;
    config.numa = vec![node(2 * GIB, [10, 25]), node(3 * GIB, [25, 10])];
    let arguments = "-M pc-i440fx-7.2 -m 5G -smp 3 -object memory-backend-ram,id=a,size=2G \
        -object memory-backend-ram,id=b,size=3G -numa node,memdev=a,cpus=0-1 -numa node,memdev=b,cpus=2 \
        -numa dist,src=0,dst=1,val=25";
    compare(&arguments.split_whitespace().collect::<Vec<_>>(), &config);
}
