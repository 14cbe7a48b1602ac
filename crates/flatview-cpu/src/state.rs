//! The registers, as others see them.

use flatview_accel::{AccelError, Regs, VcpuState};

use crate::exec::control::CR4_PAE;
use crate::exec::{CR0_PE, CR0_PG, EFER_LMA, Exec};
use crate::flags::Flags;
use crate::seg::{CS, DS, ES, FS, GS, SS, Seg};

impl Exec {
    pub(crate) fn state(&self) -> VcpuState {
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
        state.halted = self.halted;
        state.interrupt_shadow = self.shadow;
        state.nmi_masked = self.nmi_masked;
        state.smm = self.smm;
        state.smbase = self.smbase;
        state
    }

    pub(crate) fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        let (regs, sregs) = (&state.regs, &state.sregs);
        let refuse = |register, value, why| Err(AccelError::BadState { register, value, why });
        if sregs.cr0 & CR0_PG != 0 && sregs.cr0 & CR0_PE == 0 {
            return refuse("cr0", sregs.cr0, "paging needs protected mode");
        }
        let is_long = sregs.efer & EFER_LMA != 0;
        if is_long && (sregs.cr0 & CR0_PE == 0 || sregs.cr4 & CR4_PAE == 0) {
            return refuse("efer", sregs.efer, "IA-32e mode needs protected mode and PAE");
        }
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
        (self.cr0, self.cr2, self.cr3, self.cr4) = (sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4);
        self.msrs.efer = sregs.efer;
        self.halted = state.halted;
        self.shadow = state.interrupt_shadow;
        self.nmi_masked = state.nmi_masked;
        self.smbase = state.smbase;
        self.shutdown = false;
        self.set_smm(state.smm);
        self.update_mode();
        Ok(())
    }
}
