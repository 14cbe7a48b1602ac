#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
//! The registers of a vCPU of KVM, read and written.

mod support;

use std::sync::Arc;

use flatview::{MemTxAttrs, MemTxError, MemoryRegionOps};
use flatview_accel::{
    AccelError, Control, Exit, Injection, InjectionKind, Segment, Signals, Vcpu, VcpuState,
};
use flatview_kvm::KvmConfig;
use support::Access::{Read, Write};
use support::{Board, Recorder};

/// Numbers that look random, and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        // Xorshift (Marsaglia 2003).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A canonical address (Intel SDM vol. 1, 3.3.7.1).
    fn address(&mut self) -> u64 {
        (self.next().cast_signed() << 16 >> 16).cast_unsigned()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.next().to_le_bytes()[0])
    }

    /// A memory type of a fixed MTRR or of PAT in each byte.
    fn memory_types(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| [0, 1, 4, 5, 6][self.next() as usize % 5]))
    }

    /// Anything that a program in 64-bit mode can have.
    fn state(&mut self, from: &VcpuState) -> VcpuState {
        let mut state = from.clone();
        support::kernel_mode(&mut state, 0x2_0000, 0x1000, 0x8000);
        state.regs = flatview_accel::Regs::new(
            std::array::from_fn(|_| self.next()),
            self.address(),
            self.next() & 0x24_0cd5 | 2,
        );
        let sregs = &mut state.sregs;
        (sregs.fs.base, sregs.gs.base) = (self.address(), self.address());
        (sregs.gdt.base, sregs.idt.base) = (self.address(), self.address());
        (sregs.gdt.limit, sregs.idt.limit) = (self.next() as u16, self.next() as u16);
        (sregs.cr2, sregs.cr3) = (self.address(), self.next() & 0x3f_f000);
        let fpu = &mut state.fpu;
        for register in &mut fpu.fpr {
            register[..10].copy_from_slice(&self.bytes::<10>());
        }
        fpu.xmm = std::array::from_fn(|_| self.bytes());
        (fpu.fcw, fpu.fsw) = (self.next() as u16 & 0x1f3f | 0x40, self.next() as u16 & 0x3800);
        (fpu.ftwx, fpu.last_opcode) = (self.next() as u8, self.next() as u16 & 0x7ff);
        (fpu.last_ip, fpu.last_dp) = (self.address(), self.address());
        fpu.mxcsr = self.next() as u32 & 0xffbf | 0x1f80;
        state.debug.db = std::array::from_fn(|_| self.address());
        let msrs = &mut state.msrs;
        msrs.tsc = None;
        msrs.sysenter = [self.next() & 0xfff8, self.address(), self.address()];
        msrs.star = self.next();
        msrs.syscall = [self.address(), self.address(), self.next() & 0xffff_ffff];
        msrs.kernel_gs_base = self.address();
        msrs.pat = self.memory_types();
        msrs.mtrr_def_type = 0xc06;
        msrs.mtrr_fixed = std::array::from_fn(|_| self.memory_types());
        msrs.mtrr_variable = std::array::from_fn(|index| match index % 2 {
            0 => self.next() & 0xf_ffff_f000 | 6,
            _ => self.next() & 0xf_ffff_f000 | 0x800,
        });
        state
    }
}

#[test]
fn what_is_set_is_there() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let first = vcpu.state().unwrap();
    assert!(first.msrs.tsc.is_some());
    let mut numbers = Numbers(0x1234_5678_9abc_def1);
    for _ in 0..30 {
        let expected = numbers.state(&first);
        vcpu.set_state(&expected).unwrap();
        let mut state = vcpu.state().unwrap();
        state.msrs.tsc = None;
        assert_eq!(state, expected);
    }
}

/// Those that were not changed are not written, and are not lost.
#[test]
fn one_register_at_a_time() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let code = [0x40, 0xf4]; // inc ax; hlt
    let mut vcpu = support::real_mode_vcpu(&kvm, &board, &code);
    let mut expected = vcpu.state().unwrap();
    let changes: [fn(&mut VcpuState); 6] = [
        |state| state.regs.rbx = 7,
        |state| state.sregs.cr2 = 0x3000,
        |state| state.fpu.mxcsr = 0x1fa0,
        |state| state.fpu.xmm[7] = [9; 16],
        |state| state.debug.db[1] = 0x1234,
        |state| state.msrs.star = 0x55,
    ];
    for change in changes {
        change(&mut expected);
        (expected.regs.rip, expected.halted, expected.msrs.tsc) = (0x1000, false, None);
        vcpu.set_state(&expected).unwrap();
        assert_eq!(vcpu.run().unwrap(), Exit::Halted);
        let state = vcpu.state().unwrap();
        expected.regs.rax += 1;
        (expected.regs.rip, expected.halted, expected.msrs.tsc) = (0x1002, true, state.msrs.tsc);
        expected.regs.rflags = state.regs.rflags;
        assert_eq!(state, expected);
    }
}

#[test]
fn events_are_kept() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let mut expected = vcpu.state().unwrap();
    expected.msrs.tsc = None;
    let injection = |kind, vector, error_code| {
        Some(Injection {
            kind,
            vector,
            error_code,
        })
    };
    let changes: [&dyn Fn(&mut VcpuState); 7] = [
        &|state| state.injected = injection(InjectionKind::Interrupt, 0x31, None),
        &|state| state.injected = injection(InjectionKind::Exception, 13, Some(0x18)),
        &|state| state.injected = injection(InjectionKind::Exception, 6, None),
        &|state| state.injected = None,
        &|state| state.nmi_pending = true,
        &|state| (state.nmi_pending, state.nmi_masked) = (false, true),
        &|state| (state.nmi_masked, state.interrupt_shadow) = (false, true),
    ];
    for change in changes {
        change(&mut expected);
        vcpu.set_state(&expected).unwrap();
        let mut state = vcpu.state().unwrap();
        state.msrs.tsc = None;
        assert_eq!(state, expected);
    }
}

#[test]
fn what_no_processor_can_be_is_refused() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let before = vcpu.state().unwrap();
    let changes: [(&str, fn(&mut VcpuState)); 4] = [
        ("cr0", |state| state.sregs.cr0 |= 1 << 31),
        ("efer", |state| state.sregs.efer |= 1 << 10),
        ("efer", |state| state.sregs.cs.l = true),
        ("IA32_LSTAR", |state| state.msrs.syscall[0] = 1 << 62),
    ];
    for (name, change) in changes {
        let mut state = before.clone();
        change(&mut state);
        match vcpu.set_state(&state) {
            Err(AccelError::BadState { register, .. }) => assert_eq!(register, name),
            other => panic!("{name}: {other:?}"),
        }
        vcpu.set_state(&before).unwrap();
    }
}

#[test]
fn a_reset_is_power_on() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let mut vcpu = kvm.create_kvm_vcpu(board.vcpu(0)).unwrap();
    let mut first = vcpu.state().unwrap();
    let signature = u32::try_from(first.regs.rdx).unwrap();
    let mut numbers = Numbers(3);
    let mut state = numbers.state(&first);
    state.halted = true;
    state.nmi_masked = true;
    vcpu.set_state(&state).unwrap();
    vcpu.reset().unwrap();
    let mut after = vcpu.state().unwrap();
    assert!(after.msrs.tsc >= first.msrs.tsc, "the time goes on");
    (after.msrs.tsc, first.msrs.tsc) = (None, None);
    assert_eq!(after, VcpuState::power_on(signature));
    assert_eq!(after, first);
}

/// Asks the vCPU to come out in the middle of the instruction that accesses it.
struct Interrupter {
    device: Arc<Recorder>,
    control: Arc<Control>,
}

impl MemoryRegionOps for Interrupter {
    fn read(&self, offset: u64, size: u32, attrs: MemTxAttrs) -> Result<u64, MemTxError> {
        self.control.raise(Signals::EXIT);
        self.device.read(offset, size, attrs)
    }

    fn write(&self, offset: u64, size: u32, value: u64, attrs: MemTxAttrs) -> Result<(), MemTxError> {
        self.device.write(offset, size, value, attrs)
    }
}

#[test]
fn a_state_is_that_between_two_instructions() {
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let board = Board::new();
    let config = board.vcpu(0);
    let device = Recorder::new(0x41);
    let interrupter = Interrupter {
        device: device.clone(),
        control: Arc::clone(&config.control),
    };
    let region = board
        .memory
        .region("interrupter")
        .io(0x1000, Arc::new(interrupter));
    board.map(&region, 0x2_0000, 0);
    let code = [
        0xa0, 0x10, 0x00, // mov al, [0x10]
        0xfe, 0x06, 0x20, 0x00, // inc byte [0x20]
        0xf4,
    ];
    let mut vcpu = support::real_mode_vcpu_with(&kvm, &board, &code, config);
    let mut state = vcpu.state().unwrap();
    state.sregs.ds = Segment {
        base: 0x2_0000,
        selector: 0x2000,
        ..state.sregs.ds
    };
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Requested);
    let state = vcpu.state().unwrap();
    assert_eq!((state.regs.rax, state.regs.rip), (0x41, 0x1003));
    assert_eq!(device.take(), [Read(0x10, 1)]);

    assert_eq!(vcpu.run().unwrap(), Exit::Requested);
    let mut state = vcpu.state().unwrap();
    assert_eq!(state.regs.rip, 0x1007);
    assert_eq!(device.take(), [Read(0x20, 1), Write(0x20, 1, 0x42)]);

    // What is set then is not overwritten by what was read before.
    state.regs.rip = 0x1000;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Requested);
    state.regs.rax = 0x99;
    state.regs.rip = 0x1007;
    vcpu.set_state(&state).unwrap();
    assert_eq!(vcpu.run().unwrap(), Exit::Halted);
    assert_eq!(vcpu.state().unwrap().regs.rax, 0x99);
    assert_eq!(device.take(), [Read(0x10, 1)]);
}
