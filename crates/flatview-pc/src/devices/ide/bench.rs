//! A controller on a bench: with RAM, ports, and lines that remember.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use flatview::{
    AddressSpace, Endianness, MemTxAttrs, Memory, Owner, RamBlock, Region, Size, UnassignedIo, Word,
};

use super::{Ide, IdeDrive};
use crate::devices::block::{BlockBackend, MemoryImage};
use crate::irq::{InterruptSink, IrqLine};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

/// Where the bus masters are, as a BIOS would put BAR 4.
pub(super) const BAR4: u64 = 0xc040;
/// Bytes of RAM from address 0 on. What follows up to 4 GiB is nobody's.
pub(super) const RAM: u64 = 0x100_0000;
/// Where the command blocks are to be seen by bus masters, which should not help them.
pub(super) const WINDOW: u64 = 0xf000_0000;

/// Remembers levels and counts rising edges.
#[derive(Default)]
pub(super) struct Lines {
    levels: [AtomicU32; 2],
    edges: [AtomicU32; 2],
}

impl InterruptSink for Lines {
    fn set_irq(&self, pin: u32, level: bool) {
        let pin = pin as usize;
        if self.levels[pin].swap(level.into(), Ordering::SeqCst) == 0 && level {
            self.edges[pin].fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub(super) struct Bench {
    pub(super) memory: Memory,
    /// What bus masters see.
    pub(super) system: Region,
    pub(super) ram: AddressSpace,
    pub(super) ports: AddressSpace,
    pub(super) lines: Arc<Lines>,
    pub(super) ide: Weak<Ide>,
}

/// A disk whose sectors say which they are, and that image.
pub(super) fn numbered(sectors: u32) -> Arc<MemoryImage> {
    let mut bytes = Vec::new();
    for sector in 0..sectors {
        bytes.extend((0..128_u32).flat_map(|word| (sector << 8 | word).to_le_bytes()));
    }
    Arc::new(MemoryImage::new(bytes))
}

impl Bench {
    pub(super) fn new(drives: [Option<IdeDrive>; 4]) -> Bench {
        let memory = Memory::new();
        let (system, io) = (
            memory.region("system").container(Size::MAX),
            memory.region("io").io(0x1_0000_u64, Arc::new(UnassignedIo)),
        );
        let block = RamBlock::anonymous(RAM).unwrap();
        let ram = memory.create_address_space("piix3-ide", &system).unwrap();
        let ports = memory.create_address_space("I/O", &io).unwrap();
        let lines = Arc::new(Lines::default());
        let irqs = [0, 1].map(|pin| IrqLine::new(lines.clone(), pin));
        let ide = Ide::new(ram.clone(), irqs, drives);
        let regions = ide.regions(&memory, &Owner::device("ide")).unwrap();
        let window = memory
            .region("window")
            .alias(&regions.command[0], 0, 8_u64)
            .unwrap();
        let bus_master_window = memory
            .region("window")
            .alias(&regions.bus_master, 0, 16_u64)
            .unwrap();
        memory
            .update(|tx| {
                tx.add_subregion(&system, 0, &memory.region("ram").ram(block))?;
                tx.add_subregion(&system, WINDOW, &window)?;
                tx.add_subregion(&system, WINDOW + 0x10, &bus_master_window)?;
                for (channel, base) in [(0, 0x1f0), (1, 0x170)] {
                    tx.add_subregion(&io, base, &regions.command[channel])?;
                    tx.add_subregion(&io, base + 0x206, &regions.control[channel])?;
                }
                tx.add_subregion(&io, BAR4, &regions.bus_master)
            })
            .unwrap();
        Bench {
            memory,
            system,
            ram,
            ports,
            lines,
            ide: Arc::downgrade(&ide),
        }
    }

    /// One disk, the first master.
    pub(super) fn with_disk(image: Arc<dyn BlockBackend>) -> Bench {
        Bench::new([Some(IdeDrive::Disk(image)), None, None, None])
    }

    pub(super) fn input<T: Word>(&self, port: u64) -> T {
        self.ports.load(port, Endianness::Little, ATTRS).unwrap()
    }

    pub(super) fn output<T: Word>(&self, port: u64, value: T) {
        self.ports.store(port, value, Endianness::Little, ATTRS).unwrap();
    }

    /// Writes bytes to the command block from Sector Count on; the last may be the command.
    pub(super) fn task(&self, base: u64, bytes: &[u8]) {
        for (port, byte) in (base + 2..).zip(bytes) {
            self.output(port, *byte);
        }
    }

    pub(super) fn status(&self, base: u64) -> u8 {
        self.input(base + 7)
    }

    pub(super) fn error(&self, base: u64) -> u8 {
        self.input(base + 1)
    }

    pub(super) fn read_words(&self, base: u64, words: usize) -> Vec<u8> {
        (0..words)
            .flat_map(|_| self.input::<u16>(base).to_le_bytes())
            .collect()
    }

    /// Whether the line is high, and how often it rose since this was asked last.
    pub(super) fn interrupts(&self, channel: usize) -> (bool, u32) {
        (
            self.lines.levels[channel].load(Ordering::SeqCst) != 0,
            self.lines.edges[channel].swap(0, Ordering::SeqCst),
        )
    }

    pub(super) fn ram_write(&self, address: u64, bytes: &[u8]) {
        self.ram.write(address, bytes, ATTRS).unwrap();
    }

    pub(super) fn ram_read(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.ram.read(address, &mut bytes, ATTRS).unwrap();
        bytes
    }

    /// Puts a list of PRDs (address, bytes) at `table` and starts the bus master of a channel.
    pub(super) fn start_dma(&self, channel: u64, table: u32, prds: &[(u32, u32)]) {
        let mut bytes = Vec::new();
        for (index, (address, len)) in prds.iter().enumerate() {
            let end = if index + 1 == prds.len() { 1 << 31 } else { 0 };
            bytes.extend(address.to_le_bytes());
            bytes.extend((len & 0xffff | end).to_le_bytes());
        }
        self.ram_write(table.into(), &bytes);
        self.output(BAR4 + 8 * channel + 4, table);
        self.output(BAR4 + 8 * channel + 2, 0x06_u8);
        self.output(BAR4 + 8 * channel, 0x09_u8);
    }

    /// Bus Master IDE Status.
    pub(super) fn dma_status(&self, channel: u64) -> u8 {
        self.input(BAR4 + 8 * channel + 2)
    }
}
