//! Multiplication and division.

use super::{I, M, Op, R, Run};
use crate::exec::{DE, Exec, Fault, Flow, RDX, Step};
use crate::int::{Int, low8};

/// The low and the high half of a product, and whether the high half matters.
fn product<T: Int, const SIGNED: bool>(a: T, b: T) -> (T, T, bool) {
    let bits = T::BITS;
    let halves = |product: u128| {
        let half = |value: u128| T::truncate(u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0));
        (half(product), half(product >> bits))
    };
    if SIGNED {
        let product = i128::from(a.sign_extend().cast_signed()) * i128::from(b.sign_extend().cast_signed());
        let (low, high) = halves(product.cast_unsigned());
        (low, high, i128::from(low.sign_extend().cast_signed()) != product)
    } else {
        let product = u128::from(a.widen()) * u128::from(b.widen());
        let (low, high) = halves(product);
        (low, high, high != T::ZERO)
    }
}

impl Exec {
    /// ZF, AF, SF and PF are undefined after a multiplication: AF and ZF cleared, SF and PF as of the low half, as real
    /// processors leave them.
    fn multiplied<T: Int>(&mut self, low: T, overflows: bool) {
        self.r.flags.set_logic::<T>(low.widen());
        self.r.flags.set_zf(false);
        self.r.flags.set_cf_of(overflows, overflows);
    }
}

/// `MUL`, `IMUL` with one operand.
fn mul<T: Int, const S: u8, const SIGNED: bool>(e: &mut Exec, op: &Op) -> Step {
    let b = e.source::<T, S>(op)?;
    let (low, high, overflows) = product::<T, SIGNED>(e.reg(0), b);
    if T::BITS == 8 {
        e.set_reg(crate::exec::HIGH, high);
    } else {
        e.set_reg(low8(RDX as u64), high);
    }
    e.set_reg(0, low);
    e.multiplied(low, overflows);
    e.after::<R, S>()
}

/// The function of `MUL` and `IMUL` with one operand.
pub(crate) fn mul_run(s: u8, size: u8, is_signed: bool) -> Run {
    if is_signed {
        by_place!(s, size, mul, true)
    } else {
        by_place!(s, size, mul, false)
    }
}

/// `IMUL` with two operands, or with three: the third is `imm`.
fn imul<T: Int, const S: u8, const THIRD: u8>(e: &mut Exec, op: &Op) -> Step {
    let a = e.source::<T, S>(op)?;
    let b = if THIRD == I {
        T::truncate(op.imm)
    } else {
        e.reg(op.dst)
    };
    let (low, _, overflows) = product::<T, true>(a, b);
    e.set_reg(op.dst, low);
    e.multiplied(low, overflows);
    e.after::<R, S>()
}

/// The function of `IMUL` with two operands or three; the third is then `I`.
pub(crate) fn imul_run(s: u8, third: u8, size: u8) -> Run {
    match (s, third) {
        (R, I) => wide!(size, imul, R, I),
        (R, _) => wide!(size, imul, R, R),
        (_, I) => wide!(size, imul, M, I),
        _ => wide!(size, imul, M, R),
    }
}

fn quotient<T: Int, const SIGNED: bool>(e: &mut Exec, high: T, low: T, by: T) -> Result<(T, T), Fault> {
    let bits = T::BITS;
    let wide = u128::from(high.widen()) << bits | u128::from(low.widen());
    let half = |value: u128| T::truncate(u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0));
    if by == T::ZERO {
        return Err(e.raise(DE, None));
    }
    let (quotient, remainder, fits) = if SIGNED {
        let unused = 128 - 2 * bits;
        let dividend = wide.cast_signed() << unused >> unused;
        let by = i128::from(by.sign_extend().cast_signed());
        let (quotient, remainder) = (dividend.wrapping_div(by), dividend.wrapping_rem(by));
        let low = half(quotient.cast_unsigned());
        let fits = i128::from(low.sign_extend().cast_signed()) == quotient;
        (low, half(remainder.cast_unsigned()), fits)
    } else {
        let by = u128::from(by.widen());
        let (quotient, remainder) = (wide / by, wide % by);
        (half(quotient), half(remainder), quotient >> bits == 0)
    };
    if fits {
        Ok((quotient, remainder))
    } else {
        Err(e.raise(DE, None))
    }
}

/// `DIV`, `IDIV`. The flags are undefined: left as they are.
fn div<T: Int, const S: u8, const SIGNED: bool>(e: &mut Exec, op: &Op) -> Step {
    let by = e.source::<T, S>(op)?;
    let high = if T::BITS == 8 {
        crate::exec::HIGH
    } else {
        low8(RDX as u64)
    };
    let (dividend_high, dividend_low) = (e.reg(high), e.reg(0));
    let (quotient, remainder) = quotient::<T, SIGNED>(e, dividend_high, dividend_low, by)?;
    e.set_reg(0, quotient);
    e.set_reg(high, remainder);
    e.after::<R, S>()
}

/// The function of `DIV` and `IDIV`.
pub(crate) fn div_run(s: u8, size: u8, is_signed: bool) -> Run {
    if is_signed {
        by_place!(s, size, div, true)
    } else {
        by_place!(s, size, div, false)
    }
}

/// `AAM`: base `imm`.
pub(crate) fn aam(e: &mut Exec, op: &Op) -> Step {
    let (base, al) = (low8(op.imm), e.reg::<u8>(0));
    let (Some(high), Some(low)) = (al.checked_div(base), al.checked_rem(base)) else {
        return Err(e.raise(DE, None));
    };
    e.set_reg(crate::exec::HIGH, high);
    e.set_reg(0, low);
    e.r.flags.set_logic::<u8>(u64::from(low));
    Ok(Flow::Next)
}

/// `AAD`: base `imm`.
pub(crate) fn aad(e: &mut Exec, op: &Op) -> Step {
    let ah = e.reg::<u8>(crate::exec::HIGH);
    let result = e.reg::<u8>(0).wrapping_add(ah.wrapping_mul(low8(op.imm)));
    e.set_reg(0, u16::from(result));
    e.r.flags.set_logic::<u8>(u64::from(result));
    Ok(Flow::Next)
}
