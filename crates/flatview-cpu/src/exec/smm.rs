//! System management mode, with the state save map of AMD64 (AMD64 Architecture Programmer's Manual vol. 2, 10.2).

use super::{EFER_LMA, Exec, Fault};
use crate::flags::{Flags, VM};
use crate::int::{Int, index, low16, low32};
use crate::seg::{CS, GRANULARITY, Seg};

/// Where the handler begins, from SMBASE on.
const HANDLER: u64 = 0x8000;
/// Revision 0x64; SMBASE can be moved.
const REVISION: u32 = 0x0002_0064;

// Offsets from SMBASE.
const SEGMENTS: u64 = 0xfe00;
const GDTR: u64 = 0xfe60;
const LDTR: u64 = 0xfe70;
const IDTR: u64 = 0xfe80;
const TASK: u64 = 0xfe90;
const AUTO_HALT: u64 = 0xfec9;
const EFER: u64 = 0xfed0;
const REVISION_AT: u64 = 0xfefc;
const SMBASE_AT: u64 = 0xff00;
const CR4: u64 = 0xff48;
const CR3: u64 = 0xff50;
const CR0: u64 = 0xff58;
const DR7: u64 = 0xff60;
const DR6: u64 = 0xff68;
const RFLAGS: u64 = 0xff70;
const RIP: u64 = 0xff78;
/// RAX; the others are below, each 8 bytes further down, in the order of their numbers.
const RAX: u64 = 0xfff8;

impl Exec {
    /// In or out of system management mode: memory looks different.
    pub(crate) fn set_smm(&mut self, on: bool) {
        self.smm = on;
        self.bus.in_smm = on;
        self.tlb.flush();
    }

    fn save<T: Int>(&mut self, offset: u64, value: u64) {
        self.store_physical(u64::from(self.smbase) + offset, T::truncate(value));
    }

    fn restore<T: Int>(&mut self, offset: u64) -> u64 {
        self.load_physical::<T>(u64::from(self.smbase) + offset).widen()
    }

    fn save_segment(&mut self, offset: u64, seg: Seg) {
        self.save::<u16>(offset, u64::from(seg.selector));
        self.save::<u16>(offset + 2, u64::from(seg.attributes));
        self.save::<u32>(offset + 4, u64::from(seg.limit));
        self.save::<u64>(offset + 8, seg.base);
    }

    fn restore_segment(&mut self, offset: u64) -> Seg {
        let selector = low16(self.restore::<u16>(offset));
        let attributes = low16(self.restore::<u16>(offset + 2)) & 0xf1ff;
        let limit = low32(self.restore::<u32>(offset + 4));
        Seg::new(selector, self.restore::<u64>(offset + 8), limit, attributes)
    }

    /// Takes a system management interrupt.
    pub(crate) fn enter_smm(&mut self) {
        self.set_smm(true);
        for (number, seg) in (0..).zip(self.segs) {
            self.save_segment(SEGMENTS + 16 * number, seg);
        }
        let (ldtr, tr) = (self.ldtr, self.tr);
        self.save_segment(LDTR, ldtr);
        self.save_segment(TASK, tr);
        for (offset, table) in [(GDTR, self.gdtr), (IDTR, self.idtr)] {
            self.save::<u32>(offset + 4, u64::from(table.limit));
            self.save::<u64>(offset + 8, table.base);
        }
        self.save::<u8>(AUTO_HALT, u64::from(self.halted));
        let words = [
            (EFER, self.msrs.efer),
            (CR4, self.cr4),
            (CR3, self.cr3),
            (CR0, self.cr0),
            (DR7, self.dr[7]),
            (DR6, self.dr[6]),
            (RFLAGS, self.r.flags.get()),
            (RIP, self.rip),
        ];
        for (offset, value) in words {
            self.save::<u64>(offset, value);
        }
        for (number, &value) in (0..16).zip(&self.r.gpr.clone()) {
            self.save::<u64>(RAX - 8 * number, value);
        }
        self.save::<u32>(REVISION_AT, u64::from(REVISION));
        self.save::<u32>(SMBASE_AT, u64::from(self.smbase));

        // AMD64 APM vol. 2, table 10-3.
        let base = u64::from(self.smbase);
        let data = Seg::new(0, 0, u32::MAX, GRANULARITY | 0x93);
        self.segs = [data; 6];
        self.segs[CS] = Seg::new(low16(base >> 4), base, u32::MAX, GRANULARITY | 0x93);
        self.r.flags = Flags::new(0);
        self.rip = HANDLER;
        self.cr0 &= !(super::CR0_PE | super::CR0_EM | super::CR0_TS | super::CR0_PG);
        self.cr4 = 0;
        self.msrs.efer = 0;
        self.dr[7] = 0x400;
        self.halted = false;
        self.shadow = false;
        self.tlb.flush();
        self.update_mode();
    }

    /// `RSM`.
    ///
    /// # Errors
    ///
    /// #UD outside of system management mode. A state that cannot be: the processor shuts down.
    pub(crate) fn leave_smm(&mut self) -> Result<(), Fault> {
        if !self.smm {
            return Err(self.ud());
        }
        let mut segs = self.segs;
        for (number, seg) in (0..).zip(&mut segs) {
            *seg = self.restore_segment(SEGMENTS + 16 * number);
        }
        let cr0 = self.restore::<u64>(CR0);
        let (paging, protected) = (cr0 & super::CR0_PG != 0, cr0 & super::CR0_PE != 0);
        let flags = self.restore::<u64>(RFLAGS);
        let efer = self.restore::<u64>(EFER);
        if (paging && !protected) || flags & VM != 0 || (efer & EFER_LMA != 0 && !paging) {
            self.shutdown = true;
            return Ok(());
        }
        self.segs = segs;
        self.ldtr = self.restore_segment(LDTR);
        self.tr = self.restore_segment(TASK);
        for (offset, is_idt) in [(GDTR, false), (IDTR, true)] {
            let limit = low16(self.restore::<u32>(offset + 4));
            let base = self.restore::<u64>(offset + 8);
            let table = if is_idt { &mut self.idtr } else { &mut self.gdtr };
            (table.base, table.limit) = (base, limit);
        }
        self.msrs.efer = efer;
        self.cr4 = self.restore::<u64>(CR4);
        self.cr3 = self.restore::<u64>(CR3);
        self.cr0 = cr0;
        self.dr[7] = self.restore::<u64>(DR7);
        self.dr[6] = self.restore::<u64>(DR6);
        self.r.flags = Flags::new(flags);
        self.rip = self.restore::<u64>(RIP);
        for number in 0..16 {
            let value = self.restore::<u64>(RAX - 8 * number);
            if let Some(register) = self.r.gpr.get_mut(index(number)) {
                *register = value;
            }
        }
        self.halted = self.restore::<u8>(AUTO_HALT) & 1 != 0;
        let smbase = low32(self.restore::<u32>(SMBASE_AT));
        self.smbase = smbase;
        self.set_smm(false);
        self.update_mode();
        Ok(())
    }
}
