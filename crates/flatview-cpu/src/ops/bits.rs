//! Single bits: `BT` and its kin, `BSF`, `BSR`; flags.

use super::{I, M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{Exec, Flow, Step};
use crate::flags::{DF, IF};
use crate::int::Int;

pub(crate) const BT: u8 = 0;
pub(crate) const BTS: u8 = 1;
pub(crate) const BTR: u8 = 2;
pub(crate) const BTC: u8 = 3;

#[inline(always)]
fn changed<const OP: u8>(value: u64, bit: u64) -> u64 {
    match OP {
        BTS => value | bit,
        BTR => value & !bit,
        _ => value ^ bit,
    }
}

/// `BT`, `BTS`, `BTR`, `BTC`. A bit number in a register reaches beyond the operand in memory.
fn bit<T: Int, const D: u8, const S: u8, const OP: u8>(e: &mut Exec, op: &Op) -> Step {
    let number = if S == I {
        op.imm
    } else {
        e.reg::<T>(op.src).sign_extend()
    };
    let bit = 1 << (number % u64::from(T::BITS));
    if D == R {
        let value = e.reg::<T>(op.dst).widen();
        e.r.flags.set_cf(value & bit != 0);
        if OP != BT {
            e.set_reg(op.dst, T::truncate(changed::<OP>(value, bit)));
        }
        return Ok(Flow::Next);
    }
    let mut far = *op;
    if S != I {
        let words = number.cast_signed() >> T::BITS.trailing_zeros();
        far.disp = far
            .disp
            .wrapping_add(words.cast_unsigned().wrapping_mul(T::BYTES));
    }
    if OP == BT {
        let linear = e.address::<T>(&far, Access::Read)?;
        let value = e.load::<T>(linear)?.widen();
        e.r.flags.set_cf(value & bit != 0);
        return Ok(e.flow);
    }
    e.change::<T, M>(&far, |r, value| {
        let value = value.widen();
        r.flags.set_cf(value & bit != 0);
        T::truncate(changed::<OP>(value, bit))
    })
}

/// The function of `BT` and its kin; `s` is `R` or `I`.
pub(crate) fn bit_run(operation: u8, d: u8, s: u8, size: u8) -> Run {
    fn forms<const OP: u8>(d: u8, s: u8, size: u8) -> Run {
        if s == I {
            wide_by_place!(d, size, bit, I, OP)
        } else {
            wide_by_place!(d, size, bit, R, OP)
        }
    }
    let forms = match operation {
        BT => forms::<BT>,
        BTS => forms::<BTS>,
        BTR => forms::<BTR>,
        _ => forms::<BTC>,
    };
    forms(d, s, size)
}

/// `BSF`, `BSR`. The destination stays as it is if the source is zero; the other flags are undefined: those of the
/// source.
fn scan<T: Int, const S: u8, const REVERSE: bool>(e: &mut Exec, op: &Op) -> Step {
    let value = e.source::<T, S>(op)?.widen();
    e.r.flags.set_logic::<T>(value);
    if value != 0 {
        let number = if REVERSE {
            63 - value.leading_zeros()
        } else {
            value.trailing_zeros()
        };
        e.set_reg(op.dst, T::truncate(u64::from(number)));
    }
    e.after::<R, S>()
}

/// The function of `BSF` and `BSR`.
pub(crate) fn scan_run(s: u8, size: u8, is_reverse: bool) -> Run {
    if is_reverse {
        wide_by_place!(s, size, scan, true)
    } else {
        wide_by_place!(s, size, scan, false)
    }
}

pub(crate) const CLC: u8 = 0;
pub(crate) const STC: u8 = 1;
pub(crate) const CMC: u8 = 2;
pub(crate) const CLD: u8 = 3;
pub(crate) const STD: u8 = 4;

/// `CLC`, `STC`, `CMC`, `CLD`, `STD`.
pub(crate) fn flag<const OP: u8>(e: &mut Exec, _: &Op) -> Step {
    let flags = &mut e.r.flags;
    match OP {
        CLC => flags.set_cf(false),
        STC => flags.set_cf(true),
        CMC => flags.set_cf(!flags.cf()),
        CLD => flags.put(DF, false),
        _ => flags.put(DF, true),
    }
    Ok(Flow::Next)
}

/// `CLI`.
pub(crate) fn cli(e: &mut Exec, _: &Op) -> Step {
    if !e.has_io_privilege() {
        return Err(e.gp(0));
    }
    e.r.flags.put(IF, false);
    e.attention = true;
    Ok(Flow::Break)
}

/// `STI`. Interrupts are not taken before the next instruction is over, if they were not enabled before.
pub(crate) fn sti(e: &mut Exec, _: &Op) -> Step {
    if !e.has_io_privilege() {
        return Err(e.gp(0));
    }
    if !e.has_if() {
        e.r.flags.put(IF, true);
        e.shadow = true;
    }
    e.attention = true;
    Ok(Flow::Break)
}

/// `SALC`: AL is 0xff if CF is set, 0 otherwise.
pub(crate) fn salc(e: &mut Exec, _: &Op) -> Step {
    let value: u8 = if e.r.flags.cf() { 0xff } else { 0 };
    e.set_reg(0, value);
    Ok(Flow::Next)
}
