//! Model-specific registers (Intel SDM vol. 4).

use super::control::CR4_PAE;
use super::{CR0_PG, EFER_LMA, EFER_LME, Exec, Fault, is_canonical};
use crate::seg::{FS, GS};

/// How many variable MTRRs there are.
const VARIABLE: usize = 8;
/// 8 of the fixed ones are of 4 KiB pages, 2 of 16 KiB, 1 of 64 KiB.
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
pub(crate) const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;
/// After power-on (Intel SDM vol. 3, 13.12.4).
const PAT: u64 = 0x0007_0406_0007_0406;

/// The registers that are only stored, and those with a field of their own.
#[derive(Clone, Debug)]
pub(crate) struct Msrs {
    pub(crate) efer: u64,
    pub(crate) kernel_gs_base: u64,
    /// What is added to the clock.
    tsc_offset: u64,
    /// CS, ESP, EIP.
    pub(crate) sysenter: [u64; 3],
    pub(crate) star: u64,
    /// LSTAR, CSTAR, FMASK.
    pub(crate) syscall: [u64; 3],
    pat: u64,
    misc_enable: u64,
    mtrr_default: u64,
    mtrr_fixed: [u64; FIXED.len()],
    mtrr_variable: [u64; 2 * VARIABLE],
}

impl Msrs {
    pub(crate) fn new() -> Msrs {
        Msrs {
            efer: 0,
            kernel_gs_base: 0,
            tsc_offset: 0,
            sysenter: [0; 3],
            star: 0,
            syscall: [0; 3],
            pat: PAT,
            // Fast strings.
            misc_enable: 1,
            mtrr_default: 0,
            mtrr_fixed: [0; FIXED.len()],
            mtrr_variable: [0; 2 * VARIABLE],
        }
    }

    /// Registers that hold whatever is written.
    fn stored(&mut self, msr: u32) -> Option<&mut u64> {
        Some(match msr {
            0x174..=0x176 => &mut self.sysenter[(msr - 0x174) as usize],
            0x1a0 => &mut self.misc_enable,
            0x200..0x210 => &mut self.mtrr_variable[(msr - 0x200) as usize],
            0x277 => &mut self.pat,
            0x2ff => &mut self.mtrr_default,
            0xc000_0081 => &mut self.star,
            0xc000_0082..=0xc000_0084 => &mut self.syscall[(msr - 0xc000_0082) as usize],
            0xc000_0102 => &mut self.kernel_gs_base,
            _ => &mut self.mtrr_fixed[FIXED.iter().position(|&fixed| fixed == msr)?],
        })
    }
}

impl Exec {
    /// The time stamp counter: 1 GHz.
    pub(crate) fn tsc(&mut self) -> u64 {
        self.sync_clock();
        self.control.clock().now().wrapping_add(self.msrs.tsc_offset)
    }

    /// `RDMSR`.
    ///
    /// # Errors
    ///
    /// #GP(0) if there is no such register.
    pub(crate) fn read_msr(&mut self, msr: u32) -> Result<u64, Fault> {
        Ok(match msr {
            0x10 => self.tsc(),
            0x1b => self.interrupts.apic_base(),
            // Feature control: locked. Microcode: none. Machine checks: none.
            0x3a => 1,
            0x8b | 0x179 | 0x17a => 0,
            // 8 variable ranges, fixed ranges, write-combining.
            0xfe => VARIABLE as u64 | 1 << 8 | 1 << 10,
            0xc000_0080 => self.msrs.efer,
            0xc000_0100 => self.segs[FS].base,
            0xc000_0101 => self.segs[GS].base,
            _ => match self.msrs.stored(msr) {
                Some(value) => *value,
                None => return Err(self.gp(0)),
            },
        })
    }

    /// `WRMSR`.
    ///
    /// # Errors
    ///
    /// #GP(0) if there is no such register, or if it cannot have the value.
    pub(crate) fn write_msr(&mut self, msr: u32, value: u64) -> Result<(), Fault> {
        match msr {
            0x10 => {
                let now = self.tsc().wrapping_sub(self.msrs.tsc_offset);
                self.msrs.tsc_offset = value.wrapping_sub(now);
            }
            0x1b => {
                self.before_device();
                if !self.interrupts.set_apic_base(value) {
                    return Err(self.gp(0));
                }
            }
            // Microcode updates are accepted and not looked at.
            0x79 | 0x8b => {}
            0xc000_0080 => self.set_efer(value)?,
            0xc000_0100 | 0xc000_0101 | 0xc000_0102 | 0xc000_0082 | 0xc000_0083 | 0x175 | 0x176
                if !is_canonical(value) =>
            {
                return Err(self.gp(0));
            }
            0xc000_0100 => self.segs[FS].base = value,
            0xc000_0101 => self.segs[GS].base = value,
            0x277
                if value
                    .to_le_bytes()
                    .iter()
                    .any(|kind| !matches!(kind, 0 | 1 | 4..=7)) =>
            {
                return Err(self.gp(0));
            }
            _ => match self.msrs.stored(msr) {
                Some(place) => *place = value,
                None => return Err(self.gp(0)),
            },
        }
        Ok(())
    }

    fn set_efer(&mut self, value: u64) -> Result<(), Fault> {
        let lma = self.msrs.efer & EFER_LMA;
        let changes_lme = (value ^ self.msrs.efer) & EFER_LME != 0;
        let known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
        if value & !known != 0 || (changes_lme && self.cr0 & CR0_PG != 0) {
            return Err(self.gp(0));
        }
        // LMA is the processor's.
        self.msrs.efer = value & !EFER_LMA | lma;
        if self.cr4 & CR4_PAE != 0 {
            self.tlb.flush();
        }
        Ok(())
    }
}
