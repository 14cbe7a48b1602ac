//! Ports.

use flatview::{Endianness, MemTxAttrs};

use super::{I, Op, Run};
use crate::exec::{Exec, Fault, Step};
use crate::int::Int;
use crate::seg::PRESENT;

/// The offset of the I/O map's own offset in a task state segment (Intel SDM vol. 3, 8.2.1).
const IO_MAP_BASE: u64 = 0x66;

impl Exec {
    /// Whether `size` ports may be used: by IOPL, or by the I/O map of the task (Intel SDM vol. 1, 19.5).
    pub(crate) fn check_ports(&mut self, port: u16, size: u64) -> Result<(), Fault> {
        if !self.mode.is_protected || self.has_io_privilege() {
            return Ok(());
        }
        let limit = u64::from(self.tr.limit);
        // Only 32- and 64-bit task state segments have a map.
        if !self.tr.has(PRESENT) || self.tr.attributes & 0xd != 9 || limit < IO_MAP_BASE + 1 {
            return Err(self.gp(0));
        }
        let base = self.tr.base;
        let map: u16 = self.load_system(base.wrapping_add(IO_MAP_BASE))?;
        let at = u64::from(map) + u64::from(port / 8);
        if at + 1 > limit {
            return Err(self.gp(0));
        }
        let bits: u16 = self.load_system(base.wrapping_add(at))?;
        let wanted = (1_u16 << size) - 1;
        if bits >> (port % 8) & wanted != 0 {
            return Err(self.gp(0));
        }
        Ok(())
    }

    /// Reads a port. Where nobody answers, all bits are set.
    pub(crate) fn port_in<T: Int>(&mut self, port: u16) -> Result<T, Fault> {
        self.check_ports(port, T::BYTES)?;
        self.before_device();
        let attrs = MemTxAttrs::UNSPECIFIED;
        let value = self.bus.io.load(u64::from(port), Endianness::Little, attrs);
        Ok(value.unwrap_or(T::truncate(u64::MAX)))
    }

    /// Writes a port. Where nobody answers, nothing happens.
    pub(crate) fn port_out<T: Int>(&mut self, port: u16, value: T) -> Result<(), Fault> {
        self.check_ports(port, T::BYTES)?;
        self.before_device();
        let attrs = MemTxAttrs::UNSPECIFIED;
        let _ = self
            .bus
            .io
            .store(u64::from(port), value, Endianness::Little, attrs);
        Ok(())
    }
}

/// The port is `imm`, or in DX.
fn port<const S: u8>(e: &Exec, op: &Op) -> u16 {
    if S == I {
        crate::int::low16(op.imm)
    } else {
        e.reg(2)
    }
}

/// `IN`.
fn in_<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let value: T = e.port_in(port::<S>(e, op))?;
    e.set_reg(0, value);
    Ok(e.flow)
}

/// `OUT`.
fn out<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let value: T = e.reg(0);
    e.port_out(port::<S>(e, op), value)?;
    Ok(e.flow)
}

/// The function of `IN`; the port is `I`, or in DX.
pub(crate) fn in_run(s: u8, size: u8) -> Run {
    if s == I {
        sized!(size, in_, I)
    } else {
        sized!(size, in_, super::R)
    }
}

/// The function of `OUT`; the port is `I`, or in DX.
pub(crate) fn out_run(s: u8, size: u8) -> Run {
    if s == I {
        sized!(size, out, I)
    } else {
        sized!(size, out, super::R)
    }
}
