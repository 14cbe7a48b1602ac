//! A disk, as a guest sees it through its ports.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Weak};

use flatview::{Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

use super::bench::{BAR4, Bench, RAM, WINDOW, numbered};
use super::{Geometry, Ide, IdeDrive};
use crate::device::Reset;
use crate::devices::block::{BlockBackend, MemoryImage};

const BASE: u64 = 0x1f0;
const READY: u8 = 0x50;
const DRQ: u8 = 0x58;
const FAILED: u8 = 0x41;
const ABRT: u8 = 0x04;
const IDNF: u8 = 0x10;

fn sectors(image: &MemoryImage, first: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count * 512];
    image.read_at(first * 512, &mut bytes).unwrap();
    bytes
}

#[test]
fn drives_are_found_where_they_are() {
    let disk = IdeDrive::Disk(numbered(10));
    let bench = Bench::new([Some(disk), None, None, Some(IdeDrive::Cdrom(None))]);
    let look = |base: u64, device: u8| {
        bench.output(base + 6, device);
        // How SeaBIOS and Linux ask whether anybody is there: registers keep what is written to them.
        bench.output(base + 2, 0x55_u8);
        bench.output(base + 3, 0xaa_u8);
        let keeps = (bench.input::<u8>(base + 2), bench.input::<u8>(base + 3)) == (0x55, 0xaa);
        bench.output(base + 0x206, 0x04_u8);
        bench.output(base + 0x206, 0x00_u8);
        bench.output(base + 6, device);
        let signature: [u8; 6] = [1, 2, 3, 4, 5, 7].map(|register| bench.input::<u8>(base + register));
        (keeps, signature)
    };
    assert_eq!(look(0x1f0, 0xa0), (true, [1, 1, 1, 0, 0, READY]));
    assert_eq!(look(0x1f0, 0xb0), (false, [0; 6]), "no slave");
    assert_eq!(look(0x170, 0xa0), (false, [0; 6]), "no master");
    assert_eq!(look(0x170, 0xb0), (true, [1, 1, 1, 0x14, 0xeb, 0]));
    // During a reset drives are busy and obey nothing.
    bench.output(0x1f6, 0xa0_u8);
    bench.output(0x3f6, 0x04_u8);
    bench.output(0x1f7, 0xec_u8);
    assert_eq!(bench.input::<u8>(0x3f6), 0x80);
    assert_eq!(bench.interrupts(0), (false, 0));
}

#[test]
fn a_disk_identifies_itself() {
    let bench = Bench::with_disk(numbered(0x5000));
    bench.output(BASE + 7, 0xec_u8);
    assert_eq!(bench.interrupts(0), (true, 1));
    assert_eq!((bench.status(BASE), bench.interrupts(0).0), (DRQ, false));
    let words: Vec<u16> = bench
        .read_words(BASE, 256)
        .chunks(2)
        .map(|word| u16::from_le_bytes([word[0], word[1]]))
        .collect();
    assert_eq!((bench.status(BASE), bench.interrupts(0)), (READY, (false, 0)));
    let text = |range: std::ops::Range<usize>| {
        let bytes = words[range].iter().flat_map(|word| word.to_be_bytes()).collect();
        String::from_utf8(bytes).unwrap().trim_end().to_owned()
    };
    assert_eq!(
        (text(27..47), text(10..20)),
        ("FLATVIEW HARDDISK".into(), "FV00001".into())
    );
    assert_eq!([words[1], words[3], words[6]], [0x5000 / 1008, 16, 63]);
    assert_eq!(
        (words[60], words[61], words[100], words[101]),
        (0x5000, 0, 0x5000, 0)
    );
    assert_eq!((words[47], words[59], words[88]), (0x8010, 0x0110, 0x203f));
    assert_eq!(words[83] & 0x0400, 0x0400, "48-bit addresses");
    // What is set is said.
    bench.task(BASE, &[8, 0, 0, 0, 0xa0, 0xc6]);
    bench.output(BASE + 1, 0x03_u8);
    bench.task(BASE, &[0x22, 0, 0, 0, 0xa0, 0xef]);
    bench.output(BASE + 1, 0x82_u8);
    bench.output(BASE + 7, 0xef_u8);
    bench.task(BASE, &[9, 0, 0, 0, 0xa3, 0x91]);
    bench.output(BASE + 7, 0xec_u8);
    let bytes = bench.read_words(BASE, 256);
    let word = |index: usize| u16::from_le_bytes([bytes[2 * index], bytes[2 * index + 1]]);
    assert_eq!((word(59), word(63), word(88)), (0x0108, 0x0407, 0x003f));
    assert_eq!(word(85) & 0x20, 0, "no write cache");
    assert_eq!((word(54), word(55), word(56)), (0x5000 / 36, 4, 9));
    assert_eq!(
        bench.ide.upgrade().unwrap().geometry(0),
        Some(Geometry::of_disk(0x5000))
    );
}

/// Reads `count` sectors by PIO, as a guest that waits for an interrupt for each block.
fn read(bench: &Bench, words_a_block: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bench.interrupts(0) == (true, 1) && bench.status(BASE) == DRQ {
        bytes.extend(bench.read_words(BASE, words_a_block));
    }
    bytes
}

#[test]
fn sectors_are_read_by_chs_lba28_and_lba48_as_a_slow_model_says() {
    let image = numbered(0x5000);
    let bench = Bench::with_disk(image.clone());
    let mut left = 0;
    for cylinder in [0_u16, 1, 3, 19] {
        for (head, sector) in [(0, 1), (1, 1), (0, 2), (15, 63), (7, 32)] {
            // The model counts the tracks before it, one by one.
            let tracks = u64::from(cylinder) * 16 + u64::from(head);
            let lba = (0..tracks).map(|_| 63).sum::<u64>() + u64::from(sector) - 1;
            let [low, high] = cylinder.to_le_bytes();
            bench.task(BASE, &[1, sector, low, high, 0xa0 | head, 0x20]);
            assert_eq!(
                read(&bench, 256),
                sectors(&image, lba, 1),
                "{cylinder}/{head}/{sector}"
            );
            let [a, b, c, d, ..] = lba.to_le_bytes();
            bench.task(BASE, &[2, a, b, c, 0xe0 | d, 0x20]);
            assert_eq!(read(&bench, 256), sectors(&image, lba, 2), "{lba:#x}");
            // First the high bytes, then the low ones.
            bench.task(BASE, &[1, d, 0, 0]);
            bench.task(BASE, &[0x01, a, b, c, 0x40, 0x24]);
            if lba + 257 <= 0x5000 {
                assert_eq!(read(&bench, 256), sectors(&image, lba, 257), "{lba:#x}");
            } else {
                left += 1;
            }
        }
    }
    assert_eq!(left, 0, "no case was left out");
}

#[test]
fn none_means_256_and_65536_sectors() {
    let image = numbered(0x1_0002);
    let bench = Bench::with_disk(image.clone());
    bench.task(BASE, &[0, 1, 0, 0, 0xe0, 0xc4]);
    assert_eq!(read(&bench, 256 * 16), sectors(&image, 1, 256));
    bench.task(BASE, &[0, 0, 0, 0]);
    bench.task(BASE, &[0, 2, 0, 0, 0x40, 0x29]);
    assert_eq!(read(&bench, 256 * 16), sectors(&image, 2, 0x1_0000));
}

#[test]
fn the_data_port_is_16_or_32_bits_wide() {
    let image = numbered(4);
    let bench = Bench::with_disk(image.clone());
    bench.task(BASE, &[1, 1, 0, 0, 0xe0, 0x20]);
    let mut bytes = bench.input::<u16>(BASE).to_le_bytes().to_vec();
    // A byte is not data, nor are two ports at once.
    let _ = (bench.input::<u8>(BASE), bench.input::<u32>(BASE + 1));
    bytes.extend((0..127).flat_map(|_| bench.input::<u32>(BASE).to_le_bytes()));
    bytes.extend(bench.input::<u16>(BASE).to_le_bytes());
    assert_eq!(bytes, sectors(&image, 1, 1));
    // A word at a byte register is two bytes; beyond the last port there is none.
    bench.output(BASE + 2, 0x2211_u16);
    assert_eq!(bench.input::<u16>(BASE + 2), 0x2211);
    assert_eq!(bench.input::<u16>(BASE + 7), 0xff50);
}

#[test]
fn sectors_are_written_block_by_block() {
    let image = numbered(64);
    let bench = Bench::with_disk(image.clone());
    for (command, block) in [(0x30, 1), (0xc5, 16), (0x34, 1), (0x39, 16)] {
        bench.task(BASE, &[0, 0, 0, 0]);
        bench.task(BASE, &[20, 3, 0, 0, 0xe0, command]);
        assert_eq!((bench.status(BASE), bench.interrupts(0)), (DRQ, (false, 0)));
        for done in (0..20).step_by(block) {
            for _ in 0..256 * block.min(20 - done) {
                bench.output(BASE, u16::from(command));
            }
            assert_eq!(bench.interrupts(0), (true, 1), "after {done}");
            let is_last = done + block >= 20;
            assert_eq!(bench.status(BASE), if is_last { READY } else { DRQ });
        }
        assert!(sectors(&image, 3, 20).chunks(2).all(|word| word == [command, 0]));
        assert_eq!(sectors(&image, 23, 1), sectors(&numbered(64), 23, 1));
    }
}

#[test]
fn what_is_not_there_is_not_found_and_nothing_is_moved() {
    let image = numbered(100);
    let bench = Bench::with_disk(image.clone());
    let cases: [(&str, [u8; 6], u8); 9] = [
        ("after the end", [1, 100, 0, 0, 0xe0, 0x20], IDNF),
        ("over the end", [2, 99, 0, 0, 0xe0, 0xc8], IDNF),
        ("written over the end", [2, 99, 0, 0, 0xe0, 0x30], IDNF),
        ("sector 0", [1, 0, 0, 0, 0xa0, 0x20], IDNF),
        ("sector 64", [1, 64, 0, 0, 0xa0, 0x20], IDNF),
        ("cylinder 2", [1, 1, 2, 0, 0xa0, 0x70], IDNF),
        ("verified", [1, 100, 0, 0, 0xe0, 0x40], IDNF),
        ("3 sectors a block", [3, 0, 0, 0, 0xe0, 0xc6], ABRT),
        ("no command", [0, 0, 0, 0, 0xe0, 0x00], ABRT),
    ];
    for (what, task, error) in cases {
        bench.task(BASE, &task);
        assert_eq!(bench.interrupts(0), (true, 1), "{what}");
        assert_eq!((bench.status(BASE), bench.error(BASE)), (FAILED, error), "{what}");
    }
    bench.task(BASE, &[2, 99, 0, 0, 0xe0, 0x20]);
    assert_eq!(bench.input::<u8>(BASE + 3), 100, "the first that is not there");
    assert_eq!(sectors(&image, 0, 100), sectors(&numbered(100), 0, 100));
    // What fails does not make what follows fail.
    bench.task(BASE, &[1, 99, 0, 0, 0xe0, 0x40]);
    assert_eq!((bench.status(BASE), bench.error(BASE)), (READY, 0));
    let bench = Bench::with_disk(Arc::new(MemoryImage::new(vec![0; 512]).readonly()));
    bench.task(BASE, &[1, 0, 0, 0, 0xe0, 0x30]);
    assert_eq!((bench.status(BASE), bench.error(BASE)), (FAILED, ABRT));
}

#[test]
fn commands_without_data_say_what_they_know() {
    let bench = Bench::with_disk(numbered(0x12345));
    for command in [0x10, 0xe0, 0xe1, 0xe2, 0xe3, 0xe7, 0xea, 0x70, 0x95] {
        bench.task(BASE, &[1, 1, 0, 0, 0xa0, command]);
        assert_eq!(
            (bench.interrupts(0), bench.status(BASE)),
            ((true, 1), READY),
            "{command:#x}"
        );
    }
    bench.output(BASE + 7, 0xe5_u8);
    assert_eq!(
        bench.input::<u8>(BASE + 2),
        0xff,
        "neither asleep nor standing by"
    );
    bench.task(BASE, &[0, 0, 0, 0, 0xe0, 0xf8]);
    let lba: Vec<u8> = (3..7).map(|port| bench.input(BASE + port)).collect();
    assert_eq!(lba, [0x44, 0x23, 0x01, 0xe0]);
    bench.output(BASE + 7, 0x27_u8);
    bench.output(0x3f6, 0x80_u8);
    assert_eq!(bench.input::<u8>(BASE + 3), 0, "high order byte");
    bench.output(BASE + 7, 0x90_u8);
    assert_eq!((bench.error(BASE), bench.status(BASE)), (1, READY));
}

#[test]
fn no_interrupt_comes_while_the_host_wants_none() {
    let bench = Bench::with_disk(numbered(4));
    bench.output(0x3f6, 0x02_u8);
    bench.output(BASE + 7, 0xe7_u8);
    assert_eq!(bench.interrupts(0), (false, 0));
    assert_eq!(bench.input::<u8>(0x3f6), READY, "does not take note of it");
    bench.output(0x3f6, 0x00_u8);
    assert_eq!(bench.interrupts(0), (true, 1), "now it does");
    assert_eq!((bench.status(BASE), bench.interrupts(0).0), (READY, false));
}

#[test]
fn dma_reads_and_writes_scattered_memory() {
    let image = numbered(600);
    let bench = Bench::with_disk(image.clone());
    // 0 bytes are 64 KiB.
    let prds = [
        (0x1_0000, 0x200),
        (0x2_0002, 0x7fe),
        (0x8_0000, 0),
        (0x3_0000, 0xf602),
    ];
    let gather = || -> Vec<u8> {
        let pieces = prds.map(|(address, len): (u32, u32)| {
            bench.ram_read(address.into(), if len == 0 { 0x1_0000 } else { len as usize })
        });
        pieces.concat()
    };
    // It is all the same which comes first: the command, or the start.
    for (command, start_first) in [(0xc8, false), (0x25, true)] {
        for page in (0..0x10_0000).step_by(0x1000) {
            bench.ram_write(page, &[0; 0x1000]);
        }
        let task = || {
            bench.task(BASE, &[0, 0, 0, 0]);
            bench.task(BASE, &[0, 7, 0, 0, 0xe0, command]);
        };
        let count = 256;
        if start_first {
            bench.start_dma(0, 0x1000, &prds);
            assert_eq!(bench.dma_status(0), 0x01);
            bench.task(BASE, &[1, 0, 0, 0]);
            bench.task(BASE, &[0, 7, 0, 0, 0xe0, command]);
        } else {
            task();
            assert_eq!((bench.status(BASE), bench.interrupts(0)), (DRQ, (false, 0)));
            bench.start_dma(0, 0x1000, &prds);
        }
        assert_eq!((bench.interrupts(0), bench.dma_status(0)), ((true, 1), 0x04));
        assert_eq!(bench.status(BASE), READY);
        assert_eq!(gather(), sectors(&image, 7, count), "{command:#x}");
        bench.output(BAR4, 0_u8);
    }
    let wanted = gather();
    bench.task(BASE, &[0, 11, 1, 0, 0xe0, 0xca]);
    bench.start_dma(0, 0x1000, &prds);
    assert_eq!((bench.interrupts(0), bench.dma_status(0)), ((true, 1), 0x04));
    assert_eq!(sectors(&image, 0x10b, 256), wanted);
    assert_eq!(sectors(&image, 0x20b, 1), sectors(&numbered(600), 0x20b, 1));
}

#[test]
fn a_list_longer_or_shorter_than_the_data_is_said() {
    let bench = Bench::with_disk(numbered(64));
    bench.task(BASE, &[1, 0, 0, 0, 0xe0, 0xc8]);
    bench.start_dma(0, 0x1000, &[(0x2000, 0x400)]);
    assert_eq!(
        (bench.dma_status(0), bench.interrupts(0)),
        (0x05, (true, 1)),
        "longer"
    );
    bench.output(BAR4, 0_u8);
    assert_eq!(bench.dma_status(0), 0x04);
    assert_eq!(bench.status(BASE), READY);
    bench.task(BASE, &[2, 0, 0, 0, 0xe0, 0xc8]);
    bench.start_dma(0, 0x1000, &[(0x2000, 0x300)]);
    assert_eq!(
        (bench.dma_status(0), bench.interrupts(0)),
        (0x00, (false, 0)),
        "shorter"
    );
    assert_eq!(bench.status(BASE), READY);
    // Of a write, the sectors that came are written.
    let image = numbered(4);
    let bench = Bench::with_disk(image.clone());
    bench.task(BASE, &[3, 0, 0, 0, 0xe0, 0xca]);
    bench.start_dma(0, 0x1000, &[(0x2000, 0x300)]);
    assert_eq!(sectors(&image, 0, 1), [0; 512]);
    assert_eq!(sectors(&image, 1, 3), sectors(&numbered(4), 1, 3));
}

#[test]
fn memory_that_is_not_there_is_an_error_and_no_interrupt() {
    let nowhere = u32::try_from(RAM).unwrap();
    // To nowhere, into the drive's own registers, into the bus master's, over the end of RAM.
    let windows = [0, 0x10, 0x14].map(|offset| u32::try_from(WINDOW + offset).unwrap());
    for address in [nowhere, windows[0], windows[1], windows[2], nowhere - 0x100] {
        for command in [0xc8, 0xca] {
            let bench = Bench::with_disk(numbered(8));
            bench.task(BASE, &[4, 0, 0, 0, 0xe0, command]);
            bench.start_dma(0, 0x1000, &[(address, 0x800)]);
            assert_eq!(
                (bench.dma_status(0), bench.interrupts(0)),
                (0x02, (false, 0)),
                "{address:#x}"
            );
            assert_eq!(bench.status(BASE), READY);
            bench.output(BAR4, 0_u8);
            bench.output(BAR4 + 2, 0x02_u8);
            assert_eq!(bench.dma_status(0), 0);
        }
    }
    // A list that is nowhere, or runs over 64 KiB.
    let bench = Bench::with_disk(numbered(300));
    bench.task(BASE, &[4, 0, 0, 0, 0xe0, 0xc8]);
    bench.output(BAR4 + 4, nowhere);
    bench.output(BAR4, 0x09_u8);
    assert_eq!(bench.dma_status(0), 0x02);
    bench.output(BAR4, 0x00_u8);
    bench.task(BASE, &[4, 0, 0, 0, 0xe0, 0xc8]);
    bench.start_dma(0, 0x1_fff8, &[(0x2000, 0x200), (0x3000, 0x600)]);
    assert_eq!(bench.dma_status(0), 0, "the list ends there");
}

#[test]
fn a_transfer_that_waits_is_ended_by_a_reset() {
    let bench = Bench::with_disk(numbered(8));
    bench.task(BASE, &[4, 0, 0, 0, 0xe0, 0xc8]);
    bench.output(0x3f6, 0x04_u8);
    bench.output(0x3f6, 0x00_u8);
    bench.start_dma(0, 0x1000, &[(0x2000, 0x800)]);
    assert_eq!((bench.dma_status(0), bench.interrupts(0)), (0x01, (false, 0)));
    bench.ide.upgrade().unwrap().reset();
    assert_eq!((bench.dma_status(0), bench.status(BASE)), (0, READY));
    assert_eq!(bench.ram_read(0x2000, 0x800), vec![0; 0x800]);
}

/// Resets the controller whenever something is stored: what another CPU may do at that moment.
struct Resets(Weak<Ide>);

impl MemoryRegionOps for Resets {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.0.upgrade().unwrap().reset();
        Ok(())
    }
}

#[test]
fn a_reset_in_the_middle_of_a_transfer_waits_for_nothing_and_ends_it() {
    let bench = Bench::with_disk(numbered(8));
    let region = bench
        .memory
        .region("resets")
        .io(0x1000_u64, Arc::new(Resets(bench.ide.clone())));
    bench
        .memory
        .update(|tx| tx.add_subregion(&bench.system, 0xe000_0000, &region))
        .unwrap();
    bench.task(BASE, &[4, 0, 0, 0, 0xe0, 0xc8]);
    bench.start_dma(0, 0x1000, &[(0xe000_0000, 0x200), (0x2000, 0x600)]);
    assert_eq!((bench.dma_status(0), bench.interrupts(0)), (0, (false, 0)));
    assert_eq!(
        (bench.status(BASE), bench.error(BASE)),
        (READY, 1),
        "as after a reset"
    );
    assert_eq!(
        bench.ram_read(0x2000, 0x600),
        vec![0; 0x600],
        "what was to follow did not"
    );
    bench.task(BASE, &[1, 1, 0, 0, 0xe0, 0xc8]);
    bench.start_dma(0, 0x1000, &[(0x2000, 0x200)]);
    assert_eq!(
        (bench.dma_status(0), bench.interrupts(0)),
        (0x04, (true, 1)),
        "and the next works"
    );
}

#[test]
fn accesses_have_qemus_widths() {
    let bench = Bench::with_disk(numbered(8));
    bench.output(BAR4 + 2, 0x60_u8);
    assert_eq!(bench.dma_status(0), 0x60, "drivers keep a note here");
    assert_eq!(bench.input::<u16>(BAR4 + 2), 0xffff);
    bench.output(BAR4 + 4, 0x1234_5677_u32);
    bench.output(BAR4 + 6, 0xabcd_u16);
    assert_eq!(bench.input::<u32>(BAR4 + 4), 0xabcd_5674);
    assert_eq!(bench.input::<u8>(BAR4 + 7), 0xab);
    assert_eq!(bench.input::<u16>(0x3f6), 0xff50);
}

#[test]
fn the_bios_is_told_how_to_translate() {
    let sized = |sectors| Some(IdeDrive::Disk(Arc::new(Faulty(sectors)) as Arc<dyn BlockBackend>));
    let bench = Bench::new([sized(2048), sized(1 << 22), None, sized(1 << 30)]);
    assert_eq!(bench.ide.upgrade().unwrap().cmos_translations(), 0b01_00_10_00);
}

/// A disk of so many sectors, none of which can be read or written.
#[derive(Debug)]
struct Faulty(u64);

impl BlockBackend for Faulty {
    fn size(&self) -> u64 {
        self.0 * 512
    }

    fn is_readonly(&self) -> bool {
        false
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn write_at(&self, _: u64, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> std::io::Result<()> {
        Err(std::io::ErrorKind::Unsupported.into())
    }
}

#[test]
fn errors_of_the_host_reach_the_guest() {
    let bench = Bench::with_disk(Arc::new(Faulty(2048)));
    bench.task(BASE, &[1, 0, 0, 0, 0xe0, 0x20]);
    assert_eq!(
        (bench.status(BASE), bench.error(BASE)),
        (FAILED, 0x40),
        "cannot be read"
    );
    bench.task(BASE, &[1, 0, 0, 0, 0xe0, 0xe7]);
    assert_eq!(
        (bench.status(BASE), bench.error(BASE)),
        (FAILED | 0x20, ABRT),
        "a fault"
    );
}

#[test]
fn a_machine_that_goes_takes_its_controller_along() {
    let bench = Bench::with_disk(numbered(8));
    let ide = bench.ide.clone();
    assert!(
        bench
            .ram
            .load::<u8>(WINDOW + 7, Endianness::Little, MemTxAttrs::UNSPECIFIED)
            .is_ok()
    );
    drop(bench);
    assert!(ide.upgrade().is_none());
}
