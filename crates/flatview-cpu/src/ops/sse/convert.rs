//! Conversions between integers and floating-point numbers.

use iced_x86::Mnemonic as M;

use super::{M as MEMORY, Op, R, Row, Run, low64, with_low};
use crate::exec::{Exec, Step};
use crate::int::{Int, low32};

/// Towards zero.
const TRUNCATE: u8 = 3;

fn round(value: f64, rounding: u8) -> f64 {
    match rounding {
        0 => value.round_ties_even(),
        1 => value.floor(),
        2 => value.ceil(),
        _ => value.trunc(),
    }
}

/// The "integer indefinite" value if it does not fit (Intel SDM vol. 1, 4.8.3.7... table 4-1).
fn to_integer<T: Int>(value: f64, rounding: u8) -> T {
    let rounded = round(value, rounding);
    let limit = 2_f64.powi(T::BITS.cast_signed() - 1);
    if rounded >= -limit && rounded < limit {
        #[expect(clippy::cast_possible_truncation, reason = "it fits")]
        let integer = rounded as i64;
        return T::truncate(integer.cast_unsigned());
    }
    T::truncate(1 << (T::BITS - 1))
}

fn double(register: u128, number: u32) -> f64 {
    f64::from_bits(low64(register >> (64 * number)))
}

fn single(register: u128, number: u32) -> f64 {
    f64::from(f32::from_bits(low32(low64(register >> (32 * number)))))
}

fn integer(register: u128, number: u32) -> f64 {
    f64::from(low32(low64(register >> (32 * number))).cast_signed())
}

#[expect(clippy::cast_possible_truncation, reason = "that is the conversion")]
fn to_single(value: f64) -> u32 {
    (value as f32).to_bits()
}

/// `count` lanes of 32 bits; zeros above.
fn to_32(count: u32, each: impl Fn(u32) -> u32) -> u128 {
    (0..count).fold(0, |all, number| all | u128::from(each(number)) << (32 * number))
}

fn to_64(each: impl Fn(u32) -> f64) -> u128 {
    u128::from(each(0).to_bits()) | u128::from(each(1).to_bits()) << 64
}

pub(crate) static TABLE: &[Row] = &[
    // Single precision has fewer bits than an integer: rounded once.
    (M::Cvtdq2ps, 16, |_, b, _| {
        to_32(4, |number| to_single(integer(b, number)))
    }),
    (M::Cvtps2dq, 16, |_, b, rounding| {
        to_32(4, |number| to_integer(single(b, number), rounding))
    }),
    (M::Cvttps2dq, 16, |_, b, _| {
        to_32(4, |number| to_integer(single(b, number), TRUNCATE))
    }),
    (M::Cvtdq2pd, 8, |_, b, _| to_64(|number| integer(b, number))),
    (M::Cvtpd2dq, 16, |_, b, rounding| {
        to_32(2, |number| to_integer(double(b, number), rounding))
    }),
    (M::Cvttpd2dq, 16, |_, b, _| {
        to_32(2, |number| to_integer(double(b, number), TRUNCATE))
    }),
    (M::Cvtps2pd, 8, |_, b, _| to_64(|number| single(b, number))),
    (M::Cvtpd2ps, 16, |_, b, _| {
        to_32(2, |number| to_single(double(b, number)))
    }),
    (M::Cvtss2sd, 4, |a, b, _| {
        with_low::<u64>(a, single(b, 0).to_bits())
    }),
    (M::Cvtsd2ss, 8, |a, b, _| {
        with_low::<u32>(a, u64::from(to_single(double(b, 0))))
    }),
];

/// `CVTSI2SD`, `CVTSI2SS`: from a general register or memory.
fn from_general<T: Int, const S: u8, const DOUBLE: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = e.source::<T, S>(op)?.sign_extend().cast_signed();
    let place = e.xmm(op.dst);
    *place = if DOUBLE {
        with_low::<u64>(*place, (value as f64).to_bits())
    } else {
        with_low::<u32>(*place, u64::from((value as f32).to_bits()))
    };
    e.after::<R, S>()
}

/// The function of `CVTSI2SD` and `CVTSI2SS`.
pub(crate) fn from_general_run(s: u8, size: u8, is_double: bool) -> Run {
    match (s, size, is_double) {
        (R, 4, false) => from_general::<u32, R, false>,
        (R, 4, true) => from_general::<u32, R, true>,
        (R, _, false) => from_general::<u64, R, false>,
        (R, _, true) => from_general::<u64, R, true>,
        (_, 4, false) => from_general::<u32, MEMORY, false>,
        (_, 4, true) => from_general::<u32, MEMORY, true>,
        (_, _, false) => from_general::<u64, MEMORY, false>,
        (_, _, true) => from_general::<u64, MEMORY, true>,
    }
}

/// `CVTSD2SI`, `CVTSS2SI`; with `aux` `CVTTSD2SI`, `CVTTSS2SI`.
fn to_general<T: Int, const S: u8, const DOUBLE: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let source = e.wide_source::<S>(op, if DOUBLE { 8 } else { 4 })?;
    let rounding = if op.aux != 0 { TRUNCATE } else { e.sse.rounding() };
    let value = if DOUBLE {
        double(source, 0)
    } else {
        single(source, 0)
    };
    e.set_reg(op.dst, to_integer::<T>(value, rounding));
    e.after::<R, S>()
}

/// The function of `CVTSD2SI` and its kin.
pub(crate) fn to_general_run(s: u8, size: u8, is_double: bool) -> Run {
    match (s, size, is_double) {
        (R, 4, false) => to_general::<u32, R, false>,
        (R, 4, true) => to_general::<u32, R, true>,
        (R, _, false) => to_general::<u64, R, false>,
        (R, _, true) => to_general::<u64, R, true>,
        (_, 4, false) => to_general::<u32, MEMORY, false>,
        (_, 4, true) => to_general::<u32, MEMORY, true>,
        (_, _, false) => to_general::<u64, MEMORY, false>,
        (_, _, true) => to_general::<u64, MEMORY, true>,
    }
}
