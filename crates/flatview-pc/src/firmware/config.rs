//! What the firmware is told of a machine.

use std::collections::HashSet;

use flatview::AddressRange;
use thiserror::Error;

use super::fw_cfg::FwCfgError;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const FOUR_GIB: u64 = 4 * GIB;
/// The first byte of the IOAPIC, which ends the PCI hole.
pub(super) const IOAPIC: u32 = 0xfec0_0000;
/// The 64-bit PCI hole of QEMU's pc: this large, and from a multiple of 1 GiB on.
const HOLE64_SIZE: u64 = 2 * GIB;
/// An 8-bit APIC id of 255 means all of them.
const MOST_CPUS: usize = 255;
/// QEMU's `MAX_NODES`.
const MOST_NODES: usize = 128;
/// What the firmware is told of the ids has 16 bits.
const MOST_APIC_ID: u32 = 0xfffe;
const MOST_SERIAL_PORTS: u8 = 4;
/// QEMU's `ACPI_MAX_RAM_SLOTS`.
const MOST_SLOTS: u16 = 256;
/// The distance of a node to itself (ACPI 6.4, 5.2.17).
const NEAREST: u8 = 10;

/// A CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The id of its local APIC.
    pub apic_id: u32,
    /// Its NUMA node, from 0; meaningless in a machine without any.
    pub node: u32,
}

/// A NUMA node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNode {
    /// The RAM of it, in bytes. The first node has the lowest addresses.
    pub ram: u64,
    /// How far each node is from this one: 10 is here, 20 twice as far, 255 out of reach. Empty, for all nodes, if
    /// nothing is known.
    pub distances: Vec<u8>,
}

/// Slots into which memory devices are plugged while the guest runs: QEMU's ACPI memory hotplug interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryHotplug {
    /// The first of its 24 ports.
    pub port: u16,
    /// How many slots there are: 256 at most.
    pub slots: u16,
    /// Where the memory devices can be.
    pub memory: AddressRange,
}

/// What the firmware is told of a machine, and the guest by the firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirmwareConfig {
    /// The RAM from address 0 on, in bytes.
    pub below_4g: u64,
    /// The RAM from 4 GiB on, in bytes.
    pub above_4g: u64,
    /// What else is not for anybody, such as AMD's HyperTransport range.
    pub reserved: Vec<AddressRange>,
    /// Where PCI devices are below 4 GiB.
    pub pci_hole: Option<AddressRange>,
    /// Where PCI devices are above 4 GiB.
    pub pci_hole64: Option<AddressRange>,
    /// The CPUs.
    pub cpus: Vec<Cpu>,
    /// What CPUID leaf 1 says in EAX (low) and EDX (high).
    pub processor_id: u64,
    /// The NUMA nodes; empty if the machine has none.
    pub numa: Vec<NumaNode>,
    /// Slots for memory, if there are any. The machine should then have NUMA nodes: guests want to know to which one
    /// the memory may belong.
    pub memory_hotplug: Option<MemoryHotplug>,
    /// Whether there is an HPET.
    pub hpet: bool,
    /// How many serial ports there are: up to 4, at the usual ports.
    pub serial_ports: u8,
    /// Whether the guest may suspend to RAM (S3).
    pub suspend_to_ram: bool,
    /// Whether the guest may suspend to disk (S4).
    pub suspend_to_disk: bool,
    /// The machine's UUID, in the order in which it is written.
    pub uuid: [u8; 16],
    /// Whether there is a screen.
    pub graphic: bool,
    /// What to boot from, best first: paths in the way of Open Firmware, such as `/pci@i0cf8/ide@1,1/drive@0/disk@0`.
    pub boot_order: Vec<String>,
    /// Whether the firmware offers a menu.
    pub boot_menu: bool,
    /// For how many milliseconds it offers the menu; `None`: as long as it likes.
    pub splash_time: Option<u16>,
    /// After how many milliseconds the firmware tries again if nothing can be booted; `None`: never.
    pub reboot_timeout: Option<u16>,
}

impl FirmwareConfig {
    /// A machine with so much RAM below and above 4 GiB and so many CPUs, and as little else as possible.
    ///
    /// PCI devices are between the RAM and the IOAPIC, and in 2 GiB above the rest, as in QEMU's pc.
    pub fn new(below_4g: u64, above_4g: u64, cpus: u32) -> FirmwareConfig {
        FirmwareConfig {
            below_4g,
            above_4g,
            reserved: Vec::new(),
            pci_hole: AddressRange::from_bounds(below_4g, u64::from(IOAPIC) - 1),
            pci_hole64: Self::pci_hole64_from(FOUR_GIB.saturating_add(above_4g)),
            cpus: (0..cpus).map(|apic_id| Cpu { apic_id, node: 0 }).collect(),
            processor_id: 0,
            numa: Vec::new(),
            memory_hotplug: None,
            hpet: false,
            serial_ports: 1,
            suspend_to_ram: false,
            suspend_to_disk: false,
            uuid: [0; 16],
            graphic: true,
            boot_order: Vec::new(),
            boot_menu: false,
            splash_time: None,
            reboot_timeout: None,
        }
    }

    /// Where PCI devices are above 4 GiB if memory, that of devices too, ends before `end`; `None` if that is too high.
    pub fn pci_hole64_from(end: u64) -> Option<AddressRange> {
        AddressRange::new(end.checked_next_multiple_of(GIB)?, HOLE64_SIZE)
    }

    /// Whether the tables can say all this.
    pub(super) fn check(&self) -> Result<(), FirmwareError> {
        if self.below_4g < MIB || self.below_4g > IOAPIC.into() || self.above_4g >= u64::MAX - FOUR_GIB {
            return Err(FirmwareError::Ram {
                below_4g: self.below_4g,
                above_4g: self.above_4g,
            });
        }
        let is_pci = |(hole, first, last): (Option<AddressRange>, u64, u64)| {
            hole.is_none_or(|hole| hole.start() >= first && hole.last() <= last)
        };
        let holes = [
            (self.pci_hole, self.below_4g, FOUR_GIB - 1),
            (self.pci_hole64, FOUR_GIB + self.above_4g, u64::MAX),
        ];
        if !holes.into_iter().all(is_pci) {
            return Err(FirmwareError::PciHole {
                below: self.below_4g,
                above: FOUR_GIB + self.above_4g,
            });
        }
        if self.cpus.is_empty() || self.cpus.len() > MOST_CPUS {
            return Err(FirmwareError::Cpus {
                cpus: self.cpus.len(),
            });
        }
        let mut ids = HashSet::new();
        if let Some(cpu) = self
            .cpus
            .iter()
            .find(|cpu| cpu.apic_id > MOST_APIC_ID || !ids.insert(cpu.apic_id))
        {
            return Err(FirmwareError::ApicId { apic_id: cpu.apic_id });
        }
        if self.serial_ports > MOST_SERIAL_PORTS {
            return Err(FirmwareError::SerialPorts {
                ports: self.serial_ports,
            });
        }
        if let Some(hotplug) = self.memory_hotplug
            && (hotplug.slots > MOST_SLOTS || hotplug.port > u16::MAX - 24)
        {
            return Err(FirmwareError::MemoryHotplug {
                port: hotplug.port,
                slots: hotplug.slots,
            });
        }
        self.check_numa()
    }

    fn check_numa(&self) -> Result<(), FirmwareError> {
        let nodes = self.numa.len();
        if nodes == 0 {
            return Ok(());
        }
        if nodes > MOST_NODES {
            return Err(FirmwareError::Nodes { nodes });
        }
        let is_there = |node: u32| usize::try_from(node).is_ok_and(|node| node < nodes);
        if let Some(cpu) = self.cpus.iter().find(|cpu| !is_there(cpu.node)) {
            return Err(FirmwareError::NoSuchNode {
                apic_id: cpu.apic_id,
                node: cpu.node,
                nodes,
            });
        }
        let sum = self
            .numa
            .iter()
            .try_fold(0_u64, |sum, node| sum.checked_add(node.ram));
        if sum != Some(self.ram()) {
            return Err(FirmwareError::NumaRam {
                sum: sum.unwrap_or(u64::MAX),
                ram: self.ram(),
            });
        }
        let expected = if self.has_distances() { nodes } else { 0 };
        for (number, node) in self.numa.iter().enumerate() {
            let others = node.distances.iter().enumerate();
            let is_good = |(other, &distance): (usize, &u8)| {
                (distance == NEAREST) == (other == number) && distance >= NEAREST
            };
            if node.distances.len() != expected || !others.into_iter().all(is_good) {
                return Err(FirmwareError::Distances { node: number });
            }
        }
        Ok(())
    }

    /// Whether it is known how far nodes are from each other.
    pub(super) fn has_distances(&self) -> bool {
        self.numa.iter().any(|node| !node.distances.is_empty())
    }

    /// All RAM, in bytes.
    pub(super) fn ram(&self) -> u64 {
        self.below_4g.saturating_add(self.above_4g)
    }

    /// Where RAM is: address and size.
    pub(super) fn ram_ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        [(0, self.below_4g), (FOUR_GIB, self.above_4g)]
            .into_iter()
            .filter(|&(_, size)| size > 0)
    }

    /// One more than the greatest APIC id.
    pub(super) fn apic_id_limit(&self) -> u32 {
        let greatest = self.cpus.iter().map(|cpu| cpu.apic_id).max();
        greatest.map_or(0, |id| id + 1)
    }
}

/// Why the firmware cannot be told of a machine.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirmwareError {
    /// RAM is at least 1 MiB, and ends before the IOAPIC or goes on at 4 GiB.
    #[error(
        "RAM of {below_4g:#x} bytes below 4 GiB and {above_4g:#x} above: it is 0x100000 to 0xfec00000 below"
    )]
    Ram {
        /// How much is below.
        below_4g: u64,
        /// How much is above.
        above_4g: u64,
    },
    /// PCI devices are behind RAM, below 4 GiB and above.
    #[error(
        "the PCI holes are behind RAM: below 4 GiB from {below:#x} to 0xffffffff, and from {above:#x} on"
    )]
    PciHole {
        /// Where the lower one can begin.
        below: u64,
        /// Where the upper one can begin.
        above: u64,
    },
    /// There are 1 to 255 CPUs.
    #[error("{cpus} CPUs: there are 1 to 255")]
    Cpus {
        /// How many there should be.
        cpus: usize,
    },
    /// APIC ids are different, and one more than the greatest has 16 bits.
    #[error("a CPU with APIC id {apic_id:#x}: there is one already, or it is above 0xfffe")]
    ApicId {
        /// The id.
        apic_id: u32,
    },
    /// A PC has at most 4 serial ports.
    #[error("{ports} serial ports: 4 are the most")]
    SerialPorts {
        /// How many there should be.
        ports: u8,
    },
    /// There are at most 256 slots, and the ports have 24 bytes.
    #[error(
        "{slots} slots for memory with ports at {port:#x}: 256 slots are the most, and they need 24 ports"
    )]
    MemoryHotplug {
        /// The first port.
        port: u16,
        /// How many slots there should be.
        slots: u16,
    },
    /// There are at most 128 NUMA nodes.
    #[error("{nodes} NUMA nodes: 128 are the most")]
    Nodes {
        /// How many there should be.
        nodes: usize,
    },
    /// A CPU is in a NUMA node that is none.
    #[error("the CPU with APIC id {apic_id:#x} is in NUMA node {node}, and there are {nodes}")]
    NoSuchNode {
        /// The CPU.
        apic_id: u32,
        /// The node.
        node: u32,
        /// How many nodes there are.
        nodes: usize,
    },
    /// The NUMA nodes have all the RAM together.
    #[error("the NUMA nodes have {sum:#x} bytes of RAM together, and the machine has {ram:#x}")]
    NumaRam {
        /// What the nodes have.
        sum: u64,
        /// What the machine has.
        ram: u64,
    },
    /// Every node says how far each one is, or none does. It is 10 to itself and more to others.
    #[error("the distances of NUMA node {node}: one for each node, 10 to itself and 11 to 255 to the others")]
    Distances {
        /// The node.
        node: usize,
    },
    /// The file does not go into fw_cfg.
    #[error(transparent)]
    FwCfg(#[from] FwCfgError),
}
