//! Power-on and INIT (Intel SDM vol. 3, table 10-1).

use flatview_accel::{AccelError, VcpuState};
use kvm_bindings as kvm;
use kvm_ioctls::VcpuFd;

use super::KvmVcpu;
use crate::{IrqChip, KvmError, sys};

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
}

impl KvmVcpu {
    /// Everything but memory and the time is as after power-on.
    pub(super) fn power_on(&mut self) -> Result<(), AccelError> {
        self.finish()?;
        // The kernel may know more of it than a state says.
        self.changed();
        self.acknowledged = None;
        sys::set_xsave(self.page.fd(), &kvm::kvm_xsave::default())?;
        self.write_state(&VcpuState::power_on(self.power_on.signature))?;
        self.flush()?;
        let mut xcrs = kvm::kvm_xcrs {
            nr_xcrs: 1,
            ..kvm::kvm_xcrs::default()
        };
        xcrs.xcrs[0].value = XCR0;
        // A processor without XSAVE has none.
        let _ = self.page.fd().set_xcrs(&xcrs);
        if let Some(apic) = &self.power_on.apic {
            let fd = self.page.fd();
            let mut sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
            sregs.apic_base = apic.base;
            sregs.cr8 = 0;
            fd.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?;
        }
        self.reset_apic(kvm::KVM_MP_STATE_UNINITIALIZED)
    }

    /// The state after INIT. Memory, MSRs, x87 and SSE registers and the time go on.
    pub(super) fn init(&mut self) -> Result<(), AccelError> {
        let state = self.read_state()?.init(self.power_on.signature);
        self.write_state(&state)?;
        self.flush()?;
        self.reset_apic(kvm::KVM_MP_STATE_INIT_RECEIVED)
    }

    /// The first processor runs, the others wait to be started as `waiting` says: only after INIT by a SIPI alone
    /// (Intel SDM vol. 3, 10.4.3).
    ///
    /// The registers are those after power-on; INIT leaves `IA32_APIC_BASE` (12.4.7.3).
    fn reset_apic(&mut self, waiting: u32) -> Result<(), AccelError> {
        let Some(apic) = &self.power_on.apic else {
            return Ok(());
        };
        let fd = self.page.fd();
        fd.set_lapic(&apic.registers)
            .map_err(KvmError::of("KVM_SET_LAPIC"))?;
        let mp_state = if self.config.index == 0 {
            kvm::KVM_MP_STATE_RUNNABLE
        } else {
            waiting
        };
        self.set_mp_state(mp_state)
    }
}
