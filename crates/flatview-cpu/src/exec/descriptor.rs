//! Descriptors: found in their tables, checked, loaded into segment registers (Intel SDM vol. 3, 3.4, 5.5 to 5.7).

use super::{Exec, Fault, NP, SS_FAULT, rpl, selector_error};
use crate::seg::{
    ACCESSED, CODE, CODE_OR_DATA, CONFORMING, CS, DS, Descriptor, PRESENT, SS, Seg, UNUSABLE, WRITABLE,
};

/// Types of system descriptors (Intel SDM vol. 3, table 3-2).
pub(crate) const LDT: u8 = 2;
pub(crate) const TSS_16: u8 = 1;
pub(crate) const TSS_32: u8 = 9;
/// In a task's type: it is being executed, or was called from.
const BUSY: u64 = 1 << 41;

impl Exec {
    /// The linear address of the descriptor of a selector that is not null; `None` if it is beyond its table.
    fn descriptor_at(&self, selector: u16, size: u64) -> Option<u64> {
        let (base, limit) = if selector & 4 == 0 {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        } else if self.ldtr.has(PRESENT) && !self.ldtr.has(UNUSABLE) {
            (self.ldtr.base, u64::from(self.ldtr.limit))
        } else {
            return None;
        };
        let offset = u64::from(selector & !7);
        (offset + size - 1 <= limit).then(|| base.wrapping_add(offset))
    }

    /// The descriptor of a selector.
    ///
    /// # Errors
    ///
    /// `vector` with the selector as its error code if there is none.
    pub(crate) fn descriptor(&mut self, selector: u16, vector: u8) -> Result<Descriptor, Fault> {
        match self.descriptor_at(selector, 8) {
            Some(at) => Ok(Descriptor(self.load_system(at)?)),
            None => Err(self.raise(vector, Some(u32::from(selector_error(selector))))),
        }
    }

    /// The upper half of a system descriptor in IA-32e mode: bits 32 to 63 of the base.
    pub(crate) fn upper_base(&mut self, selector: u16, vector: u8) -> Result<u64, Fault> {
        match self.descriptor_at(selector, 16) {
            Some(at) => Ok(self.load_system::<u64>(at.wrapping_add(8))? << 32),
            None => Err(self.raise(vector, Some(u32::from(selector_error(selector))))),
        }
    }

    /// Marks a descriptor as accessed.
    pub(crate) fn mark_accessed(&mut self, selector: u16, descriptor: Descriptor) -> Result<(), Fault> {
        if descriptor.has(ACCESSED) {
            return Ok(());
        }
        match self.descriptor_at(selector, 8) {
            Some(at) => self.store_system(at.wrapping_add(4), crate::int::low32(descriptor.0 >> 32) | 0x100),
            None => Ok(()),
        }
    }

    /// Loads a segment register other than CS.
    pub(crate) fn load_segment(&mut self, seg: usize, selector: u16) -> Result<(), Fault> {
        if !self.mode.is_protected {
            self.load_real(seg, selector);
        } else if selector & !3 == 0 {
            // SS can be null in 64-bit mode outside of level 3 (Intel SDM vol. 3, 5.4.1.1).
            let may_be_null =
                seg != SS || (self.mode.is_64() && self.mode.cpl < 3 && rpl(selector) == self.mode.cpl);
            if !may_be_null {
                return Err(self.gp(0));
            }
            self.segs[seg] = Seg::null(selector);
            if seg == SS {
                self.segs[SS].attributes |= u16::from(self.mode.cpl) << 5;
            }
        } else if seg == SS {
            let loaded = self.checked_stack(selector, self.mode.cpl, super::GP)?;
            self.segs[SS] = loaded;
        } else {
            let descriptor = self.descriptor(selector, super::GP)?;
            let error = selector_error(selector);
            let is_code = descriptor.has(CODE);
            if !descriptor.has(CODE_OR_DATA) || (is_code && !descriptor.has(WRITABLE)) {
                return Err(self.gp(error));
            }
            let is_conforming = is_code && descriptor.has(CONFORMING);
            if !is_conforming && descriptor.dpl() < self.mode.cpl.max(rpl(selector)) {
                return Err(self.gp(error));
            }
            if !descriptor.has(PRESENT) {
                return Err(self.raise(NP, Some(u32::from(error))));
            }
            self.mark_accessed(selector, descriptor)?;
            let mut loaded = descriptor.segment(selector);
            loaded.attributes |= ACCESSED;
            self.segs[seg] = loaded;
        }
        self.update_mode();
        Ok(())
    }

    /// What SS becomes for privilege level `cpl`.
    ///
    /// # Errors
    ///
    /// `vector` (#GP, or #TS for a stack from a task) if it is no stack of that level; #SS if it is not present.
    pub(crate) fn checked_stack(&mut self, selector: u16, cpl: u8, vector: u8) -> Result<Seg, Fault> {
        let error = Some(u32::from(selector_error(selector)));
        if selector & !3 == 0 {
            return Err(self.raise(vector, Some(0)));
        }
        let descriptor = self.descriptor(selector, vector)?;
        let is_stack = descriptor.has(CODE_OR_DATA) && !descriptor.has(CODE) && descriptor.has(WRITABLE);
        if rpl(selector) != cpl || descriptor.dpl() != cpl || !is_stack {
            return Err(self.raise(vector, error));
        }
        if !descriptor.has(PRESENT) {
            return Err(self.raise(SS_FAULT, error));
        }
        self.mark_accessed(selector, descriptor)?;
        let mut loaded = descriptor.segment(selector);
        loaded.attributes |= ACCESSED;
        Ok(loaded)
    }

    /// `LLDT`.
    pub(crate) fn load_ldt(&mut self, selector: u16) -> Result<(), Fault> {
        if selector & !3 == 0 {
            self.ldtr = Seg::null(selector);
            return Ok(());
        }
        self.ldtr = self.system_segment(selector, |kind| kind == LDT)?.0;
        Ok(())
    }

    /// `LTR`.
    pub(crate) fn load_task(&mut self, selector: u16) -> Result<(), Fault> {
        if selector & !3 == 0 {
            return Err(self.gp(0));
        }
        let is_long = self.mode.is_long;
        let (mut task, descriptor) =
            self.system_segment(selector, |kind| kind == TSS_32 || (kind == TSS_16 && !is_long))?;
        if let Some(at) = self.descriptor_at(selector, 8) {
            self.store_system(at, descriptor.0 | BUSY)?;
        }
        task.attributes |= 2;
        self.tr = task;
        Ok(())
    }

    /// A system segment that is in the GDT and present.
    fn system_segment(
        &mut self,
        selector: u16,
        is_right: impl Fn(u8) -> bool,
    ) -> Result<(Seg, Descriptor), Fault> {
        let error = selector_error(selector);
        if selector & 4 != 0 {
            return Err(self.gp(error));
        }
        let descriptor = self.descriptor(selector, super::GP)?;
        let upper = if self.mode.is_long {
            self.upper_base(selector, super::GP)?
        } else {
            0
        };
        if !is_right(descriptor.kind()) {
            return Err(self.gp(error));
        }
        if !descriptor.has(PRESENT) {
            return Err(self.raise(NP, Some(u32::from(error))));
        }
        let mut segment = descriptor.segment(selector);
        segment.base |= upper;
        Ok((segment, descriptor))
    }

    /// The descriptor of a selector, if `LAR` or `LSL` can see it.
    pub(crate) fn visible_descriptor(
        &mut self,
        selector: u16,
        wants_limit: bool,
    ) -> Result<Option<Descriptor>, Fault> {
        let Some(at) = self.descriptor_at(selector, 8).filter(|_| selector & !3 != 0) else {
            return Ok(None);
        };
        let descriptor = Descriptor(self.load_system(at)?);
        let kind = descriptor.kind();
        let exists = kind >= 0x10
            || match (self.mode.is_long, wants_limit) {
                (false, true) => matches!(kind, 1..=3 | 9 | 11),
                (false, false) => matches!(kind, 1..=5 | 9 | 11 | 12),
                (true, true) => matches!(kind, 2 | 9 | 11),
                (true, false) => matches!(kind, 2 | 9 | 11 | 12),
            };
        let is_conforming = descriptor.kind() & 0x1c == 0x1c;
        let is_privileged = is_conforming || descriptor.dpl() >= self.mode.cpl.max(rpl(selector));
        Ok((exists && is_privileged).then_some(descriptor))
    }

    /// `VERR`, `VERW`.
    pub(crate) fn verify(&mut self, selector: u16, is_write: bool) -> Result<bool, Fault> {
        let Some(at) = self.descriptor_at(selector, 8).filter(|_| selector & !3 != 0) else {
            return Ok(false);
        };
        let descriptor = Descriptor(self.load_system(at)?);
        let is_code = descriptor.has(CODE);
        let is_usable = match is_write {
            true => !is_code && descriptor.has(WRITABLE),
            false => !is_code || descriptor.has(WRITABLE),
        };
        let is_conforming = is_code && descriptor.has(CONFORMING);
        let is_privileged = is_conforming || descriptor.dpl() >= self.mode.cpl.max(rpl(selector));
        Ok(descriptor.has(CODE_OR_DATA) && is_usable && is_privileged)
    }

    /// After a return to an outer level, registers with segments of an inner one are null (Intel SDM vol. 3, 5.8.6).
    pub(crate) fn drop_inner_segments(&mut self) {
        let cpl = self.mode.cpl;
        for seg in [crate::seg::ES, DS, crate::seg::FS, crate::seg::GS] {
            let segment = &mut self.segs[seg];
            let is_conforming = segment.has(CODE) && segment.has(CONFORMING);
            if !segment.has(UNUSABLE) && !is_conforming && segment.dpl() < cpl {
                let base = if self.mode.is_long { segment.base } else { 0 };
                *segment = Seg::null(0);
                segment.base = base;
            }
        }
        self.update_mode();
    }

    /// Loads CS with a code segment that was checked. The privilege level is that of SS, so SS is loaded before.
    pub(crate) fn set_code(&mut self, selector: u16, descriptor: Descriptor, cpl: u8) {
        let mut loaded = descriptor.segment(selector & !3 | u16::from(cpl));
        loaded.attributes |= ACCESSED;
        self.segs[CS] = loaded;
        self.update_mode();
    }
}
