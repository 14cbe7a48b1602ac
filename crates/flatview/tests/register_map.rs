//! Registers are accessed by bytes: parts of them, several at once, in both byte orders.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

use std::sync::Arc;

use flatview::{
    AddressSpace, Endianness, MemTxAttrs, Memory, RegisterError, RegisterHandler, RegisterInfo, RegisterMap,
};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;

/// Writes down what it hears; register 3 is a clock.
#[derive(Default)]
struct Notes {
    heard: Vec<String>,
    clock: u64,
}

impl RegisterHandler for Notes {
    fn pre_read(&mut self, register: usize, value: u64) -> u64 {
        self.heard.push(format!("read {register}"));
        if register == 3 { self.clock } else { value }
    }

    fn pre_write(&mut self, register: usize, old: u64, new: u64) -> u64 {
        self.heard.push(format!("write {register} {old:x}->{new:x}"));
        if register == 1 { new & 0x0fff } else { new }
    }

    fn post_write(&mut self, register: usize, value: u64) {
        self.heard.push(format!("wrote {register} {value:x}"));
    }

    fn reset(&mut self) {
        self.heard.push("reset".to_owned());
    }
}

static REGISTERS: [RegisterInfo; 4] = [
    RegisterInfo::new("id", 0, 4)
        .reset(0x1122_3344)
        .read_only(u64::MAX),
    RegisterInfo::new("control", 4, 2),
    RegisterInfo::new("status", 8, 1)
        .reset(0xff)
        .write_one_to_clear(0x0f)
        .clear_on_read(0x80),
    RegisterInfo::new("clock", 0x10, 8),
];

fn device(endianness: Endianness) -> (Arc<RegisterMap<Notes>>, AddressSpace, Memory) {
    let device = Arc::new(RegisterMap::new(&REGISTERS, endianness, Notes::default()).unwrap());
    let memory = Memory::new();
    let region = memory.region("device").io(0x20, Arc::clone(&device) as _);
    let space = memory.create_address_space("cpu", &region).unwrap();
    (device, space, memory)
}

fn heard(device: &RegisterMap<Notes>) -> Vec<String> {
    device.with(|notes, _| std::mem::take(&mut notes.heard))
}

#[test]
fn parts_and_runs_of_registers_are_read() {
    for order in [Endianness::Little, Endianness::Big] {
        let (device, space, _memory) = device(order);
        device.with(|notes, values| {
            values[1] = 0x5566;
            notes.clock = 0x0102_0304_0506_0708;
        });
        let mut bytes = [0xee; 12];
        space.read(0, &mut bytes, ATTRS).unwrap();
        let mut expected = [0x44, 0x33, 0x22, 0x11, 0x66, 0x55, 0, 0, 0xff, 0, 0, 0];
        if order == Endianness::Big {
            expected[..4].reverse();
            expected[4..6].reverse();
        }
        assert_eq!(bytes, expected, "{order:?}");
        assert_eq!(heard(&device), ["read 0", "read 1", "read 2"]);
        assert_eq!(space.load::<u16>(1, order, ATTRS), Ok(0x2233));
        assert_eq!(heard(&device), ["read 0"]);
        assert_eq!(space.load::<u32>(0x12, order, ATTRS), Ok(0x0304_0506));
        assert_eq!(
            space.load::<u32>(0x1e, order, ATTRS),
            Ok(0),
            "beyond the last one"
        );
        let across = if order == Endianness::Little {
            0x5566_1122
        } else {
            0x3344_5566
        };
        assert_eq!(space.load::<u32>(2, order, ATTRS), Ok(across));
    }
}

#[test]
fn parts_and_runs_of_registers_are_written() {
    for order in [Endianness::Little, Endianness::Big] {
        let (device, space, _memory) = device(order);
        space.store(5, 0xab_u8, order, ATTRS).unwrap();
        let (new, kept) = if order == Endianness::Little {
            ("ab00", "b00")
        } else {
            ("ab", "ab")
        };
        assert_eq!(
            heard(&device),
            [format!("write 1 0->{new}"), format!("wrote 1 {kept}")]
        );
        space.write(0, &[0x11; 9], ATTRS).unwrap();
        device.with(|_, values| assert_eq!(values[..3], [0x1122_3344, 0x111, 0x1e]));
        heard(&device);
        space
            .store(0x10, 0x0102_0304_0506_0708_u64, order, ATTRS)
            .unwrap();
        space.store(0x13, 0xbeef_u16, order, ATTRS).unwrap();
        device.with(|_, values| assert_eq!(values[3], 0x0102_03be_ef06_0708, "{order:?}"));
    }
}

#[test]
fn reading_clears_what_it_clears_and_reset_brings_it_back() {
    let (device, space, _memory) = device(Endianness::Little);
    let status = || space.load::<u8>(8, Endianness::Little, ATTRS).unwrap();
    assert_eq!((status(), status()), (0xff, 0x7f));
    space.store(8, 0x03_u8, Endianness::Little, ATTRS).unwrap();
    assert_eq!(status(), 0x0c, "other bits are written as they are");
    heard(&device);
    device.reset();
    assert_eq!(heard(&device), ["reset"]);
    assert_eq!(status(), 0xff);
    assert_eq!(
        format!("{device:?}"),
        r#"{"id": 0x11223344, "control": 0x0, "status": 0x7f, "clock": 0x0}"#
    );
}

#[test]
fn registers_that_cannot_be_are_refused() {
    static OVERLAP: [RegisterInfo; 2] = [RegisterInfo::new("b", 3, 2), RegisterInfo::new("a", 0, 4)];
    static SIZE: [RegisterInfo; 1] = [RegisterInfo::new("odd", 0, 3)];
    static BEYOND: [RegisterInfo; 1] = [RegisterInfo::new("top", u64::MAX, 2)];
    let refused = |registers| RegisterMap::new(registers, Endianness::Little, Notes::default()).unwrap_err();
    assert_eq!(
        refused(&OVERLAP).to_string(),
        "registers `a` and `b` overlap at 0x3"
    );
    assert_eq!(
        refused(&SIZE).to_string(),
        "register `odd` cannot have 3 bytes at 0x0"
    );
    let expected = RegisterError::Size {
        name: "top",
        offset: u64::MAX,
        size: 2,
    };
    assert_eq!(refused(&BEYOND), expected);
}
