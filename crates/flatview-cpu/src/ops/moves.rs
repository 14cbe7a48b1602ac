//! Moves: `MOV`, `MOVZX`, `LEA`, `CMOV`, `SET`, `XLAT`, `BSWAP` and their kin.

use super::{I, M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{Exec, Flow, RAX, RDX, Step};
use crate::int::{Int, low8, low16};
use crate::seg::{CS, SS};

/// `MOV`.
fn mov<T: Int, const D: u8, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let value = e.source::<T, S>(op)?;
    if D == M {
        return e.put::<T, M>(op, value);
    }
    e.set_reg(op.dst, value);
    e.after::<D, S>()
}

/// The function of `MOV`.
pub(crate) fn mov_run(d: u8, s: u8, size: u8) -> Run {
    match (d, s) {
        (R, R) => sized!(size, mov, R, R),
        (R, M) => sized!(size, mov, R, M),
        (R, _) => sized!(size, mov, R, I),
        (_, R) => sized!(size, mov, M, R),
        _ => sized!(size, mov, M, I),
    }
}

/// `MOVZX`, `MOVSX`, `MOVSXD`: from `F` to the size that `aux` says.
fn extend<F: Int, const S: u8, const SIGNED: bool>(e: &mut Exec, op: &Op) -> Step {
    let value = e.source::<F, S>(op)?;
    let value = if SIGNED {
        value.sign_extend()
    } else {
        value.widen()
    };
    match op.aux {
        2 => e.set_reg(op.dst, low16(value)),
        4 => e.set_reg(op.dst, crate::int::low32(value)),
        _ => e.set_reg(op.dst, value),
    }
    e.after::<R, S>()
}

/// The function of `MOVZX` and `MOVSX`.
pub(crate) fn extend_run(s: u8, from: u8, is_signed: bool) -> Run {
    if is_signed {
        by_place!(s, from, extend, true)
    } else {
        by_place!(s, from, extend, false)
    }
}

/// `LEA`.
fn lea<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let offset = e.offset(op);
    e.set_reg(op.dst, T::truncate(offset));
    Ok(Flow::Next)
}

/// The function of `LEA`.
pub(crate) fn lea_run(size: u8) -> Run {
    wide!(size, lea)
}

/// `CMOVcc`. Memory is read whatever the condition is; 32 bits clear the upper half.
fn cmov<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let new = e.source::<T, S>(op)?;
    let old = e.reg(op.dst);
    let value = if e.r.flags.condition(op.aux) { new } else { old };
    e.set_reg(op.dst, value);
    e.after::<R, S>()
}

/// The function of `CMOVcc`.
pub(crate) fn cmov_run(s: u8, size: u8) -> Run {
    wide_by_place!(s, size, cmov)
}

/// `SETcc`.
fn setcc<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    let value = T::truncate(u64::from(e.r.flags.condition(op.aux)));
    e.put::<T, D>(op, value)
}

/// The function of `SETcc`.
pub(crate) fn setcc_run(d: u8) -> Run {
    if d == R { setcc::<u8, R> } else { setcc::<u8, M> }
}

/// `BSWAP`. With 16 bits the result is undefined: zero, as on real processors.
fn bswap<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let value: T = e.reg(op.dst);
    let swapped = if T::BITS == 16 {
        T::ZERO
    } else {
        value.swap_bytes()
    };
    e.set_reg(op.dst, swapped);
    Ok(Flow::Next)
}

/// The function of `BSWAP`.
pub(crate) fn bswap_run(size: u8) -> Run {
    wide!(size, bswap)
}

/// `XLAT`.
pub(crate) fn xlat(e: &mut Exec, op: &Op) -> Step {
    let offset = e.r.gpr[crate::exec::RBX].wrapping_add(u64::from(e.reg::<u8>(0)));
    let linear = e.string_address(op.seg, offset & (u64::MAX >> op.narrow), 1, Access::Read)?;
    let value: u8 = e.load(linear)?;
    e.set_reg(0, value);
    Ok(e.flow)
}

/// `CBW`, `CWDE`, `CDQE`: AL into AX and so on, to `T`.
fn widen_a<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let half = T::BITS / 2;
    let value = e.r.gpr[RAX] << (64 - half);
    e.set_reg(
        0,
        T::truncate((value.cast_signed() >> (64 - half)).cast_unsigned()),
    );
    Ok(Flow::Next)
}

/// The function of `CBW`, `CWDE`, `CDQE`.
pub(crate) fn widen_a_run(size: u8) -> Run {
    wide!(size, widen_a)
}

/// `CWD`, `CDQ`, `CQO`: the sign of the accumulator all over the data register.
fn sign_to_d<T: Int>(e: &mut Exec, _: &Op) -> Step {
    let sign = (e.reg::<T>(0).sign_extend().cast_signed() >> 63).cast_unsigned();
    e.set_reg(low8(RDX as u64), T::truncate(sign));
    Ok(Flow::Next)
}

/// The function of `CWD`, `CDQ`, `CQO`.
pub(crate) fn sign_to_d_run(size: u8) -> Run {
    wide!(size, sign_to_d)
}

/// `MOV` from a segment register: to a register of the operand size, or to 16 bits of memory.
fn from_segment<T: Int, const D: u8>(e: &mut Exec, op: &Op) -> Step {
    let selector = e.segs[usize::from(op.aux) % 6].selector;
    e.put::<T, D>(op, T::truncate(u64::from(selector)))
}

/// The function of `MOV` from a segment register.
pub(crate) fn from_segment_run(d: u8, size: u8) -> Run {
    if d == M {
        from_segment::<u16, M>
    } else {
        wide!(size, from_segment, R)
    }
}

/// `MOV` to a segment register.
fn to_segment<const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let seg = usize::from(op.aux);
    if seg == CS {
        return Err(e.ud());
    }
    let selector = e.source::<u16, S>(op)?;
    e.load_segment(seg, selector)?;
    if seg == SS {
        e.shadow = true;
        e.leave_block();
    }
    Ok(Flow::Break)
}

/// The function of `MOV` to a segment register.
pub(crate) fn to_segment_run(s: u8) -> Run {
    if s == R { to_segment::<R> } else { to_segment::<M> }
}

/// `LDS`, `LES`, `LFS`, `LGS`, `LSS`.
fn load_far<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let linear = e.address::<T>(op, Access::Read)?;
    let after = e.offset(op).wrapping_add(T::BYTES) & (u64::MAX >> op.narrow);
    let selector_at = e.string_address(op.seg, after, 2, Access::Read)?;
    let offset: T = e.load(linear)?;
    let selector: u16 = e.load(selector_at)?;
    e.load_segment(usize::from(op.aux), selector)?;
    e.set_reg(op.dst, offset);
    if usize::from(op.aux) == SS {
        e.shadow = true;
        e.leave_block();
    }
    Ok(Flow::Break)
}

/// The function of `LDS` and its kin.
pub(crate) fn load_far_run(size: u8) -> Run {
    wide!(size, load_far)
}
