//! A guest cannot crash us: random code, random port and memory accesses, random PCI configuration. Nothing panics,
//! and every case ends.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use flatview::{Endianness, MemTxAttrs};
use flatview_accel::Exit;
use proptest::prelude::*;
use support::{Guest, disk};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LITTLE: Endianness = Endianness::Little;

/// Something that a guest does.
#[derive(Clone, Debug)]
enum Deed {
    In { port: u16, size: u8 },
    Out { port: u16, size: u8, value: u32 },
    Config { devfn: u8, register: u8, value: u32 },
    Load { address: u64, size: u8 },
    Store { address: u64, size: u8, value: u64 },
    Time { nanoseconds: u32 },
}

/// Ports where devices are, and all others.
fn port() -> impl Strategy<Value = u16> {
    let devices = prop::sample::select(vec![
        0x00_u16, 0x20, 0x21, 0x40, 0x43, 0x60, 0x61, 0x64, 0x70, 0x71, 0x92, 0xa0, 0xa1, 0xb2, 0x170, 0x177,
        0x1ce, 0x1cf, 0x1f0, 0x1f6, 0x1f7, 0x376, 0x3b4, 0x3c0, 0x3c4, 0x3c5, 0x3ce, 0x3cf, 0x3d4, 0x3d5,
        0x3f6, 0x3f8, 0x3fb, 0x402, 0x4d0, 0x510, 0x511, 0x514, 0x518, 0x600, 0x604, 0x608, 0xafe0, 0xc000,
        0xc002, 0xc004, 0xcf8, 0xcf9, 0xcfc,
    ]);
    prop_oneof![8 => devices, 1 => any::<u16>()]
}

/// Addresses where devices and edges are, and all others.
fn address() -> impl Strategy<Value = u64> {
    let near = prop::sample::select(vec![
        0_u64,
        0xa_0000,
        0xb_8000,
        0xc_0000,
        0xf_0000,
        0x10_0000,
        0x400_0000,
        0xfd00_0000,
        0xfebf_0000,
        0xfec0_0000,
        0xfec0_0010,
        0xfed0_0000,
        0xfee0_0000,
        0xfee0_0300,
        0xffff_fff0,
        0x1_0000_0000,
        u64::MAX - 7,
    ]);
    prop_oneof![6 => (near, 0..0x1000_u64).prop_map(|(near, by)| near.wrapping_add(by)), 1 => any::<u64>()]
}

fn deed() -> impl Strategy<Value = Deed> {
    let size = || prop::sample::select(vec![1_u8, 2, 4]);
    let wide = || prop::sample::select(vec![1_u8, 2, 4, 8]);
    let devfn = prop::sample::select(vec![0_u8, 8, 9, 11, 16, 24]);
    prop_oneof![
        4 => (port(), size()).prop_map(|(port, size)| Deed::In { port, size }),
        8 => (port(), size(), any::<u32>()).prop_map(|(port, size, value)| Deed::Out { port, size, value }),
        4 => (devfn, any::<u8>(), any::<u32>()).prop_map(|(devfn, register, value)| Deed::Config { devfn, register, value }),
        2 => (address(), wide()).prop_map(|(address, size)| Deed::Load { address, size }),
        4 => (address(), wide(), any::<u64>()).prop_map(|(address, size, value)| Deed::Store { address, size, value }),
        2 => (1..100_000_000_u32).prop_map(|nanoseconds| Deed::Time { nanoseconds }),
    ]
}

fn guest(bios: Vec<u8>) -> Guest {
    Guest::new(
        16,
        bios,
        Some(vec![0x55; 0x8000]),
        vec![disk(vec![0xa5; 1 << 16])],
    )
}

impl Guest {
    fn does(&mut self, deed: &Deed) {
        let (memory, ports) = (self.pc.memory_space().clone(), self.pc.port_space().clone());
        match *deed {
            Deed::In { port, size } => {
                let mut bytes = [0; 4];
                let _ = ports.read(port.into(), &mut bytes[..size.into()], ATTRS);
            }
            Deed::Out { port, size, value } => {
                let _ = ports.write(port.into(), &value.to_le_bytes()[..size.into()], ATTRS);
            }
            Deed::Config {
                devfn,
                register,
                value,
            } => {
                let address = 0x8000_0000 | u32::from(devfn) << 8 | u32::from(register);
                let _ = ports.store(0xcf8, address, LITTLE, ATTRS);
                let _ = ports.store(0xcfc, value, LITTLE, ATTRS);
            }
            Deed::Load { address, size } => {
                let mut bytes = [0; 8];
                let _ = memory.read(address, &mut bytes[..size.into()], ATTRS);
            }
            Deed::Store { address, size, value } => {
                let _ = memory.write(address, &value.to_le_bytes()[..size.into()], ATTRS);
            }
            Deed::Time { nanoseconds } => {
                let clock = self.pc.machine().control().clock();
                clock.advance_to(clock.now() + u64::from(nanoseconds));
                self.pc.timers().run_due();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accesses(deeds in prop::collection::vec(deed(), 1..400)) {
        let mut guest = guest(vec![0xf4; 0x1_0000]);
        guest.pc.machine().reset().unwrap();
        for deed in &deeds {
            guest.does(deed);
        }
        guest.pc.machine().reset().unwrap();
    }

    #[test]
    fn code(seed in any::<u64>(), deeds in prop::collection::vec(deed(), 0..50)) {
        // Whatever it is, the CPU begins in it.
        let mut state = seed | 1;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let bios = (0..0x1_0000).map(|_| random()).collect();
        let mut guest = guest(bios);
        guest.pc.machine().reset().unwrap();
        for deed in &deeds {
            guest.does(deed);
        }
        for _ in 0..2_000 {
            match guest.pc.machine().vcpu().step().unwrap() {
                Exit::Shutdown | Exit::Halted => break,
                _ => guest.pc.timers().run_due(),
            }
        }
    }
}
