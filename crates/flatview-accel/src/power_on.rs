//! The state after power-on and after INIT (Intel SDM vol. 3, table 10-1).

use crate::{DebugRegs, DescriptorTable, Msrs, Regs, Segment, Sregs, VcpuState};

const CR0_ET: u64 = 1 << 4;
const CR0_NW: u64 = 1 << 29;
const CR0_CD: u64 = 1 << 30;
/// Bit 1 of RFLAGS is always set.
const RFLAGS: u64 = 2;
/// Each of the eight memory types once, and the first four again (13.12.4).
const PAT: u64 = 0x0007_0406_0007_0406;
/// Fast strings (vol. 4, `IA32_MISC_ENABLE`).
const MISC_ENABLE: u64 = 1;
/// 32.11, SMBASE.
const SMBASE: u32 = 0x3_0000;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const CR0_PE: u64 = 1;
const CR0_MP: u64 = 1 << 1;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;

impl VcpuState {
    /// The state after power-on of a processor whose CPUID leaf 1 has `signature` in EAX: RDX has it then.
    /// The time stamp counter is left as it is.
    pub fn power_on(signature: u32) -> VcpuState {
        let sregs = Sregs {
            cr0: CR0_CD | CR0_NW,
            ..Sregs::default()
        };
        let msrs = Msrs {
            pat: PAT,
            misc_enable: MISC_ENABLE,
            ..Msrs::default()
        };
        let state = VcpuState {
            sregs,
            msrs,
            smbase: SMBASE,
            ..VcpuState::default()
        };
        state.init(signature)
    }

    /// Begins a program in 64-bit user mode at `rip`, with the 4-level page tables at physical address `cr3` and the
    /// stack at `rsp`: no kernel is needed for code that only computes and touches memory. SSE can be used. There is no
    /// IDT worth the name: an exception is a triple fault.
    pub fn enter_user_mode(&mut self, cr3: u64, rip: u64, rsp: u64) {
        let data = Segment {
            limit: 0xffff_ffff,
            selector: 0x2b,
            type_: 3,
            present: true,
            dpl: 3,
            db: true,
            s: true,
            g: true,
            ..Segment::default()
        };
        let sregs = &mut self.sregs;
        (sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss) = (data, data, data, data, data);
        sregs.cs = Segment {
            selector: 0x33,
            type_: 11,
            db: false,
            l: true,
            ..data
        };
        sregs.cr3 = cr3;
        // Vol. 3, 2.5 and 2.2.1.
        sregs.cr4 |= CR4_PAE | CR4_OSFXSR;
        sregs.efer |= EFER_LME | EFER_LMA;
        sregs.cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE;
        (self.regs.rip, self.regs.rsp, self.regs.rflags) = (rip, rsp, RFLAGS);
    }

    /// The state that INIT makes of this one. The x87, SSE, the MSRs, SMBASE and the cache bits of CR0 stay.
    pub fn init(&self, signature: u32) -> VcpuState {
        let data = Segment {
            limit: 0xffff,
            type_: 3,
            present: true,
            s: true,
            ..Segment::default()
        };
        let system = |type_| Segment {
            type_,
            s: false,
            ..data
        };
        let table = DescriptorTable {
            base: 0,
            limit: 0xffff,
        };
        VcpuState {
            regs: Regs {
                rdx: u64::from(signature),
                rip: 0xfff0,
                rflags: RFLAGS,
                ..Regs::default()
            },
            sregs: Sregs {
                cs: Segment {
                    base: 0xffff_0000,
                    selector: 0xf000,
                    ..data
                },
                ds: data,
                es: data,
                fs: data,
                gs: data,
                ss: data,
                ldt: system(2),
                tr: system(11),
                gdt: table,
                idt: table,
                cr0: self.sregs.cr0 & (CR0_CD | CR0_NW) | CR0_ET,
                ..Sregs::default()
            },
            debug: DebugRegs::default(),
            fpu: self.fpu,
            msrs: Msrs {
                tsc: None,
                ..self.msrs
            },
            smbase: self.smbase,
            ..VcpuState::default()
        }
    }

    /// How wide the code is that is executed: 16, 32 or 64 bits.
    pub fn code_bits(&self) -> u32 {
        let cs = &self.sregs.cs;
        match (self.sregs.efer & EFER_LMA != 0 && cs.l, cs.db) {
            (true, _) => 64,
            (false, true) => 32,
            (false, false) => 16,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn init_keeps_what_is_not_the_programs() {
        let mut state = VcpuState::power_on(0x600);
        assert_eq!(
            (state.sregs.cr0, state.regs.rdx, state.fpu.fcw),
            (0x6000_0010, 0x600, 0x40)
        );
        state.sregs.cr0 = 0x8000_0031;
        state.sregs.efer = 0x500;
        state.sregs.cs.l = true;
        state.fpu.mxcsr = 0x1fa0;
        state.msrs.star = 7;
        state.smbase = 0xa_0000;
        assert_eq!(state.code_bits(), 64);
        let after = state.init(0x601);
        assert_eq!(
            (after.sregs.cr0, after.sregs.efer, after.regs.rdx),
            (0x10, 0, 0x601)
        );
        assert_eq!(
            (after.fpu.mxcsr, after.msrs.star, after.smbase),
            (0x1fa0, 7, 0xa_0000)
        );
        assert_eq!(after.code_bits(), 16);
    }
}
