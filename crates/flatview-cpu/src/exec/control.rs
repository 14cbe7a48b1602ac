//! Control registers, power-on and INIT.

use super::{CR0_PE, CR0_PG, EFER_LMA, EFER_LME, Exec, Fault, Mode, RDX, Registers};
use crate::flags::Flags;
use crate::seg::{CS, Seg};

pub(crate) const CR4_TSD: u64 = 1 << 2;
pub(crate) const CR4_PSE: u64 = 1 << 4;
pub(crate) const CR4_PAE: u64 = 1 << 5;
/// VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR, OSXMMEXCPT.
const CR4_BITS: u64 = 0x7ff;
/// PE, MP, EM, TS, ET, NE, WP, AM, NW, CD, PG.
const CR0_BITS: u64 = 0xe005_003f;
const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
/// CR0 after power-on (Intel SDM vol. 3, table 10-1).
const CR0_POWER_ON: u64 = CR0_CD | CR0_NW | CR0_ET;

/// Present, readable and writable data, accessed; as code it is executable, too.
const DATA: u16 = 0x93;
const LDT_PRESENT: u16 = 0x82;
const TASK_PRESENT: u16 = 0x8b;

impl Exec {
    /// The state after INIT (Intel SDM vol. 3, table 10-1). Memory, MSRs and the time go on.
    pub(crate) fn init(&mut self) {
        let data = Seg::new(0, 0, 0xffff, DATA);
        self.r = Registers {
            gpr: [0; 32],
            flags: Flags::new(0),
        };
        self.r.gpr[RDX] = u64::from(super::cpuid::SIGNATURE);
        self.segs = [data; 6];
        self.segs[CS] = Seg::new(0xf000, 0xffff_0000, 0xffff, DATA);
        self.rip = 0xfff0;
        self.ldtr = Seg::new(0, 0, 0xffff, LDT_PRESENT);
        self.tr = Seg::new(0, 0, 0xffff, TASK_PRESENT);
        for table in [&mut self.gdtr, &mut self.idtr] {
            (table.base, table.limit) = (0, 0xffff);
        }
        // INIT leaves the cache bits as they are.
        let cache_bits = self.cr0 & (CR0_CD | CR0_NW);
        self.cr0 = cache_bits | CR0_ET;
        (self.cr2, self.cr3, self.cr4) = (0, 0, 0);
        self.dr = [0; 8];
        self.dr[6] = 0xffff_0ff0;
        self.dr[7] = 0x400;
        self.msrs.efer = 0;
        (self.halted, self.shadow, self.nmi_masked, self.shutdown) = (false, false, false, false);
        self.set_smm(false);
        self.tlb.flush();
        self.update_mode();
    }

    /// The state after power-on. The time goes on.
    pub(crate) fn power_on(&mut self) {
        self.cr0 = CR0_POWER_ON;
        self.msrs = super::msr::Msrs::new();
        self.x87 = crate::ops::fpu::X87::new();
        self.sse = crate::ops::sse::Sse::new();
        self.smbase = super::smm::SMBASE;
        self.init();
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
        self.cr3 = value;
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
        if value & !CR4_BITS != 0 || (self.mode.is_long && value & CR4_PAE == 0) {
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
