//! Control registers, power-on and INIT.

use flatview_accel::VcpuState;

use super::cpuid::SIGNATURE;
use super::msr::EFER_BITS;
use super::{CR0_PE, CR0_PG, EFER_LMA, EFER_LME, Exec, Fault, GP, Mode};
use crate::seg::CS;

pub(crate) const CR4_TSD: u64 = 1 << 2;
pub(crate) const CR4_PSE: u64 = 1 << 4;
pub(crate) const CR4_PAE: u64 = 1 << 5;
/// VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT.
const CR4_BITS: u64 = 0x7ff;
/// PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG.
pub(crate) const CR0_BITS: u64 = 0xe005_003f;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
const CR4_UMIP: u64 = 1 << 11;
const CR4_PCIDE: u64 = 1 << 17;
pub(crate) const CR4_SMEP: u64 = 1 << 20;
pub(crate) const CR4_SMAP: u64 = 1 << 21;
pub(crate) const CR4_PKE: u64 = 1 << 22;
/// More that an assistant can have: UMIP, PCIDE, SMEP, SMAP and PKE count; VMXE, SMXE, FSGSBASE, OSXSAVE, KL and UINTR
/// enable instructions that it does not execute.
const ASSISTANT_CR4: u64 = CR4_UMIP
    | CR4_PCIDE
    | CR4_SMEP
    | CR4_SMAP
    | CR4_PKE
    | 1 << 13
    | 1 << 14
    | 1 << 16
    | 1 << 18
    | 1 << 19
    | 1 << 25;
pub(crate) const EFER_FFXSR: u64 = 1 << 14;
/// More that an assistant can have: FFXSR counts; SVME, TCE, MCOMMIT, INTWB and AIBRSE change nothing that it executes.
const ASSISTANT_EFER: u64 = EFER_FFXSR | 1 << 12 | 1 << 15 | 1 << 17 | 1 << 18 | 1 << 21;
/// In what is moved to CR3, with process-context identifiers: nothing is to be forgotten.
const CR3_NO_FLUSH: u64 = 1 << 63;

impl Exec {
    /// The state after INIT. Memory, MSRs and the time go on.
    pub(crate) fn init(&mut self) {
        let state = self.state().init(SIGNATURE);
        self.apply(&state);
    }

    /// The state after power-on. The time goes on.
    pub(crate) fn power_on(&mut self) {
        self.msrs.tsc_offset = 0;
        self.apply(&VcpuState::power_on(SIGNATURE));
    }

    /// The bits of CR4 that can be set.
    pub(crate) fn cr4_bits(&self) -> u64 {
        CR4_BITS | if self.is_assistant { ASSISTANT_CR4 } else { 0 }
    }

    /// The bits of EFER that can be set.
    pub(crate) fn efer_bits(&self) -> u64 {
        EFER_BITS | if self.is_assistant { ASSISTANT_EFER } else { 0 }
    }

    /// #GP(0) if programs may not know where the tables are.
    pub(crate) fn need_umip(&mut self) -> Result<(), Fault> {
        if self.cr4 & CR4_UMIP != 0 && self.mode.cpl != 0 {
            return Err(self.gp(0));
        }
        Ok(())
    }

    /// Sets CR0.
    ///
    /// # Errors
    ///
    /// #GP(0) for what Intel SDM vol. 3, 2.5 does not allow.
    pub(crate) fn set_cr0(&mut self, value: u64) -> Result<(), Fault> {
        let value = value & CR0_BITS | CR0_ET;
        let is_paging = value & CR0_PG != 0;
        if (is_paging && value & CR0_PE == 0) || (value & CR0_NW != 0 && value & CR0_CD == 0) {
            return Err(self.gp(0));
        }
        let was_paging = self.cr0 & CR0_PG != 0;
        if is_paging && !was_paging && self.msrs.efer & EFER_LME != 0 {
            if self.cr4 & CR4_PAE == 0 || self.segs[CS].has(crate::seg::LONG) {
                return Err(self.gp(0));
            }
            self.msrs.efer |= EFER_LMA;
        }
        if !is_paging && was_paging && self.mode.is_64() {
            return Err(self.gp(0));
        }
        if !is_paging {
            self.msrs.efer &= !EFER_LMA;
        }
        let changed = self.cr0 ^ value;
        self.cr0 = value;
        if changed & (CR0_PG | super::CR0_WP | CR0_PE) != 0 {
            self.tlb.flush();
        }
        self.update_mode();
        Ok(())
    }

    /// Sets CR3.
    pub(crate) fn set_cr3(&mut self, value: u64) {
        self.cr3 = if self.cr4 & CR4_PCIDE == 0 {
            value
        } else {
            value & !CR3_NO_FLUSH
        };
        if self.cr0 & CR0_PG != 0 {
            self.tlb.flush();
        }
    }

    /// Sets CR4.
    ///
    /// # Errors
    ///
    /// #GP(0) for bits that do not exist, and if PAE is cleared in IA-32e mode.
    pub(crate) fn set_cr4(&mut self, value: u64) -> Result<(), Fault> {
        if value & !self.cr4_bits() != 0 {
            return Err(self.unknown(GP, Some(0)));
        }
        // Intel SDM vol. 3, 5.10.1: identifiers begin with CR3 as it is without them, in IA-32e mode.
        let begins_pcid = value & !self.cr4 & CR4_PCIDE != 0;
        let has_no_pcid = !self.mode.is_long || self.cr3 & 0xfff != 0;
        if (self.mode.is_long && value & CR4_PAE == 0) || (begins_pcid && has_no_pcid) {
            return Err(self.gp(0));
        }
        self.cr4 = value;
        self.tlb.flush();
        Ok(())
    }

    /// The mode before anything is known.
    pub(crate) fn no_mode() -> Mode {
        Mode {
            bits: 16,
            is_protected: false,
            is_long: false,
            cpl: 0,
            is_flat: false,
            stack_mask: 0xffff,
            code_last: 0xffff,
            key: 0,
        }
    }
}
