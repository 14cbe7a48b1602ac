#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail, and cuts numbers off on purpose"
)]
//! Single steps, and instructions that a KVM may not be able to emulate.

mod support;

use flatview_accel::{Exit, Vcpu, VcpuState};
use flatview_kvm::KvmConfig;
use support::Board;

/// Instructions that some KVMs emulate, and of these not all: nothing of them may be done.
#[test]
fn an_instruction_that_is_not_emulated() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [
        0x48, 0xff, 0xc3, // inc rbx
        0xf3, 0x0f, 0xb8, 0xc1, // popcnt eax, ecx
        0x9b, // fwait
        0x48, 0xff, 0xc3, // inc rbx
        0xf4,
    ];
    let mut vcpu = support::long_mode_vcpu(&kvm, &board, &code, board.vcpu(0), support::kernel_mode);
    let mut state = vcpu.state().unwrap();
    state.regs.rcx = 0xff;
    vcpu.set_state(&state).unwrap();
    let mut failures = 0;
    loop {
        let exit = vcpu.run().unwrap();
        let mut state = vcpu.state().unwrap();
        let Exit::Unemulated(instruction) = exit else {
            assert_eq!(exit, Exit::Halted);
            assert_eq!((state.regs.rbx, state.regs.rax), (2, 8));
            break;
        };
        failures += 1;
        assert_eq!(state.injected, None, "no #UD");
        let len = match state.regs.rip {
            0x1003 => {
                state.regs.rax = 8;
                4
            }
            0x1007 => 1,
            rip => panic!("at {rip:#x}"),
        };
        let offset = state.regs.rip as usize - 0x1000;
        assert_eq!(instruction.as_slice()[..len], code[offset..offset + len]);
        state.regs.rip += len as u64;
        vcpu.set_state(&state).unwrap();
    }
    assert_eq!(kvm.statistics().emulation_failures, failures);
}

/// Also what a program executes comes out, without a #UD: KVM emulates it where it reaches for a device.
#[test]
fn an_instruction_of_a_program_that_is_not_emulated() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    if !kvm.capabilities().exit_on_emulation_failure {
        return;
    }
    let board = Board::new();
    let code = [0xd9, 0x04, 0x25, 0, 0, 0x10, 0, 0xeb, 0xfe]; // fld dword [0x100000]; jmp $
    let config = board.vcpu(0);
    let control = config.control.clone();
    let mut vcpu = support::long_mode_vcpu(&kvm, &board, &code, config, VcpuState::enter_user_mode);
    control.set_deadline(control.clock().now() + 1_000_000_000);
    let exit = vcpu.run().unwrap();
    let state = vcpu.state().unwrap();
    match exit {
        Exit::Unemulated(instruction) => {
            assert_eq!(instruction.as_slice()[..7], code[..7]);
            assert_eq!((state.regs.rip, state.injected), (0x1000, None));
        }
        // This one can do it.
        exit => assert_eq!((exit, state.regs.rip), (Exit::Deadline, 0x1007)),
    }
}

#[test]
fn steps() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    // inc ax; out 0x80, al; push ax; hlt
    let code = [0x40, 0xe6, 0x80, 0x50, 0xf4];
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    for rip in [0x1001, 0x1003, 0x1004, 0x1005] {
        assert_eq!(vcpu.step().unwrap(), Exit::Stepped);
        let state = vcpu.state().unwrap();
        assert_eq!(state.regs.rip, rip);
        assert_eq!(state.regs.rflags & 0x100, 0, "TF is not the guest's");
    }
    assert_eq!(vcpu.step().unwrap(), Exit::Halted);
    let mut state = vcpu.state().unwrap();
    (state.halted, state.regs.rip) = (false, 0x1000);
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted, "no more steps");
    assert_eq!(vcpu.state().unwrap().regs.rax, 2);
}

/// Where user mode cannot be stepped, nothing is lost.
#[test]
fn steps_in_user_mode() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [0xff, 0xc0, 0xeb, 0xfc]; // inc eax; jmp back
    let config = board.vcpu(0);
    let control = config.control.clone();
    let mut vcpu = support::long_mode_vcpu(&kvm, &board, &code, config, VcpuState::enter_user_mode);
    match vcpu.step() {
        Ok(exit) => assert_eq!(exit, Exit::Stepped),
        Err(error) => {
            assert!(
                error
                    .to_string()
                    .contains("cannot single-step at privilege level 3"),
                "{error}"
            );
            let state = vcpu.state().unwrap();
            assert_eq!((state.regs.rax, state.regs.rip), (0, 0x1000));
        }
    }
    control.set_deadline(control.clock().now() + 1_000_000);
    assert_eq!(vcpu.run().unwrap(), Exit::Deadline);
    assert!(vcpu.state().unwrap().regs.rax > 1);
}
