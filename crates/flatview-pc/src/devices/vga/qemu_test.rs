//! The same reads and writes, here and in a real QEMU: registers, the legacy window, VRAM.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use flatview_testkit::Qtest;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::bench::{Bench, LFB, MMIO};
use super::dispi::index;

#[derive(Clone, Debug)]
enum Step {
    OutByte(u64, u8),
    OutWord(u64, u16),
    InByte(u64),
    InWord(u64),
    /// Takes the attribute controller's index next. What is read depends on the time.
    InputStatus1(u64),
    Store(u64, u32),
    Load(u64),
}

impl Step {
    /// As a qtest command, and what it answers here if that is to be compared.
    fn make(&self, bench: &Bench) -> (String, Option<u64>) {
        match *self {
            Step::OutByte(port, value) => {
                bench.output(port, value);
                (format!("outb {port:#x} {value:#x}"), None)
            }
            Step::OutWord(port, value) => {
                bench.output(port, value);
                (format!("outw {port:#x} {value:#x}"), None)
            }
            Step::InByte(port) => (format!("inb {port:#x}"), Some(bench.input::<u8>(port).into())),
            Step::InWord(port) => (format!("inw {port:#x}"), Some(bench.input::<u16>(port).into())),
            Step::InputStatus1(port) => {
                bench.input::<u8>(port);
                (format!("inb {port:#x}"), None)
            }
            Step::Store(address, value) => {
                bench.write(address, value);
                (format!("writel {address:#x} {value:#x}"), None)
            }
            Step::Load(address) => (
                format!("readl {address:#x}"),
                Some(bench.read::<u32>(address).into()),
            ),
        }
    }
}

/// Values of the graphics controller that turn things on and off.
const GRAPHICS: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x0b, 0x0c, 0x0e, 0x10, 0x40,
];

fn register(
    port: u64,
    register: impl Strategy<Value = u8>,
    values: &'static [u8],
) -> impl Strategy<Value = Vec<Step>> {
    let value = prop_oneof![select(values.to_vec()), any::<u8>()];
    (register, value)
        .prop_map(move |(register, value)| vec![Step::OutWord(port, u16::from_le_bytes([register, value]))])
}

fn dispi() -> impl Strategy<Value = Vec<Step>> {
    // With 4 bits a pixel QEMU has a sequencer that nobody set up; what the height of VRAM is before a mode is set, it
    // remembers.
    let written = prop_oneof![
        (Just(index::ID), select(vec![0xb0c0_u16, 0xb0c5, 1])),
        (
            Just(index::XRES),
            prop_oneof![select(vec![640_u16, 800]), any::<u16>()]
        ),
        (
            Just(index::YRES),
            prop_oneof![select(vec![480_u16, 600]), any::<u16>()]
        ),
        (Just(index::BPP), select(vec![8_u16, 15, 16, 24, 32])),
        (Just(index::ENABLE), select(vec![0_u16, 1, 0x41, 0xc1, 0x81, 2])),
        (Just(index::BANK), 0..300_u16),
        (Just(index::VIRT_WIDTH), 0..5000_u16),
        (Just(index::X_OFFSET), 0..100_u16),
        (Just(index::Y_OFFSET), 0..600_u16),
        (10..13_u16, any::<u16>()),
    ];
    (written, select(vec![0x1cf_u64, 0x1d0])).prop_map(|((register, value), port)| {
        vec![
            Step::OutWord(0x1ce, register),
            Step::OutWord(port, value),
            Step::InWord(0x1d0),
        ]
    })
}

fn steps(with_dispi: bool) -> impl Strategy<Value = Vec<Vec<Step>>> {
    let window = select(vec![
        0xa_0000_u64,
        0xa_8000,
        0xa_ff00,
        0xb_0000,
        0xb_8000,
        0xb_ffb0,
    ]);
    let address = || {
        prop_oneof![4 => (window.clone(), 0..0x40_u64), 1 => (Just(LFB), 0..0x100_u64)]
            .prop_map(|(base, offset)| base + offset)
    };
    // The palette mask is not there in QEMU. A DISPI mode sets registers of the CRT controller, there.
    let mut ports = vec![
        0x3c0_u64, 0x3c1, 0x3c2, 0x3c4, 0x3c7, 0x3c8, 0x3ca, 0x3cc, 0x3ce, 0x3cf,
    ];
    if !with_dispi {
        ports.extend([0x3b4, 0x3b5, 0x3d4, 0x3d5]);
    }
    let one = |step| vec![step];
    let more = if with_dispi {
        dispi().boxed()
    } else {
        Just(Vec::new()).boxed()
    };
    let step = prop_oneof![
        3 => register(0x3ce, 0..9_u8, GRAPHICS),
        3 => register(0x3c4, select(vec![1_u8, 2, 2, 3, 4, 4]), &[0x02, 0x03, 0x06, 0x0e, 0x0f]),
        1 => register(0x3d4, 0..0x19_u8, &[0x00]),
        1 => select(vec![0x63_u8, 0x66, 0x67]).prop_map(move |value| one(Step::OutByte(0x3c2, value))),
        1 => select(ports.clone()).prop_map(move |port| one(Step::InByte(port))),
        1 => select(ports).prop_map(move |port| one(Step::InWord(port))),
        1 => (0..0x40_u8).prop_map(move |value| one(Step::OutByte(0x3c0, value))),
        1 => select(vec![0x3ba_u64, 0x3da]).prop_map(move |port| one(Step::InputStatus1(port))),
        6 => (address(), any::<u32>()).prop_map(move |(address, value)| one(Step::Store(address, value))),
        4 => address().prop_map(move |address| one(Step::Load(address))),
        1 => more,
    ];
    prop::collection::vec(step, 3000)
}

fn compare(with_dispi: bool) {
    let arguments = [
        "-M",
        "pc",
        "-m",
        "16",
        "-nodefaults",
        "-device",
        "VGA,addr=2,edid=off",
    ];
    let Some(mut qemu) = Qtest::start(&arguments) else {
        return;
    };
    for (register, value) in [(0x10, LFB), (0x18, MMIO), (0x04, 3)] {
        qemu.command(&format!("outl 0xcf8 {:#x}", 0x8000_1000_u32 | register));
        qemu.command(&format!("outl 0xcfc {value:#x}"));
    }
    let bench = Bench::new();
    let steps = steps(with_dispi)
        .new_tree(&mut TestRunner::deterministic())
        .unwrap()
        .current()
        .concat();
    for (at, step) in steps.iter().enumerate() {
        let (command, here) = step.make(&bench);
        let there = qemu.command(&command);
        if let Some(here) = here {
            let there = u64::from_str_radix(there.trim_start_matches("0x"), 16).unwrap();
            let before = &steps[at.saturating_sub(20)..at];
            assert_eq!(here, there, "{command} as step {at}, after {before:x?}");
        }
    }
}

#[test]
fn registers_and_planes_do_what_qemu_does() {
    compare(false);
}

#[test]
fn banks_and_modes_do_what_qemu_does() {
    compare(true);
}
