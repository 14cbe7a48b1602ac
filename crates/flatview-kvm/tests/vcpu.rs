#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! What comes out of a guest of KVM, and how the guest goes on: ports, memory that devices answer for, HLT.

mod support;

use flatview_accel::{Exit, Segment, Vcpu};
use flatview_kvm::KvmConfig;
use support::Access::{Read, Write};
use support::{Board, Recorder};

/// DS begins at 0x20000, where the test's device is.
fn ds_at_the_device(vcpu: &mut impl Vcpu) {
    let mut state = vcpu.state().unwrap();
    state.sregs.ds = Segment {
        base: 0x2_0000,
        selector: 0x2000,
        ..state.sregs.ds
    };
    vcpu.set_state(&state).unwrap();
}

#[test]
fn ports_of_all_sizes() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let device = Recorder::new(0x8899_aabb);
    let ports = board.memory.region("device").io(0x10, device.clone());
    board.update(|tx| tx.add_subregion(&board.io, 0x100, &ports));
    let code = [
        0xba, 0x00, 0x01, // mov dx, 0x100
        0xec, 0xee, // in al, dx; out dx, al
        0xed, 0xef, // in ax, dx; out dx, ax
        0x66, 0xed, 0x66, 0xef, // in eax, dx; out dx, eax
        0xe4, 0x20, // in al, 0x20: nobody
        0xf4, // hlt
    ];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let expected = [
        Read(0, 1),
        Write(0, 1, 0xbb),
        Read(0, 2),
        Write(0, 2, 0xaabb),
        Read(0, 4),
        Write(0, 4, 0x8899_aabb),
    ];
    assert_eq!(device.take(), expected);
    assert_eq!(
        vcpu.state().unwrap().regs.rax,
        0x8899_aaff,
        "AB15: ones where nobody is"
    );
    assert_eq!(kvm.statistics().io_exits, 7);
}

#[test]
fn string_instructions_reach_ports_item_by_item() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let device = Recorder::new(0xa5);
    let ports = board.memory.region("device").io(0x10, device.clone());
    board.update(|tx| tx.add_subregion(&board.io, 0x100, &ports));
    let code = [
        0xba, 0x00, 0x01, // mov dx, 0x100
        0xb9, 0x2c, 0x01, // mov cx, 300
        0xbf, 0x00, 0x30, // mov di, 0x3000
        0xf3, 0x6c, // rep insb
        0xb9, 0x03, 0x00, // mov cx, 3
        0xbe, 0x00, 0x20, // mov si, 0x2000
        0xf3, 0x6f, // rep outsw
        0xb9, 0x02, 0x00, // mov cx, 2
        0xf3, 0x66, 0x6f, // rep outsd
        0xf4,
    ];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    board.write(0x2000, &(1..=14).collect::<Vec<u8>>());
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let log = device.take();
    assert_eq!(log[..300], [Read(0, 1); 300]);
    let written = [
        Write(0, 2, 0x0201),
        Write(0, 2, 0x0403),
        Write(0, 2, 0x0605),
        Write(0, 4, 0x0a09_0807),
        Write(0, 4, 0x0e0d_0c0b),
    ];
    assert_eq!(log[300..], written);
    let mut bytes = [0; 302];
    board
        .space
        .read(0x2fff, &mut bytes, flatview::MemTxAttrs::UNSPECIFIED)
        .unwrap();
    assert_eq!((bytes[0], bytes[301]), (0, 0));
    assert_eq!(bytes[1..301], [0xa5; 300]);
    let regs = vcpu.state().unwrap().regs;
    assert_eq!((regs.rcx, regs.rsi, regs.rdi), (0, 0x200e, 0x312c));
}

/// From one device to another: each item is read and written before the next one is read.
#[test]
fn a_string_goes_across_devices() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let device = Recorder::new(0x1122);
    let first = board.memory.region("first").io(2, device.clone());
    let second = board.memory.region("second").io(0x100, device.clone());
    board.map(&first, 0x2_0ffe, 1);
    board.map(&second, 0x2_1000, 1);
    let code = [
        0xbe, 0xfc, 0x0f, // mov si, 0xffc
        0xb9, 0x03, 0x00, // mov cx, 3
        0x31, 0xff, // xor di, di
        0xf3, 0xa5, // rep movsw, from DS to ES
        0xf4,
    ];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    ds_at_the_device(&mut vcpu);
    let mut state = vcpu.state().unwrap();
    state.sregs.es = Segment {
        base: 0x2_1000,
        selector: 0x2100,
        ..state.sregs.es
    };
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let expected = [
        Write(0, 2, 0), // nobody was read
        Read(0, 2),
        Write(2, 2, 0x1122),
        Read(0, 2),
        Write(4, 2, 0x1122),
    ];
    assert_eq!(device.take(), expected);
}

#[test]
fn memory_of_all_sizes() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let device = Recorder::new(0x8877_6655_4433_2211);
    let region = board.memory.region("device").io(0x1000, device.clone());
    board.map(&region, 0x2_0000, 0);
    let code = [
        0xa0, 0x00, 0x00, 0xa2, 0x01, 0x00, // mov al, [0]; mov [1], al
        0xa1, 0x02, 0x00, 0xa3, 0x04, 0x00, // mov ax, [2]; mov [4], ax
        0x66, 0xa1, 0x08, 0x00, 0x66, 0xa3, 0x0c, 0x00, // mov eax, [8]; mov [12], eax
        0x80, 0x06, 0x10, 0x00, 0x01, // add byte [0x10], 1
        0x87, 0x06, 0x14, 0x00, // xchg [0x14], ax
        0xa1, 0x21, 0x00, // mov ax, [0x21]
        0xf4,
    ];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    ds_at_the_device(&mut vcpu);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let expected = [
        Read(0, 1),
        Write(1, 1, 0x11),
        Read(2, 2),
        Write(4, 2, 0x2211),
        Read(8, 4),
        Write(12, 4, 0x4433_2211),
        Read(0x10, 1),
        Write(0x10, 1, 0x12),
        Read(0x14, 2),
        Write(0x14, 2, 0x2211),
        Read(0x21, 2),
    ];
    assert_eq!(device.take(), expected);
    assert_eq!(vcpu.state().unwrap().regs.rax, 0x4433_2211);
}

/// Rule K19, and W9: what is written to ROM comes out, goes to the space and is refused there.
#[test]
fn nobody_and_rom() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let block = flatview::RamBlock::anonymous(0x1000).unwrap();
    let rom = board.memory.region("rom").rom(block);
    board.map(&rom, 0x2_0000, 0);
    assert_eq!(board.space.reader().write_rom(0x2_0000, &[0x5a; 16]), 16);
    let code = [
        0xc6, 0x06, 0x00, 0x00, 0x77, // mov byte [0], 0x77
        0xa0, 0x00, 0x00, // mov al, [0]
        0x8b, 0x1e, 0x00, 0x20, // mov bx, [0x2000]: nobody
        0xa3, 0x00, 0x20, // mov [0x2000], ax: nobody
        0xf4,
    ];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    ds_at_the_device(&mut vcpu);
    let mut state = vcpu.state().unwrap();
    state.regs.rbx = 0x1234;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let regs = vcpu.state().unwrap().regs;
    assert_eq!((regs.rax, regs.rbx), (0x5a, 0));
    assert_eq!(kvm.statistics().mmio_exits, 3, "ROM is read without an exit");
}

#[test]
fn a_halted_vcpu_stays_halted() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    // mov ax, 0x1234; hlt; inc ax
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &[0xb8, 0x34, 0x12, 0xf4, 0x40]);
    for _ in 0..2 {
        assert_eq!(vcpu.run().unwrap(), Exit::Halted);
        let state = vcpu.state().unwrap();
        assert_eq!((state.regs.rax, state.regs.rip), (0x1234, 0x1004));
        assert!(state.halted);
    }
    assert_eq!(kvm.statistics().hlt_exits, 1);
}

#[test]
fn a_triple_fault_shuts_down_until_a_reset() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &[0x0f, 0x0b]); // ud2
    let mut state = vcpu.state().unwrap();
    state.sregs.cr0 |= 1;
    state.sregs.cs.type_ = 11;
    state.sregs.idt.limit = 0;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Shutdown);
    assert_eq!(vcpu.run().unwrap(), Exit::Shutdown);
    vcpu.reset().unwrap();
    board.write(0x1000, &[0xf4]);
    let mut state = vcpu.state().unwrap();
    support::real_mode(&mut state, 0x1000);
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
}
