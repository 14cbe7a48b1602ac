//! Numbers of 80 bits: the double extended precision of the x87 (Intel SDM vol. 1, 4.2.2 and 8.2).
//!
//! A finite number is a sign, an exponent and 64 bits of significand.

use super::rounding::{Format, Rounding};
use crate::int::{low16, low32};
use crate::ops::sse::low64;

/// Exceptions: invalid operation,
pub(crate) const IE: u16 = 1;
/// a denormal operand,
pub(crate) const DE: u16 = 1 << 1;
/// division by zero,
pub(crate) const ZE: u16 = 1 << 2;
/// overflow,
pub(crate) const OE: u16 = 1 << 3;
/// underflow,
pub(crate) const UE: u16 = 1 << 4;
/// an inexact result;
pub(crate) const PE: u16 = 1 << 5;
/// and, not an exception, that it was rounded away from zero: condition code 1.
pub(super) const ROUNDED_UP: u16 = 1 << 9;

pub(super) const BIAS: i32 = 16383;
pub(super) const INTEGER_BIT: u64 = 1 << 63;
pub(super) const QUIET_BIT: u64 = 1 << 62;

/// A number as it is in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ext {
    /// The sign is bit 15.
    pub(crate) exponent: u16,
    pub(crate) significand: u64,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Zero,
    /// `significand / 2^63 * 2^exponent`; the highest bit of the significand is set.
    Finite {
        exponent: i32,
        significand: u64,
    },
    Infinity,
    NotANumber,
    /// An encoding that processors do not make any more.
    Unsupported,
}

impl Ext {
    /// What an invalid operation results in.
    pub(crate) const INDEFINITE: Ext = Ext {
        exponent: 0xffff,
        significand: INTEGER_BIT | QUIET_BIT,
    };

    pub(crate) fn new(negative: bool, exponent: u16, significand: u64) -> Ext {
        Ext {
            exponent: exponent | u16::from(negative) << 15,
            significand,
        }
    }

    pub(crate) fn zero(negative: bool) -> Ext {
        Ext::new(negative, 0, 0)
    }

    pub(crate) fn infinity(negative: bool) -> Ext {
        Ext::new(negative, 0x7fff, INTEGER_BIT)
    }

    pub(crate) fn from_bits(bits: u128) -> Ext {
        Ext {
            exponent: low16(low64(bits >> 64)),
            significand: low64(bits),
        }
    }

    pub(crate) fn to_bits(self) -> u128 {
        u128::from(self.exponent) << 64 | u128::from(self.significand)
    }

    pub(crate) fn is_negative(self) -> bool {
        self.exponent >> 15 != 0
    }

    pub(crate) fn is_denormal(self) -> bool {
        self.exponent & 0x7fff == 0 && self.significand != 0
    }

    pub(crate) fn is_no_number(self) -> bool {
        matches!(self.kind(), Kind::NotANumber | Kind::Unsupported)
    }

    pub(crate) fn kind(self) -> Kind {
        let (biased, significand) = (self.exponent & 0x7fff, self.significand);
        let has_integer_bit = significand & INTEGER_BIT != 0;
        match (biased, has_integer_bit) {
            (0, _) if significand == 0 => Kind::Zero,
            (0, _) => {
                let shift = significand.leading_zeros();
                Kind::Finite {
                    exponent: 1 - BIAS - shift.cast_signed(),
                    significand: significand << shift,
                }
            }
            (_, false) => Kind::Unsupported,
            (0x7fff, _) if significand == INTEGER_BIT => Kind::Infinity,
            (0x7fff, _) => Kind::NotANumber,
            _ => Kind::Finite {
                exponent: i32::from(biased) - BIAS,
                significand,
            },
        }
    }

    /// In the order of the numbers. Zeros are equal.
    pub(super) fn order(self) -> i128 {
        let magnitude = match self.kind() {
            Kind::Zero => 0,
            _ => i128::from(self.exponent & 0x7fff) << 64 | i128::from(self.significand),
        };
        if self.is_negative() { -magnitude } else { magnitude }
    }

    /// From the bits of a smaller format: always exact.
    pub(crate) fn widen(bits: u64, format: Format) -> Ext {
        let fraction_bits = format.bits - 1;
        let exponent_bits = if format.bits == 24 { 8 } else { 11 };
        let negative = bits >> (fraction_bits + exponent_bits) & 1 != 0;
        let biased = low32(bits >> fraction_bits & ((1 << exponent_bits) - 1)).cast_signed();
        let fraction = (bits & ((1 << fraction_bits) - 1)) << (63 - fraction_bits);
        if biased == 2 * format.most + 1 {
            return Ext::new(negative, 0x7fff, INTEGER_BIT | fraction);
        }
        let (exponent, significand) = if biased == 0 {
            (format.least, fraction)
        } else {
            (biased - format.most, INTEGER_BIT | fraction)
        };
        Rounding::exact().pack(negative, exponent, u128::from(significand) << 64)
    }

    pub(crate) fn from_integer(value: i64) -> Ext {
        Rounding::exact().pack(value < 0, 127, u128::from(value.unsigned_abs()))
    }
}
