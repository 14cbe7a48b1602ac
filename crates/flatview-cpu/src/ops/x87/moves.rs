//! Loads, stores, exchanges.

use super::ext::{DE, Ext, IE, Kind};
use super::rounding::{DOUBLE, EXTENDED, SINGLE};
use super::{C1, check, pops};
use crate::exec::mem::Access;
use crate::exec::{Exec, Fault, Flow, Step};
use crate::int::{low16, low32};
use crate::ops::Op;
use crate::ops::sse::low64;

/// What is in memory: in [`Op::src`], with [`MEMORY`] in `imm`.
pub(crate) const SINGLE_REAL: u8 = 0;
pub(crate) const DOUBLE_REAL: u8 = 1;
pub(crate) const EXTENDED_REAL: u8 = 2;
pub(crate) const WORD: u8 = 3;
pub(crate) const DOUBLEWORD: u8 = 4;
pub(crate) const QUADWORD: u8 = 5;
pub(crate) const DECIMAL: u8 = 6;
/// In [`Op::imm`]: the operand is in memory.
pub(crate) const MEMORY: u64 = 8;

/// How many decimal digits [`DECIMAL`] has.
const DIGITS: u32 = 18;

impl Exec {
    /// The bits of the operand in memory.
    fn load_bits(&mut self, op: &Op) -> Result<u128, Fault> {
        match op.src {
            WORD => self.load_wide(op, 2, false),
            SINGLE_REAL | DOUBLEWORD => self.load_wide(op, 4, false),
            DOUBLE_REAL | QUADWORD => self.load_wide(op, 8, false),
            _ => {
                let linear = self.string_address(op.seg, self.offset(op), 10, Access::Read)?;
                let low = self.load::<u64>(linear)?;
                let high = self.load::<u16>(self.wrap(linear.wrapping_add(8)))?;
                Ok(u128::from(high) << 64 | u128::from(low))
            }
        }
    }

    /// The operand of an operation: ST(`src`), or memory; and whether it was denormal there, which it is not any more.
    pub(super) fn x87_operand(&mut self, op: &Op) -> Result<(Ext, bool), Fault> {
        if op.imm & MEMORY == 0 {
            return Ok((self.x87.read(op.src), false));
        }
        let bits = self.load_bits(op)?;
        let low = low64(bits);
        let format = if op.src == SINGLE_REAL { SINGLE } else { DOUBLE };
        let is_real = matches!(op.src, SINGLE_REAL | DOUBLE_REAL);
        let value = match op.src {
            _ if is_real => Ext::widen(low, format),
            EXTENDED_REAL => Ext::from_bits(bits),
            WORD => Ext::from_integer(i64::from(low16(low).cast_signed())),
            DOUBLEWORD => Ext::from_integer(i64::from(low32(low).cast_signed())),
            QUADWORD => Ext::from_integer(low.cast_signed()),
            _ => from_decimal(bits),
        };
        Ok((value, is_real && format.is_denormal(low)))
    }
}

/// From 18 decimal digits and a sign.
fn from_decimal(bits: u128) -> Ext {
    let digits = (0..DIGITS).rev();
    let magnitude = digits.fold(0, |value, digit| value * 10 + (low64(bits >> (4 * digit)) & 15));
    let value = Ext::from_integer(magnitude.cast_signed());
    Ext::new(bits >> 79 & 1 != 0, value.exponent, value.significand)
}

/// `FLD`, `FILD`, `FBLD`.
pub(crate) fn load(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let (mut value, is_denormal) = e.x87_operand(op)?;
    if is_denormal {
        e.x87.status |= DE;
    }
    // A signalling one becomes quiet when it becomes wider.
    if op.imm & MEMORY != 0 && matches!(op.src, SINGLE_REAL | DOUBLE_REAL) && value.kind() == Kind::NotANumber
    {
        let mut rounding = e.x87.rounding();
        value = rounding.add(value, Ext::zero(false));
        e.x87.status |= rounding.flags & IE;
    }
    e.x87.push(value);
    Ok(e.flow)
}

/// `FLD1` and its kin: number `aux`.
pub(crate) fn constant(e: &mut Exec, op: &Op) -> Step {
    /// 1, log2 10, log2 e, pi, log10 2, ln 2, 0: exponent and 128 bits of significand.
    const CONSTANTS: [(i32, u128); 7] = [
        (0, 1 << 127),
        (1, 0xd49a_784b_cd1b_8afe_492b_f6ff_4daf_db4c),
        (0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88),
        (1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
        (-2, 0x9a20_9a84_fbcf_f798_8f89_59ac_0b7c_9178),
        (-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af),
        (0, 0),
    ];
    check(e)?;
    let (exponent, significand) = CONSTANTS[usize::from(op.aux % 7)];
    let mut rounding = e.x87.rounding();
    rounding.format = EXTENDED;
    let value = rounding.pack(false, exponent, significand);
    e.x87.push(value);
    Ok(Flow::Next)
}

/// `FST`, `FSTP` to memory, `FIST`, `FISTP`, `FBSTP`.
pub(crate) fn store(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let before = e.x87.status;
    let value = e.x87.read(0);
    let mut rounding = e.x87.rounding();
    let (bits, size) = match op.src {
        SINGLE_REAL => (u128::from(rounding.narrow(value, SINGLE)), 4),
        DOUBLE_REAL => (u128::from(rounding.narrow(value, DOUBLE)), 8),
        WORD => (u128::from(rounding.integer_of(value, 16)), 2),
        DOUBLEWORD => (u128::from(rounding.integer_of(value, 32)), 4),
        QUADWORD => (u128::from(rounding.integer_of(value, 64)), 8),
        EXTENDED_REAL => (value.to_bits(), 10),
        _ => (to_decimal(&mut rounding, value), 10),
    };
    let is_empty = e.x87.status != before;
    if let Err(fault) = store_bits(e, op, bits, size) {
        e.x87.status = before;
        return Err(fault);
    }
    if is_empty {
        rounding.flags = IE;
    }
    e.x87.note(rounding);
    if pops(op) != 0 {
        e.x87.pop();
    }
    Ok(e.flow)
}

fn store_bits(e: &mut Exec, op: &Op, bits: u128, size: u8) -> Result<(), Fault> {
    let low = low64(bits);
    match size {
        2 => {
            let linear = e.address::<u16>(op, Access::Write)?;
            e.store(linear, low16(low))
        }
        4 | 8 => e.store_wide(op, size, bits, false).map(|_| ()),
        _ => {
            let linear = e.string_address(op.seg, e.offset(op), 10, Access::Write)?;
            let high = e.wrap(linear.wrapping_add(8));
            e.probe::<u16>(high, Access::Write)?;
            e.store(linear, low)?;
            e.store(high, low16(low64(bits >> 64)))
        }
    }
}

/// 18 decimal digits and a sign; the "indefinite" one if there are more.
fn to_decimal(rounding: &mut super::Rounding, value: Ext) -> u128 {
    const INDEFINITE: u128 = 0xffff_c000_0000_0000_0000;
    let before = rounding.flags;
    let integer = rounding.integer_of(value, 64).cast_signed();
    let mut magnitude = integer.unsigned_abs();
    if rounding.flags & !before & IE != 0 || magnitude >= 10_u64.pow(DIGITS) {
        rounding.flags = before | IE;
        return INDEFINITE;
    }
    let mut bits = u128::from(value.is_negative()) << 79;
    for digit in 0..DIGITS {
        bits |= u128::from(magnitude % 10) << (4 * digit);
        magnitude /= 10;
    }
    bits
}

/// `FST`, `FSTP` to ST(`dst`).
pub(crate) fn store_register(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.status &= !C1;
    let value = e.x87.read(0);
    e.x87.write(op.dst, value);
    if pops(op) != 0 {
        e.x87.pop();
    }
    Ok(Flow::Next)
}

/// `FXCH`.
pub(crate) fn exchange(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.status &= !C1;
    let (first, second) = (e.x87.read(0), e.x87.read(op.src));
    e.x87.write(0, second);
    e.x87.write(op.src, first);
    Ok(Flow::Next)
}

/// `FCMOVcc`: condition `aux`, as in the opcodes of `Jcc`.
pub(crate) fn move_if(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.status &= !C1;
    let value = e.x87.read(op.src);
    if e.r.flags.condition(op.aux) {
        e.x87.write(0, value);
    }
    Ok(Flow::Next)
}
