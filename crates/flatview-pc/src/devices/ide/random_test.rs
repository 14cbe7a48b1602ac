//! Whatever a guest does: nothing panics, everything ends, and no more memory is taken than the bound.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use flatview::{Endianness, MemTxAttrs};
use proptest::prelude::*;

use super::IdeDrive;
use super::bench::{BAR4, Bench, RAM, WINDOW, numbered};
use super::drive::MOST_AT_ONCE;
use crate::devices::block::{BlockBackend, MemoryImage};

/// What a guest may do.
#[derive(Clone, Debug)]
enum Step {
    In(u64, u8),
    Out(u64, u8, u32),
    /// A command with its parameters, to a drive on a channel.
    Command(bool, [u8; 6]),
    /// A packet, and whether by DMA.
    Packet([u8; 12], bool),
    /// Many words through the data port.
    Data(bool, u16, bool),
    /// A list of PRDs, and the bus master started on it.
    Dma(bool, u32, Vec<(u32, u32)>),
}

fn port() -> impl Strategy<Value = u64> {
    prop_oneof![
        0x1f0..0x1f8_u64,
        0x170..0x178_u64,
        Just(0x3f6),
        Just(0x376),
        BAR4..BAR4 + 16,
    ]
}

/// RAM, its end, the drive's own registers, the top of memory, anything.
fn address() -> impl Strategy<Value = u32> {
    let (ram, window) = (u32::try_from(RAM).unwrap(), u32::try_from(WINDOW).unwrap());
    prop_oneof![
        4 => 0..ram,
        1 => ram - 0x1000..ram + 0x1000,
        1 => window..window + 0x20,
        1 => 0xffff_0000_u32..,
        1 => any::<u32>(),
    ]
}

/// Commands that move data are as likely as all others.
fn command() -> impl Strategy<Value = u8> {
    let moving = vec![
        0x20, 0x24, 0x29, 0xc4, 0xc8, 0x25, 0x30, 0x34, 0x39, 0xc5, 0xca, 0x35, 0xa0, 0xa1, 0xec,
    ];
    prop_oneof![any::<u8>(), proptest::sample::select(moving)]
}

fn step() -> impl Strategy<Value = Step> {
    let low = prop_oneof![0..8_u8, any::<u8>()];
    let packet = proptest::array::uniform12(prop_oneof![Just(0_u8), 0..8_u8, any::<u8>()]);
    let known = vec![
        0x00, 0x03, 0x12, 0x1b, 0x1e, 0x25, 0x28, 0xa8, 0x2b, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0xbd,
    ];
    let operation = prop_oneof![any::<u8>(), proptest::sample::select(known)];
    let prd = (address(), prop_oneof![0..0x1000_u32, any::<u32>()]);
    prop_oneof![
        (port(), 1..5_u8).prop_map(|(port, size)| Step::In(port, size)),
        (port(), 1..5_u8, any::<u32>()).prop_map(|(port, size, value)| Step::Out(port, size, value)),
        (any::<bool>(), any::<[u8; 2]>(), low, command(), any::<bool>()).prop_map(
            |(channel, [a, b], count, command, is_slave)| {
                let device = 0xe0 | u8::from(is_slave) << 4;
                Step::Command(channel, [count, a, b & 3, 0, device, command])
            }
        ),
        (packet, operation, any::<bool>()).prop_map(|(mut packet, operation, is_dma)| {
            packet[0] = operation;
            Step::Packet(packet, is_dma)
        }),
        (any::<bool>(), 0..3000_u16, any::<bool>())
            .prop_map(|(channel, n, write)| Step::Data(channel, n, write)),
        (any::<bool>(), address(), prop::collection::vec(prd, 0..6))
            .prop_map(|(channel, table, prds)| Step::Dma(channel, table, prds)),
    ]
}

fn base(channel: bool) -> u64 {
    if channel { 0x170 } else { 0x1f0 }
}

fn make(bench: &Bench, step: &Step) {
    match step {
        Step::In(port, 1) => drop(bench.input::<u8>(*port)),
        Step::In(port, 2) => drop(bench.input::<u16>(*port)),
        Step::In(port, _) => drop(bench.input::<u32>(*port)),
        Step::Out(port, 1, value) => bench.output(*port, value.to_le_bytes()[0]),
        Step::Out(port, 2, value) => {
            let [low, high, ..] = value.to_le_bytes();
            bench.output(*port, u16::from_le_bytes([low, high]));
        }
        Step::Out(port, _, value) => bench.output(*port, *value),
        Step::Command(channel, task) => bench.task(base(*channel), task),
        Step::Packet(packet, is_dma) => {
            bench.output(0x171, u8::from(*is_dma));
            bench.task(0x170, &[0, 0, 0, 8, 0xa0, 0xa0]);
            for word in packet.chunks(2) {
                bench.output(0x170, u16::from_le_bytes([word[0], word[1]]));
            }
        }
        Step::Data(channel, n, false) => drop(bench.read_words(base(*channel), (*n).into())),
        Step::Data(channel, n, true) => (0..*n).for_each(|word| bench.output(base(*channel), word)),
        Step::Dma(channel, table, prds) => {
            let mut at = u64::from(*table & !3);
            for (address, len) in prds {
                for word in [*address, *len] {
                    // The list may be anywhere: where there is no memory, nothing is written.
                    let _ = bench
                        .ram
                        .store(at, word, Endianness::Little, MemTxAttrs::UNSPECIFIED);
                    at += 4;
                }
            }
            let registers = BAR4 + 8 * u64::from(*channel);
            bench.output(registers, 0_u8);
            bench.output(registers + 4, *table);
            bench.output(registers, 0x09_u8);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_guest_breaks_it(steps in prop::collection::vec(step(), 1..60)) {
        let disk: Arc<dyn BlockBackend> = Arc::new(MemoryImage::new(vec![1; 0x400 * 512]));
        let other: Arc<dyn BlockBackend> = Arc::new(MemoryImage::new(vec![2; 3 * 512]).readonly());
        let bench = Bench::new([
            Some(IdeDrive::Disk(disk)),
            Some(IdeDrive::Disk(other)),
            Some(IdeDrive::Cdrom(Some(numbered(300)))),
            None,
        ]);
        let ide = bench.ide.upgrade().unwrap();
        for step in &steps {
            make(&bench, step);
            for channel in [0, 1] {
                prop_assert!(ide.channel(channel).buffered() <= 2 * MOST_AT_ONCE, "{step:?}");
            }
        }
        // And after it all, a reset makes it work.
        for base in [0x1f0, 0x170] {
            bench.output(base + 0x206, 0x04_u8);
            bench.output(base + 0x206, 0x00_u8);
        }
        bench.task(0x1f0, &[1, 1, 0, 0, 0xe0, 0x20]);
        prop_assert_eq!(bench.status(0x1f0), 0x58);
        prop_assert_eq!(bench.read_words(0x1f0, 256).len(), 512);
        bench.output(0x177, 0xa1_u8);
        prop_assert_eq!(bench.status(0x170), 0x58);
    }
}
