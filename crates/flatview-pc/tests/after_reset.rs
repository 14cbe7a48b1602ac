//! What a guest finds before any firmware ran: configuration space, ports and CMOS, against what QEMU 7.2 shows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::fmt::Write;
use std::fs;

use flatview::{AddressSpace, Endianness, MemTxAttrs};
use support::{Guest, disk};

/// What may differ (the beginnings of lines), and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "config 01.3 5c",
        "no bit says which of the board's devices the chip decodes: nobody asks",
    ),
    ("config 01.3 60", "as above"),
    ("config 01.3 64", "as above"),
    ("config 01.3 90", "there is no SMBus, so it has no address"),
    ("config 01.3 d0", "as above"),
    ("port 000", "there is no 8237"),
    ("port ae00", "there is no hotplug of PCI functions"),
    ("port 0b2", "the two bytes behind the ports are nobody's"),
    ("port afe1", "as above"),
    (
        "port 1f1",
        "the drive says that its diagnostic passed (ATA-6, 9.1)",
    ),
    ("port 3ba", "where the beam is"),
    ("port 3c5", "there is a pixel mask"),
    ("port 402", "a word is two characters"),
    ("port 511", "each read goes on in the item"),
    ("port cf8", "the index was left by who made the file"),
    ("port cfa", "as above"),
    ("port cfb", "as above"),
];

struct Machine(AddressSpace);

impl Machine {
    fn out(&self, port: u64, bytes: &[u8]) {
        self.0.write(port, bytes, MemTxAttrs::UNSPECIFIED).unwrap();
    }

    fn read(&self, port: u64, size: usize) -> u32 {
        let mut bytes = [0; 4];
        let _ = self.0.read(port, &mut bytes[..size], MemTxAttrs::UNSPECIFIED);
        u32::from_le_bytes(bytes)
    }

    fn config(&self, devfn: u32, register: u32) -> u32 {
        self.out(0xcf8, &(0x8000_0000 | devfn << 8 | register).to_le_bytes());
        self.0
            .load(0xcfc, Endianness::Little, MemTxAttrs::UNSPECIFIED)
            .unwrap()
    }
}

fn machine() -> (Guest, Machine) {
    let mut image = vec![0; 1 << 20];
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    let guest = Guest::new(
        64,
        vec![0xf4; 0x4_0000],
        Some(vec![0x55; 0x9800]),
        vec![disk(image)],
    );
    let ports = guest.pc.port_space().clone();
    (guest, Machine(ports))
}

/// What a new machine of ours shows for what QEMU's `line` is about.
fn ours(line: &str) -> String {
    let (_guest, machine) = machine();
    let words: Vec<&str> = line.split(' ').collect();
    let number = |at: usize| u32::from_str_radix(words[at], 16).unwrap();
    let mut ours = String::new();
    match words[0] {
        "config" => {
            let (slot, function) = words[1].split_once('.').unwrap();
            let devfn = u32::from_str_radix(slot, 16).unwrap() << 3 | function.parse::<u32>().unwrap();
            let after_reset = machine.config(devfn, number(2));
            machine.out(0xcfc, &[0xff; 4]);
            let after_ones = machine.config(devfn, number(2));
            write!(
                ours,
                "config {} {} {after_reset:08x} {after_ones:08x}",
                words[1], words[2]
            )
            .unwrap();
        }
        "port" => {
            let port = u64::from(number(1));
            let [byte, word, long] = [1, 2, 4].map(|size| machine.read(port, size));
            write!(ours, "port {port:03x} {byte:02x} {word:04x} {long:08x}").unwrap();
        }
        "cmos" => {
            machine.out(0x70, &[u8::try_from(number(1)).unwrap()]);
            write!(ours, "cmos {} {:02x}", words[1], machine.read(0x71, 1)).unwrap();
        }
        _ => panic!("{line}"),
    }
    ours
}

#[test]
fn is_what_qemu_shows() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/qemu72-after-reset.txt");
    let qemus = fs::read_to_string(path).unwrap();
    let asked = qemus
        .lines()
        .filter(|line| !DIFFERENT.iter().any(|(start, _)| line.starts_with(start)));
    let differ: Vec<String> = asked
        .map(|qemus| (qemus, ours(qemus)))
        .filter(|(qemus, ours)| qemus != ours)
        .map(|(qemus, ours)| format!("QEMU: {qemus}\nours: {ours}"))
        .collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}
