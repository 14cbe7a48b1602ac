//! The registers, read and written.
//!
//! An ioctl costs more than an exit on some hosts. So general and system registers are put into the page, from where
//! the next `KVM_RUN` takes them; after the kernel has failed to emulate an instruction they also come with every exit;
//! and everything else is only written if it differs from what was read.

use flatview_accel::{AccelError, Regs, Sregs, VcpuState};
use kvm_bindings as kvm;

use super::KvmVcpu;
use super::convert::{
    Events, debug_from_kvm, debug_to_kvm, events_from_kvm, fpu_from_kvm, fpu_to_kvm, regs_from_kvm,
    regs_to_kvm, sregs_from_kvm, sregs_to_kvm,
};
use crate::{KvmError, sys};

const CR0_PE: u64 = 1;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const RFLAGS_IF: u64 = 1 << 9;
/// Of both kinds of registers that go through the page.
const BOTH: u32 = kvm::KVM_SYNC_X86_REGS | kvm::KVM_SYNC_X86_SREGS;

impl KvmVcpu {
    pub(super) fn read_state(&mut self) -> Result<VcpuState, AccelError> {
        self.finish()?;
        self.flush()?;
        let mut state = VcpuState::default();
        (state.regs, state.sregs) = self.registers()?;
        let fd = self.page.fd();
        let events = if self.has_registers {
            self.page.registers().2
        } else {
            fd.get_vcpu_events()
                .map_err(KvmError::of("KVM_GET_VCPU_EVENTS"))?
        };
        events_from_kvm(&events, &mut state);
        let xsave = fd.get_xsave().map_err(KvmError::of("KVM_GET_XSAVE"))?;
        state.fpu = fpu_from_kvm(&xsave);
        let debug = fd.get_debug_regs().map_err(KvmError::of("KVM_GET_DEBUGREGS"))?;
        state.debug = debug_from_kvm(&debug);
        state.smbase = self.smbase;
        self.msrs.read(fd, &mut state)?;
        state.halted = if self.has_apic() {
            self.mp_state()? == kvm::KVM_MP_STATE_HALTED
        } else {
            self.halted
        };
        self.known = Some(state.clone());
        Ok(state)
    }

    /// General and system registers.
    pub(super) fn registers(&self) -> Result<(Regs, Sregs), AccelError> {
        if self.has_registers {
            let (regs, sregs, _) = self.page.registers();
            return Ok((regs_from_kvm(&regs), sregs_from_kvm(&sregs)));
        }
        let fd = self.page.fd();
        let regs = fd.get_regs().map_err(KvmError::of("KVM_GET_REGS"))?;
        let sregs = fd.get_sregs().map_err(KvmError::of("KVM_GET_SREGS"))?;
        Ok((regs_from_kvm(&regs), sregs_from_kvm(&sregs)))
    }

    pub(super) fn write_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        check(&state.sregs)?;
        self.finish()?;
        let known = self.known.take();
        let known = known.as_ref();
        self.has_registers = false;
        if known.is_none_or(|known| known.sregs != state.sregs) {
            let (apic_base, cr8) = self.apic_registers()?;
            self.page.put_sregs(&sregs_to_kvm(&state.sregs, apic_base, cr8));
        }
        if known.is_none_or(|known| known.regs != state.regs) {
            self.page.put_regs(&regs_to_kvm(&state.regs));
        }
        // A vCPU that waits to be started gets its first registers from the kernel: nothing may come after those.
        if self.vm.capabilities.sync_regs & BOTH != BOTH || self.config.index != 0 && self.has_apic() {
            self.flush()?;
        }
        let fd = self.page.fd();
        if known.is_none_or(|known| known.fpu != state.fpu) {
            let mut xsave = fd.get_xsave().map_err(KvmError::of("KVM_GET_XSAVE"))?;
            fpu_to_kvm(&state.fpu, &mut xsave);
            sys::set_xsave(fd, &xsave)?;
        }
        if known.is_none_or(|known| known.debug != state.debug) {
            fd.set_debug_regs(&debug_to_kvm(&state.debug))
                .map_err(KvmError::of("KVM_SET_DEBUGREGS"))?;
        }
        self.msrs.write(fd, state, known)?;
        let events = Events::of(state);
        if known.is_none_or(|known| Events::of(known) != events) {
            // With its part of them the kernel would also take an SMI back that waits.
            let sets_smm = self.vm.capabilities.has_smm() && known.is_none_or(|known| known.smm != state.smm);
            fd.set_vcpu_events(&events.to_kvm(sets_smm))
                .map_err(KvmError::of("KVM_SET_VCPU_EVENTS"))?;
        }
        self.smbase = state.smbase;
        self.set_halted(state.halted)?;
        self.nmi_queued = state.nmi_pending;
        self.shutdown = false;
        self.if_flag = state.regs.rflags & RFLAGS_IF != 0;
        self.ready_for_interrupt = events.is_ready_for_interrupt();
        self.known = Some(state.clone());
        Ok(())
    }

    /// Gives the kernel the registers that wait in the page.
    pub(super) fn flush(&mut self) -> Result<(), AccelError> {
        let dirty = self.page.take_dirty();
        let (regs, sregs, _) = self.page.registers();
        let fd = self.page.fd();
        if dirty & kvm::KVM_SYNC_X86_SREGS != 0 {
            fd.set_sregs(&sregs).map_err(KvmError::of("KVM_SET_SREGS"))?;
        }
        if dirty & kvm::KVM_SYNC_X86_REGS != 0 {
            fd.set_regs(&regs).map_err(KvmError::of("KVM_SET_REGS"))?;
        }
        Ok(())
    }

    /// `IA32_APIC_BASE` and CR8, which are no part of a state but of what the kernel takes.
    fn apic_registers(&mut self) -> Result<(u64, u64), AccelError> {
        if self.has_apic() {
            let sregs = self.page.fd().get_sregs();
            let sregs = sregs.map_err(KvmError::of("KVM_GET_SREGS"))?;
            return Ok((sregs.apic_base, sregs.cr8));
        }
        self.apic_base = self.config.interrupts.apic_base();
        self.cr8 = self.config.interrupts.cr8();
        Ok((self.apic_base, self.cr8.into()))
    }

    fn mp_state(&self) -> Result<u32, AccelError> {
        let state = self.page.fd().get_mp_state();
        Ok(state.map_err(KvmError::of("KVM_GET_MP_STATE"))?.mp_state)
    }

    /// With an APIC in the kernel a vCPU that was never started stays so.
    fn set_halted(&mut self, halted: bool) -> Result<(), AccelError> {
        if !self.has_apic() {
            self.halted = halted;
            return Ok(());
        }
        let (from, to) = if halted {
            (kvm::KVM_MP_STATE_RUNNABLE, kvm::KVM_MP_STATE_HALTED)
        } else {
            (kvm::KVM_MP_STATE_HALTED, kvm::KVM_MP_STATE_RUNNABLE)
        };
        if self.mp_state()? == from {
            self.set_mp_state(to)?;
        }
        Ok(())
    }

    pub(super) fn set_mp_state(&mut self, mp_state: u32) -> Result<(), AccelError> {
        let set = self.page.fd().set_mp_state(kvm::kvm_mp_state { mp_state });
        Ok(set.map_err(KvmError::of("KVM_SET_MP_STATE"))?)
    }
}

/// Refuses what no processor can be in; the kernel would say so only at the next `KVM_RUN` (Intel SDM vol. 3, 4.1 and
/// 11.8.5).
fn check(sregs: &Sregs) -> Result<(), AccelError> {
    let refuse = |register, value, why| Err(AccelError::BadState { register, value, why });
    let is_paging = sregs.cr0 & CR0_PG != 0;
    let is_long = sregs.efer & EFER_LMA != 0;
    if is_paging && sregs.cr0 & CR0_PE == 0 {
        return refuse("cr0", sregs.cr0, "paging needs protected mode");
    }
    if is_long && (sregs.cr0 & CR0_PE == 0 || sregs.cr4 & CR4_PAE == 0) {
        return refuse("efer", sregs.efer, "IA-32e mode needs protected mode and PAE");
    }
    if is_long != (is_paging && sregs.efer & EFER_LME != 0) {
        return refuse("efer", sregs.efer, "LMA is LME with paging");
    }
    if sregs.cs.l && !is_long {
        return refuse("efer", sregs.efer, "64-bit code needs IA-32e mode");
    }
    Ok(())
}
