//! Addition, subtraction, logic.

use super::{I, M, Op, R, Run};
use crate::exec::{Exec, Flow, Registers, Step};
use crate::int::Int;

pub(crate) const ADD: u8 = 0;
pub(crate) const OR: u8 = 1;
pub(crate) const ADC: u8 = 2;
pub(crate) const SBB: u8 = 3;
pub(crate) const AND: u8 = 4;
pub(crate) const SUB: u8 = 5;
pub(crate) const XOR: u8 = 6;
pub(crate) const CMP: u8 = 7;
pub(crate) const TEST: u8 = 8;

pub(crate) const INC: u8 = 0;
pub(crate) const DEC: u8 = 1;
pub(crate) const NOT: u8 = 2;
pub(crate) const NEG: u8 = 3;

#[inline(always)]
fn compute<T: Int, const OP: u8>(r: &mut Registers, a: T, b: T) -> T {
    let (a, b) = (a.widen(), b.widen());
    let flags = &mut r.flags;
    let result = match OP {
        ADD | ADC => {
            let carry = if OP == ADC { u64::from(flags.cf()) } else { 0 };
            let sum = a.wrapping_add(b).wrapping_add(carry);
            flags.set_add::<T>(a, b, sum);
            sum
        }
        SUB | SBB | CMP => {
            let borrow = if OP == SBB { u64::from(flags.cf()) } else { 0 };
            let difference = a.wrapping_sub(b).wrapping_sub(borrow);
            flags.set_sub::<T>(a, b, difference);
            difference
        }
        _ => {
            let result = match OP {
                OR => a | b,
                XOR => a ^ b,
                _ => a & b,
            };
            flags.set_logic::<T>(result);
            result
        }
    };
    T::truncate(result)
}

/// `ADD`, `OR`, `ADC`, `SBB`, `AND`, `SUB`, `XOR`, `CMP`, `TEST`.
fn binary<T: Int, const OP: u8, const D: u8, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let b = e.source::<T, S>(op)?;
    if OP == CMP || OP == TEST {
        let a = e.destination::<T, D>(op)?;
        compute::<T, OP>(&mut e.r, a, b);
        return e.after::<D, S>();
    }
    if S == M {
        let a = e.reg(op.dst);
        let result = compute::<T, OP>(&mut e.r, a, b);
        e.set_reg(op.dst, result);
        return Ok(e.flow);
    }
    e.change::<T, D>(op, |r, a| compute::<T, OP>(r, a, b))
}

/// `INC`, `DEC`, `NOT`, `NEG`.
fn unary<T: Int, const OP: u8, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    e.change::<T, D>(op, |r, a| {
        let a = a.widen();
        let flags = &mut r.flags;
        let cf = flags.cf();
        let result = match OP {
            INC => a.wrapping_add(1),
            DEC => a.wrapping_sub(1),
            NOT => !a,
            _ => a.wrapping_neg(),
        };
        match OP {
            INC => flags.set_add::<T>(a, 1, result),
            DEC => flags.set_sub::<T>(a, 1, result),
            NEG => flags.set_sub::<T>(0, a, result),
            _ => {}
        }
        if OP == INC || OP == DEC {
            flags.set_cf(cf);
        }
        T::truncate(result)
    })
}

/// `XADD`.
fn xadd<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    let b: T = e.reg(op.src);
    let mut old = T::ZERO;
    let flow = e.change::<T, D>(op, |r, a| {
        old = a;
        // The sum wins if both operands are the same register.
        if D == R {
            r.set_reg(op.src, a);
        }
        compute::<T, ADD>(r, a, b)
    })?;
    if D != R {
        e.set_reg(op.src, old);
    }
    Ok(flow)
}

/// `CMPXCHG`. Memory is written in any case (Intel SDM vol. 2, CMPXCHG).
fn cmpxchg<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    let new: T = e.reg(op.src);
    if D == R {
        let (found, expected): (T, T) = (e.reg(op.dst), e.reg(0));
        compute::<T, CMP>(&mut e.r, expected, found);
        // One of the two is written, the other stays as it is with all its bits.
        if expected == found {
            e.set_reg(op.dst, new);
        } else {
            e.set_reg(0, found);
        }
        return Ok(Flow::Next);
    }
    let mut found = T::ZERO;
    let mut is_equal = false;
    let flow = e.change::<T, M>(op, |r, old| {
        found = old;
        let expected: T = r.reg(0);
        compute::<T, CMP>(r, expected, old);
        is_equal = expected == old;
        if is_equal { new } else { old }
    })?;
    if !is_equal {
        e.set_reg(0, found);
    }
    Ok(flow)
}

/// `XCHG`.
fn xchg<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    let new: T = e.reg(op.src);
    let mut found = T::ZERO;
    let flow = e.change::<T, D>(op, |_, old| {
        found = old;
        new
    })?;
    e.set_reg(op.src, found);
    Ok(flow)
}

fn forms<const OP: u8>(d: u8, s: u8, size: u8) -> Run {
    match (d, s) {
        (R, R) => sized!(size, binary, OP, R, R),
        (R, M) => sized!(size, binary, OP, R, M),
        (R, _) => sized!(size, binary, OP, R, I),
        (_, R) => sized!(size, binary, OP, M, R),
        _ => sized!(size, binary, OP, M, I),
    }
}

/// The function of an operation with two operands.
pub(crate) fn binary_run(operation: u8, d: u8, s: u8, size: u8) -> Run {
    let forms = match operation {
        ADD => forms::<ADD>,
        OR => forms::<OR>,
        ADC => forms::<ADC>,
        SBB => forms::<SBB>,
        AND => forms::<AND>,
        SUB => forms::<SUB>,
        XOR => forms::<XOR>,
        CMP => forms::<CMP>,
        _ => forms::<TEST>,
    };
    forms(d, s, size)
}

/// The function of an operation with one operand.
pub(crate) fn unary_run(operation: u8, d: u8, size: u8) -> Run {
    fn forms<const OP: u8>(d: u8, size: u8) -> Run {
        if d == R {
            sized!(size, unary, OP, R)
        } else {
            sized!(size, unary, OP, M)
        }
    }
    let forms = match operation {
        INC => forms::<INC>,
        DEC => forms::<DEC>,
        NOT => forms::<NOT>,
        _ => forms::<NEG>,
    };
    forms(d, size)
}

/// The function of `XADD`.
pub(crate) fn xadd_run(d: u8, size: u8) -> Run {
    by_place!(d, size, xadd)
}

/// The function of `CMPXCHG`.
pub(crate) fn cmpxchg_run(d: u8, size: u8) -> Run {
    by_place!(d, size, cmpxchg)
}

/// The function of `XCHG`.
pub(crate) fn xchg_run(d: u8, size: u8) -> Run {
    by_place!(d, size, xchg)
}

/// An instruction without an effect.
pub(crate) fn nop(_: &mut Exec, _: &Op) -> Step {
    Ok(Flow::Next)
}
