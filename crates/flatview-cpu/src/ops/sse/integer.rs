//! Packed integers.

use iced_x86::Mnemonic as M;

use super::{Row, lanes, low64};
use crate::int::{Int, low8, low16, low32};

/// A row whose third operand does not count.
macro_rules! row {
    ($name:ident, $function:expr) => {
        (M::$name, 16, |a, b, _| $function(a, b))
    };
}

/// A row of lanes.
macro_rules! each {
    ($name:ident, $lane:ty, $function:expr) => {
        (M::$name, 16, |a, b, _| lanes::<$lane>(a, b, $function))
    };
}

fn if_all<T: Int>(holds: bool) -> T {
    T::truncate(if holds { u64::MAX } else { 0 })
}

/// Lane `number` of a register.
fn lane<T: Int>(register: u128, number: u32) -> T {
    T::truncate(low64(register >> (number * T::BITS)))
}

/// The lanes of two registers by turns, from lane `first` of each on.
fn unpack<T: Int>(a: u128, b: u128, first: u32) -> u128 {
    let mut result = 0;
    for number in 0..64 / T::BITS {
        let pair = u128::from(lane::<T>(b, first + number).widen()) << T::BITS
            | u128::from(lane::<T>(a, first + number).widen());
        result |= pair << (number * 2 * T::BITS);
    }
    result
}

fn unpack_low<T: Int>(a: u128, b: u128) -> u128 {
    unpack::<T>(a, b, 0)
}

fn unpack_high<T: Int>(a: u128, b: u128) -> u128 {
    unpack::<T>(a, b, 64 / T::BITS)
}

/// Both registers' lanes of type `T`, each made half as wide by `narrow`.
fn pack<T: Int>(a: u128, b: u128, narrow: impl Fn(i64) -> u64) -> u128 {
    let mut result = 0;
    let (count, bits) = (128 / T::BITS, T::BITS / 2);
    for number in 0..2 * count {
        let from = if number < count { a } else { b };
        let value = lane::<T>(from, number % count).sign_extend().cast_signed();
        let half = u128::from(narrow(value)) & ((1 << bits) - 1);
        result |= half << (number * bits);
    }
    result
}

fn clamp(value: i64, least: i64, most: i64) -> u64 {
    value.clamp(least, most).cast_unsigned()
}

/// Shifts lanes left, or right; by as many bits as they have, or more, nothing is left.
fn shift<T: Int>(a: u128, count: u128, shift: impl Fn(u64, u32) -> u64) -> u128 {
    let count = u32::try_from(count & u128::from(u64::MAX)).unwrap_or(u32::MAX);
    if count >= T::BITS {
        return 0;
    }
    lanes::<T>(a, 0, |lane, _| T::truncate(shift(lane.widen(), count)))
}

fn shift_left<T: Int>(a: u128, count: u128) -> u128 {
    shift::<T>(a, count, |lane, count| lane << count)
}

fn shift_right<T: Int>(a: u128, count: u128) -> u128 {
    shift::<T>(a, count, |lane, count| lane >> count)
}

fn shift_signed<T: Int>(a: u128, count: u128) -> u128 {
    let count = u32::try_from(count & u128::from(u64::MAX))
        .unwrap_or(u32::MAX)
        .min(T::BITS - 1);
    lanes::<T>(a, 0, |lane, _| {
        T::truncate((lane.sign_extend().cast_signed() >> count).cast_unsigned())
    })
}

fn shift_bytes(a: u128, count: u128, shift: impl Fn(u128, u32) -> Option<u128>) -> u128 {
    let bits = u32::try_from(count.min(16)).unwrap_or(16) * 8;
    shift(a, bits).unwrap_or(0)
}

fn signed(value: u16) -> i32 {
    i32::from(value.cast_signed())
}

fn high_half(product: i32) -> u16 {
    low16(u64::from(product.cast_unsigned() >> 16))
}

fn multiply_add(a: u128, b: u128) -> u128 {
    lanes::<u32>(a, b, |a, b| {
        let part = |value: u32, at: u32| i32::from(low16(u64::from(value >> at)).cast_signed());
        let sum = (part(a, 0) * part(b, 0)).wrapping_add(part(a, 16) * part(b, 16));
        sum.cast_unsigned()
    })
}

fn multiply_doublewords(a: u128, b: u128) -> u128 {
    lanes::<u64>(a, b, |a, b| (a & 0xffff_ffff) * (b & 0xffff_ffff))
}

fn sum_of_differences(a: u128, b: u128) -> u128 {
    lanes::<u64>(a, b, |a, b| {
        let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
        pairs.map(|(a, b)| u64::from(a.abs_diff(b))).sum()
    })
}

/// Doublewords chosen by pairs of bits.
fn shuffle_doublewords(_: u128, b: u128, order: u8) -> u128 {
    (0..4).fold(0, |all, to| {
        let from = u32::from(order >> (2 * to) & 3);
        all | u128::from(lane::<u32>(b, from)) << (32 * to)
    })
}

/// Words of one half, from word `first` on, chosen by pairs of bits.
fn shuffle_words(b: u128, order: u8, first: u32) -> u128 {
    (0..4).fold(b & !(u128::from(u64::MAX) << (16 * first)), |all, to| {
        let from = first + u32::from(order >> (2 * to) & 3);
        all | u128::from(lane::<u16>(b, from)) << (16 * (first + to))
    })
}

fn average(a: u64, b: u64) -> u64 {
    (a + b + 1) >> 1
}

pub(crate) static TABLE: &[Row] = &[
    each!(Paddb, u8, u8::wrapping_add),
    each!(Paddw, u16, u16::wrapping_add),
    each!(Paddd, u32, u32::wrapping_add),
    each!(Paddq, u64, u64::wrapping_add),
    each!(Psubb, u8, u8::wrapping_sub),
    each!(Psubw, u16, u16::wrapping_sub),
    each!(Psubd, u32, u32::wrapping_sub),
    each!(Psubq, u64, u64::wrapping_sub),
    each!(Paddusb, u8, u8::saturating_add),
    each!(Paddusw, u16, u16::saturating_add),
    each!(Psubusb, u8, u8::saturating_sub),
    each!(Psubusw, u16, u16::saturating_sub),
    each!(Paddsb, u8, |a, b| a
        .cast_signed()
        .saturating_add(b.cast_signed())
        .cast_unsigned()),
    each!(Paddsw, u16, |a, b| a
        .cast_signed()
        .saturating_add(b.cast_signed())
        .cast_unsigned()),
    each!(Psubsb, u8, |a, b| a
        .cast_signed()
        .saturating_sub(b.cast_signed())
        .cast_unsigned()),
    each!(Psubsw, u16, |a, b| a
        .cast_signed()
        .saturating_sub(b.cast_signed())
        .cast_unsigned()),
    each!(Pminub, u8, u8::min),
    each!(Pmaxub, u8, u8::max),
    each!(Pminsw, u16, |a, b| a
        .cast_signed()
        .min(b.cast_signed())
        .cast_unsigned()),
    each!(Pmaxsw, u16, |a, b| a
        .cast_signed()
        .max(b.cast_signed())
        .cast_unsigned()),
    each!(Pavgb, u8, |a, b| low8(average(a.into(), b.into()))),
    each!(Pavgw, u16, |a, b| low16(average(a.into(), b.into()))),
    each!(Pcmpeqb, u8, |a, b| if_all(a == b)),
    each!(Pcmpeqw, u16, |a, b| if_all(a == b)),
    each!(Pcmpeqd, u32, |a, b| if_all(a == b)),
    each!(Pcmpgtb, u8, |a, b| if_all(a.cast_signed() > b.cast_signed())),
    each!(Pcmpgtw, u16, |a, b| if_all(a.cast_signed() > b.cast_signed())),
    each!(Pcmpgtd, u32, |a, b| if_all(a.cast_signed() > b.cast_signed())),
    each!(Pmullw, u16, u16::wrapping_mul),
    each!(Pmulhw, u16, |a, b| high_half(signed(a) * signed(b))),
    each!(Pmulhuw, u16, |a, b| low16(
        u64::from(u32::from(a) * u32::from(b)) >> 16
    )),
    row!(Pmuludq, multiply_doublewords),
    row!(Pmaddwd, multiply_add),
    row!(Psadbw, sum_of_differences),
    row!(Pand, |a: u128, b: u128| a & b),
    row!(Pandn, |a: u128, b: u128| !a & b),
    row!(Por, |a: u128, b: u128| a | b),
    row!(Pxor, |a: u128, b: u128| a ^ b),
    row!(Andps, |a: u128, b: u128| a & b),
    row!(Andpd, |a: u128, b: u128| a & b),
    row!(Andnps, |a: u128, b: u128| !a & b),
    row!(Andnpd, |a: u128, b: u128| !a & b),
    row!(Orps, |a: u128, b: u128| a | b),
    row!(Orpd, |a: u128, b: u128| a | b),
    row!(Xorps, |a: u128, b: u128| a ^ b),
    row!(Xorpd, |a: u128, b: u128| a ^ b),
    row!(Punpcklbw, unpack_low::<u8>),
    row!(Punpcklwd, unpack_low::<u16>),
    row!(Punpckldq, unpack_low::<u32>),
    row!(Punpcklqdq, unpack_low::<u64>),
    row!(Punpckhbw, unpack_high::<u8>),
    row!(Punpckhwd, unpack_high::<u16>),
    row!(Punpckhdq, unpack_high::<u32>),
    row!(Punpckhqdq, unpack_high::<u64>),
    row!(Unpcklps, unpack_low::<u32>),
    row!(Unpcklpd, unpack_low::<u64>),
    row!(Unpckhps, unpack_high::<u32>),
    row!(Unpckhpd, unpack_high::<u64>),
    row!(Packsswb, |a, b| pack::<u16>(a, b, |value| clamp(
        value, -0x80, 0x7f
    ))),
    row!(Packssdw, |a, b| pack::<u32>(a, b, |value| clamp(
        value, -0x8000, 0x7fff
    ))),
    row!(Packuswb, |a, b| pack::<u16>(a, b, |value| clamp(value, 0, 0xff))),
    row!(Psllw, shift_left::<u16>),
    row!(Pslld, shift_left::<u32>),
    row!(Psllq, shift_left::<u64>),
    row!(Psrlw, shift_right::<u16>),
    row!(Psrld, shift_right::<u32>),
    row!(Psrlq, shift_right::<u64>),
    row!(Psraw, shift_signed::<u16>),
    row!(Psrad, shift_signed::<u32>),
    row!(Pslldq, |a, count| shift_bytes(a, count, u128::checked_shl)),
    row!(Psrldq, |a, count| shift_bytes(a, count, u128::checked_shr)),
    (M::Pshufd, 16, shuffle_doublewords),
    (M::Pshuflw, 16, |_, b, order| shuffle_words(b, order, 0)),
    (M::Pshufhw, 16, |_, b, order| shuffle_words(b, order, 4)),
    (M::Shufps, 16, |a, b, order| {
        let low = shuffle_doublewords(0, a, order) & u128::from(u64::MAX);
        low | shuffle_doublewords(0, b, order) >> 64 << 64
    }),
    (M::Shufpd, 16, |a, b, order| {
        let low: u64 = lane(a, u32::from(order & 1));
        u128::from(low) | u128::from(lane::<u64>(b, u32::from(order >> 1 & 1))) << 64
    }),
    row!(Movhlps, |a: u128, b: u128| a >> 64 << 64 | b >> 64),
    row!(Movlhps, |a: u128, b: u128| a & u128::from(u64::MAX) | b << 64),
];

/// The highest bits of the lanes, the lowest lane's first.
pub(crate) fn sign_mask<T: Int>(register: u128) -> u32 {
    (0..128 / T::BITS).fold(0, |mask, number| {
        let sign = lane::<T>(register, number).widen() >> (T::BITS - 1);
        mask | low32(sign) << number
    })
}
