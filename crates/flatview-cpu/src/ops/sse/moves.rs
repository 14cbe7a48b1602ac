//! Moves of SSE registers, whole or in parts.

use super::{M, Op, R, Run, float, integer, low64, with_low};
use crate::exec::{Exec, Flow, RDI, Step};
use crate::int::{Int, low8, low16};

/// Loads `SIZE` bytes into a register and clears the rest.
fn load<const SIZE: u8, const ALIGNED: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    *e.xmm(op.dst) = e.load_wide(op, SIZE, ALIGNED)?;
    Ok(e.flow)
}

/// The function of a move from memory.
pub(crate) fn load_run(size: u8, aligned: bool) -> Run {
    match (size, aligned) {
        (4, _) => load::<4, false>,
        (8, _) => load::<8, false>,
        (_, false) => load::<16, false>,
        (_, true) => load::<16, true>,
    }
}

/// Stores `SIZE` bytes of a register.
fn store<const SIZE: u8, const ALIGNED: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = *e.xmm(op.src);
    e.store_wide(op, SIZE, value, ALIGNED)
}

/// The function of a move to memory.
pub(crate) fn store_run(size: u8, aligned: bool) -> Run {
    match (size, aligned) {
        (4, _) => store::<4, false>,
        (8, _) => store::<8, false>,
        (_, false) => store::<16, false>,
        (_, true) => store::<16, true>,
    }
}

/// A register to another.
pub(crate) fn copy(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    *e.xmm(op.dst) = *e.xmm(op.src);
    Ok(Flow::Next)
}

/// `MOVQ` from a register: the rest is cleared.
pub(crate) fn copy_quadword(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    *e.xmm(op.dst) = *e.xmm(op.src) & u128::from(u64::MAX);
    Ok(Flow::Next)
}

/// `MOVSS`, `MOVSD` from a register: the rest stays.
pub(crate) fn merge<const DOUBLE: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let low = low64(*e.xmm(op.src));
    let place = e.xmm(op.dst);
    *place = if DOUBLE {
        with_low::<u64>(*place, low)
    } else {
        with_low::<u32>(*place, low)
    };
    Ok(Flow::Next)
}

/// `MOVLPS`, `MOVHPS` and their kin from memory.
pub(crate) fn load_half<const HIGH: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let half = e.load_wide(op, 8, false)?;
    let place = e.xmm(op.dst);
    *place = if HIGH {
        *place & u128::from(u64::MAX) | half << 64
    } else {
        *place >> 64 << 64 | half
    };
    Ok(e.flow)
}

/// `MOVHPS`, `MOVHPD` to memory.
pub(crate) fn store_high(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = *e.xmm(op.src) >> 64;
    e.store_wide(op, 8, value, false)
}

/// `MOVD`, `MOVQ` from a general register.
fn from_general<T: Int>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    *e.xmm(op.dst) = u128::from(e.reg::<T>(op.src).widen());
    Ok(Flow::Next)
}

/// `MOVD`, `MOVQ` to a general register.
fn to_general<T: Int>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = low64(*e.xmm(op.src));
    e.set_reg(op.dst, T::truncate(value));
    Ok(Flow::Next)
}

/// The function of `MOVD` and `MOVQ` between registers.
pub(crate) fn general_run(to_general_register: bool, size: u8) -> Run {
    match (to_general_register, size) {
        (false, 4) => from_general::<u32>,
        (false, _) => from_general::<u64>,
        (true, 4) => to_general::<u32>,
        (true, _) => to_general::<u64>,
    }
}

/// `PMOVMSKB` (lanes of type `u8`), `MOVMSKPS` (`u32`), `MOVMSKPD` (`u64`).
pub(crate) fn sign_mask<T: Int>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let mask = integer::sign_mask::<T>(*e.xmm(op.src));
    e.set_reg(op.dst, mask);
    Ok(Flow::Next)
}

/// `PINSRW`: word `imm`.
fn insert<const S: u8>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let word = e.source_word::<S>(op)?;
    let at = 16 * u32::from(low8(op.imm) & 7);
    let place = e.xmm(op.dst);
    *place = *place & !(0xffff << at) | u128::from(word) << at;
    e.after::<R, S>()
}

impl Exec {
    fn source_word<const S: u8>(&mut self, op: &Op) -> Result<u16, crate::exec::Fault> {
        if S == R {
            Ok(self.reg(op.src))
        } else {
            Ok(low16(low64(self.load_wide(op, 2, false)?)))
        }
    }
}

/// The function of `PINSRW`.
pub(crate) fn insert_run(s: u8) -> Run {
    if s == R { insert::<R> } else { insert::<M> }
}

/// `PEXTRW`: word `imm`.
pub(crate) fn extract(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let at = 16 * u32::from(low8(op.imm) & 7);
    let word = low16(low64(*e.xmm(op.src) >> at));
    e.set_reg(op.dst, u32::from(word));
    Ok(Flow::Next)
}

/// `MASKMOVDQU`: the bytes whose mask has its highest bit set, to DS:RDI or what `seg` says.
pub(crate) fn store_masked(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let (value, mask) = (e.xmm(op.dst).to_le_bytes(), e.xmm(op.src).to_le_bytes());
    let start = e.r.gpr[RDI];
    for (at, (byte, mask)) in (0..).zip(value.into_iter().zip(mask)) {
        if mask & 0x80 != 0 {
            let offset = start.wrapping_add(at) & (u64::MAX >> op.narrow);
            let linear = e.string_address(op.seg, offset, 1, crate::exec::mem::Access::Write)?;
            e.store(linear, byte)?;
        }
    }
    Ok(e.flow)
}

/// `COMISS`, `UCOMISS`, `COMISD`, `UCOMISD`.
fn compare<const S: u8, const DOUBLE: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let b = e.wide_source::<S>(op, if DOUBLE { 8 } else { 4 })?;
    let flags = float::ordering::<DOUBLE>(*e.xmm(op.dst), b);
    e.r.flags.set_arithmetic(flags);
    e.after::<R, S>()
}

/// The function of `COMISS` and its kin.
pub(crate) fn compare_run(s: u8, is_double: bool) -> Run {
    match (s, is_double) {
        (R, false) => compare::<R, false>,
        (R, true) => compare::<R, true>,
        (_, false) => compare::<M, false>,
        (_, true) => compare::<M, true>,
    }
}
