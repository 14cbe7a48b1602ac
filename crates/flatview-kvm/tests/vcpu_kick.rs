#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! Getting a vCPU of KVM out of a guest that never comes out by itself. A kick that is lost ends in a test that hangs.

mod support;

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use flatview_accel::{AccelError, Accelerator, Clock, Control, Exit, Signals, Vcpu, VcpuConfig, VcpuState};
use flatview_kvm::{KvmConfig, KvmVcpu};
use support::Board;
use vmm_sys_util::signal;

/// `jmp $`.
const FOREVER: [u8; 2] = [0xeb, 0xfe];

/// A vCPU that does nothing in user mode, for ever, and what it is told. It keeps its machine.
fn user_mode() -> Option<(KvmVcpu, Arc<Control>)> {
    let kvm = support::accelerator(KvmConfig::default())?;
    let board = Board::new();
    let config = board.vcpu(0);
    let control = Arc::clone(&config.control);
    let vcpu = support::long_mode_vcpu(&kvm, &board, &FOREVER, config, VcpuState::enter_user_mode);
    Some((vcpu, control))
}

/// `count` times: another thread asks the vCPU to come out, at a time of its own, and it does.
fn kicks(mut vcpu: KvmVcpu, control: Arc<Control>, count: u32) {
    let (came_out, waits) = channel();
    let runs = thread::spawn(move || {
        for _ in 0..count {
            assert_eq!(vcpu.run().unwrap(), Exit::Requested);
            came_out.send(()).unwrap();
        }
    });
    for turn in 0..count {
        // Sometimes before it is in the guest, sometimes after.
        for _ in 0..turn % 256 * 8 {
            std::hint::spin_loop();
        }
        control.raise(Signals::EXIT);
        waits.recv().unwrap();
    }
    runs.join().unwrap();
}

#[test]
fn out_of_user_mode() {
    let Some((vcpu, control)) = user_mode() else {
        return;
    };
    kicks(vcpu, control, 3000);
}

/// A program that blocks all signals before it begins threads, to take them from a descriptor.
#[test]
fn out_of_a_thread_that_was_begun_with_the_signal_blocked() {
    let Some((vcpu, control)) = user_mode() else {
        return;
    };
    signal::block_signal(signal::SIGRTMIN() + 1).unwrap();
    kicks(vcpu, control, 200);
}

#[test]
fn out_of_kernel_mode() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let config = board.vcpu(0);
    let control = Arc::clone(&config.control);
    let vcpu = support::real_mode_vcpu_with(&kvm, &board, &FOREVER, config);
    kicks(vcpu, control, 2000);
}

#[test]
fn a_deadline_ends_a_run() {
    let Some((mut vcpu, control)) = user_mode() else {
        return;
    };
    for _ in 0..20 {
        let deadline = control.clock().now() + 1_000_000;
        control.set_deadline(deadline);
        assert_eq!(vcpu.run().unwrap(), Exit::Deadline);
        assert!(control.clock().now() >= deadline);
        assert_eq!(vcpu.run().unwrap(), Exit::Deadline, "it is still over");
    }
}

#[test]
fn a_deadline_can_come_nearer() {
    let Some((mut vcpu, control)) = user_mode() else {
        return;
    };
    control.set_deadline(u64::MAX - 1);
    let runs = thread::spawn(move || vcpu.run().unwrap());
    control.set_deadline(control.clock().now() + 2_000_000);
    assert_eq!(runs.join().unwrap(), Exit::Deadline);
}

/// The timer and the kicks follow.
#[test]
fn a_vcpu_goes_from_thread_to_thread() {
    let Some((mut vcpu, control)) = user_mode() else {
        return;
    };
    // The same deadline for two threads: the second has no timer for it yet.
    for _ in 0..4 {
        control.set_deadline(control.clock().now() + 1_000_000);
        let runs = thread::spawn(move || (vcpu.run().unwrap(), vcpu));
        let exit;
        (exit, vcpu) = runs.join().unwrap();
        assert_eq!(exit, Exit::Deadline);
        control.set_deadline(u64::MAX);
        let runs = thread::spawn(move || (vcpu.run().unwrap(), vcpu));
        control.raise(Signals::EXIT);
        let exit;
        (exit, vcpu) = runs.join().unwrap();
        assert_eq!(exit, Exit::Requested);
    }
}

#[test]
fn two_vcpus_run_at_once() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    board.map_ram("ram", 0, 0x1_0000, 0);
    // mov cx, 500; lock inc word [0x3000]; loop; hlt
    let code = [0xb9, 0xf4, 0x01, 0xf0, 0xff, 0x06, 0x00, 0x30, 0xe2, 0xf9, 0xf4];
    board.write(0x1000, &code);
    let run = |index| {
        let mut vcpu = kvm.create_vcpu(board.vcpu(index)).unwrap();
        let mut state = vcpu.state().unwrap();
        support::real_mode(&mut state, 0x1000);
        vcpu.set_state(&state).unwrap();
        thread::spawn(move || vcpu.run().unwrap())
    };
    let both = [run(0), run(1)];
    for vcpu in both {
        assert_eq!(vcpu.join().unwrap(), Exit::Halted);
    }
    let mut count = [0; 2];
    board
        .space
        .read(0x3000, &mut count, flatview::MemTxAttrs::UNSPECIFIED)
        .unwrap();
    assert_eq!(u16::from_le_bytes(count), 1000);
}

#[test]
fn whatever_is_dropped_first() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let config = board.vcpu(0);
    let control = Arc::clone(&config.control);
    let mut vcpu = support::real_mode_vcpu_with(&kvm, &board, &[0x40, 0xf4], config);
    drop(kvm);
    drop(board);
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().regs.rax, 1);
    drop(vcpu);
    control.raise(Signals::EXIT);
    control.set_deadline(1);
}

#[test]
fn what_cannot_be_made() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let index = kvm.capabilities().max_vcpus;
    let refused = kvm.create_vcpu(board.vcpu(index)).unwrap_err();
    assert!(matches!(refused, AccelError::TooManyVcpus { most, .. } if most == index));
    let counted = VcpuConfig {
        control: Arc::new(Control::new(Clock::counted(0))),
        ..board.vcpu(0)
    };
    let refused = kvm.create_vcpu(counted).unwrap_err();
    assert!(refused.to_string().contains("counts instructions"), "{refused}");
    let _: VcpuState = kvm.create_vcpu(board.vcpu(0)).unwrap().state().unwrap();
    assert!(
        kvm.create_vcpu(board.vcpu(0)).is_err(),
        "the kernel keeps the first"
    );
}

/// What was unplugged is not used any more, as soon as the guest goes on after its last access; how long it then stays
/// in the guest does not matter.
#[test]
fn nobody_waits_for_a_guest() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let config = board.vcpu(0);
    let control = Arc::clone(&config.control);
    let device = support::Recorder::new(1);
    let region = board.memory.region("device").io(0x1000, device.clone());
    board.map(&region, 0x10_0000, 0);
    let code = [0x8a, 0x04, 0x25, 0x00, 0x00, 0x10, 0x00, 0xeb, 0xfe]; // mov al, [0x100000]; jmp $
    let mut vcpu = support::long_mode_vcpu(&kvm, &board, &code, config, VcpuState::enter_user_mode);
    let runs = thread::spawn(move || vcpu.run().unwrap());
    flatview_testkit::wait_until(|| !device.take().is_empty());
    let unplugged = board
        .memory
        .update(|tx| tx.del_subregion(&board.system, &region))
        .unwrap();
    unplugged.wait().unwrap();
    control.raise(Signals::EXIT);
    assert_eq!(runs.join().unwrap(), Exit::Requested);
}
