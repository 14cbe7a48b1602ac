//! A reset in the middle of a boot boots again, however the guest asks for it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use flatview::{Endianness, MemTxAttrs};
use flatview_accel::Signals;
use flatview_pc::machine::End;
use support::{Guest, disk};

/// A boot sector that executes `reset` the first time and halts the second: a byte of the CMOS tells which it is.
fn disk_that(reset: &[u8]) -> Vec<u8> {
    let mut code = vec![
        0xfa, // cli
        0xb0, 0x50, 0xe6, 0x70, 0xe4, 0x71, // what is in the CMOS at 0x50?
        0x84, 0xc0, 0x75, 0x0a, // not 0: the second time
        0xb0, 0x50, 0xe6, 0x70, 0xb0, 0x01, 0xe6, 0x71, // now it is 1
        0xeb, 0x02, // to `reset`
        0xfa, 0xf4, // cli; hlt
    ];
    code.extend(reset);
    code.extend([0xf4, 0xeb, 0xfd]);
    code.resize(510, 0);
    code.extend([0x55, 0xaa]);
    code.resize(1 << 20, 0);
    code
}

fn boots_again(reset: &[u8]) {
    let Some(mut guest) = Guest::seabios(64, vec![disk(disk_that(reset))]) else {
        return;
    };
    let end = guest.run_until(200, "second boot", |_| false);
    let log = guest.debugcon.get();
    assert!(
        matches!(end, Some(End::Halted { cs: 0, .. })),
        "{end:?}, not in the boot sector: {log}"
    );
    assert_eq!(guest.pc.machine().resets(), 1, "{log}");
    let boots: Vec<&str> = log.split_inclusive("Booting from 0000:7c00\n").collect();
    let [first, second] = boots[..] else {
        panic!("{} boots: {log}", boots.len());
    };
    assert_eq!(first, second);
}

#[test]
fn by_the_reset_control_register() {
    boots_again(&[0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]);
}

#[test]
fn by_the_reset_register_of_acpi() {
    boots_again(&[0xba, 0xf9, 0x0c, 0xb0, 0x0f, 0xee]);
}

#[test]
fn by_port_92() {
    boots_again(&[0xe4, 0x92, 0x24, 0xfe, 0xe6, 0x92, 0x0c, 0x01, 0xe6, 0x92]);
}

#[test]
fn by_the_keyboard_controller() {
    boots_again(&[0xb0, 0xfe, 0xe6, 0x64]);
}

/// What a guest leaves behind: everything pending, A20 closed, the chipset's windows and the BARs anywhere.
#[test]
fn a_reset_leaves_nothing_of_the_life_before() {
    let mut guest = Guest::new(16, vec![0xf4; 0x1_0000], None, vec![]);
    let before = guest.pc.memory_space().mtree_flat().unwrap().to_string();
    let ports_before = guest.pc.port_space().mtree_flat().unwrap().to_string();
    let ports = guest.pc.port_space().clone();
    let out = |port: u64, value: u32| {
        let _ = ports.store(port, value, Endianness::Little, MemTxAttrs::UNSPECIFIED);
    };
    for (address, value) in [
        (0x8000_0058, 0x3131_3131), // PAM
        (0x8000_005c, 0x2222_2222),
        (0x8000_0070, 0x004a_0000), // SMRAM, open
        (0x8000_1010, 0x0010_0000), // VRAM over the RAM
        (0x8000_1004, 0x0000_0007),
        (0x8000_0920, 0x0000_0cc0), // the bus master over the configuration ports
        (0x8000_0904, 0x0000_0007),
        (0x8000_0b40, 0x0000_0041), // power management over the PIT
        (0x8000_0b80, 0x0000_0001),
    ] {
        out(0xcf8, address);
        out(0xcfc, value);
    }
    let control = std::sync::Arc::clone(guest.pc.machine().control());
    control.raise(Signals::NMI | Signals::SMI | Signals::INIT | Signals::A20M);
    assert_ne!(guest.pc.memory_space().mtree_flat().unwrap().to_string(), before);
    guest.pc.machine().reset().unwrap();
    assert_eq!(control.signals(), Signals::empty());
    assert_eq!(guest.pc.memory_space().mtree_flat().unwrap().to_string(), before);
    assert_eq!(
        guest.pc.port_space().mtree_flat().unwrap().to_string(),
        ports_before
    );
}
