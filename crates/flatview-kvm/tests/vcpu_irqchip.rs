#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! vCPUs whose local APICs are in the kernel.

mod support;

use std::sync::Arc;
use std::thread;

use flatview::{AccessRules, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::{Control, Exit, Signals, Vcpu};
use flatview_kvm::{IrqChip, KvmConfig};
use support::Board;
use support::pic::{raise, vcpu_with_pic};

fn with(irqchip: IrqChip) -> KvmConfig {
    let mut config = KvmConfig::default();
    config.irqchip = irqchip;
    config
}

/// The kernel waits, and the vCPU comes out when it is told.
#[test]
fn hlt_stays_in_the_kernel() {
    for irqchip in [IrqChip::Kernel, IrqChip::Split] {
        let Some(kvm) = support::accelerator(with(irqchip)) else {
            return;
        };
        let board = Board::new();
        let config = board.vcpu(0);
        let control = config.control.clone();
        let mut vcpu = support::real_mode_vcpu_with(&kvm, &board, &[0x40, 0xf4], config);
        for turn in 0..50 {
            let control = control.clone();
            let kicks = thread::spawn(move || control.raise(Signals::EXIT));
            assert_eq!(vcpu.run().unwrap(), Exit::Requested, "turn {turn}");
            kicks.join().unwrap();
        }
        control.set_deadline(control.clock().now() + 5_000_000);
        assert_eq!(vcpu.run().unwrap(), Exit::Deadline);
        let state = vcpu.state().unwrap();
        assert_eq!((state.regs.rax, state.halted), (1, true));
        vcpu.reset().unwrap();
        assert!(!vcpu.state().unwrap().halted);
    }
}

/// The second processor does nothing until the first one sends it INIT and SIPI (Intel SDM vol. 3, 10.4).
#[test]
fn the_second_processor_waits_to_be_started() {
    let Some(kvm) = support::accelerator(with(IrqChip::Kernel)) else {
        return;
    };
    let board = Board::new();
    let code = [
        0x66, 0xbe, 0x00, 0x03, 0xe0, 0xfe, // mov esi, 0xfee00300
        0x67, 0x66, 0xc7, 0x46, 0x10, 0x00, 0x00, 0x00, 0x01, // mov dword [esi+0x10], 1 << 24
        0x67, 0x66, 0xc7, 0x06, 0x00, 0x45, 0x00, 0x00, // mov dword [esi], INIT
        0x67, 0x66, 0xc7, 0x06, 0x02, 0x46, 0x00, 0x00, // mov dword [esi], SIPI to 0x2000
        0xeb, 0xfe, // jmp $
    ];
    let config = board.vcpu(0);
    let control = config.control.clone();
    let mut first = support::real_mode_vcpu_with(&kvm, &board, &code, config);
    // Unreal mode: DS reaches the APIC.
    let mut state = first.state().unwrap();
    state.sregs.ds.limit = 0xffff_ffff;
    state.sregs.ds.g = true;
    first.set_state(&state).unwrap();
    board.write(0x2000, &[0x31, 0xc0, 0x8e, 0xd8, 0xfe, 0x06, 0x00, 0x30, 0xf4]); // DS = 0; inc byte [0x3000]; hlt
    let config = board.vcpu(1);
    let other_control = config.control.clone();
    let mut second = kvm.create_kvm_vcpu(config).unwrap();
    let runs = thread::spawn(move || (second.run().unwrap(), second));
    let begins = thread::spawn(move || (first.run().unwrap(), first));
    let mut byte = [0];
    flatview_testkit::wait_until(|| {
        board.read(0x3000, &mut byte);
        byte != [0]
    });
    for (control, vcpu) in [(control, begins), (other_control, runs)] {
        control.raise(Signals::EXIT);
        let (exit, mut vcpu) = vcpu.join().unwrap();
        assert_eq!(exit, Exit::Requested);
        vcpu.reset().unwrap();
    }
    assert_eq!(byte, [1]);
}

/// A port that ends [`Vcpu::run`] when it is written to.
#[derive(Debug)]
struct Ends(Arc<Control>);

impl MemoryRegionOps for Ends {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.0.raise(Signals::EXIT);
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(Endianness::Little)
    }
}

/// The board's 8259As interrupt a processor whose APIC is in the kernel: while it runs, and while it waits there.
#[test]
fn a_split_controller_takes_interrupts_of_the_boards_pic() {
    let Some(kvm) = support::accelerator(with(IrqChip::Split)) else {
        return;
    };
    let board = Board::new();
    let code = [
        0xfb, // sti
        0x83, 0xfb, 0x02, 0x75, 0xfb, // cmp bx, 2; jne
        0xfa, 0xe6, 0x80, // cli; out 0x80, al
        0xfb, 0xf4, // sti; hlt
        0xeb, 0xf9, // jmp to cli
    ];
    let (mut vcpu, config, pic) = vcpu_with_pic(&kvm, &board, &code);
    let port = board
        .memory
        .region("end")
        .io(1, Arc::new(Ends(config.control.clone())));
    board.update(|tx| tx.add_subregion(&board.io, 0x80, &port));
    raise(&config, &pic, &[0x20, 0x21]);
    assert_eq!(vcpu.run().unwrap(), Exit::Requested);
    assert_eq!(vcpu.state().unwrap().regs.rbx, 2);
    for turn in 1..=50 {
        let (raised, source) = (config.clone(), pic.clone());
        let raises = thread::spawn(move || raise(&raised, &source, &[0x22]));
        assert_eq!(vcpu.run().unwrap(), Exit::Requested);
        raises.join().unwrap();
        assert_eq!(vcpu.state().unwrap().regs.rbx, 2 + turn);
    }
}
