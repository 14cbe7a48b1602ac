//! Power-on and INIT (Intel SDM vol. 3, table 10-1).

use flatview_accel::{AccelError, DebugRegs, DescriptorTable, Msrs, Segment, Sregs, VcpuState};
use kvm_bindings as kvm;
use kvm_ioctls::VcpuFd;

use super::KvmVcpu;
use crate::{IrqChip, KvmError};

const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
/// Intel SDM vol. 3, 13.12.4.
const PAT: u64 = 0x0007_0406_0007_0406;
/// Intel SDM vol. 3, 33.5.1.
const SMBASE: u32 = 0x30000;
/// x87 is always on (Intel SDM vol. 1, 13.3).
const XCR0: u64 = 1;

/// What a vCPU is after power-on that is not in every [`VcpuState`].
#[derive(Debug)]
pub(super) struct PowerOn {
    signature: u32,
    apic: Option<Apic>,
}

/// A local APIC in the kernel.
#[derive(Debug)]
struct Apic {
    registers: Box<kvm::kvm_lapic_state>,
    base: u64,
}

impl PowerOn {
    /// Of a vCPU that was just made. `signature` is what `CPUID` says of the processor.
    pub(super) fn new(fd: &VcpuFd, signature: u32, irqchip: IrqChip) -> Result<PowerOn, KvmError> {
        let apic = if irqchip == IrqChip::Off {
            None
        } else {
            Some(Apic {
                registers: Box::new(fd.get_lapic().map_err(KvmError::of("KVM_GET_LAPIC"))?),
                base: fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?.apic_base,
            })
        };
        Ok(PowerOn { signature, apic })
    }

    fn state(&self) -> VcpuState {
        let mut state = VcpuState::default();
        state.regs.rdx = self.signature.into();
        state.regs.rip = 0xfff0;
        state.regs.rflags = 2;
        state.sregs = sregs(CR0_CD | CR0_NW);
        state.msrs = Msrs {
            pat: PAT,
            // Fast strings.
            misc_enable: 1,
            ..Msrs::default()
        };
        state.smbase = SMBASE;
        state
    }
}

/// The system registers; INIT leaves the cache bits of CR0 as they are.
fn sregs(cache_bits: u64) -> Sregs {
    let data = Segment {
        limit: 0xffff,
        type_: 3,
        present: true,
        s: true,
        ..Segment::default()
    };
    let system = |type_| Segment {
        type_,
        s: false,
        ..data
    };
    let table = DescriptorTable {
        base: 0,
        limit: 0xffff,
    };
    Sregs {
        cs: Segment {
            base: 0xffff_0000,
            selector: 0xf000,
            ..data
        },
        ds: data,
        es: data,
        fs: data,
        gs: data,
        ss: data,
        tr: system(11),
        ldt: system(2),
        gdt: table,
        idt: table,
        cr0: cache_bits | CR0_ET,
        ..Sregs::default()
    }
}

impl KvmVcpu {
    /// Everything but memory and the time is as after power-on.
    pub(super) fn power_on(&mut self) -> Result<(), AccelError> {
        self.finish()?;
        // The kernel may know more of it than a state says.
        self.changed();
        let state = self.power_on.state();
        self.write_state(&state)?;
        self.flush()?;
        let mut xcrs = kvm::kvm_xcrs {
            nr_xcrs: 1,
            ..kvm::kvm_xcrs::default()
        };
        xcrs.xcrs[0].value = XCR0;
        // A processor without XSAVE has none.
        let _ = self.page.fd().set_xcrs(&xcrs);
        self.reset_apic()
    }

    /// The state after INIT. Memory, MSRs, x87 and SSE registers and the time go on.
    pub(super) fn init(&mut self) -> Result<(), AccelError> {
        let mut state = self.read_state()?;
        state.regs = self.power_on.state().regs;
        state.sregs = sregs(state.sregs.cr0 & (CR0_CD | CR0_NW));
        state.debug = DebugRegs::default();
        state.msrs.tsc = None;
        state.injected = None;
        (state.nmi_pending, state.nmi_masked, state.interrupt_shadow) = (false, false, false);
        (state.halted, state.smm) = (false, false);
        self.write_state(&state)?;
        self.flush()?;
        self.reset_apic()
    }

    /// The first processor runs, the others wait to be started.
    fn reset_apic(&mut self) -> Result<(), AccelError> {
        let Some(apic) = &self.power_on.apic else {
            return Ok(());
        };
        let fd = self.page.fd();
        let mut sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
        sregs.apic_base = apic.base;
        sregs.cr8 = 0;
        fd.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?;
        fd.set_lapic(&apic.registers)
            .map_err(KvmError::of("KVM_SET_LAPIC"))?;
        let mp_state = if self.config.index == 0 {
            kvm::KVM_MP_STATE_RUNNABLE
        } else {
            kvm::KVM_MP_STATE_UNINITIALIZED
        };
        self.set_mp_state(mp_state)
    }
}
