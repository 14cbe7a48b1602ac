//! Arithmetic, comparisons, functions.

use std::cmp::Ordering;

use super::ext::{DE, Ext, Kind};
use super::rounding::{DOUBLE, EXTENDED, Rounding};
use super::{C0, C1, C2, C3, check, pops};
use crate::exec::{Exec, Flow, Step};
use crate::flags::{CF, PF, ZF};
use crate::ops::Op;

pub(crate) const ADD: u8 = 0;
pub(crate) const MUL: u8 = 1;
pub(crate) const SUB: u8 = 2;
/// The other way round.
pub(crate) const SUBR: u8 = 3;
pub(crate) const DIV: u8 = 4;
pub(crate) const DIVR: u8 = 5;

/// `FADD` and its kin: operation `aux` on ST(`dst`) and ST(`src`) or memory.
pub(crate) fn arithmetic(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let (b, is_denormal) = e.x87_operand(op)?;
    let a = e.x87.read(op.dst);
    let mut rounding = e.x87.rounding();
    if is_denormal && !a.is_no_number() {
        rounding.flags |= DE;
    }
    let minus = |value: Ext| match value.kind() {
        Kind::NotANumber | Kind::Unsupported => value,
        _ => Ext {
            exponent: value.exponent ^ 0x8000,
            ..value
        },
    };
    let result = match op.aux {
        ADD => rounding.add(a, b),
        MUL => rounding.multiply(a, b),
        SUB => rounding.add(a, minus(b)),
        SUBR => rounding.add(b, minus(a)),
        DIV => rounding.divide(a, b),
        _ => rounding.divide(b, a),
    };
    e.x87.note(rounding);
    e.x87.write(op.dst, result);
    if pops(op) != 0 {
        e.x87.pop();
    }
    Ok(e.flow)
}

/// In [`Op::aux`] of a comparison: what is no number is an exception only if it signals;
pub(crate) const QUIET: u8 = 1;
/// the result goes to the CPU's flags;
pub(crate) const TO_FLAGS: u8 = 2;
/// it is with zero.
pub(crate) const WITH_ZERO: u8 = 4;

/// `FCOM`, `FUCOM`, `FICOM`, `FTST`, `FCOMI`, `FUCOMI`.
pub(crate) fn compare(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let (b, is_denormal) = if op.aux & WITH_ZERO != 0 {
        (Ext::zero(false), false)
    } else {
        e.x87_operand(op)?
    };
    let a = e.x87.read(0);
    let mut rounding = e.x87.rounding();
    if is_denormal && !a.is_no_number() {
        rounding.flags |= DE;
    }
    let ordering = rounding.compare(a, b, op.aux & QUIET != 0);
    e.x87.note(rounding);
    if op.aux & TO_FLAGS != 0 {
        e.r.flags.set_arithmetic(match ordering {
            None => ZF | PF | CF,
            Some(Ordering::Less) => CF,
            Some(Ordering::Equal) => ZF,
            Some(Ordering::Greater) => 0,
        });
    } else {
        e.x87.set_condition(match ordering {
            None => C0 | C2 | C3,
            Some(Ordering::Less) => C0,
            Some(Ordering::Equal) => C3,
            Some(Ordering::Greater) => 0,
        });
    }
    for _ in 0..pops(op) {
        e.x87.pop();
    }
    Ok(e.flow)
}

/// `FXAM`.
pub(crate) fn examine(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    let value = e.x87.registers[e.x87.number(0)];
    let class = match value.kind() {
        _ if e.x87.is_empty(0) => C3 | C0,
        Kind::Unsupported => 0,
        Kind::NotANumber => C0,
        Kind::Infinity => C2 | C0,
        Kind::Zero => C3,
        Kind::Finite { .. } if value.is_denormal() => C3 | C2,
        Kind::Finite { .. } => C2,
    };
    e.x87
        .set_condition(class | if value.is_negative() { C1 } else { 0 });
    Ok(Flow::Next)
}

/// `FCHS` (`ABS` false), `FABS`.
pub(crate) fn sign<const ABS: bool>(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    let value = e.x87.read(0);
    let exponent = if ABS {
        value.exponent & 0x7fff
    } else {
        value.exponent ^ 0x8000
    };
    e.x87.status &= !C1;
    e.x87.write(0, Ext { exponent, ..value });
    Ok(Flow::Next)
}

pub(crate) const SQRT: u8 = 0;
pub(crate) const ROUND: u8 = 1;
pub(crate) const SCALE: u8 = 2;
pub(crate) const EXPONENTIAL: u8 = 3;
pub(crate) const SINE: u8 = 4;
pub(crate) const COSINE: u8 = 5;
pub(crate) const LOGARITHM: u8 = 6;
pub(crate) const LOGARITHM_PLUS_1: u8 = 7;
pub(crate) const ARCTANGENT: u8 = 8;

/// Functions of ST(0), or of it and ST(1): `aux` says which. Some pop.
pub(crate) fn function(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let a = e.x87.read(0);
    let mut rounding = e.x87.rounding();
    let by_host = |rounding: Rounding, function: fn(f64) -> f64| host(function(rounding.to_host(a)));
    let result = match op.aux {
        SQRT => rounding.square_root(a),
        ROUND => rounding.integral_of(a),
        SCALE => {
            let b = e.x87.read(1);
            rounding.scale(a, b)
        }
        EXPONENTIAL => by_host(rounding, |x| (x * std::f64::consts::LN_2).exp_m1()),
        SINE => by_host(rounding, f64::sin),
        COSINE => by_host(rounding, f64::cos),
        _ => {
            let (x, y) = (rounding.to_host(a), rounding.to_host(e.x87.read(1)));
            host(match op.aux {
                LOGARITHM => y * x.log2(),
                LOGARITHM_PLUS_1 => y * x.ln_1p() / std::f64::consts::LN_2,
                _ => y.atan2(x),
            })
        }
    };
    e.x87.note(rounding);
    if op.aux >= SINE {
        // The argument was not too large.
        e.x87.status &= !C2;
    }
    if pops(op) != 0 {
        e.x87.pop();
    }
    e.x87.write(0, result);
    Ok(Flow::Next)
}

fn host(value: f64) -> Ext {
    Ext::widen(value.to_bits(), DOUBLE)
}

/// `FSINCOS` (`TANGENT` false), `FPTAN`: one number more on the stack.
pub(crate) fn two_results<const TANGENT: bool>(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    let a = e.x87.read(0);
    let x = e.x87.rounding().to_host(a);
    let (first, second) = if TANGENT {
        (x.tan(), 1.0)
    } else {
        (x.sin(), x.cos())
    };
    e.x87.status &= !(C1 | C2);
    e.x87.write(0, host(first));
    e.x87.push(host(second));
    Ok(Flow::Next)
}

/// `FXTRACT`: the exponent, then the significand.
pub(crate) fn extract(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    let a = e.x87.read(0);
    let mut rounding = e.x87.rounding();
    let (exponent, significand) = match a.kind() {
        Kind::Finite {
            exponent,
            significand,
        } => (
            Ext::from_integer(i64::from(exponent)),
            Ext::new(a.is_negative(), 0x3fff, significand),
        ),
        Kind::Zero => {
            rounding.flags |= super::ext::ZE;
            (Ext::infinity(true), a)
        }
        Kind::Infinity => (Ext::infinity(false), a),
        // Made quiet.
        _ => {
            let quiet = rounding.add(a, a);
            (quiet, quiet)
        }
    };
    if a.is_denormal() {
        rounding.flags |= DE;
    }
    e.x87.note(rounding);
    e.x87.write(0, exponent);
    e.x87.push(significand);
    Ok(Flow::Next)
}

/// `FPREM` (towards zero), `FPREM1` (`NEAREST`). If the exponents differ by 64 or more, the dividend is made smaller, and
/// C2 says that there is more to do.
pub(crate) fn remainder<const NEAREST: bool>(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    let (a, b) = (e.x87.read(0), e.x87.read(1));
    let mut rounding = e.x87.rounding();
    rounding.format = EXTENDED;
    let mut is_partial = false;
    let (result, quotient) = match (a.kind(), b.kind()) {
        (
            Kind::Finite {
                exponent,
                significand,
            },
            Kind::Finite {
                exponent: by,
                significand: divisor,
            },
        ) => {
            let (dividend, divisor, difference) = ((exponent, significand), (by, divisor), exponent - by);
            is_partial = difference >= 64;
            if is_partial {
                // As real processors do it: 32 to 63 bits of the quotient.
                let divisor = (exponent - (difference & 31 | 32), divisor.1);
                (divide_out::<false>(&mut rounding, a, dividend, divisor).0, 0)
            } else {
                divide_out::<NEAREST>(&mut rounding, a, dividend, divisor)
            }
        }
        (Kind::Zero | Kind::Finite { .. }, Kind::Infinity) | (Kind::Zero, Kind::Finite { .. }) => (a, 0),
        // Not a number, an infinite dividend, a divisor of zero: what dividing zero by zero makes of them.
        (Kind::Infinity, _) | (_, Kind::Zero)
            if !matches!(a.kind(), Kind::NotANumber | Kind::Unsupported)
                && !matches!(b.kind(), Kind::NotANumber | Kind::Unsupported) =>
        {
            (rounding.divide(Ext::zero(false), Ext::zero(false)), 0)
        }
        _ => (rounding.add(a, b), 0),
    };
    if (a.is_denormal() || b.is_denormal()) && !result.is_no_number() {
        rounding.flags |= DE;
    }
    e.x87.note(rounding);
    let bit = |number: u64, code: u16| if quotient >> number & 1 != 0 { code } else { 0 };
    e.x87
        .set_condition(bit(2, C0) | bit(0, C1) | bit(1, C3) | if is_partial { C2 } else { 0 });
    e.x87.write(0, result);
    Ok(Flow::Next)
}

/// The remainder of two finite numbers, bit by bit, and the low bits of the quotient.
fn divide_out<const NEAREST: bool>(
    rounding: &mut Rounding,
    a: Ext,
    (exponent_a, significand_a): (i32, u64),
    (exponent_b, significand_b): (i32, u64),
) -> (Ext, u64) {
    let difference = exponent_a - exponent_b;
    if difference < -1 || (difference < 0 && !NEAREST) {
        // Once more, because an unusual encoding becomes a usual one.
        return (
            rounding.pack(a.is_negative(), exponent_a, u128::from(significand_a) << 64),
            0,
        );
    }
    let (mut rest, divisor) = (u128::from(significand_a), u128::from(significand_b));
    let mut quotient = 0_u64;
    // The last place of the divisor, after this many doublings of the rest.
    let mut exponent = exponent_a;
    if difference >= 0 {
        for turn in 0..=difference {
            quotient <<= 1;
            if rest >= divisor {
                rest -= divisor;
                quotient |= 1;
            }
            if turn < difference {
                rest <<= 1;
            }
        }
        exponent = exponent_b;
    }
    let mut negative = a.is_negative();
    if NEAREST {
        // Twice the rest against the divisor, in the same units.
        let (twice, whole) = if difference >= 0 {
            (rest << 1, divisor)
        } else {
            (rest, divisor)
        };
        if twice > whole || (twice == whole && quotient & 1 != 0) {
            let unit = if difference >= 0 { divisor } else { divisor << 1 };
            rest = unit - rest;
            negative = !negative;
            quotient += 1;
        }
    }
    (rounding.pack_remainder(negative, exponent, rest), quotient)
}

impl Rounding {
    /// A number whose significand is `significand / 2^63`; zero keeps its sign.
    fn pack_remainder(&mut self, negative: bool, exponent: i32, significand: u128) -> Ext {
        self.pack(negative, exponent + 64, significand)
    }
}
