//! Model-specific registers (Intel SDM vol. 4).

use super::control::CR4_PAE;
use super::{CR0_PG, EFER_LMA, EFER_LME, Exec, Fault, GP, is_canonical};
use crate::seg::{FS, GS};

/// How many variable MTRRs there are.
const VARIABLE: u64 = 8;
/// 8 of the fixed ones are of 4 KiB pages, 2 of 16 KiB, 1 of 64 KiB.
const FIXED: [u32; 11] = [
    0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f,
];
/// AMD's: no encryption of memory, and fixed ranges that are as Intel's (AMD APM vol. 2, 3.2.1).
const SYSCFG: u32 = 0xc001_0010;
/// AMD's: no message goes out when interrupts are pending, and HLT stops no timer (AMD's BIOS and Kernel Developer's
/// Guide for family 0Fh, Interrupt Pending Message Register).
const INTERRUPT_PENDING: u32 = 0xc001_0055;
pub(crate) const EFER_SCE: u64 = 1;
const EFER_NXE: u64 = 1 << 11;
/// What `WRMSR` can set in EFER: SCE, LME, NXE; and LMA, which is the processor's.
pub(crate) const EFER_BITS: u64 = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

/// The registers that are only stored, and those with a field of their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Msrs {
    pub(crate) efer: u64,
    /// What is added to the clock.
    pub(crate) tsc_offset: u64,
    /// Without `tsc`, which goes by the clock.
    pub(crate) values: flatview_accel::Msrs,
}

impl Msrs {
    /// Registers that hold whatever is written.
    fn stored(&mut self, msr: u32) -> Option<&mut u64> {
        let values = &mut self.values;
        Some(match msr {
            0x174..=0x176 => &mut values.sysenter[(msr - 0x174) as usize],
            0x1a0 => &mut values.misc_enable,
            0x200..0x210 => &mut values.mtrr_variable[(msr - 0x200) as usize],
            0x277 => &mut values.pat,
            0x2ff => &mut values.mtrr_def_type,
            0xc000_0081 => &mut values.star,
            0xc000_0082..=0xc000_0084 => &mut values.syscall[(msr - 0xc000_0082) as usize],
            0xc000_0102 => &mut values.kernel_gs_base,
            _ => &mut values.mtrr_fixed[FIXED.iter().position(|&fixed| fixed == msr)?],
        })
    }
}

impl Exec {
    /// The time stamp counter: 1 GHz.
    pub(crate) fn tsc(&mut self) -> u64 {
        self.sync_clock();
        self.control.clock().now().wrapping_add(self.msrs.tsc_offset)
    }

    /// Sets the time stamp counter.
    pub(crate) fn set_tsc(&mut self, value: u64) {
        let now = self.tsc().wrapping_sub(self.msrs.tsc_offset);
        self.msrs.tsc_offset = value.wrapping_sub(now);
    }

    /// `RDMSR`.
    ///
    /// # Errors
    ///
    /// #GP(0) if there is no such register.
    pub(crate) fn read_msr(&mut self, msr: u32) -> Result<u64, Fault> {
        Ok(match msr {
            0x10 => self.tsc(),
            _ if self.is_elsewhere(msr) => return Err(self.unknown(GP, Some(0))),
            0x1b => self.interrupts.apic_base(),
            // Feature control: locked. Microcode: none. Machine checks: none.
            0x3a => 1,
            0x8b | 0x179 | 0x17a => 0,
            // Linux reads these on every processor of this family.
            SYSCFG | INTERRUPT_PENDING => 0,
            // 8 variable ranges, fixed ranges, write-combining.
            0xfe => VARIABLE | 1 << 8 | 1 << 10,
            0xc000_0080 => self.msrs.efer,
            0xc000_0100 => self.segs[FS].base,
            0xc000_0101 => self.segs[GS].base,
            _ => match self.msrs.stored(msr) {
                Some(value) => *value,
                None => return Err(self.unknown(GP, Some(0))),
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
            0x10 => self.set_tsc(value),
            _ if self.is_elsewhere(msr) => return Err(self.unknown(GP, Some(0))),
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
            0x277 if !is_pat(value) => return Err(self.gp(0)),
            _ => match self.msrs.stored(msr) {
                Some(place) => *place = value,
                None => return Err(self.unknown(GP, Some(0))),
            },
        }
        Ok(())
    }

    /// Whether only the accelerator that an assistant works for knows what is in the register: the APIC's, and what
    /// says what the processor is.
    fn is_elsewhere(&self, msr: u32) -> bool {
        self.is_assistant
            && matches!(
                msr,
                0x1b | 0x3a | 0x79 | 0x8b | 0xfe | 0x179 | 0x17a | SYSCFG | INTERRUPT_PENDING
            )
    }

    fn set_efer(&mut self, value: u64) -> Result<(), Fault> {
        let lma = self.msrs.efer & EFER_LMA;
        let changes_lme = (value ^ self.msrs.efer) & EFER_LME != 0;
        if value & !self.efer_bits() != 0 {
            return Err(self.unknown(GP, Some(0)));
        }
        if changes_lme && self.cr0 & CR0_PG != 0 {
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

/// Whether each byte is a memory type (Intel SDM vol. 3, 13.12.2).
pub(crate) fn is_pat(value: u64) -> bool {
    value
        .to_le_bytes()
        .iter()
        .all(|kind| matches!(kind, 0 | 1 | 4..=7))
}
