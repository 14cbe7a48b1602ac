//! The stack: `PUSH`, `POP`, `PUSHA`, `PUSHF`, `ENTER`, `LEAVE` and their kin.

use super::{I, M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{Exec, Flow, RBP, RSP, Step};
use crate::flags::{AC, DF, ID, IF, IOPL, NT, RF, TF, VM};
use crate::int::{Int, low8};
use crate::seg::SS;

/// `PUSH`.
fn push<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let value = e.source::<T, S>(op)?;
    e.push(value)?;
    Ok(e.flow)
}

/// The function of `PUSH`.
pub(crate) fn push_run(s: u8, size: u8) -> Run {
    match s {
        R => wide!(size, push, R),
        M => wide!(size, push, M),
        _ => wide!(size, push, I),
    }
}

/// `POP`. An address with RSP in it is worked out after RSP has changed.
fn pop<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    if D == R {
        let value: T = e.pop()?;
        e.set_reg(op.dst, value);
        return Ok(e.flow);
    }
    let sp = e.r.gpr[RSP];
    let value: T = e.pop()?;
    let put = e.put::<T, M>(op, value);
    if put.is_err() {
        e.r.gpr[RSP] = sp;
    }
    put
}

/// The function of `POP`.
pub(crate) fn pop_run(d: u8, size: u8) -> Run {
    wide_by_place!(d, size, pop)
}

/// `PUSH` of a segment register. All bytes of the operand are written; newer processors write two, and the manual lets
/// both pass (Intel SDM vol. 2, PUSH).
fn push_segment<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let selector = e.segs[usize::from(op.aux) % 6].selector;
    e.push(T::truncate(u64::from(selector)))?;
    Ok(e.flow)
}

/// The function of `PUSH` of a segment register.
pub(crate) fn push_segment_run(size: u8) -> Run {
    wide!(size, push_segment)
}

/// `POP` of a segment register.
fn pop_segment<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let seg = usize::from(op.aux);
    let selector: u16 = e.peek(0)?;
    let sp = e.r.gpr[RSP].wrapping_add(T::BYTES);
    let mask = e.mode.stack_mask;
    e.load_segment(seg, selector)?;
    // The size of the stack pointer is that of the old stack.
    e.r.gpr[RSP] = (e.r.gpr[RSP] & !mask) | (sp & mask);
    if seg == SS {
        e.shadow = true;
        e.leave_block();
    }
    Ok(Flow::Break)
}

/// The function of `POP` of a segment register.
pub(crate) fn pop_segment_run(size: u8) -> Run {
    wide!(size, pop_segment)
}

/// `PUSHA`.
fn pusha<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let sp = e.r.gpr[RSP];
    for number in 0..8_u8 {
        let at = sp.wrapping_sub(T::BYTES * (u64::from(number) + 1)) & e.mode.stack_mask;
        let linear = e.stack(at, T::BYTES, Access::Write)?;
        e.probe::<T>(linear, Access::Write)?;
    }
    for number in 0..8_u8 {
        let value: T = if usize::from(number) == RSP {
            T::truncate(sp)
        } else {
            e.reg(number)
        };
        e.push(value)?;
    }
    Ok(e.flow)
}

/// The function of `PUSHA`.
pub(crate) fn pusha_run(size: u8) -> Run {
    wide!(size, pusha)
}

/// `POPA`.
fn popa<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let mut values = [T::ZERO; 8];
    for (distance, value) in values.iter_mut().enumerate() {
        *value = e.peek(distance as u64 * T::BYTES)?;
    }
    for (number, value) in (0..8).rev().zip(values) {
        if usize::from(number) != RSP {
            e.set_reg(number, value);
        }
    }
    e.set_sp(e.r.gpr[RSP].wrapping_add(8 * T::BYTES));
    Ok(e.flow)
}

/// The function of `POPA`.
pub(crate) fn popa_run(size: u8) -> Run {
    wide!(size, popa)
}

/// `PUSHF`. RF and VM are pushed as 0.
fn pushf<T: Int>(e: &mut Exec, _: &Op) -> Step {
    e.push(T::truncate(e.r.flags.get() & !(RF | VM)))?;
    Ok(e.flow)
}

/// The function of `PUSHF`.
pub(crate) fn pushf_run(size: u8) -> Run {
    wide!(size, pushf)
}

/// `POPF`.
fn popf<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let value: T = e.pop()?;
    e.set_flags::<T>(value.widen());
    Ok(Flow::Break)
}

/// The function of `POPF`.
pub(crate) fn popf_run(size: u8) -> Run {
    wide!(size, popf)
}

impl Exec {
    /// Sets those flags that software of the current privilege may change by `POPF` and `IRET` (Intel SDM vol. 2,
    /// POPF).
    pub(crate) fn set_flags<T: Int>(&mut self, value: u64) {
        let mut may = crate::flags::ARITHMETIC | TF | DF | NT;
        if T::BITS > 16 {
            may |= AC | ID;
        }
        if self.mode.cpl == 0 {
            may |= IOPL;
        }
        if self.has_io_privilege() {
            may |= IF;
        }
        let old = self.r.flags.get();
        // RF is cleared, whatever is popped.
        self.r.flags.set(((old & !may) | (value & may)) & !RF);
        if (old ^ value) & may & (IF | TF) != 0 {
            self.attention = true;
        }
    }
}

/// `LAHF`.
pub(crate) fn lahf(e: &mut Exec, _: &Op) -> Step {
    let flags = low8(e.r.flags.get());
    e.set_reg(crate::exec::HIGH, flags);
    Ok(Flow::Next)
}

/// `SAHF`.
pub(crate) fn sahf(e: &mut Exec, _: &Op) -> Step {
    let high = u64::from(e.reg::<u8>(crate::exec::HIGH));
    let of = e.r.flags.get() & crate::flags::OF;
    e.r.flags.set_arithmetic(high | of);
    Ok(Flow::Next)
}

/// `LEAVE`.
fn leave<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let mask = e.mode.stack_mask;
    let frame = e.r.gpr[RBP] & mask;
    let linear = e.stack(frame, T::BYTES, Access::Read)?;
    let value: T = e.load(linear)?;
    e.set_sp(frame.wrapping_add(T::BYTES));
    e.set_reg(low8(RBP as u64), value);
    Ok(e.flow)
}

/// The function of `LEAVE`.
pub(crate) fn leave_run(size: u8) -> Run {
    wide!(size, leave)
}

/// `ENTER`: `imm` bytes, nesting level `aux` (Intel SDM vol. 2, ENTER).
fn enter<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let level = u64::from(op.aux % 32);
    let (sp, bp, mask) = (e.r.gpr[RSP], e.r.gpr[RBP], e.mode.stack_mask);
    let frame = sp.wrapping_sub(T::BYTES);
    // The old frame pointer, those of the enclosing procedures, this one.
    let count = if level == 0 { 1 } else { level + 1 };
    let end = sp.wrapping_sub(count * T::BYTES).wrapping_sub(op.imm);
    for number in 1..=count {
        let linear = e.stack(sp.wrapping_sub(number * T::BYTES) & mask, T::BYTES, Access::Write)?;
        e.probe::<T>(linear, Access::Write)?;
    }
    for outer in 1..level {
        let linear = e.stack(bp.wrapping_sub(outer * T::BYTES) & mask, T::BYTES, Access::Read)?;
        e.probe::<T>(linear, Access::Read)?;
    }
    // A write to the new top would have to succeed.
    let top = e.stack(end & mask, T::BYTES, Access::Write)?;
    e.probe::<T>(top, Access::Write)?;
    // One after the other: the frames may overlap.
    for number in 1..=count {
        let value = match number {
            1 => e.reg(low8(RBP as u64)),
            _ if number == count => T::truncate(frame),
            _ => {
                let at = bp.wrapping_sub((number - 1) * T::BYTES) & mask;
                let linear = e.stack(at, T::BYTES, Access::Read)?;
                e.load(linear)?
            }
        };
        let linear = e.stack(sp.wrapping_sub(number * T::BYTES) & mask, T::BYTES, Access::Write)?;
        e.store(linear, value)?;
    }
    e.set_sp(end);
    e.set_reg(low8(RBP as u64), T::truncate(frame));
    Ok(e.flow)
}

/// The function of `ENTER`.
pub(crate) fn enter_run(size: u8) -> Run {
    wide!(size, enter)
}
