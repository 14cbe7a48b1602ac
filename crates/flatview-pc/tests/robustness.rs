//! A guest cannot crash us: random code, random port and memory accesses, random PCI configuration. Nothing panics,
//! and every case ends.
//!
//! `PROPTEST_CASES=100000 cargo test -p flatview-pc --test robustness` runs longer.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use flatview::{Endianness, MemTxAttrs};
use flatview_accel::{Clock, Exit, Segment};
use flatview_pc::board::Drive;
use flatview_pc::devices::block::MemoryImage;
use flatview_pc::layout::RamLayout;
use proptest::prelude::*;
use support::{Guest, disk};

const ATTRS: MemTxAttrs = MemTxAttrs::UNSPECIFIED;
const LITTLE: Endianness = Endianness::Little;

/// Something that a guest does.
#[derive(Clone, Debug)]
enum Deed {
    In {
        port: u16,
        size: u8,
    },
    Out {
        port: u16,
        size: u8,
        value: u32,
    },
    Config {
        devfn: u8,
        register: u8,
        value: u32,
    },
    Load {
        address: u64,
        size: u8,
    },
    Store {
        address: u64,
        size: u8,
        value: u64,
    },
    Time {
        nanoseconds: u32,
    },
    /// A drive reads or writes by DMA; the list is in RAM, and leads anywhere.
    Drive {
        channel: u8,
        unit: u8,
        command: u8,
        count: u8,
        prds: Vec<(u32, u16)>,
    },
    /// fw_cfg copies an item anywhere; the descriptor is anywhere, too.
    Firmware {
        at: u64,
        control: u32,
        length: u32,
        address: u64,
    },
    /// Somebody types, and presses the power button.
    Outside {
        bytes: Vec<u8>,
    },
    Reset,
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

fn low(address: u64) -> u32 {
    u32::try_from(address & u64::from(u32::MAX)).unwrap()
}

fn drive() -> impl Strategy<Value = Deed> {
    let commands = vec![0x20_u8, 0x25, 0x30, 0x35, 0xa0, 0xc4, 0xc8, 0xca, 0xec, 0xef];
    let command = prop_oneof![6 => prop::sample::select(commands), 1 => any::<u8>()];
    let prds = prop::collection::vec((address().prop_map(low), any::<u16>()), 1..6);
    (0..2_u8, 0..2_u8, command, any::<u8>(), prds).prop_map(|(channel, unit, command, count, prds)| {
        Deed::Drive {
            channel,
            unit,
            command,
            count,
            prds,
        }
    })
}

fn firmware() -> impl Strategy<Value = Deed> {
    let length = prop_oneof![4 => 0..0x2_0000_u32, 1 => any::<u32>()];
    // Keys of items, numbered and named, and what is to be done.
    let control = (0..0x30_u32, 0..0x20_u32).prop_map(|(key, bits)| key << 16 | bits);
    (address(), control, length, address()).prop_map(|(at, control, length, address)| Deed::Firmware {
        at,
        control,
        length,
        address,
    })
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
        2 => drive(),
        2 => firmware(),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Deed::Outside { bytes }),
        1 => Just(Deed::Reset),
        2 => (1..100_000_000_u32).prop_map(|nanoseconds| Deed::Time { nanoseconds }),
    ]
}

/// A machine of two nodes with two disks and a CD. An instruction takes 1024 ns, so that timers come often.
fn guest(bios: Vec<u8>) -> Guest {
    let cd = Drive::CdRom(Arc::new(MemoryImage::new(vec![0x5a; 1 << 16])));
    let drives = vec![disk(vec![0xa5; 1 << 16]), disk(vec![0x3c; 1 << 12]), cd];
    Guest::with(16, bios, Some(vec![0x55; 0x8000]), drives, |config| {
        config.ram = RamLayout::new(16 << 20, &[0xb_0000, (16 << 20) - 0xb_0000]).unwrap();
        config.clock = Clock::counted(10);
    })
}

impl Guest {
    /// Whatever the guest did, nothing of it stays.
    fn ends(self) {
        let (ram, memory) = (self.pc.ram().downgrade(), self.pc.memory().downgrade());
        let vga = Arc::downgrade(self.pc.vga());
        drop(self);
        assert!(memory.upgrade().is_none() && ram.upgrade().is_none());
        assert_eq!(vga.strong_count(), 0);
    }

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
            Deed::Drive {
                channel,
                unit,
                command,
                count,
                ref prds,
            } => self.transfers((channel, unit), command, count, prds),
            Deed::Firmware {
                at,
                control,
                length,
                address,
            } => {
                let mut descriptor = control.to_be_bytes().to_vec();
                descriptor.extend(length.to_be_bytes());
                descriptor.extend(address.to_be_bytes());
                let _ = memory.write(at, &descriptor, ATTRS);
                let _ = ports.write(0x514, &at.to_be_bytes()[..4], ATTRS);
                let _ = ports.write(0x518, &at.to_be_bytes()[4..], ATTRS);
            }
            Deed::Outside { ref bytes } => {
                self.pc.serial().unwrap().send(bytes);
                let text = String::from_utf8_lossy(bytes);
                self.pc.keyboard().lock().unwrap().type_text(&text);
                self.pc.power().press_power_button();
                let _ = self.pc.screen().to_string();
            }
            Deed::Reset => self.pc.machine().reset().unwrap(),
        }
    }

    /// Lets the bus master be at 0xc000, and starts it.
    fn transfers(&mut self, (channel, unit): (u8, u8), command: u8, count: u8, prds: &[(u32, u16)]) {
        const LIST: u64 = 0x20_0000;
        let (memory, ports) = (self.pc.memory_space().clone(), self.pc.port_space().clone());
        let mut list = Vec::new();
        for (number, &(address, bytes)) in prds.iter().enumerate() {
            let last = u32::from(number + 1 == prds.len()) << 31;
            list.extend(address.to_le_bytes());
            list.extend((last | u32::from(bytes)).to_le_bytes());
        }
        let _ = memory.write(LIST, &list, ATTRS);
        let config = |register, value: u32| {
            let _ = ports.store(0xcf8, 0x8000_0900_u32 | register, LITTLE, ATTRS);
            let _ = ports.store(0xcfc, value, LITTLE, ATTRS);
        };
        config(0x20, 0xc000);
        config(0x04, 0x0005);
        let (base, master) = if channel == 0 {
            (0x1f0, 0xc000)
        } else {
            (0x170, 0xc008)
        };
        let out = |port: u64, value: u8| {
            let _ = ports.store(port, value, LITTLE, ATTRS);
        };
        let _ = ports.store(master + 4, low(LIST), LITTLE, ATTRS);
        for (register, value) in [
            (6, 0xe0 | unit << 4),
            (1, 1),
            (2, count),
            (3, count >> 3),
            (4, 0),
            (5, 0),
        ] {
            out(base + register, value);
        }
        out(base + 7, command);
        if command == 0xa0 {
            // READ(10) of some blocks.
            for word in [0x0028_u16, 0, 0, 0, u16::from(count & 0x1f), 0] {
                let _ = ports.store(base, word, LITTLE, ATTRS);
            }
        }
        out(master, 0x09);
        out(master, 0x00);
    }

    /// In big real mode at 0x1000, with interrupts on; the vectors lead into `code`, too.
    fn runs(&mut self, code: &[u8]) {
        let memory = self.pc.memory_space().clone();
        for vector in 0..256_u64 {
            let target = 0x1000 + vector * 61 % (code.len() as u64).max(1);
            let _ = memory.store(4 * vector, low(target), LITTLE, ATTRS);
        }
        memory.write(0x1000, code, ATTRS).unwrap();
        let vcpu = self.pc.machine().vcpu();
        let mut state = vcpu.state().unwrap();
        let big = |segment: &mut Segment, limit| {
            (segment.base, segment.selector, segment.limit, segment.g) = (0, 0, limit, limit == u32::MAX);
        };
        let sregs = &mut state.sregs;
        for segment in [
            &mut sregs.ds,
            &mut sregs.es,
            &mut sregs.fs,
            &mut sregs.gs,
            &mut sregs.ss,
        ] {
            big(segment, u32::MAX);
        }
        big(&mut sregs.cs, 0xffff);
        (state.regs.rip, state.regs.rsp, state.regs.rflags) = (0x1000, 0x8000, 0x202);
        vcpu.set_state(&state).unwrap();
        for _ in 0..40 {
            if self.pc.machine().turn().unwrap().is_some() {
                break;
            }
        }
    }
}

/// A few bytes of code: what guests do to devices, or anything.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let with = |opcode: &'static [u8], value: Vec<u8>| [opcode, &value[..]].concat();
    let accesses: Vec<&[u8]> = vec![
        &[0xee],
        &[0xef],
        &[0x66, 0xef],
        &[0xec],
        &[0xed],
        &[0x66, 0xed],
        &[0xb9, 0x40, 0x00, 0xf3, 0x6e],
        &[0xb9, 0x40, 0x00, 0xf3, 0x6d],
    ];
    let access = (port(), any::<u32>(), prop::sample::select(accesses)).prop_map(|(port, value, access)| {
        [
            &[0xba][..],
            &port.to_le_bytes(),
            &[0x66, 0xb8],
            &value.to_le_bytes(),
            access,
        ]
        .concat()
    });
    let store = (address().prop_map(low), any::<u32>()).prop_map(move |(address, value)| {
        with(
            &[0x67, 0x66, 0xc7, 0x05],
            [address.to_le_bytes(), value.to_le_bytes()].concat(),
        )
    });
    let load =
        address().prop_map(move |address| with(&[0x67, 0x66, 0xa1], low(address).to_le_bytes().to_vec()));
    let others: Vec<&[u8]> = vec![
        &[0xfb],                   // sti
        &[0xf4],                   // hlt
        &[0xcf],                   // iret
        &[0xcd, 0x10],             // int 10h
        &[0x66, 0xa5],             // movsd
        &[0xb0, 0x20, 0xe6, 0x20], // the end of an interrupt
        &[0x0f, 0x30],             // wrmsr
        &[0x0f, 0xa2],             // cpuid
    ];
    prop_oneof![
        6 => access,
        3 => store,
        2 => load,
        4 => prop::sample::select(others).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..8),
    ]
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let cases = asked.and_then(|cases| cases.parse().ok()).unwrap_or(24);
    ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn accesses(deeds in prop::collection::vec(deed(), 1..400)) {
        let mut guest = guest(vec![0xf4; 0x1_0000]);
        guest.pc.machine().reset().unwrap();
        for deed in &deeds {
            guest.does(deed);
        }
        guest.pc.machine().reset().unwrap();
        guest.ends();
    }

    #[test]
    fn interrupted_code(
        deeds in prop::collection::vec(deed(), 0..20),
        code in prop::collection::vec(instruction(), 1..200),
        again in prop::collection::vec(instruction(), 1..200),
    ) {
        let mut guest = guest(vec![0xf4; 0x1_0000]);
        for deed in &deeds {
            guest.does(deed);
        }
        guest.runs(&code.concat());
        guest.pc.machine().reset().unwrap();
        guest.runs(&again.concat());
        guest.ends();
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
        guest.ends();
    }
}
