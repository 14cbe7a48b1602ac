#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! Interrupts of controllers that are not in the kernel, and what else a vCPU of KVM is told.

mod support;

use std::sync::Arc;

use flatview_accel::{Exit, Signals, Vcpu, VcpuConfig};
use flatview_kvm::KvmConfig;
use support::Board;
use support::pic::{Pic, raise, vcpu_with_pic};

#[test]
fn an_interrupt_ends_hlt() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [0xfb, 0xf4, 0xfa, 0xf4]; // sti; hlt; cli; hlt
    let (mut vcpu, config, pic) = vcpu_with_pic(&kvm, &board, &code);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert!(vcpu.takes_interrupts());
    raise(&config, &pic, &[0x20]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let regs = vcpu.state().unwrap().regs;
    assert_eq!((regs.rbx, regs.rip), (1, 0x1004));
    assert!(!vcpu.takes_interrupts());
    raise(&config, &pic, &[0x21]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted, "interrupts are off");
    assert_eq!(vcpu.state().unwrap().regs.rbx, 1);
}

/// Also if the state was set meanwhile: the kernel has not said then whether it takes one.
#[test]
fn a_halted_state_that_is_set_wakes() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let (mut vcpu, config, pic) = vcpu_with_pic(&kvm, &board, &[0xfb, 0xf4, 0xfa, 0xf4]);
    let mut state = vcpu.state().unwrap();
    state.halted = true;
    state.regs.rip = 0x1002;
    state.regs.rflags |= 1 << 9;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(kvm.statistics().runs, 0);
    raise(&config, &pic, &[0x20]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rbx, state.regs.rip), (1, 0x1004));
}

#[test]
fn interrupts_wait_for_a_window() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [
        0xb9, 100, 0, 0xe2, 0xfe, // mov cx, 100; loop $
        0x89, 0xd9, // mov cx, bx: how many came until here
        0xfb, // sti
        0x83, 0xfb, 0x02, 0x75, 0xfb, // cmp bx, 2; jne: not every KVM looks after each instruction
        0xfa, 0xf4, // cli; hlt
    ];
    let (mut vcpu, config, pic) = vcpu_with_pic(&kvm, &board, &code);
    raise(&config, &pic, &[0x20, 0x21]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let regs = vcpu.state().unwrap().regs;
    assert_eq!((regs.rbx, regs.rcx), (2, 0), "both, and none before STI");
    assert!((1..=2).contains(&kvm.statistics().irq_window_exits));
}

#[test]
fn nmis_are_taken_once_at_a_time() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let (mut vcpu, config, _) = vcpu_with_pic(&kvm, &board, &[0xf4, 0xf4]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    config.control.raise(Signals::NMI);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rbx, state.regs.rip), (16, 0x1204), "in the handler");
    assert!(state.nmi_masked);
    config.control.raise(Signals::NMI);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted, "masked: it does not wake");
    let mut state = vcpu.state().unwrap();
    assert_eq!(state.regs.rbx, 16);
    assert!(state.nmi_pending);
    state.halted = false;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rbx, state.regs.rip), (32, 0x1204), "taken after IRET");
    assert_eq!(config.control.signals(), Signals::empty());
}

#[test]
fn init_begins_at_the_reset_vector() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    board.map_ram("firmware", 0xffff_f000, 0x1000, 0);
    board.write(0xffff_fff0, &[0x40, 0xf4]); // inc ax; hlt
    let (mut vcpu, config, _) = vcpu_with_pic(&kvm, &board, &[0xf4]);
    let mut state = vcpu.state().unwrap();
    state.msrs.star = 0x1234;
    state.fpu.xmm[3] = [7; 16];
    state.regs.rax = 0x55;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    config.control.raise(Signals::INIT);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rax, state.regs.rip), (1, 0xfff2));
    assert_eq!((state.msrs.star, state.fpu.xmm[3]), (0x1234, [7; 16]));
}

/// Without system management mode an SMI is nothing, and does not end HLT.
#[test]
fn smis_come_only_with_system_management_mode() {
    use flatview_accel::Accelerator as _;
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    if kvm.has_smm() {
        return;
    }
    let board = Board::new();
    let (mut vcpu, config, _) = vcpu_with_pic(&kvm, &board, &[0xf4]);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    config.control.raise(Signals::SMI);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().regs.rip, 0x1001);
    assert_eq!(config.control.signals(), Signals::empty());
}

#[test]
fn cr8_goes_both_ways() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let pic = Arc::new(Pic::default());
    let config = VcpuConfig {
        interrupts: pic.clone(),
        ..board.vcpu(0)
    };
    let code = [
        0x44, 0x0f, 0x20, 0xc3, // mov rbx, cr8
        0xb8, 0x05, 0, 0, 0, // mov eax, 5
        0x44, 0x0f, 0x22, 0xc0, // mov cr8, rax
        0xf4,
    ];
    let mut vcpu = support::long_mode_vcpu(&kvm, &board, &code, config, support::kernel_mode);
    pic.pins().cr8 = 7;
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().regs.rbx, 7);
    assert_eq!(pic.pins().cr8, 5);
}

#[test]
fn the_interrupt_controller_hears_of_its_base() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [
        0x66, 0xb9, 0x1b, 0, 0, 0, // mov ecx, 0x1b
        0x0f, 0x32, // rdmsr
        0x66, 0x89, 0xc3, // mov ebx, eax
        0x80, 0xe4, 0xf7, // and ah, 0xf7
        0x0f, 0x30, // wrmsr
        0xf4,
    ];
    let (mut vcpu, _, pic) = vcpu_with_pic(&kvm, &board, &code);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().regs.rbx, 0xfee0_0900);
    assert_eq!(pic.pins().apic_base, [0xfee0_0100]);
}
