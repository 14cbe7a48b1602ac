#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;

use flatview::{AddressSpace, Endianness, MemTxAttrs, Memory, Owner, RamBlock, Region, Size, UnassignedIo};

use super::*;
use crate::device::Reset;
use crate::trace::Causes;

struct Bus {
    host: Arc<PciHost>,
    spaces: PciSpaces,
    memory: AddressSpace,
    ports: AddressSpace,
}

fn bus() -> Bus {
    let machine = Memory::new();
    let system = machine.region("system").container(Size::MAX);
    let pci = machine.region("pci").container(Size::MAX);
    let io = machine.region("io").container(0x1_0000u64);
    let ram = machine.region("ram").ram(RamBlock::anonymous(0x10_0000).unwrap());
    let host = PciHost::new();
    let index = machine.region("pci-conf-idx").io(4, host.index_ops());
    let data = machine.region("pci-conf-data").io(4, host.data_ops());
    let update = |container: &Region, at, region: &Region, priority| {
        machine
            .update(|tx| tx.add_subregion_overlap(container, at, region, priority))
            .unwrap();
    };
    update(&system, 0, &ram, 0);
    update(&system, 0, &pci, -1);
    update(&io, 0xcf8, &index, 0);
    update(&io, 0xcfc, &data, 0);
    Bus {
        host,
        memory: machine.create_address_space("memory", &system).unwrap(),
        ports: machine.create_address_space("I/O", &io).unwrap(),
        spaces: PciSpaces {
            machine,
            memory: pci,
            io,
            system,
            causes: Arc::new(Causes::default()),
        },
    }
}

impl Bus {
    fn card(&self) -> Arc<PciFunction> {
        let region = |name, size| self.spaces.machine.region(name).io(size, Arc::new(UnassignedIo));
        let card = PciFunction::builder(&self.spaces, "card", &Owner::device("card"), 3, 1)
            .unwrap()
            .id(0x1234, 0x5678)
            .bar(0, BarKind::Io, 0x20, &region("ports", 0x20u64))
            .bar(
                1,
                BarKind::Memory { prefetchable: true },
                0x1000,
                &region("registers", 0x1000u64),
            )
            .bar(
                2,
                BarKind::Memory64 { prefetchable: false },
                1 << 33,
                &region("big", 1u64 << 33),
            )
            .bar(6, BarKind::Rom, 0x900, &region("rom", 0x900u64))
            .build(());
        self.host.add(Arc::clone(&card));
        card
    }

    fn out(&self, port: u64, value: u32) {
        self.ports
            .store(port, value, Endianness::Little, MemTxAttrs::UNSPECIFIED)
            .unwrap();
    }

    fn config(&self, register: u32, value: u32) {
        self.out(0xcf8, 0x8000_1900 | register);
        self.out(0xcfc, value);
    }

    fn read(&self, register: u32) -> u32 {
        self.out(0xcf8, 0x8000_1900 | register);
        self.load(0xcfc)
    }

    fn load<T: flatview::Word>(&self, port: u64) -> T {
        self.ports
            .load(port, Endianness::Little, MemTxAttrs::UNSPECIFIED)
            .unwrap()
    }

    fn at(&self, address: u64) -> Option<String> {
        Some(self.memory.view().find(address)?.region().name().to_owned())
    }
}

#[test]
fn the_low_bits_of_index_and_port_both_choose_the_byte() {
    let bus = bus();
    bus.card();
    assert_eq!(bus.read(0), 0x5678_1234);
    bus.out(0xcf8, 0x8000_1902);
    assert_eq!(bus.load::<u16>(0xcfc), 0x5678, "as qtest's clients do");
    bus.out(0xcf8, 0x8000_1900);
    assert_eq!(bus.load::<u16>(0xcfe), 0x5678, "as Linux does");
    bus.out(0xcf8, 0x8000_2000);
    assert_eq!(bus.load::<u32>(0xcfc), u32::MAX, "nobody is there");
    bus.out(0xcf8, 0x1900);
    assert_eq!(bus.load::<u32>(0xcfc), u32::MAX, "not enabled");
    // A byte at 0xcf9 is not the index: the reset port lies there.
    bus.ports
        .store(0xcf9, 6_u8, Endianness::Little, MemTxAttrs::UNSPECIFIED)
        .unwrap();
    assert_eq!(bus.load::<u32>(0xcf8), 0x1900);
}

#[test]
fn a_bar_is_sized_mapped_moved_and_gone() {
    let bus = bus();
    let card = bus.card();
    for (register, mask) in [
        (0x10, 0xffff_ffe1),
        (0x14, 0xffff_f008),
        (0x18, 4),
        (0x1c, 0xffff_fffe),
        (0x30, 0xffff_f001),
    ] {
        bus.config(register, u32::MAX);
        assert_eq!(bus.read(register), mask, "{register:#x}");
    }
    bus.config(0x14, 0xe000_0000);
    assert_eq!(bus.at(0xe000_0000), None, "memory is not decoded");
    bus.config(4, 3);
    assert_eq!(
        (bus.at(0xe000_0000), card.bar_address(1)),
        (Some("registers".into()), Some(0xe000_0000))
    );
    bus.config(0x14, 0xe800_0000);
    assert_eq!(
        (bus.at(0xe000_0000), bus.at(0xe800_0fff)),
        (None, Some("registers".into()))
    );
    bus.config(0x14, 0x8_0000);
    assert_eq!(
        bus.at(0x8_0000),
        Some("ram".into()),
        "RAM is in front of the hole"
    );
    for nowhere in [0, 0xffff_f000] {
        bus.config(0x14, nowhere);
        assert_eq!(card.bar_address(1), None, "{nowhere:#x}");
    }
    bus.config(0x10, 0xc000);
    assert_eq!(card.bar_address(0), Some(0xc000));
    bus.config(0x10, 0x1_0000);
    assert_eq!(card.bar_address(0), None, "there are 64 KiB of ports");
    bus.config(0x18, 0);
    bus.config(0x1c, 0x10);
    assert_eq!(bus.at(0x10_0000_0000), Some("big".into()));
    bus.config(0x30, 0xf000_0000);
    assert_eq!(bus.at(0xf000_0000), None, "the ROM has a bit of its own");
    bus.config(0x30, 0xf000_0001);
    assert_eq!(
        (bus.at(0xf000_0000), bus.at(0xf000_0900)),
        (Some("rom".into()), None)
    );
    card.reset();
    assert_eq!(
        (bus.at(0xf000_0000), bus.at(0x10_0000_0000), bus.read(0x10)),
        (None, None, 1)
    );
}

#[test]
fn dma_sees_memory_only_as_a_bus_master() {
    let bus = bus();
    let card = bus.card();
    assert!(card.dma().view().is_empty());
    bus.config(4, 4);
    assert!(card.dma().view().find(0x1000).is_some());
    bus.config(4, 0);
    assert!(card.dma().view().is_empty());
}

#[test]
fn read_only_bits_stay_and_status_bits_are_cleared_by_ones() {
    let bus = bus();
    let card = bus.card();
    card.with_config(|config| config.set(reg::STATUS, &[0x10, 0x29]));
    bus.config(0, u32::MAX);
    assert_eq!(bus.read(0), 0x5678_1234);
    bus.config(4, 0xffff_0000);
    assert_eq!(bus.read(4) >> 16, 0x0010);
}
