//! An adapter on a bench: with a bus, ports, and a clock.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Weak};

use flatview::{AddressSpace, Endianness, MemTxAttrs, Memory, Owner, Region, Size, UnassignedIo, Word};
use flatview_accel::{Clock, Control};

use super::{Screen, Vga};
use crate::timer::TimerQueue;

pub(super) const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
/// Where BAR 0 is.
pub(super) const LFB: u64 = 0xfd00_0000;
/// Where BAR 2 is.
pub(super) const MMIO: u64 = 0xfebf_0000;

pub(super) struct Bench {
    pub(super) memory: Memory,
    pub(super) pci: Region,
    pub(super) cpu: AddressSpace,
    pub(super) ports: AddressSpace,
    pub(super) control: Arc<Control>,
    pub(super) vga: Weak<Vga>,
}

impl Bench {
    pub(super) fn new() -> Bench {
        let memory = Memory::new();
        let (pci, io) = (
            memory.region("pci").container(Size::MAX),
            memory.region("io").io(0x1_0000_u64, Arc::new(UnassignedIo)),
        );
        let cpu = memory.create_address_space("memory", &pci).unwrap();
        let ports = memory.create_address_space("I/O", &io).unwrap();
        let control = Arc::new(Control::new(Clock::counted(0)));
        let vga = Vga::new(TimerQueue::new(Arc::clone(&control))).unwrap();
        let regions = vga
            .regions(&memory, &Owner::device("VGA"), &pci, &Arc::default())
            .unwrap();
        memory
            .update(|tx| {
                tx.add_subregion_overlap(&pci, 0xa_0000, &regions.lowmem, 1)?;
                tx.add_subregion_overlap(&pci, LFB, &regions.vram, 1)?;
                tx.add_subregion_overlap(&pci, MMIO, &regions.mmio, 1)?;
                for (port, region) in &regions.ports {
                    tx.add_subregion(&io, *port, region)?;
                }
                Ok(())
            })
            .unwrap();
        Bench {
            memory,
            pci,
            cpu,
            ports,
            control,
            vga: Arc::downgrade(&vga),
        }
    }

    pub(super) fn read<T: Word>(&self, address: u64) -> T {
        self.cpu.load(address, Endianness::Little, ATTRS).unwrap()
    }

    pub(super) fn write<T: Word>(&self, address: u64, value: T) {
        self.cpu.store(address, value, Endianness::Little, ATTRS).unwrap();
    }

    pub(super) fn input<T: Word>(&self, port: u64) -> T {
        self.ports.load(port, Endianness::Little, ATTRS).unwrap()
    }

    pub(super) fn output<T: Word>(&self, port: u64, value: T) {
        self.ports.store(port, value, Endianness::Little, ATTRS).unwrap();
    }

    /// Sets registers of the sequencer (3c4), the graphics controller (3ce) or the CRT controller (3d4) by words, as
    /// BIOSes do.
    pub(super) fn set(&self, port: u64, registers: &[(u8, u8)]) {
        for (register, value) in registers {
            self.output(port, u16::from_le_bytes([*register, *value]));
        }
    }

    pub(super) fn dispi(&self, register: u16, value: u16) {
        self.output(0x1ce, register);
        self.output(0x1d0, value);
    }

    pub(super) fn screen(&self) -> Screen {
        self.vga.upgrade().unwrap().screen()
    }

    /// Mode 3, as IBM's tables have it: 80 by 25 characters of 16 lines.
    pub(super) fn mode_3(&self) {
        self.output(0x3c2, 0x67_u8);
        self.set(0x3c4, &[(1, 0x00), (2, 0x03), (3, 0x00), (4, 0x02)]);
        self.set(
            0x3ce,
            &[(3, 0), (4, 0), (5, 0x10), (6, 0x0e), (7, 0x0f), (8, 0xff)],
        );
        self.set(
            0x3d4,
            &[
                (1, 0x4f),
                (7, 0x1f),
                (9, 0x4f),
                (0x0a, 0x0d),
                (0x0b, 0x0e),
                (0x12, 0x8f),
                (0x13, 0x28),
            ],
        );
        self.input::<u8>(0x3da);
        self.output(0x3c0, 0x20_u8);
    }

    /// Mode 12h: 640 by 480 in four planes.
    pub(super) fn planar(&self) {
        self.set(0x3c4, &[(2, 0x0f), (4, 0x06)]);
        self.set(
            0x3ce,
            &[
                (0, 0),
                (1, 0),
                (2, 0),
                (3, 0),
                (4, 0),
                (5, 0),
                (6, 5),
                (7, 0x0f),
                (8, 0xff),
            ],
        );
    }

    pub(super) fn print(&self, row: u64, column: u64, text: &[u8]) {
        for (at, byte) in (0..).zip(text) {
            self.write(
                0xb_8000 + 2 * (80 * row + column + at),
                u16::from_le_bytes([*byte, 0x07]),
            );
        }
    }

    /// Where `vga.chain4` is seen, if it is: offset, size, offset in VRAM.
    pub(super) fn direct(&self) -> Option<(u64, u64, u64)> {
        let seen = self.cpu.view();
        let ranges = seen.iter().filter(|range| range.region().name() == "vga.vram");
        ranges
            .map(|range| {
                let (first, last) = (range.start(), range.last());
                (first, last - first + 1, range.offset_in_region())
            })
            .find(|(first, ..)| *first < 0x10_0000)
    }
}
