#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::sync::Mutex;

use flatview::{Endianness, EventNotifier, MemTxAttrs};

use super::*;
use crate::KvmConfig;
use crate::probe::{DEVICE, Guest, HLT, Out, WIDE, out, store};

/// What is registered: offset, size, datamatch.
type Registered = (u64, u32, Option<u64>);

const REGISTERED: [Registered; 9] = [
    (0, 4, Some(0x1122_3344)),
    (0, 4, Some(0x5566_7788)),
    (0, 2, Some(0x0102)),
    (0, 1, None),
    (4, 0, None),
    (8, 1, Some(0xff)),
    (8, 2, None),
    // More than the kernel would compare of one byte.
    (9, 1, Some(0x1fe)),
    (12, 4, Some(0)),
];

/// What is written: offset, value, size.
const WRITTEN: [(u16, u32, usize); 18] = [
    (0, 0x1122_3344, 4),
    (0, 0x4433_2211, 4),
    (0, 0x5566_7788, 4),
    (0, 0x8877_6655, 4),
    (0, 0x0102, 2),
    (0, 0x0201, 2),
    (0, 0x0102, 4),
    (0, 7, 1),
    (4, 7, 1),
    (4, 7, 2),
    (4, 7, 4),
    (8, 0xff, 1),
    (8, 0xfe, 1),
    (8, 0xfe, 2),
    (9, 0xfe, 1),
    (9, 0xff, 1),
    (12, 0, 4),
    (12, 1, 4),
];

/// I11, I12: which notifiers a write signals, and whether it reaches the device, is the same whether the kernel looks at
/// it or the software; that of a big-endian device, too (I6).
fn agrees(bus: Bus, endianness: Endianness) {
    let Some(mut guest) = Guest::new(KvmConfig::default()) else {
        return;
    };
    let written = Arc::new(Mutex::new(vec![]));
    let device = guest.device(bus, endianness, &written);
    let notifiers: Vec<_> = REGISTERED
        .iter()
        .map(|&(offset, size, data)| {
            let notifier = EventNotifier::eventfd().unwrap();
            guest
                .memory
                .update(|tx| tx.add_eventfd(&device, offset, size, data, &notifier))
                .unwrap();
            notifier
        })
        .collect();
    let signalled = || -> Vec<_> {
        let set = notifiers.iter().zip(REGISTERED);
        set.filter(|(notifier, _)| notifier.test_and_clear().unwrap())
            .map(|(_, registered)| registered)
            .collect()
    };
    let mut hits = 0;
    for (offset, value, size) in WRITTEN {
        let bytes = &value.to_le_bytes()[..size];
        let (code, space, start) = match bus {
            Bus::Memory => (store(offset, value, size), &guest.space, DEVICE),
            Bus::Ports => (out(0x600 + offset, value, size), &guest.ports, 0x600),
        };
        space
            .write(start + u64::from(offset), bytes, MemTxAttrs::UNSPECIFIED)
            .unwrap();
        let by_software = signalled();
        let is_at_device = written.lock().unwrap().pop().is_some();

        guest.code(&[&code, HLT]);
        let mut came_out = guest.run();
        if is_at_device {
            let expected = match bus {
                Bus::Memory => Out::Write(start + u64::from(offset), bytes.to_vec()),
                Bus::Ports => Out::Port(0x600 + offset, bytes.to_vec()),
            };
            assert_eq!(came_out, expected);
            came_out = guest.run();
        }
        assert_eq!(came_out, Out::Halted);
        assert_eq!(signalled(), by_software, "{value:#x} of {size} bytes at {offset}");
        assert_eq!(by_software.is_empty(), is_at_device);
        hits += by_software.len();
    }
    assert_eq!(hits, 11);
}

#[test]
fn i12_writes_to_memory_signal_as_in_software() {
    agrees(Bus::Memory, Endianness::Little);
}

#[test]
fn i6_writes_to_memory_of_a_big_endian_device_signal_as_in_software() {
    agrees(Bus::Memory, Endianness::Big);
}

#[test]
fn i12_writes_to_ports_signal_as_in_software() {
    agrees(Bus::Ports, Endianness::Little);
}

#[test]
fn i6_writes_to_ports_of_a_big_endian_device_signal_as_in_software() {
    agrees(Bus::Ports, Endianness::Big);
}

/// I12: not cut to 32 bits, as QEMU does.
#[test]
fn i12_all_of_eight_bytes_is_compared() {
    let Some(mut guest) = Guest::new(KvmConfig::default()) else {
        return;
    };
    let device = guest.device(Bus::Memory, Endianness::Little, &Arc::default());
    let notifier = EventNotifier::eventfd().unwrap();
    let value = 0x0102_0304_0506_0708_u64;
    guest
        .memory
        .update(|tx| tx.add_eventfd(&device, 0, 8, Some(value), &notifier))
        .unwrap();
    for (written, hits) in [(value, true), (value & 0xffff_ffff, false)] {
        guest.write(WIDE, &written.to_le_bytes());
        guest.code(&[&store(0, 0, 8), HLT]);
        let expected = match hits {
            true => Out::Halted,
            false => Out::Write(DEVICE, written.to_le_bytes().to_vec()),
        };
        assert_eq!(guest.run(), expected);
        assert_eq!(notifier.test_and_clear().unwrap(), hits);
    }
}

/// What moves is signalled where it is now, and comes out where it was.
#[test]
fn i7_an_ioeventfd_goes_where_its_region_goes() {
    let Some(mut guest) = Guest::new(KvmConfig::default()) else {
        return;
    };
    let device = guest.device(Bus::Memory, Endianness::Little, &Arc::default());
    let notifier = EventNotifier::eventfd().unwrap();
    guest
        .memory
        .update(|tx| tx.add_eventfd(&device, 0x10, 4, None, &notifier))
        .unwrap();
    guest
        .memory
        .update(|tx| tx.set_address(&device, DEVICE + 0x2000))
        .unwrap();
    guest.code(&[&store(0x2010, 1, 4), &store(0x10, 2, 4), HLT]);
    assert_eq!(guest.run(), Out::Write(DEVICE + 0x10, vec![2, 0, 0, 0]));
    assert!(notifier.test_and_clear().unwrap());
    guest.memory.update(|tx| tx.set_enabled(&device, false)).unwrap();
    guest.code(&[&store(0x2010, 1, 4), HLT]);
    assert_eq!(guest.run(), Out::Write(DEVICE + 0x2010, vec![1, 0, 0, 0]));
    assert!(!notifier.test_and_clear().unwrap());
}
