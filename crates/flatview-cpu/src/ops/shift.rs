//! Shifts and rotations.
//!
//! OF is defined for counts of 1 only; for others it is set as real processors do, where they agree.

use super::{I, Op, R, Run};
use crate::exec::{Exec, Registers, Step};
use crate::int::{Int, low8};

pub(crate) const ROL: u8 = 0;
pub(crate) const ROR: u8 = 1;
pub(crate) const RCL: u8 = 2;
pub(crate) const RCR: u8 = 3;
pub(crate) const SHL: u8 = 4;
pub(crate) const SHR: u8 = 5;
pub(crate) const SAR: u8 = 7;

/// The count that is used: five bits, or six for 64-bit operands.
fn masked<T: Int>(count: u8) -> u32 {
    u32::from(count) & if T::BITS == 64 { 63 } else { 31 }
}

#[inline(always)]
fn compute<T: Int, const OP: u8>(r: &mut Registers, a: T, count: u32) -> T {
    if count == 0 {
        return a;
    }
    let bits = T::BITS;
    let flags = &mut r.flags;
    let wide = a.widen();
    let top = |value: u64| value >> (bits - 1) & 1 != 0;
    match OP {
        SHL => {
            // 8- and 16-bit operands can be shifted further than they are wide.
            let result = if count >= bits {
                0
            } else {
                T::truncate(wide << count).widen()
            };
            let cf = count <= bits && wide >> (bits - count) & 1 != 0;
            flags.set_logic::<T>(result);
            flags.set_cf_of(cf, cf != top(result));
            T::truncate(result)
        }
        SHR => {
            let result = if count >= bits { 0 } else { wide >> count };
            let cf = count <= bits && wide >> (count - 1) & 1 != 0;
            flags.set_logic::<T>(result);
            flags.set_cf_of(cf, top(wide) && count == 1);
            T::truncate(result)
        }
        SAR => {
            let signed = a.sign_extend().cast_signed();
            let result = (signed >> count.min(63)).cast_unsigned();
            let cf = signed >> (count - 1).min(63) & 1 != 0;
            flags.set_logic::<T>(result);
            flags.set_cf_of(cf, false);
            T::truncate(result)
        }
        ROL | ROR => {
            let by = count % bits;
            let left = if OP == ROL { by } else { (bits - by) % bits };
            let result = if left == 0 {
                wide
            } else {
                T::truncate(wide << left | wide >> (bits - left)).widen()
            };
            if OP == ROL {
                let cf = result & 1 != 0;
                flags.set_cf_of(cf, cf != top(result));
            } else {
                let cf = top(result);
                flags.set_cf_of(cf, cf != (result >> (bits - 2) & 1 != 0));
            }
            T::truncate(result)
        }
        _ => {
            // Through the carry: one bit more.
            let by = count % (bits + 1);
            let cf = u128::from(flags.cf());
            let ring = cf << bits | u128::from(wide);
            let left = if OP == RCL {
                by
            } else {
                (bits + 1 - by) % (bits + 1)
            };
            let rotated = ring << left | ring >> (bits + 1 - left);
            let result = T::truncate(u64::try_from(rotated & u128::from(u64::MAX)).unwrap_or(0));
            let cf = rotated >> bits & 1 != 0;
            let of = if OP == RCL {
                cf != top(result.widen())
            } else {
                top(result.widen()) != (result.widen() >> (bits - 2) & 1 != 0)
            };
            flags.set_cf_of(cf, of);
            result
        }
    }
}

/// `ROL`, `ROR`, `RCL`, `RCR`, `SHL`, `SHR`, `SAR`: by `imm`, or by CL.
fn shift<T: Int, const D: u8, const OP: u8, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let count = masked::<T>(if S == I { low8(op.imm) } else { e.reg(1) });
    e.change::<T, D>(op, |r, a| compute::<T, OP>(r, a, count))
}

/// The function of a shift; `s` is `I`, or `R` for CL.
pub(crate) fn shift_run(operation: u8, d: u8, s: u8, size: u8) -> Run {
    fn forms<const OP: u8>(d: u8, s: u8, size: u8) -> Run {
        if s == I {
            by_place!(d, size, shift, OP, I)
        } else {
            by_place!(d, size, shift, OP, R)
        }
    }
    let forms = match operation {
        ROL => forms::<ROL>,
        ROR => forms::<ROR>,
        RCL => forms::<RCL>,
        RCR => forms::<RCR>,
        SHL => forms::<SHL>,
        SHR => forms::<SHR>,
        _ => forms::<SAR>,
    };
    forms(d, s, size)
}

/// `SHLD`, `SHRD`: by `imm`, or by CL. With 16 bits and a count above 16 the result is undefined; it is then that of a
/// ring of 48 bits: destination, source, destination.
fn double<T: Int, const D: u8, const LEFT: bool, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let count = masked::<T>(if S == I { low8(op.imm) } else { e.reg(1) });
    let fill = e.reg::<T>(op.src).widen();
    e.change::<T, D>(op, |r, a| {
        if count == 0 {
            return a;
        }
        let (bits, wide) = (T::BITS, a.widen());
        let (a128, f128) = (u128::from(wide), u128::from(fill));
        let (shifted, cf) = if LEFT {
            let ring = (a128 << bits | f128) << bits | a128;
            let ring = if bits == 64 { a128 << 64 | f128 } else { ring };
            let low = if bits == 64 { 64 } else { 2 * bits };
            (ring << count >> low, wide_bit(ring, low + bits - count))
        } else {
            let ring = if bits == 64 {
                f128 << 64 | a128
            } else {
                (a128 << bits | f128) << bits | a128
            };
            (ring >> count, wide_bit(ring, count - 1))
        };
        let result = T::truncate(u64::try_from(shifted & u128::from(u64::MAX)).unwrap_or(0)).widen();
        r.flags.set_logic::<T>(result);
        r.flags.set_cf_of(cf, (result ^ wide) >> (bits - 1) & 1 != 0);
        T::truncate(result)
    })
}

fn wide_bit(value: u128, bit: u32) -> bool {
    value >> bit & 1 != 0
}

/// The function of `SHLD` and `SHRD`; `s` is `I`, or `R` for CL.
pub(crate) fn double_run(is_left: bool, d: u8, s: u8, size: u8) -> Run {
    match (is_left, s) {
        (true, I) => wide_by_place!(d, size, double, true, I),
        (true, _) => wide_by_place!(d, size, double, true, R),
        (false, I) => wide_by_place!(d, size, double, false, I),
        (false, _) => wide_by_place!(d, size, double, false, R),
    }
}
