//! The registers, as others see them.

use flatview_accel::{AccelError, InjectionKind, Msrs, Regs, VcpuState};

use crate::exec::control::{CR0_BITS, CR4_PAE};
use crate::exec::msr::is_pat;
use crate::exec::{CR0_PE, CR0_PG, EFER_LMA, Exec, is_canonical};
use crate::flags::{Flags, VM};
use crate::ops::sse::Sse;
use crate::ops::sse::save::MXCSR_MASK;
use crate::ops::x87::X87;
use crate::seg::{CS, DS, ES, FS, GS, SS, Seg};

impl Exec {
    /// All registers.
    pub(crate) fn state(&mut self) -> VcpuState {
        let mut state = VcpuState::default();
        // Beyond them is room for what is no register.
        let general = std::array::from_fn(|number| self.r.gpr[number]);
        state.regs = Regs::new(general, self.rip, self.r.flags.get());
        let sregs = &mut state.sregs;
        for (place, seg) in [
            (&mut sregs.cs, self.segs[CS]),
            (&mut sregs.ds, self.segs[DS]),
            (&mut sregs.es, self.segs[ES]),
            (&mut sregs.fs, self.segs[FS]),
            (&mut sregs.gs, self.segs[GS]),
            (&mut sregs.ss, self.segs[SS]),
            (&mut sregs.tr, self.tr),
            (&mut sregs.ldt, self.ldtr),
        ] {
            *place = seg.to_state();
        }
        (sregs.gdt, sregs.idt) = (self.gdtr, self.idtr);
        (sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4) = (self.cr0, self.cr2, self.cr3, self.cr4);
        sregs.efer = self.msrs.efer;
        self.x87.to_state(&mut state.fpu);
        self.sse.to_state(&mut state.fpu);
        state.debug.db.copy_from_slice(&self.dr[..4]);
        (state.debug.dr6, state.debug.dr7) = (self.dr[6], self.dr[7]);
        state.msrs = Msrs {
            tsc: Some(self.tsc()),
            ..self.msrs.values
        };
        state.injected = self.injected;
        state.nmi_pending = self.nmi_pending;
        state.halted = self.halted;
        state.interrupt_shadow = self.shadow;
        state.nmi_masked = self.nmi_masked;
        state.smm = self.smm;
        state.smbase = self.smbase;
        state
    }

    /// Sets all registers, or none.
    ///
    /// # Errors
    ///
    /// [`AccelError::BadState`].
    pub(crate) fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.check(state)?;
        self.apply(state);
        Ok(())
    }

    /// Whether the CPU can be in this state.
    fn check(&self, state: &VcpuState) -> Result<(), AccelError> {
        let (sregs, msrs, debug) = (&state.sregs, &state.msrs, &state.debug);
        let (cr0, cr4, efer) = (sregs.cr0, sregs.cr4, sregs.efer);
        let is_long = efer & EFER_LMA != 0;
        let is_injected_badly = state.injected.is_some_and(|injected| match injected.kind {
            InjectionKind::Exception => injected.vector > 31,
            _ => injected.error_code.is_some(),
        });
        let fpu = &state.fpu;
        let refusals = [
            (
                cr0 & CR0_PG != 0 && cr0 & CR0_PE == 0,
                "cr0",
                cr0,
                "paging needs protected mode",
            ),
            (cr0 >> 32 != 0, "cr0", cr0, "the upper half is reserved"),
            (
                cr4 & !self.cr4_bits() != 0,
                "cr4",
                cr4,
                "there is a bit that this CPU does not have",
            ),
            (
                efer & !self.efer_bits() != 0,
                "efer",
                efer,
                "there is a bit that this CPU does not have",
            ),
            (
                is_long && (cr0 & CR0_PE == 0 || cr4 & CR4_PAE == 0),
                "efer",
                efer,
                "IA-32e mode needs protected mode and PAE",
            ),
            (
                state.regs.rflags & VM != 0,
                "rflags",
                state.regs.rflags,
                "there is no virtual 8086 mode",
            ),
            (
                self.is_assistant && state.smm,
                "smm",
                1,
                "an assistant has no system management mode",
            ),
            (
                fpu.mxcsr & !MXCSR_MASK != 0,
                "mxcsr",
                u64::from(fpu.mxcsr),
                "there is a reserved bit",
            ),
            (
                debug.dr6 >> 32 != 0,
                "dr6",
                debug.dr6,
                "the upper half is reserved",
            ),
            (
                debug.dr7 >> 32 != 0,
                "dr7",
                debug.dr7,
                "the upper half is reserved",
            ),
            (!is_pat(msrs.pat), "pat", msrs.pat, "there is no such memory type"),
            (
                is_injected_badly,
                "injected",
                0,
                "no exception has this vector, and no interrupt an error code",
            ),
        ];
        if let Some(&(_, register, value, why)) = refusals.iter().find(|(is_bad, ..)| *is_bad) {
            return Err(AccelError::BadState { register, value, why });
        }
        for (register, value) in [
            ("sysenter_esp", msrs.sysenter[1]),
            ("sysenter_eip", msrs.sysenter[2]),
            ("lstar", msrs.syscall[0]),
            ("cstar", msrs.syscall[1]),
            ("kernel_gs_base", msrs.kernel_gs_base),
        ] {
            if !is_canonical(value) {
                let why = "it is not canonical";
                return Err(AccelError::BadState { register, value, why });
            }
        }
        Ok(())
    }

    /// Sets all registers to what they can be.
    pub(crate) fn apply(&mut self, state: &VcpuState) {
        let (regs, sregs, debug) = (&state.regs, &state.sregs, &state.debug);
        for (place, value) in self.r.gpr.iter_mut().zip(regs.general()) {
            *place = value;
        }
        self.rip = regs.rip;
        self.r.flags = Flags::new(regs.rflags);
        for (seg, from) in [
            (CS, &sregs.cs),
            (DS, &sregs.ds),
            (ES, &sregs.es),
            (FS, &sregs.fs),
            (GS, &sregs.gs),
            (SS, &sregs.ss),
        ] {
            self.segs[seg] = Seg::from_state(from);
        }
        (self.tr, self.ldtr) = (Seg::from_state(&sregs.tr), Seg::from_state(&sregs.ldt));
        (self.gdtr, self.idtr) = (sregs.gdt, sregs.idt);
        (self.cr0, self.cr2, self.cr3, self.cr4) = (sregs.cr0 & CR0_BITS, sregs.cr2, sregs.cr3, sregs.cr4);
        self.x87 = X87::from_state(&state.fpu);
        self.sse = Sse::from_state(&state.fpu);
        self.dr[..4].copy_from_slice(&debug.db);
        (self.dr[6], self.dr[7]) = (debug.dr6, debug.dr7);
        self.msrs.efer = sregs.efer;
        self.msrs.values = Msrs {
            tsc: None,
            ..state.msrs
        };
        if let Some(tsc) = state.msrs.tsc {
            self.set_tsc(tsc);
        }
        self.injected = state.injected;
        self.nmi_pending = state.nmi_pending;
        self.halted = state.halted;
        self.shadow = state.interrupt_shadow;
        self.nmi_masked = state.nmi_masked;
        self.smbase = state.smbase;
        self.shutdown = false;
        // Forgets all translations, too.
        self.set_smm(state.smm);
        self.update_mode();
    }
}
