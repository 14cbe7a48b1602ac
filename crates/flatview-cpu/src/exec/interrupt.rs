//! Interrupts and exceptions (Intel SDM vol. 3, chapter 7).

use flatview_accel::{Injection, InjectionKind, InstructionBytes};

use super::far::NewStack;
use super::{DE, DF, Exception, Exec, Fault, GP, NP, PF, RSP, SS_FAULT, TS, selector_error};
use crate::flags::{AC, IF, NT, RF, TF, VM};
use crate::int::{Int, low16};
use crate::seg::{BIG, CODE, CODE_OR_DATA, CONFORMING, CS, Descriptor, LONG, PRESENT, SS};

/// The type of a task gate. Tasks are not supported.
const TASK_GATE: u8 = 5;

/// Where an interrupt comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// From a device, or an NMI.
    Hardware,
    /// An exception.
    Exception,
    /// `INT n`: the gate has to be one for the current level.
    Software,
    /// `INT3`, `INTO`: as `Software`.
    Breakpoint,
    /// `INT1`: not asked for by software as far as privileges go.
    Privileged,
}

impl Event {
    /// Bit 0 of error codes: what happened has its origin outside of the program.
    fn external(self) -> u16 {
        u16::from(matches!(
            self,
            Event::Hardware | Event::Exception | Event::Privileged
        ))
    }

    fn checks_privilege(self) -> bool {
        matches!(self, Event::Software | Event::Breakpoint)
    }
}

impl Exec {
    /// `INT n` and its kin, from before `next`.
    pub(crate) fn software_interrupt(&mut self, vector: u8, event: Event, next: u64) -> Result<(), Fault> {
        self.enter_handler(vector, None, event, next)?;
        self.is_in_handler = true;
        self.attention = true;
        Ok(())
    }

    /// An interrupt between two instructions.
    pub(crate) fn hardware_interrupt(&mut self, vector: u8) {
        let rip = self.rip;
        if self.enter_handler(vector, None, Event::Hardware, rip).is_err() {
            self.deliver_exception();
        }
    }

    /// Delivers [`Exec::exception`], which happened at [`Exec::rip`]; or what comes of it: a double fault, a shutdown.
    pub(crate) fn deliver_exception(&mut self) {
        self.attention = true;
        self.is_in_handler = true;
        let mut current = self.exception;
        let rip = self.rip;
        loop {
            let Exception {
                vector, error_code, ..
            } = current;
            if self
                .enter_handler(vector, error_code, Event::Exception, rip)
                .is_ok()
            {
                return;
            }
            let second = self.exception;
            current = if second.is_unknown {
                self.leave_unemulated();
                return;
            } else if current.vector == DF {
                self.shutdown = true;
                return;
            } else if is_double(current.vector, second.vector) {
                Exception {
                    vector: DF,
                    error_code: Some(0),
                    ..Exception::default()
                }
            } else {
                second
            };
        }
    }

    /// Delivers what was begun elsewhere. Tells whether there was something.
    pub(crate) fn inject(&mut self) -> bool {
        let Some(injection) = self.injected.take() else {
            return false;
        };
        let Injection {
            kind,
            vector,
            error_code,
        } = injection;
        let before = (std::mem::take(&mut self.halted), std::mem::take(&mut self.shadow));
        match kind {
            InjectionKind::Interrupt => self.hardware_interrupt(vector),
            InjectionKind::SoftwareInterrupt => {
                let next = self.rip;
                if self.software_interrupt(vector, Event::Software, next).is_err() {
                    self.deliver_exception();
                }
            }
            InjectionKind::Exception => {
                self.raise(vector, error_code);
                self.deliver_exception();
            }
        }
        if self.unemulated.is_some() {
            self.injected = Some(injection);
            (self.halted, self.shadow) = before;
        }
        true
    }

    /// Leaves the current instruction, of which nothing was done, to others.
    pub(crate) fn leave_unemulated(&mut self) {
        let bytes = self.instruction_bytes();
        self.unemulated = Some(bytes);
        self.attention = true;
    }

    /// The bytes at the instruction pointer, 15 if they can be read.
    pub(crate) fn instruction_bytes(&mut self) -> InstructionBytes {
        let (exception, cr2) = (self.exception, self.cr2);
        let address = self.segs[CS].base.wrapping_add(self.rip);
        let (mut bytes, mut len) = ([0; 15], 0);
        for (place, at) in bytes.iter_mut().zip(0..) {
            // A page further on may be missing.
            let Ok(byte) = self.fetch(self.wrap(address.wrapping_add(at))) else {
                break;
            };
            *place = byte;
            len += 1;
        }
        (self.exception, self.cr2) = (exception, cr2);
        InstructionBytes::new(&bytes[..len])
    }

    /// #DB after an instruction that was traced.
    pub(crate) fn single_step_trap(&mut self) {
        // DR6.BS (Intel SDM vol. 3, 18.2.3).
        self.dr[6] |= 1 << 14;
        self.raise(super::DB, None);
        self.deliver_exception();
    }

    fn enter_handler(
        &mut self,
        vector: u8,
        error_code: Option<u32>,
        event: Event,
        ip: u64,
    ) -> Result<(), Fault> {
        if !self.mode.is_protected {
            return self.enter_real_handler(vector, event, ip);
        }
        let gate_error = u16::from(vector) << 3 | 2 | event.external();
        let size: u64 = if self.mode.is_long { 16 } else { 8 };
        let offset = u64::from(vector) * size;
        if offset + size - 1 > u64::from(self.idtr.limit) {
            return Err(self.gp(gate_error));
        }
        let at = self.idtr.base.wrapping_add(offset);
        let gate = Descriptor(self.load_system(at)?);
        let is_known = match gate.kind() {
            // 32-bit (or 64-bit) interrupt gates, trap gates.
            0xe | 0xf => true,
            6 | 7 => !self.mode.is_long,
            _ => false,
        };
        if event.checks_privilege() && gate.dpl() < self.mode.cpl {
            return Err(self.gp(gate_error));
        }
        if !is_known {
            let is_task = gate.kind() == TASK_GATE && !self.mode.is_long;
            return Err(if is_task {
                self.unknown(GP, Some(u32::from(gate_error)))
            } else {
                self.gp(gate_error)
            });
        }
        if !gate.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(gate_error))));
        }
        let is_32 = gate.kind() & 8 != 0;
        let mut target_ip = gate.0 & 0xffff;
        if is_32 {
            target_ip |= gate.0 >> 48 << 16;
        }
        if self.mode.is_long {
            target_ip |= self.load_system::<u64>(at.wrapping_add(8))? << 32;
        }
        let selector = low16(gate.0 >> 16);
        let target = self.handler_code(selector, event)?;
        let entry = Entry {
            gate,
            selector,
            target,
            target_ip,
            error_code: error_code.filter(|_| event == Event::Exception),
            pushes_rf: event == Event::Exception && is_fault(vector),
            external: event.external(),
        };
        match (self.mode.is_long, is_32) {
            (true, _) => self.enter_gate::<u64>(&entry, ip),
            (false, true) => self.enter_gate::<u32>(&entry, ip),
            (false, false) => self.enter_gate::<u16>(&entry, ip),
        }
    }

    /// The code segment that a gate leads to.
    fn handler_code(&mut self, selector: u16, event: Event) -> Result<Descriptor, Fault> {
        if selector & !3 == 0 {
            return Err(self.gp(event.external()));
        }
        let error = selector_error(selector) | event.external();
        let target = match self.descriptor(selector, GP) {
            Err(fault) if self.exception.vector == GP => {
                self.exception.error_code = Some(u32::from(error));
                return Err(fault);
            }
            other => other?,
        };
        let is_code = target.has(CODE_OR_DATA) && target.has(CODE) && target.dpl() <= self.mode.cpl;
        let is_64 = !self.mode.is_long || (target.has(LONG) && !target.has(BIG));
        if !is_code || !is_64 {
            return Err(self.gp(error));
        }
        if !target.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(error))));
        }
        Ok(target)
    }

    fn enter_gate<T: Int>(&mut self, entry: &Entry, ip: u64) -> Result<(), Fault> {
        let &Entry {
            gate,
            selector,
            target,
            target_ip,
            external,
            ..
        } = entry;
        let is_inner = !target.has(CONFORMING) && target.dpl() < self.mode.cpl;
        let cpl = if is_inner { target.dpl() } else { self.mode.cpl };
        let flags = self.r.flags.get() & !RF | if entry.pushes_rf { RF } else { 0 };
        let old_ss = u64::from(self.segs[SS].selector);
        let old_cs = u64::from(self.segs[CS].selector);
        let old_sp = self.r.gpr[RSP];
        let mut stack = self.handler_stack(gate, is_inner, cpl, external)?;
        let mut pushed = [0; 6];
        let mut count = 0;
        let mut push = |value: u64| {
            pushed[count] = value;
            count += 1;
        };
        if is_inner || self.mode.is_long {
            push(old_ss);
            push(old_sp);
        }
        push(flags);
        push(old_cs);
        push(ip);
        if let Some(code) = entry.error_code {
            push(u64::from(code));
        }
        self.check_ip(target, target_ip)?;
        stack.error |= external;
        let sp = self.push_on::<T>(&stack, &pushed[..count])?;
        if is_inner {
            self.enter_stack(stack.seg, sp);
        } else {
            self.r.gpr[RSP] = sp;
        }
        self.enter_code(selector, target, cpl, target_ip)?;
        let flags = &mut self.r.flags;
        flags.put(TF | NT | RF | VM, false);
        if gate.kind() & 1 == 0 {
            flags.put(IF, false);
        }
        Ok(())
    }

    /// The stack of a handler: that of an inner level, that of the interrupt stack table, or the current one.
    fn handler_stack(
        &mut self,
        gate: Descriptor,
        is_inner: bool,
        cpl: u8,
        external: u16,
    ) -> Result<NewStack, Fault> {
        let mut stack = if is_inner {
            self.inner_stack(cpl)?
        } else {
            NewStack {
                seg: self.segs[SS],
                sp: self.r.gpr[RSP],
                error: 0,
            }
        };
        if self.mode.is_long {
            let index = gate.0 >> 32 & 7;
            if index != 0 {
                // Intel SDM vol. 3, 7.14.5: the table begins at byte 36 of the task state segment.
                let offset = 28 + 8 * index;
                if offset + 7 > u64::from(self.tr.limit) {
                    let error = selector_error(self.tr.selector) | external;
                    return Err(self.raise(TS, Some(u32::from(error))));
                }
                stack.sp = self.load_system(self.tr.base.wrapping_add(offset))?;
                if !super::is_canonical(stack.sp) {
                    return Err(self.raise(SS_FAULT, Some(u32::from(external))));
                }
            }
            stack.sp &= !15;
        }
        Ok(stack)
    }

    fn enter_real_handler(&mut self, vector: u8, event: Event, ip: u64) -> Result<(), Fault> {
        let offset = u64::from(vector) * 4;
        if offset + 3 > u64::from(self.idtr.limit) {
            return Err(self.gp(u16::from(vector) << 3 | 2 | event.external()));
        }
        let pointer: u32 = self.load_system(self.idtr.base.wrapping_add(offset))?;
        let flags = self.r.flags.get();
        let cs = u64::from(self.segs[CS].selector);
        let sp = self.r.gpr[RSP];
        let pushed = self.push_real(&[flags, cs, ip]);
        if pushed.is_err() {
            self.r.gpr[RSP] = sp;
            return pushed;
        }
        self.load_real(CS, low16(u64::from(pointer >> 16)));
        self.update_mode();
        self.rip = u64::from(pointer & 0xffff);
        self.r.flags.put(IF | TF | AC | RF, false);
        Ok(())
    }

    fn push_real(&mut self, numbers: &[u64]) -> Result<(), Fault> {
        for &number in numbers {
            self.push(low16(number))?;
        }
        Ok(())
    }
}

/// What a gate was found to say.
struct Entry {
    gate: Descriptor,
    selector: u16,
    target: Descriptor,
    target_ip: u64,
    error_code: Option<u32>,
    pushes_rf: bool,
    external: u16,
}

/// Whether an exception is a fault: the instruction is executed again.
fn is_fault(vector: u8) -> bool {
    !matches!(vector, 1 | 3 | 4 | 8 | 18)
}

/// Whether a second exception makes a double fault of the first (Intel SDM vol. 3, table 7-5).
fn is_double(first: u8, second: u8) -> bool {
    let is_contributory = |vector| matches!(vector, DE | TS | NP | SS_FAULT | GP);
    match first {
        PF => second == PF || is_contributory(second),
        _ => is_contributory(first) && is_contributory(second),
    }
}
