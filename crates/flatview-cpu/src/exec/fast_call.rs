//! Fast system calls: `SYSCALL`, `SYSRET`, `SYSENTER`, `SYSEXIT` (Intel SDM vol. 2; vol. 3, 5.8.7 and 5.8.8).
//!
//! Segments are not loaded from their descriptors: they are flat, whatever the tables say.

use super::msr::EFER_SCE;
use super::{EFER_LMA, Exec, Fault, RCX, RDX, RSP, is_canonical};
use crate::flags::{IF, RF, VM};
use crate::int::low16;
use crate::seg::{BIG, CS, GRANULARITY, LONG, SS, Seg};

/// Present, code or data, accessed, readable or writable.
const DATA: u16 = 0x93;
const CODE: u16 = 0x9b;
const R11: usize = 11;

fn flat(selector: u16, attributes: u16, dpl: u16) -> Seg {
    Seg::new(
        selector & !3 | dpl,
        0,
        u32::MAX,
        attributes | GRANULARITY | dpl << 5,
    )
}

impl Exec {
    fn load_flat(&mut self, code: u16, stack: u16, dpl: u16, is_64: bool) {
        let size = if is_64 { LONG } else { BIG };
        self.segs[CS] = flat(code, CODE | size, dpl);
        self.segs[SS] = flat(stack, DATA | BIG, dpl);
        self.update_mode();
    }

    /// `SYSCALL`, from before `next`. In legacy mode only AMD's processors have it, and so has this one.
    ///
    /// # Errors
    ///
    /// #UD if it is not enabled.
    pub(crate) fn syscall(&mut self, next: u64) -> Result<(), Fault> {
        if self.msrs.efer & EFER_SCE == 0 || !self.mode.is_protected {
            return Err(self.ud());
        }
        let selector = low16(self.msrs.values.star >> 32);
        self.r.gpr[RCX] = next;
        if self.msrs.efer & EFER_LMA == 0 {
            self.load_flat(selector, selector.wrapping_add(8), 0, false);
            self.r.flags.put(IF | VM | RF, false);
            self.rip = self.msrs.values.star & 0xffff_ffff;
            return Ok(());
        }
        let [lstar, cstar, mask] = self.msrs.values.syscall;
        let target = if self.mode.is_64() { lstar } else { cstar };
        let flags = self.r.flags.get() & !RF;
        self.r.gpr[R11] = flags;
        self.load_flat(selector, selector.wrapping_add(8), 0, true);
        self.r.flags.set(flags & !mask);
        self.rip = target;
        Ok(())
    }

    /// `SYSRET`; `is_64` with REX.W.
    ///
    /// # Errors
    ///
    /// #UD if it is not enabled; #GP(0) outside of level 0, and if RCX is not canonical.
    pub(crate) fn sysret(&mut self, is_64: bool) -> Result<(), Fault> {
        if self.msrs.efer & EFER_SCE == 0 || !self.mode.is_protected {
            return Err(self.ud());
        }
        self.need_cpl0()?;
        let selector = low16(self.msrs.values.star >> 48);
        let target = self.r.gpr[RCX];
        if is_64 && !is_canonical(target) {
            return Err(self.gp(0));
        }
        let code = if is_64 {
            selector.wrapping_add(16)
        } else {
            selector
        };
        if self.msrs.efer & EFER_LMA == 0 {
            self.r.flags.put(IF, true);
        } else {
            self.r.flags.set(self.r.gpr[R11] & !(RF | VM));
        }
        self.load_flat(code, selector.wrapping_add(8), 3, is_64);
        self.rip = if is_64 { target } else { target & 0xffff_ffff };
        Ok(())
    }

    /// `SYSENTER`.
    ///
    /// # Errors
    ///
    /// #GP(0) in real mode, and if there is no code segment for it.
    pub(crate) fn sysenter(&mut self) -> Result<(), Fault> {
        let [code, stack, target] = self.msrs.values.sysenter;
        if !self.mode.is_protected || code & !3 == 0 {
            return Err(self.gp(0));
        }
        let selector = low16(code);
        let is_long = self.mode.is_long;
        self.r.flags.put(IF | VM | RF, false);
        self.load_flat(selector, selector.wrapping_add(8), 0, is_long);
        let mask = if is_long { u64::MAX } else { 0xffff_ffff };
        self.r.gpr[RSP] = stack & mask;
        self.rip = target & mask;
        Ok(())
    }

    /// `SYSEXIT`; `is_64` with REX.W.
    ///
    /// # Errors
    ///
    /// #GP(0) in real mode, outside of level 0, if there is no code segment for it, and for addresses that are not
    /// canonical.
    pub(crate) fn sysexit(&mut self, is_64: bool) -> Result<(), Fault> {
        let code = self.msrs.values.sysenter[0];
        let (target, stack) = (self.r.gpr[RDX], self.r.gpr[RCX]);
        let is_right = !is_64 || (is_canonical(target) && is_canonical(stack));
        if !self.mode.is_protected || self.mode.cpl != 0 || code & !3 == 0 || !is_right {
            return Err(self.gp(0));
        }
        let selector = low16(code).wrapping_add(if is_64 { 32 } else { 16 });
        self.load_flat(selector, selector.wrapping_add(8), 3, is_64);
        let mask = if is_64 { u64::MAX } else { 0xffff_ffff };
        self.r.gpr[RSP] = stack & mask;
        self.rip = target & mask;
        Ok(())
    }
}
