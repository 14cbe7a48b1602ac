//! The loop around `KVM_RUN`.
//!
//! The order of its steps is that of `gate.rs`, so that no kick is lost. Nothing in it takes a lock, allocates or asks
//! the kernel for anything but `KVM_RUN`, as long as nobody tells the vCPU anything.

use std::io;

use flatview_accel::{AccelError, Exit, InstructionBytes};
use kvm_bindings as kvm;

use super::KvmVcpu;
use super::page::KvmExit;
use crate::KvmError;
use crate::slots::PAGE_SIZE;
use crate::sys::Thread;

/// No instruction is longer (Intel SDM vol. 2, 2.3.11).
const LONGEST_INSTRUCTION: usize = 15;
const HLT: u8 = 0xf4;

/// What was asked of the host that failed.
pub(super) fn host(what: &'static str) -> impl FnOnce(io::Error) -> AccelError {
    move |source| AccelError::Host { what, source }
}

impl KvmVcpu {
    /// Runs until there is an exit; while single-stepping the deadline is none.
    pub(super) fn run_until_exit(&mut self, is_stepping: bool) -> Result<Exit, AccelError> {
        let target = self.page.kick_target();
        let result = self.run_loop(is_stepping);
        drop(target);
        // Nobody knows for how long it is not to run.
        self.bus.release();
        result
    }

    fn run_loop(&mut self, is_stepping: bool) -> Result<Exit, AccelError> {
        let thread = Thread::current();
        let mut may_be_late = true;
        loop {
            may_be_late |= self.page.take_immediate_exit();
            let looks_at_deadline =
                !is_stepping && (may_be_late || !self.timer.is_armed(&self.config.control));
            may_be_late = false;
            if let Some(exit) = self.events(looks_at_deadline)? {
                return Ok(exit);
            }
            if !is_stepping {
                self.timer
                    .arm(&self.config.control, thread)
                    .map_err(host("a timer"))?;
            }
            self.bus.release();
            let Some(result) = self.kvm_run(thread) else {
                continue;
            };
            if let Some(exit) = self.came_out(result)? {
                return Ok(exit);
            }
            if is_stepping && self.unfinished {
                // Not every KVM counts it as a step.
                self.finish()?;
                return Ok(Exit::Stepped);
            }
        }
    }

    /// `KVM_RUN`, when nobody keeps vCPUs out. `None` if it was kicked before.
    fn kvm_run(&mut self, thread: Thread) -> Option<io::Result<KvmExit>> {
        self.vm.gate.enter(&self.runner, thread.number).then(|| {
            let result = self.page.run();
            self.vm.gate.leave(&self.runner);
            result
        })
    }

    /// `KVM_RUN` is over.
    fn came_out(&mut self, result: io::Result<KvmExit>) -> Result<Option<Exit>, AccelError> {
        self.vm.counters.runs.add(1);
        self.known = None;
        self.unfinished = false;
        self.has_registers = self.wants_registers;
        self.if_flag = self.page.if_flag();
        self.ready_for_interrupt = self.page.is_ready_for_interrupt() && self.if_flag;
        self.look_at_apic_registers();
        let exit = result.map_err(host("KVM_RUN"))?;
        if self.vm.has_coalesced_writes() {
            self.config.machine.drain_coalesced();
        }
        self.dispatch(exit)
    }

    /// Does what the vCPU came out for. Returns why it has to come out further.
    fn dispatch(&mut self, exit: KvmExit) -> Result<Option<Exit>, AccelError> {
        let counters = &self.vm.counters;
        match exit {
            KvmExit::Io {
                is_write,
                port,
                size,
                count,
                offset,
            } => {
                counters.io_exits.add(1);
                self.unfinished = true;
                let size = usize::from(size.max(1));
                let len = size.saturating_mul(count as usize);
                for item in self.page.io_data(offset, len).chunks_exact_mut(size) {
                    if is_write {
                        self.bus.write_port(port, item);
                    } else {
                        self.bus.read_port(port, item);
                    }
                }
            }
            KvmExit::Mmio {
                is_write,
                address,
                mut data,
                len,
            } => {
                counters.mmio_exits.add(1);
                self.unfinished = true;
                let in_smm = self.page.is_in_smm();
                let bytes = &mut data[..(len as usize).min(8)];
                if is_write {
                    self.bus.write_memory(in_smm, address, bytes);
                } else {
                    self.bus.read_memory(in_smm, address, bytes);
                    self.page.set_mmio_data(data);
                }
            }
            KvmExit::Hlt => {
                counters.hlt_exits.add(1);
                self.halted = true;
            }
            KvmExit::IrqWindowOpen => counters.irq_window_exits.add(1),
            KvmExit::Interrupted => counters.interrupted_exits.add(1),
            KvmExit::SetTpr => {}
            KvmExit::IoapicEoi { vector } => self.vm.ioapic_eoi(vector),
            KvmExit::DirtyRingFull => {
                if let Some(ring) = &self.dirty_ring {
                    ring.reap()?;
                }
            }
            KvmExit::Debug => return Ok(Some(Exit::Stepped)),
            KvmExit::Shutdown | KvmExit::SystemEvent => {
                self.shutdown = true;
                return Ok(Some(Exit::Shutdown));
            }
            KvmExit::EmulationFailure(instruction) => {
                counters.emulation_failures.add(1);
                return self.unemulated(instruction).map(Some);
            }
            KvmExit::Other { what, code } => {
                let state = Box::new(self.read_state()?);
                return Err(AccelError::Internal { what, code, state });
            }
        }
        Ok(None)
    }

    /// Where one instruction cannot be emulated there are more, and somebody wants the registers for each: from now on
    /// they come with every exit.
    fn unemulated(&mut self, instruction: Option<InstructionBytes>) -> Result<Exit, AccelError> {
        if self.vm.capabilities.sync_regs & kvm::KVM_SYNC_X86_VALID_FIELDS == kvm::KVM_SYNC_X86_VALID_FIELDS {
            self.page.set_valid_registers(kvm::KVM_SYNC_X86_VALID_FIELDS);
            self.wants_registers = true;
        }
        let instruction = match instruction {
            Some(instruction) => instruction,
            None => self.fetch()?,
        };
        if !self.vm.capabilities.exit_on_emulation_failure {
            self.take_invalid_opcode()?;
        }
        Ok(Exit::Unemulated(instruction))
    }

    /// Older kernels come out with a #UD pending, which whoever executes the instruction is not to get.
    fn take_invalid_opcode(&mut self) -> Result<(), AccelError> {
        const INVALID_OPCODE: u8 = 6;
        let fd = self.page.fd();
        let mut events = fd
            .get_vcpu_events()
            .map_err(KvmError::of("KVM_GET_VCPU_EVENTS"))?;
        if events.exception.nr == INVALID_OPCODE {
            (events.exception.injected, events.exception.pending) = (0, 0);
            fd.set_vcpu_events(&events)
                .map_err(KvmError::of("KVM_SET_VCPU_EVENTS"))?;
            self.changed();
        }
        Ok(())
    }

    /// The bytes at CS:RIP, as many as are mapped.
    fn fetch(&mut self) -> Result<InstructionBytes, AccelError> {
        let (regs, sregs) = self.registers()?;
        let linear = sregs.cs.base.wrapping_add(regs.rip);
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let mut len = 0;
        while len < bytes.len() {
            let at = linear.wrapping_add(len as u64);
            let translation = self
                .page
                .fd()
                .translate_gva(at)
                .map_err(KvmError::of("KVM_TRANSLATE"))?;
            if translation.valid == 0 {
                break;
            }
            let left = usize::try_from(PAGE_SIZE - at % PAGE_SIZE).unwrap_or(usize::MAX);
            let end = bytes.len().min(len.saturating_add(left));
            let in_smm = self.page.is_in_smm();
            self.bus
                .read_memory(in_smm, translation.physical_address, &mut bytes[len..end]);
            len = end;
        }
        Ok(InstructionBytes::new(&bytes[..len]))
    }

    /// Finishes the access that the vCPU came out for last, and whatever else belongs to that instruction, so that it
    /// is between two instructions.
    pub(super) fn finish(&mut self) -> Result<(), AccelError> {
        while self.unfinished {
            self.page.set_immediate_exit();
            self.bus.release();
            // A kick is about what is looked at before the guest goes on.
            if let Some(result) = self.kvm_run(Thread::current()) {
                self.came_out(result)?;
            }
        }
        Ok(())
    }

    /// Executes one instruction.
    pub(super) fn single_step(&mut self) -> Result<Exit, AccelError> {
        let before = self.read_state()?;
        let is_hlt = before.sregs.ss.dpl == 0 && self.fetch()?.as_slice().first() == Some(&HLT);
        self.set_single_step(true)?;
        let result = self.run_until_exit(true);
        self.set_single_step(false)?;
        if is_hlt && !before.halted && !self.has_apic() {
            // Some come out for the step, others because of the `HLT`.
            self.halted = self.registers()?.0.rip == before.regs.rip.wrapping_add(1);
            return result.map(|exit| if self.halted { Exit::Stepped } else { exit });
        }
        let cpl = before.sregs.ss.dpl;
        if matches!(result, Ok(Exit::Shutdown)) && cpl == 3 {
            self.write_state(&before)?;
            return Err(KvmError::CannotStep { cpl }.into());
        }
        result
    }

    fn set_single_step(&mut self, on: bool) -> Result<(), AccelError> {
        let control = if on {
            kvm::KVM_GUESTDBG_ENABLE | kvm::KVM_GUESTDBG_SINGLESTEP
        } else {
            0
        };
        let debug = kvm::kvm_guest_debug {
            control,
            ..kvm::kvm_guest_debug::default()
        };
        self.finish()?;
        self.flush()?;
        self.has_registers = false;
        let set = self.page.fd().set_guest_debug(&debug);
        Ok(set.map_err(KvmError::of("KVM_SET_GUEST_DEBUG"))?)
    }
}
