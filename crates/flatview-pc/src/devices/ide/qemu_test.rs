//! The same commands, here and in a real QEMU: registers, data, memory after DMA.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;
use std::{fs, thread, time::Duration};

use flatview_testkit::Qtest;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::IdeDrive;
use super::bench::{BAR4, Bench, numbered};
use crate::devices::block::{BlockBackend, MemoryImage};

const DISK: u32 = 2100;
const DISC_BLOCKS: u32 = 160;
const LISTS: u32 = 0x1000;

/// Both of them.
struct Pair {
    here: Bench,
    there: Qtest,
}

impl Pair {
    fn start() -> Option<Pair> {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |image: &MemoryImage| {
            let mut bytes = vec![0; usize::try_from(image.size()).unwrap()];
            image.read_at(0, &mut bytes).unwrap();
            bytes
        };
        let (disk, disc) = (numbered(DISK), numbered(DISC_BLOCKS * 4));
        let mut arguments: Vec<String> = ["-M", "pc", "-m", "32", "-nodefaults", "-snapshot"]
            .map(Into::into)
            .to_vec();
        for (index, name, image, more) in [
            (0, "disk", &disk, ""),
            (2, "disc", &disc, ",media=cdrom,readonly=on"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes(image)).unwrap();
            let path = path.display();
            arguments.extend([
                "-drive".into(),
                format!("file={path},format=raw,if=ide,index={index}{more}"),
            ]);
        }
        let mut there = Qtest::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        for (register, value) in [(0x20, BAR4), (0x04, 5)] {
            there.command(&format!("outl 0xcf8 {:#x}", 0x8000_0900_u32 | register));
            there.command(&format!("outl 0xcfc {value:#x}"));
        }
        let here = Bench::new([
            Some(IdeDrive::Disk(disk)),
            None,
            Some(IdeDrive::Cdrom(Some(disc as Arc<dyn BlockBackend>))),
            None,
        ]);
        let mut pair = Pair { here, there };
        pair.reset();
        Some(pair)
    }

    fn reset(&mut self) {
        for port in [0x3f6, 0x376] {
            self.out(port, 4);
            self.out(port, 0);
        }
    }

    fn out(&mut self, port: u64, value: u8) {
        self.here.output(port, value);
        self.there.command(&format!("outb {port:#x} {value:#x}"));
    }

    fn out_word(&mut self, port: u64, value: u16) {
        self.here.output(port, value);
        self.there.command(&format!("outw {port:#x} {value:#x}"));
    }

    fn out_long(&mut self, port: u64, value: u32) {
        self.here.output(port, value);
        self.there.command(&format!("outl {port:#x} {value:#x}"));
    }

    fn store(&mut self, address: u32, value: u32) {
        self.here.ram_write(address.into(), &value.to_le_bytes());
        self.there.command(&format!("writel {address:#x} {value:#x}"));
    }

    fn same(&mut self, port: u64) -> u8 {
        let (here, there) = (
            self.here.input::<u8>(port),
            self.there.number(&format!("inb {port:#x}")),
        );
        assert_eq!(u64::from(here), there, "port {port:#x}");
        here
    }

    fn same_word(&mut self, port: u64, what: &str) {
        let (here, there) = (
            self.here.input::<u16>(port),
            self.there.number(&format!("inw {port:#x}")),
        );
        assert_eq!(u64::from(here), there, "port {port:#x}, {what}");
    }

    fn same_registers(&mut self, base: u64) {
        for port in 1..8 {
            self.same(base + port);
        }
    }

    fn same_memory(&mut self, address: u32) {
        let here = self.here.ram_read(address.into(), 4);
        let there = self.there.number(&format!("readl {address:#x}"));
        let there = u32::try_from(there).unwrap();
        assert_eq!(here, there.to_le_bytes(), "at {address:#x}");
    }

    /// QEMU reads and writes its images while time goes by.
    fn wait(&mut self, channel: u64) {
        for _ in 0..10_000 {
            let status = self.there.number(&format!("inb {:#x}", 0x3f6 - 0x80 * channel));
            let master = self.there.number(&format!("inb {:#x}", BAR4 + 8 * channel + 2));
            let started = self.there.number(&format!("inb {:#x}", BAR4 + 8 * channel));
            if status & 0x80 == 0 && (master & started & 1 == 0 || status & 8 == 0) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("QEMU is still busy");
    }

    fn task(&mut self, base: u64, bytes: &[u8]) {
        for (port, byte) in (base + 2..).zip(bytes) {
            self.out(port, *byte);
        }
    }

    /// Starts the bus master on pieces of memory.
    fn start_dma(&mut self, channel: u64, pieces: &[(u32, u32)]) {
        for (at, (address, len)) in (0..).zip(pieces) {
            let end = if at as usize + 1 == pieces.len() {
                1 << 31
            } else {
                0
            };
            self.store(LISTS + 8 * at, *address);
            self.store(LISTS + 8 * at + 4, len & 0xffff | end);
        }
        let registers = BAR4 + 8 * channel;
        self.out_long(registers + 4, LISTS);
        self.out(registers + 2, 6);
        self.out(registers, 9);
        self.wait(channel);
    }

    fn sectors(&mut self, step: &Sectors) {
        let what = format!("{step:?}");
        let &Sectors {
            lba,
            count,
            numbering,
            how,
            seed,
        } = step;
        let [a, b, c, ..] = lba.to_le_bytes();
        let (low, mid, high, device) = match numbering {
            0 => {
                let [low, high, ..] = (lba / 1008).to_le_bytes();
                let [head, sector] = [lba / 63 % 16, lba % 63 + 1].map(|number| number.to_le_bytes()[0]);
                (sector, low, high, 0xa0 | head)
            }
            1 => (a, b, c, 0xe0),
            _ => (a, b, c, 0x40),
        };
        let is_ext = usize::from(numbering == 2);
        let command = match how {
            How::Read => [0x20, 0x24],
            How::ReadMultiple => [0xc4, 0x29],
            How::Write => [0x30, 0x34],
            How::WriteMultiple => [0xc5, 0x39],
            How::ReadDma => [0xc8, 0x25],
            How::WriteDma => [0xca, 0x35],
            How::Verify => [0x40, 0x42],
        }[is_ext];
        if is_ext == 1 {
            self.task(0x1f0, &[0; 4]);
        }
        self.task(0x1f0, &[count, low, mid, high, device, command]);
        self.wait(0);
        match how {
            How::Read | How::ReadMultiple => {
                for _ in 0..count {
                    (0..256).for_each(|_| self.same_word(0x1f0, &what));
                    self.wait(0);
                    self.same(0x3f6);
                }
            }
            How::Write | How::WriteMultiple => {
                for _ in 0..count {
                    (0..256).for_each(|word| self.out_word(0x1f0, seed.wrapping_mul(word)));
                    self.wait(0);
                    self.same(0x3f6);
                }
            }
            How::ReadDma | How::WriteDma => {
                let bytes = 512 * u32::from(count);
                // Two pieces, and the second may be larger than what is left.
                let first = 512 * (u32::from(seed) % u32::from(count)) + 4;
                let pieces = [
                    (0x2_0104, first),
                    (0x3_0200, bytes - first + 512 * u32::from(seed & 1)),
                ];
                self.store(0x2_0104, u32::from(seed) << 8);
                self.store(0x3_0200, u32::from(seed));
                self.start_dma(0, &pieces);
                self.same(BAR4 + 2);
                self.out(BAR4, 0);
                for (address, len) in pieces {
                    for offset in [0, (len / 2) & !3, len - 4, len] {
                        self.same_memory(address + offset);
                    }
                }
            }
            How::Verify => {}
        }
        self.same(0x3f6);
        self.same(BAR4 + 2);
        self.same_registers(0x1f0);
        self.out(BAR4 + 2, 6);
    }

    fn packet(&mut self, packet: &[u8; 12], limit: u16) {
        let what = format!("{packet:x?} limit {limit:#x}");
        let [low, high] = limit.to_le_bytes();
        self.out(0x171, 0);
        self.task(0x170, &[0, 0, low, high, 0xa0, 0xa0]);
        self.wait(1);
        self.same_registers(0x170);
        for word in packet.chunks(2) {
            self.out_word(0x170, u16::from_le_bytes([word[0], word[1]]));
        }
        loop {
            self.wait(1);
            let status = self.same(0x177);
            self.same(0x172);
            if status & 8 == 0 {
                break;
            }
            let bytes = u16::from_le_bytes([self.same(0x174), self.same(0x175)]);
            (0..bytes.div_ceil(2)).for_each(|_| self.same_word(0x170, &what));
        }
        self.same(0x171);
        self.same(BAR4 + 10);
        self.out(BAR4 + 10, 6);
    }
}

#[derive(Clone, Copy, Debug)]
enum How {
    Read,
    ReadMultiple,
    ReadDma,
    Write,
    WriteMultiple,
    WriteDma,
    Verify,
}

#[derive(Clone, Debug)]
struct Sectors {
    lba: u32,
    count: u8,
    /// CHS, 28 or 48 bits.
    numbering: u8,
    how: How,
    seed: u16,
}

fn sectors() -> impl Strategy<Value = Sectors> {
    let how = select(vec![
        How::Read,
        How::ReadMultiple,
        How::ReadDma,
        How::Write,
        How::WriteMultiple,
        How::WriteDma,
        How::Verify,
    ]);
    let count = select(vec![1_u8, 2, 3, 8, 17, 32]);
    (0..DISK - 32, count, 0..3_u8, how, any::<u16>()).prop_map(|(lba, count, numbering, how, seed)| Sectors {
        lba,
        count,
        numbering,
        how,
        seed,
    })
}

/// Packets whose answers name nobody and nothing that a drive decides for itself.
fn packet() -> impl Strategy<Value = [u8; 12]> {
    let read = (0..DISC_BLOCKS + 4, 1..5_u8).prop_map(|(lba, count)| {
        let [a, b, c, d] = lba.to_be_bytes();
        [0x28, 0, a, b, c, d, 0, 0, count, 0, 0, 0]
    });
    // Other than in QEMU, the raw table is in minutes, seconds and frames whatever is asked for, and the table of
    // sessions names the first track of the last one (MMC-3, 6.26).
    let toc = (
        select(vec![(0_u8, 0_u8), (2, 0), (2, 0x80)]),
        select(vec![0_u8, 1, 0xaa]),
    )
        .prop_map(|((msf, format), track)| [0x43, msf, 0, 0, 0, 0, track, 1, 0, format, 0, 0]);
    let others = [
        [0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0x1b, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        [0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0x2b, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0],
        [0x51, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0],
        [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    prop_oneof![3 => read, 1 => toc, 1 => select(others.to_vec())]
}

#[test]
fn disks_and_discs_do_what_qemus_do() {
    let Some(mut pair) = Pair::start() else { return };
    let limit = select(vec![2048_u16, 0xfffe, 512, 2047, 4096]);
    let steps = (
        prop::collection::vec(sectors(), 60),
        prop::collection::vec((packet(), limit), 60),
    );
    let (sectors, packets) = steps
        .new_tree(&mut TestRunner::deterministic())
        .unwrap()
        .current();
    for step in &sectors {
        pair.sectors(step);
    }
    for (packet, limit) in &packets {
        pair.packet(packet, *limit);
    }
    // Commands without data; what is no command; a diagnostic.
    for command in [
        0x10, 0xe0, 0xe5, 0xe7, 0xea, 0xf8, 0x27, 0xc6, 0x70, 0x00, 0xff, 0xa1, 0x90,
    ] {
        pair.task(0x1f0, &[4, 1, 0, 0, 0xe0, command]);
        pair.wait(0);
        pair.same(BAR4 + 2);
        for port in 0x1f1..0x1f7 {
            pair.same(port);
        }
        // QEMU does not always say that a seek is complete.
        let (here, there) = (pair.here.status(0x1f0), pair.there.number("inb 0x1f7"));
        assert_eq!(u64::from(here & !0x10), there & !0x10, "{command:#x}");
        pair.out(BAR4 + 2, 6);
    }
}
