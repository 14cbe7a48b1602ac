//! String instructions.
//!
//! Repeated ones make as many iterations as they can at once and come back to themselves for the rest, so that they
//! can be interrupted. They do so at every page, and after every access to a device.

use super::{FLAT, Op, REP, REPNE, Run};
use crate::exec::mem::Access;
use crate::exec::{ENTRY, Exec, Fault, Flow, RCX, RDI, RSI, Step};
use crate::flags::DF;
use crate::int::{Int, low8, low16, low32};
use crate::seg::ES;

pub(crate) const MOVS: u8 = 0;
pub(crate) const STOS: u8 = 1;
pub(crate) const LODS: u8 = 2;
pub(crate) const SCAS: u8 = 3;
pub(crate) const CMPS: u8 = 4;
pub(crate) const INS: u8 = 5;
pub(crate) const OUTS: u8 = 6;

/// After this many iterations one by one the instruction begins anew.
const MOST: u32 = 1024;

impl Exec {
    /// The linear address of an offset in `seg`, which may be [`FLAT`].
    #[inline]
    pub(crate) fn string_address(
        &mut self,
        seg: u8,
        offset: u64,
        size: u64,
        access: Access,
    ) -> Result<u64, Fault> {
        if seg == FLAT {
            return Ok(offset);
        }
        self.linear(usize::from(seg), offset, size, access)
    }

    /// The linear address of the source.
    pub(crate) fn string_source(&mut self, op: &Op, size: u64) -> Result<u64, Fault> {
        let offset = self.r.gpr[RSI] & (u64::MAX >> op.narrow);
        self.string_address(op.seg, offset, size, Access::Read)
    }

    /// The linear address of the destination.
    pub(crate) fn string_destination(&mut self, op: &Op, size: u64, access: Access) -> Result<u64, Fault> {
        let offset = self.r.gpr[RDI] & (u64::MAX >> op.narrow);
        if self.mode.is_flat {
            return Ok(offset);
        }
        self.linear(ES, offset, size, access)
    }

    /// Adds to a register as wide as addresses are.
    pub(crate) fn advance(&mut self, op: &Op, register: usize, by: u64) {
        let value = self.r.gpr[register].wrapping_add(by);
        let register = low8(register as u64);
        match op.narrow {
            48 => self.set_reg(register, low16(value)),
            32 => self.set_reg(register, low32(value)),
            _ => self.set_reg(register, value),
        }
    }

    fn iterate<T: Int, const OP: u8>(&mut self, op: &Op) -> Result<(), Fault> {
        match OP {
            MOVS => {
                let from = self.string_source(op, T::BYTES)?;
                let to = self.string_destination(op, T::BYTES, Access::Write)?;
                let value: T = self.load(from)?;
                self.store(to, value)?;
            }
            STOS => {
                let to = self.string_destination(op, T::BYTES, Access::Write)?;
                self.store::<T>(to, self.reg(0))?;
            }
            LODS => {
                let from = self.string_source(op, T::BYTES)?;
                let value: T = self.load(from)?;
                self.set_reg(0, value);
            }
            SCAS => {
                let from = self.string_destination(op, T::BYTES, Access::Read)?;
                let (a, b) = (self.reg::<T>(0).widen(), self.load::<T>(from)?.widen());
                self.r.flags.set_sub::<T>(a, b, a.wrapping_sub(b));
            }
            CMPS => {
                let first = self.string_source(op, T::BYTES)?;
                let second = self.string_destination(op, T::BYTES, Access::Read)?;
                let (a, b) = (self.load::<T>(first)?.widen(), self.load::<T>(second)?.widen());
                self.r.flags.set_sub::<T>(a, b, a.wrapping_sub(b));
            }
            INS => {
                let port = self.reg(2);
                // Before memory is looked at: that is the order of the faults.
                self.check_ports(port, T::BYTES)?;
                let to = self.string_destination(op, T::BYTES, Access::Write)?;
                self.probe::<T>(to, Access::Write)?;
                let value: T = self.port_in(port)?;
                self.store(to, value)?;
            }
            _ => {
                let port = self.reg(2);
                self.check_ports(port, T::BYTES)?;
                let from = self.string_source(op, T::BYTES)?;
                let value: T = self.load(from)?;
                self.port_out(port, value)?;
            }
        }
        let by = if self.r.flags.has(DF) {
            T::BYTES.wrapping_neg()
        } else {
            T::BYTES
        };
        if matches!(OP, MOVS | LODS | CMPS | OUTS) {
            self.advance(op, RSI, by);
        }
        if matches!(OP, MOVS | STOS | SCAS | CMPS | INS) {
            self.advance(op, RDI, by);
        }
        Ok(())
    }
}

fn string<T: Int, const OP: u8>(e: &mut Exec, op: &Op) -> Step {
    if op.prefixes & (REP | REPNE) == 0 {
        e.iterate::<T, OP>(op)?;
        return Ok(e.flow);
    }
    let mask = u64::MAX >> op.narrow;
    let flags = e.r.flags;
    for _ in 0..MOST {
        let left = e.r.gpr[RCX] & mask;
        if left == 0 {
            return Ok(Flow::Next);
        }
        let done = match OP {
            MOVS => e.move_many::<T>(op, left)?,
            STOS => e.fill_many::<T>(op, left)?,
            _ => 0,
        };
        if done == 0
            && let Err(fault) = e.iterate::<T, OP>(op)
        {
            // A search that faults leaves the flags as they were (Intel SDM vol. 2, REP).
            e.r.flags = flags;
            return Err(fault);
        }
        let done = done.max(1);
        e.advance(op, RCX, done.wrapping_neg());
        if (OP == SCAS || OP == CMPS) && e.r.flags.zf() != (op.prefixes & REP != 0) {
            return Ok(e.flow);
        }
        if left == done {
            return Ok(e.flow);
        }
        if e.flow != Flow::Next || done > 1 {
            break;
        }
    }
    // The same instruction once more.
    e.rip = e.wrap_ip(e.r.gpr[ENTRY].wrapping_add(u64::from(op.start)));
    Ok(Flow::Jump)
}

/// The function of a string instruction.
pub(crate) fn string_run(operation: u8, size: u8) -> Run {
    match operation {
        MOVS => sized!(size, string, MOVS),
        STOS => sized!(size, string, STOS),
        LODS => sized!(size, string, LODS),
        SCAS => sized!(size, string, SCAS),
        CMPS => sized!(size, string, CMPS),
        INS => sized!(size, string, INS),
        _ => sized!(size, string, OUTS),
    }
}
