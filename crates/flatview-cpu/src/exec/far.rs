//! Far jumps, calls and returns (Intel SDM vol. 3, 5.8; vol. 2, JMP, CALL, RET, IRET).

use super::mem::Access;
use super::{Exec, Fault, Flow, NP, RSP, SS_FAULT, Step, TS, is_canonical, rpl, selector_error};
use crate::flags::{IF, IOPL, NT, RF, VIF, VIP, VM};
use crate::int::{Int, low16};
use crate::seg::{BIG, CODE, CODE_OR_DATA, CONFORMING, CS, Descriptor, LONG, PRESENT, SS, Seg};

const CALL_GATE_16: u8 = 4;
const CALL_GATE_32: u8 = 12;

/// A stack that is not in SS yet.
pub(crate) struct NewStack {
    pub(crate) seg: Seg,
    pub(crate) sp: u64,
    /// The error code of the #SS if there is no room.
    pub(crate) error: u16,
}

impl NewStack {
    fn mask(&self, is_64: bool) -> u64 {
        match (is_64, self.seg.has(BIG)) {
            (true, _) => u64::MAX,
            (false, true) => 0xffff_ffff,
            (false, false) => 0xffff,
        }
    }
}

impl Exec {
    /// `JMP` to another segment.
    pub(crate) fn far_jump(&mut self, selector: u16, ip: u64) -> Step {
        if !self.mode.is_protected {
            return self.real_jump(selector, ip);
        }
        let descriptor = self.transfer_target(selector)?;
        if descriptor.has(CODE_OR_DATA) {
            self.check_code(selector, descriptor, false)?;
            let cpl = self.mode.cpl;
            self.enter_code(selector, descriptor, cpl, ip)?;
            return Ok(Flow::Jump);
        }
        let (selector, ip, _) = self.call_gate(selector, descriptor)?;
        let target = self.gate_target(selector)?;
        self.check_code(selector & !3, target, false)?;
        let cpl = self.mode.cpl;
        self.enter_code(selector, target, cpl, ip)?;
        Ok(Flow::Jump)
    }

    /// `CALL` to another segment, from before `next`; `T` is the operand size.
    pub(crate) fn far_call<T: Int>(&mut self, selector: u16, ip: u64, next: u64) -> Step {
        let old_cs = u64::from(self.segs[CS].selector);
        if !self.mode.is_protected {
            if ip > u64::from(self.segs[CS].limit) {
                return Err(self.gp(0));
            }
            self.push_pair::<T>(old_cs, next)?;
            return self.real_jump(selector, ip);
        }
        let descriptor = self.transfer_target(selector)?;
        if descriptor.has(CODE_OR_DATA) {
            self.check_code(selector, descriptor, false)?;
            self.check_ip(descriptor, ip)?;
            let sp = self.r.gpr[RSP];
            self.push_pair::<T>(old_cs, next)?;
            let cpl = self.mode.cpl;
            let entered = self.enter_code(selector, descriptor, cpl, ip);
            if entered.is_err() {
                self.r.gpr[RSP] = sp;
            }
            return entered.map(|()| Flow::Jump);
        }
        let (target_selector, ip, parameters) = self.call_gate(selector, descriptor)?;
        let target = self.gate_target(target_selector)?;
        self.check_code(target_selector & !3, target, true)?;
        let is_inner = !target.has(CONFORMING) && target.dpl() < self.mode.cpl;
        match (self.mode.is_long, descriptor.kind()) {
            (true, _) => self.gate_call::<u64>(target_selector, target, ip, next, is_inner, 0),
            (false, CALL_GATE_32) => {
                self.gate_call::<u32>(target_selector, target, ip, next, is_inner, parameters)
            }
            (false, _) => self.gate_call::<u16>(target_selector, target, ip, next, is_inner, parameters),
        }
    }

    fn gate_call<T: Int>(
        &mut self,
        selector: u16,
        target: Descriptor,
        ip: u64,
        next: u64,
        is_inner: bool,
        parameters: u64,
    ) -> Step {
        self.check_ip(target, ip)?;
        let old_cs = u64::from(self.segs[CS].selector);
        if !is_inner {
            self.push_pair::<T>(old_cs, next)?;
            let cpl = self.mode.cpl;
            self.enter_code(selector, target, cpl, ip)?;
            return Ok(Flow::Jump);
        }
        let cpl = target.dpl();
        let stack = self.inner_stack(cpl)?;
        let mut pushed = Vec::with_capacity(36);
        pushed.push(u64::from(self.segs[SS].selector));
        pushed.push(self.r.gpr[RSP]);
        for number in (0..parameters).rev() {
            pushed.push(self.peek::<T>(number * T::BYTES)?.widen());
        }
        pushed.push(old_cs);
        pushed.push(next);
        let sp = self.push_on::<T>(&stack, &pushed)?;
        self.enter_stack(stack.seg, sp);
        self.enter_code(selector, target, cpl, ip)?;
        Ok(Flow::Jump)
    }

    /// Pushes two numbers, or none.
    fn push_pair<T: Int>(&mut self, first: u64, second: u64) -> Result<(), Fault> {
        let sp = self.r.gpr[RSP].wrapping_sub(2 * T::BYTES);
        let mask = self.mode.stack_mask;
        let upper = self.stack(sp.wrapping_add(T::BYTES) & mask, T::BYTES, Access::Write)?;
        let lower = self.stack(sp & mask, T::BYTES, Access::Write)?;
        self.probe::<T>(upper, Access::Write)?;
        self.store(lower, T::truncate(second))?;
        self.store(upper, T::truncate(first))?;
        self.set_sp(sp);
        Ok(())
    }

    fn real_jump(&mut self, selector: u16, ip: u64) -> Step {
        if ip > u64::from(self.segs[CS].limit) {
            return Err(self.gp(0));
        }
        self.load_real(CS, selector);
        // Readable and writable, as every segment in real mode.
        self.segs[CS].attributes = self.segs[CS].attributes & !(CODE | CONFORMING) | PRESENT | 0x13;
        self.update_mode();
        self.rip = ip;
        Ok(Flow::Jump)
    }

    /// The descriptor that a far transfer names.
    fn transfer_target(&mut self, selector: u16) -> Result<Descriptor, Fault> {
        if selector & !3 == 0 {
            return Err(self.gp(0));
        }
        self.descriptor(selector, super::GP)
    }

    fn gate_target(&mut self, selector: u16) -> Result<Descriptor, Fault> {
        let target = self.transfer_target(selector)?;
        if !target.has(CODE_OR_DATA) {
            return Err(self.gp(selector_error(selector)));
        }
        Ok(target)
    }

    /// What a call gate leads to: selector, offset, number of parameters. Task gates and task state segments are not
    /// supported: #GP.
    fn call_gate(&mut self, selector: u16, gate: Descriptor) -> Result<(u16, u64, u64), Fault> {
        let error = selector_error(selector);
        // Task state segments, and gates to them.
        if !self.mode.is_long && matches!(gate.kind(), 1 | 5 | 9) {
            return Err(self.unknown(super::GP, Some(u32::from(error))));
        }
        let is_gate = gate.kind() == CALL_GATE_32 || (gate.kind() == CALL_GATE_16 && !self.mode.is_long);
        if !is_gate || gate.dpl() < self.mode.cpl.max(rpl(selector)) {
            return Err(self.gp(error));
        }
        if !gate.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(error))));
        }
        let low = gate.0 & 0xffff;
        let mut ip = if gate.kind() == CALL_GATE_16 {
            low
        } else {
            gate.0 >> 48 << 16 | low
        };
        if self.mode.is_long {
            ip |= self.upper_base(selector, super::GP)?;
        }
        Ok((low16(gate.0 >> 16), ip, gate.0 >> 32 & 31))
    }

    /// Checks a code segment that a jump or a call leads to; through a gate the level may become an inner one.
    pub(crate) fn check_code(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        may_be_inner: bool,
    ) -> Result<(), Fault> {
        let error = selector_error(selector);
        let cpl = self.mode.cpl;
        let is_allowed = match (descriptor.has(CONFORMING), may_be_inner) {
            (true, _) | (_, true) => descriptor.dpl() <= cpl,
            (false, false) => descriptor.dpl() == cpl && rpl(selector) <= cpl,
        };
        if !descriptor.has(CODE_OR_DATA) || !descriptor.has(CODE) || !is_allowed {
            return Err(self.gp(error));
        }
        // 64-bit code that is also 32-bit code does not exist (Intel SDM vol. 3, 3.4.5).
        if self.mode.is_long && descriptor.has(LONG) && descriptor.has(BIG) {
            return Err(self.gp(error));
        }
        if !descriptor.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(error))));
        }
        Ok(())
    }

    /// Whether code can go on at `ip` in a segment.
    pub(crate) fn check_ip(&mut self, code: Descriptor, ip: u64) -> Result<(), Fault> {
        let is_64 = self.mode.is_long && code.has(LONG);
        let is_within = if is_64 {
            is_canonical(ip)
        } else {
            ip <= u64::from(code.limit())
        };
        if is_within { Ok(()) } else { Err(self.gp(0)) }
    }

    /// Goes on at `ip` in a code segment that was checked.
    pub(crate) fn enter_code(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        cpl: u8,
        ip: u64,
    ) -> Result<(), Fault> {
        self.check_ip(descriptor, ip)?;
        self.mark_accessed(selector, descriptor)?;
        self.set_code(selector, descriptor, cpl);
        self.rip = ip;
        Ok(())
    }

    /// The stack of an inner level, from the task state segment (Intel SDM vol. 3, 5.8.5, 8.2.1, 8.7).
    pub(crate) fn inner_stack(&mut self, cpl: u8) -> Result<NewStack, Fault> {
        let error = Some(u32::from(selector_error(self.tr.selector)));
        let (base, limit, level) = (self.tr.base, u64::from(self.tr.limit), u64::from(cpl));
        let kind = self.tr.attributes & 0xf;
        let (at, size) = match (self.mode.is_long, kind & 8) {
            (true, _) => (4 + 8 * level, 8),
            (false, 0) => (2 + 4 * level, 4),
            (false, _) => (4 + 8 * level, 6),
        };
        if !self.tr.has(PRESENT) || at + size - 1 > limit {
            return Err(self.raise(TS, error));
        }
        let at = base.wrapping_add(at);
        if self.mode.is_long {
            let sp: u64 = self.load_system(at)?;
            if !is_canonical(sp) {
                return Err(self.raise(SS_FAULT, Some(0)));
            }
            let mut seg = Seg::null(u16::from(cpl));
            seg.attributes |= u16::from(cpl) << 5;
            return Ok(NewStack { seg, sp, error: 0 });
        }
        let (sp, selector) = if size == 4 {
            (
                u64::from(self.load_system::<u16>(at)?),
                self.load_system(at.wrapping_add(2))?,
            )
        } else {
            (
                u64::from(self.load_system::<u32>(at)?),
                self.load_system(at.wrapping_add(4))?,
            )
        };
        let seg = self.checked_stack(selector, cpl, TS)?;
        let error = selector_error(selector);
        Ok(NewStack { seg, sp, error })
    }

    /// Pushes numbers on a stack that is not in SS yet, all or none. Returns where its top is then.
    pub(crate) fn push_on<T: Int>(&mut self, stack: &NewStack, numbers: &[u64]) -> Result<u64, Fault> {
        let mask = stack.mask(self.mode.is_long);
        let mut seg = stack.seg;
        seg.work_out(true);
        let place = |e: &mut Exec, number: u64| {
            let offset = stack.sp.wrapping_sub(T::BYTES * number) & mask;
            if e.mode.is_long {
                return Ok(offset);
            }
            if offset < seg.write.0 || offset.saturating_add(T::BYTES - 1) > seg.write.1 {
                return Err(e.raise(SS_FAULT, Some(u32::from(stack.error))));
            }
            Ok(seg.base.wrapping_add(offset) & 0xffff_ffff)
        };
        for number in 1..=numbers.len() as u64 {
            place(self, number)?;
        }
        for (number, &value) in (1..).zip(numbers) {
            let at = place(self, number)?;
            self.store_system(at, T::truncate(value))?;
        }
        let sp = stack.sp.wrapping_sub(T::BYTES * numbers.len() as u64);
        Ok((stack.sp & !mask) | (sp & mask))
    }

    /// Changes the stack; the privilege level is that of SS.
    pub(crate) fn enter_stack(&mut self, seg: Seg, sp: u64) {
        self.segs[SS] = seg;
        self.update_mode();
        self.r.gpr[RSP] = sp;
    }

    /// `RET` to another segment, and `more` bytes off the stack.
    pub(crate) fn far_return<T: Int>(&mut self, more: u64) -> Step {
        let ip = self.peek::<T>(0)?.widen();
        let selector = low16(self.peek::<T>(T::BYTES)?.widen());
        if !self.mode.is_protected {
            let flow = self.real_jump(selector, ip)?;
            self.set_sp(self.r.gpr[RSP].wrapping_add(2 * T::BYTES + more));
            return Ok(flow);
        }
        let descriptor = self.return_target(selector)?;
        let ip = if self.mode.is_long && descriptor.has(LONG) {
            ip
        } else {
            ip & 0xffff_ffff
        };
        if rpl(selector) == self.mode.cpl {
            let cpl = self.mode.cpl;
            self.enter_code(selector, descriptor, cpl, ip)?;
            self.set_sp(self.r.gpr[RSP].wrapping_add(2 * T::BYTES + more));
            return Ok(Flow::Jump);
        }
        let sp = self.peek::<T>(2 * T::BYTES + more)?.widen();
        let ss = low16(self.peek::<T>(3 * T::BYTES + more)?.widen());
        self.return_with_stack(selector, descriptor, ip, ss, sp)?;
        self.set_sp(self.r.gpr[RSP].wrapping_add(more));
        Ok(Flow::Jump)
    }

    /// Checks what a return leads to.
    fn return_target(&mut self, selector: u16) -> Result<Descriptor, Fault> {
        let descriptor = self.transfer_target(selector)?;
        let error = selector_error(selector);
        let (rpl, dpl) = (rpl(selector), descriptor.dpl());
        let is_right = if descriptor.has(CONFORMING) {
            dpl <= rpl
        } else {
            dpl == rpl
        };
        if !descriptor.has(CODE_OR_DATA) || !descriptor.has(CODE) || rpl < self.mode.cpl || !is_right {
            return Err(self.gp(error));
        }
        if !descriptor.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(error))));
        }
        Ok(descriptor)
    }

    /// Returns with a stack that was popped, too: to an outer level, or by `IRET` in 64-bit mode to any.
    fn return_with_stack(
        &mut self,
        selector: u16,
        descriptor: Descriptor,
        ip: u64,
        ss: u16,
        sp: u64,
    ) -> Result<(), Fault> {
        self.check_ip(descriptor, ip)?;
        let cpl = rpl(selector);
        let is_outward = cpl != self.mode.cpl;
        let is_null = ss & !3 == 0 && self.mode.is_long && descriptor.has(LONG) && cpl < 3;
        let seg = if is_null {
            let mut seg = Seg::null(ss);
            seg.attributes |= u16::from(cpl) << 5;
            seg
        } else {
            self.checked_stack(ss, cpl, super::GP)?
        };
        self.enter_code(selector, descriptor, cpl, ip)?;
        self.segs[SS] = seg;
        self.update_mode();
        if self.mode.is_long && !self.mode.is_64() {
            // The upper half of a kernel's stack pointer is nothing for programs in compatibility mode.
            self.r.gpr[RSP] &= 0xffff_ffff;
        }
        self.set_sp(sp);
        if is_outward {
            self.drop_inner_segments();
        }
        Ok(())
    }

    /// `IRET`.
    pub(crate) fn interrupt_return<T: Int>(&mut self) -> Result<(), Fault> {
        let ip = self.peek::<T>(0)?.widen();
        let selector = low16(self.peek::<T>(T::BYTES)?.widen());
        let flags = self.peek::<T>(2 * T::BYTES)?.widen();
        if !self.mode.is_protected {
            self.real_jump(selector, ip)?;
            self.set_sp(self.r.gpr[RSP].wrapping_add(3 * T::BYTES));
            self.set_flags::<T>(flags);
            self.nmi_masked = false;
            return Ok(());
        }
        // Nested tasks are not supported, nor is virtual 8086 mode.
        if self.r.flags.has(NT)
            || (T::BITS == 32 && flags & VM != 0 && self.mode.cpl == 0 && !self.mode.is_long)
        {
            // In IA-32e mode there are none.
            return Err(if self.mode.is_long {
                self.gp(0)
            } else {
                self.unknown(super::GP, Some(0))
            });
        }
        let descriptor = self.return_target(selector)?;
        let ip = if self.mode.is_long && descriptor.has(LONG) {
            ip
        } else {
            ip & 0xffff_ffff
        };
        let (cpl, had_io_privilege) = (self.mode.cpl, self.has_io_privilege());
        if self.mode.is_64() || rpl(selector) != cpl {
            let sp = self.peek::<T>(3 * T::BYTES)?.widen();
            let ss = low16(self.peek::<T>(4 * T::BYTES)?.widen());
            self.return_with_stack(selector, descriptor, ip, ss, sp)?;
        } else {
            self.enter_code(selector, descriptor, cpl, ip)?;
            self.set_sp(self.r.gpr[RSP].wrapping_add(3 * T::BYTES));
        }
        self.return_flags::<T>(flags, cpl, had_io_privilege);
        self.nmi_masked = false;
        Ok(())
    }

    /// The flags that `IRET` sets: as much as the level before it may.
    fn return_flags<T: Int>(&mut self, flags: u64, cpl: u8, had_io_privilege: bool) {
        let mut may = crate::flags::ARITHMETIC | crate::flags::TF | crate::flags::DF | NT;
        if T::BITS > 16 {
            may |= RF | crate::flags::AC | crate::flags::ID;
        }
        if cpl == 0 {
            may |= IOPL;
            if T::BITS > 16 {
                may |= VIF | VIP;
            }
        }
        if had_io_privilege {
            may |= IF;
        }
        let old = self.r.flags.get();
        self.r.flags.set((old & !may) | (flags & may));
    }
}
