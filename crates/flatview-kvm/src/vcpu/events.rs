//! What a vCPU is told from outside: signals, and interrupts of controllers that are not in the kernel.

use flatview_accel::{AccelError, Exit, Signals};

use super::KvmVcpu;
use super::run::host;
use crate::{IrqChip, KvmError, sys};

impl KvmVcpu {
    /// Takes what is pending, in the order in which the software CPU does. Returns why the vCPU does not run.
    pub(super) fn events(&mut self, looks_at_deadline: bool) -> Result<Option<Exit>, AccelError> {
        let control = &self.config.control;
        let signals = control.signals();
        if self.shutdown && !signals.contains(Signals::INIT) {
            return Ok(Some(Exit::Shutdown));
        }
        if signals.contains(Signals::EXIT) {
            control.clear(Signals::EXIT);
            return Ok(Some(Exit::Requested));
        }
        let deadline = control.deadline();
        if looks_at_deadline && deadline != u64::MAX && control.clock().now() >= deadline {
            return Ok(Some(Exit::Deadline));
        }
        if signals.contains(Signals::INIT) && !self.page.is_in_smm() {
            control.clear(Signals::INIT);
            self.init()?;
        }
        if signals.contains(Signals::SMI) {
            self.config.control.clear(Signals::SMI);
            self.smi()?;
        }
        if signals.contains(Signals::NMI) {
            self.config.control.clear(Signals::NMI);
            self.nmi()?;
        }
        if self.halted && self.nmi_queued {
            self.look_for_nmi()?;
        }
        if self.vm.config.irqchip != IrqChip::Kernel {
            self.interrupt(signals)?;
        }
        Ok(self.halted.then_some(Exit::Halted))
    }

    /// A system management interrupt; without system management mode, nothing.
    fn smi(&mut self) -> Result<(), AccelError> {
        if self.vm.capabilities.has_smm() {
            self.halted = false;
            self.changed();
            self.page.fd().smi().map_err(KvmError::of("KVM_SMI"))?;
        }
        Ok(())
    }

    /// The kernel keeps it until it can be delivered.
    fn nmi(&mut self) -> Result<(), AccelError> {
        self.changed();
        self.nmi_queued = true;
        Ok(self.page.fd().nmi().map_err(KvmError::of("KVM_NMI"))?)
    }

    /// Whether the kernel has an NMI that ends `HLT`: one that is masked, because another one is being handled, does
    /// not. Some do not look for one between `IRET` and `HLT`.
    fn look_for_nmi(&mut self) -> Result<(), AccelError> {
        let events = self.page.fd().get_vcpu_events();
        let nmi = events.map_err(KvmError::of("KVM_GET_VCPU_EVENTS"))?.nmi;
        self.nmi_queued = nmi.pending != 0;
        self.halted = nmi.pending == 0 || nmi.masked != 0;
        Ok(())
    }

    /// Injects an interrupt, or lets the kernel say when one can be injected. Where it has the local APICs the interrupt
    /// is the 8259As', and the boot processor's APIC lets it through.
    fn interrupt(&mut self, signals: Signals) -> Result<(), AccelError> {
        let mut is_pending = self.acknowledged.is_some() || signals.contains(Signals::INTR);
        if is_pending && self.ready_for_interrupt {
            let next = self.acknowledged.take();
            if let Some(vector) = next.or_else(|| self.config.interrupts.acknowledge()) {
                self.ready_for_interrupt = false;
                self.changed();
                match sys::interrupt(self.page.fd(), vector) {
                    // It came out before it looked at the one that it was given last.
                    Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                        self.acknowledged = Some(vector);
                    }
                    given => {
                        given.map_err(host("KVM_INTERRUPT"))?;
                        self.halted = false;
                    }
                }
            }
            // There may be another one.
            let signals = self.config.control.signals();
            is_pending = self.acknowledged.is_some() || signals.contains(Signals::INTR);
        }
        self.page.request_interrupt_window(is_pending);
        if self.has_apic() {
            return Ok(());
        }
        self.cr8 = self.config.interrupts.cr8();
        self.page.set_cr8(self.cr8.into());
        Ok(())
    }

    /// What the guest has done to CR8 and `IA32_APIC_BASE`, which its APIC hears from here if that is not the kernel's.
    pub(super) fn look_at_apic_registers(&mut self) {
        if self.has_apic() {
            return;
        }
        let interrupts = &self.config.interrupts;
        let cr8 = u8::try_from(self.page.cr8()).unwrap_or(self.cr8);
        if cr8 != self.cr8 {
            self.cr8 = cr8;
            interrupts.set_cr8(cr8);
        }
        let apic_base = self.page.apic_base();
        if apic_base != self.apic_base {
            self.apic_base = apic_base;
            interrupts.set_apic_base(apic_base);
        }
    }

    /// Something else than a run has changed the vCPU.
    pub(super) fn changed(&mut self) {
        self.known = None;
        self.has_registers = false;
    }
}
