//! Arithmetic of the x87, and how its results are rounded.
//!
//! Arithmetic makes 128 bits of significand, the lowest of which says whether anything is missing, and rounds once.

use super::ext::{BIAS, DE, Ext, IE, INTEGER_BIT, Kind, OE, PE, QUIET_BIT, ROUNDED_UP, UE, ZE};
use crate::int::low16;
use crate::ops::sse::low64;

/// What a significand and an exponent are rounded to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format {
    /// Bits of the significand.
    pub(super) bits: u32,
    /// Exponents.
    pub(super) least: i32,
    pub(super) most: i32,
}

pub(crate) const SINGLE: Format = Format {
    bits: 24,
    least: -126,
    most: 127,
};
pub(crate) const DOUBLE: Format = Format {
    bits: 53,
    least: -1022,
    most: 1023,
};
pub(crate) const EXTENDED: Format = Format {
    bits: 64,
    least: 1 - BIAS,
    most: BIAS,
};

/// How to round, and what happened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding {
    /// What results in registers are rounded to: precision control leaves the exponents alone.
    pub(crate) format: Format,
    /// 0 to nearest, 1 down, 2 up, 3 towards zero.
    pub(crate) mode: u16,
    /// Exceptions.
    pub(crate) flags: u16,
}

impl Format {
    /// Whether the bits of a number of this format are a denormal one.
    pub(crate) fn is_denormal(self, bits: u64) -> bool {
        let fraction = self.bits - 1;
        let exponent_bits = if self.bits == 24 { 8 } else { 11 };
        bits >> fraction & ((1 << exponent_bits) - 1) == 0 && bits & ((1 << fraction) - 1) != 0
    }
}

impl Rounding {
    /// For what needs no rounding.
    pub(super) fn exact() -> Rounding {
        Rounding {
            format: EXTENDED,
            mode: 0,
            flags: 0,
        }
    }

    /// As a control word says.
    pub(crate) fn new(control: u16) -> Rounding {
        let bits = match control >> 8 & 3 {
            0 => 24,
            2 => 53,
            _ => 64,
        };
        Rounding {
            format: Format { bits, ..EXTENDED },
            mode: control >> 10 & 3,
            flags: 0,
        }
    }

    /// Whether something between two numbers goes to the one further from zero; `rest` is what is left of 2^128.
    fn goes_up(self, negative: bool, is_odd: bool, rest: u128) -> bool {
        const HALF: u128 = 1 << 127;
        match self.mode {
            0 => rest > HALF || (rest == HALF && is_odd),
            1 => negative && rest != 0,
            2 => !negative && rest != 0,
            _ => false,
        }
    }

    /// Rounds `significand / 2^127 * 2^exponent`, whose highest bit is set, to `format`. The result is a significand
    /// with as many bits as the format has, at the top of 64; and the exponent: `None` if it is infinite. Without its
    /// highest bit it is denormal.
    fn round(
        &mut self,
        negative: bool,
        exponent: i32,
        significand: u128,
        format: Format,
    ) -> (u64, Option<i32>) {
        let (mut exponent, mut significand) = (exponent, significand);
        let is_tiny = exponent < format.least;
        if is_tiny {
            significand = shift_jamming(significand, (format.least - exponent).unsigned_abs());
            exponent = format.least;
        }
        let rest = significand << format.bits;
        let mut kept = significand >> (128 - format.bits);
        if rest != 0 {
            self.flags |= PE | if is_tiny { UE } else { 0 };
        }
        if self.goes_up(negative, kept & 1 != 0, rest) {
            self.flags |= ROUNDED_UP;
            kept += 1;
            if kept >> format.bits != 0 {
                kept >>= 1;
                exponent += 1;
            }
        }
        if exponent > format.most {
            self.flags |= OE | PE;
            let is_infinite = self.goes_up(negative, true, u128::MAX);
            if is_infinite {
                self.flags |= ROUNDED_UP;
            } else {
                self.flags &= !ROUNDED_UP;
            }
            let most = u64::MAX << (64 - format.bits);
            return if is_infinite {
                (INTEGER_BIT, None)
            } else {
                (most, Some(format.most))
            };
        }
        (low64(kept) << (64 - format.bits), Some(exponent))
    }

    /// A number for a register.
    pub(crate) fn pack(&mut self, negative: bool, exponent: i32, significand: u128) -> Ext {
        if significand == 0 {
            return Ext::zero(negative);
        }
        let shift = significand.leading_zeros();
        let exponent = exponent - shift.cast_signed();
        let format = self.format;
        match self.round(negative, exponent, significand << shift, format) {
            (_, None) => Ext::infinity(negative),
            (significand, Some(exponent)) => {
                let is_normal = significand & INTEGER_BIT != 0;
                let biased = if is_normal { exponent + BIAS } else { 0 };
                Ext::new(negative, low16(u64::from(biased.unsigned_abs())), significand)
            }
        }
    }

    /// The bits of a number of another format.
    pub(crate) fn narrow(&mut self, value: Ext, format: Format) -> u64 {
        let (fraction, exponents) = (format.bits - 1, format.most);
        let top = u64::from(value.is_negative()) << (fraction + if format.bits == 24 { 8 } else { 11 });
        let infinite = u64::from((2 * exponents + 1).unsigned_abs()) << fraction;
        match value.kind() {
            Kind::Zero => top,
            Kind::Infinity => top | infinite,
            Kind::NotANumber => {
                if value.significand & QUIET_BIT == 0 {
                    self.flags |= IE;
                }
                let payload = (value.significand & !INTEGER_BIT) >> (63 - fraction);
                top | infinite | payload | 1 << (fraction - 1)
            }
            Kind::Unsupported => {
                self.flags |= IE;
                infinite | 1 << (fraction - 1) | 1 << (fraction + if format.bits == 24 { 8 } else { 11 })
            }
            Kind::Finite {
                exponent,
                significand,
            } => {
                let wide = u128::from(significand) << 64;
                let (significand, exponent) = self.round(value.is_negative(), exponent, wide, format);
                let Some(exponent) = exponent else {
                    return top | infinite;
                };
                let biased = if significand & INTEGER_BIT == 0 {
                    0
                } else {
                    exponent + exponents
                };
                let kept = (significand & !INTEGER_BIT) >> (63 - fraction);
                top | u64::from(biased.unsigned_abs()) << fraction | kept
            }
        }
    }

    /// An integer of `bits` bits; the highest bit alone if it does not fit.
    pub(crate) fn integer_of(&mut self, value: Ext, bits: u32) -> u64 {
        let indefinite = 1 << (bits - 1);
        let Some(magnitude) = self.magnitude_of(value) else {
            self.flags |= IE;
            return indefinite;
        };
        let limit = u128::from(indefinite) - u128::from(!value.is_negative());
        if magnitude > limit {
            self.flags = self.flags & !(PE | ROUNDED_UP) | IE;
            return indefinite;
        }
        let magnitude = low64(magnitude);
        if value.is_negative() {
            magnitude.wrapping_neg()
        } else {
            magnitude
        }
    }

    /// The magnitude of a number as an integer; `None` if it is not finite. What is far too large is `u128::MAX`.
    fn magnitude_of(&mut self, value: Ext) -> Option<u128> {
        match value.kind() {
            Kind::Zero => Some(0),
            Kind::Finite { exponent, .. } if exponent > 64 => Some(u128::MAX),
            Kind::Finite {
                exponent,
                significand,
            } => {
                let (whole, rest) = if exponent < -1 {
                    (0, 1)
                } else {
                    let shift = (63 - exponent).unsigned_abs();
                    let wide = u128::from(significand);
                    if exponent > 63 {
                        (wide << 1, 0)
                    } else {
                        (wide >> shift, wide << 1 << (127 - shift))
                    }
                };
                if rest != 0 {
                    self.flags |= PE;
                }
                let up = self.goes_up(value.is_negative(), whole & 1 != 0, rest);
                if up {
                    self.flags |= ROUNDED_UP;
                }
                Some(whole + u128::from(up))
            }
            _ => None,
        }
    }

    /// To an integer that stays a number.
    pub(crate) fn integral_of(&mut self, value: Ext) -> Ext {
        match value.kind() {
            Kind::Finite { exponent, .. } if exponent < 63 => {
                self.note_denormals(value, value);
                let magnitude = self.magnitude_of(value).unwrap_or(0);
                Rounding::exact().pack(value.is_negative(), 127, magnitude)
            }
            Kind::NotANumber | Kind::Unsupported => self.invalid_or(value, value),
            _ => value,
        }
    }

    /// A quiet one of two that are not numbers, or the "indefinite" one (Intel SDM vol. 1, table 4-7).
    fn invalid_or(&mut self, a: Ext, b: Ext) -> Ext {
        let is_signalling =
            |value: Ext| value.kind() == Kind::NotANumber && value.significand & QUIET_BIT == 0;
        if is_signalling(a) || is_signalling(b) {
            self.flags |= IE;
        }
        if a.kind() == Kind::Unsupported || b.kind() == Kind::Unsupported {
            self.flags |= IE;
            return Ext::INDEFINITE;
        }
        let quiet = |value: Ext| Ext {
            significand: value.significand | QUIET_BIT,
            ..value
        };
        match (a.kind() == Kind::NotANumber, b.kind() == Kind::NotANumber) {
            (true, true) => {
                // The larger significand; a signalling one gives way to a quiet one.
                let order = match (is_signalling(a), is_signalling(b)) {
                    (true, false) => std::cmp::Ordering::Less,
                    (false, true) => std::cmp::Ordering::Greater,
                    _ => a.significand.cmp(&b.significand),
                };
                match order {
                    std::cmp::Ordering::Less => quiet(b),
                    std::cmp::Ordering::Greater => quiet(a),
                    std::cmp::Ordering::Equal if a.is_negative() => quiet(b),
                    std::cmp::Ordering::Equal => quiet(a),
                }
            }
            (true, false) => quiet(a),
            (false, true) => quiet(b),
            (false, false) => {
                self.flags |= IE;
                Ext::INDEFINITE
            }
        }
    }

    fn note_denormals(&mut self, a: Ext, b: Ext) {
        if a.is_denormal() || b.is_denormal() {
            self.flags |= DE;
        }
    }

    pub(crate) fn add(&mut self, a: Ext, b: Ext) -> Ext {
        let (negative_a, negative_b) = (a.is_negative(), b.is_negative());
        let (kind_a, kind_b) = (a.kind(), b.kind());
        if a.is_no_number() || b.is_no_number() {
            return self.invalid_or(a, b);
        }
        self.note_denormals(a, b);
        match (kind_a, kind_b) {
            (Kind::Infinity, Kind::Infinity) if negative_a != negative_b => self.invalid_or(a, b),
            (Kind::Infinity, _) => a,
            (_, Kind::Infinity) => b,
            (Kind::Zero, Kind::Zero) if negative_a == negative_b => a,
            (Kind::Zero, Kind::Zero) => Ext::zero(self.mode == 1),
            (
                Kind::Zero,
                Kind::Finite {
                    exponent,
                    significand,
                },
            ) => self.pack(negative_b, exponent, u128::from(significand) << 64),
            (
                Kind::Finite {
                    exponent,
                    significand,
                },
                Kind::Zero,
            ) => self.pack(negative_a, exponent, u128::from(significand) << 64),
            (
                Kind::Finite {
                    exponent: exponent_a,
                    significand: significand_a,
                },
                Kind::Finite {
                    exponent: exponent_b,
                    significand: significand_b,
                },
            ) => {
                let first = (exponent_a, significand_a, negative_a);
                let second = (exponent_b, significand_b, negative_b);
                let (large, small) = if first >= second {
                    (first, second)
                } else {
                    (second, first)
                };
                let wide = u128::from(large.1) << 63;
                let other = shift_jamming(u128::from(small.1) << 63, (large.0 - small.0).unsigned_abs());
                if negative_a == negative_b {
                    return self.pack(negative_a, large.0 + 1, wide + other);
                }
                if wide == other {
                    return Ext::zero(self.mode == 1);
                }
                self.pack(large.2, large.0 + 1, wide - other)
            }
            _ => self.invalid_or(a, b),
        }
    }

    pub(crate) fn multiply(&mut self, a: Ext, b: Ext) -> Ext {
        let negative = a.is_negative() != b.is_negative();
        if a.is_no_number() || b.is_no_number() {
            return self.invalid_or(a, b);
        }
        match (a.kind(), b.kind()) {
            (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => self.invalid_or(a, b),
            (Kind::Infinity, _) | (_, Kind::Infinity) => {
                self.note_denormals(a, b);
                Ext::infinity(negative)
            }
            (
                Kind::Finite {
                    exponent: exponent_a,
                    significand: significand_a,
                },
                Kind::Finite {
                    exponent: exponent_b,
                    significand: significand_b,
                },
            ) => {
                self.note_denormals(a, b);
                let product = u128::from(significand_a) * u128::from(significand_b);
                self.pack(negative, exponent_a + exponent_b + 1, product)
            }
            _ => {
                self.note_denormals(a, b);
                Ext::zero(negative)
            }
        }
    }

    pub(crate) fn divide(&mut self, a: Ext, b: Ext) -> Ext {
        let negative = a.is_negative() != b.is_negative();
        if a.is_no_number() || b.is_no_number() {
            return self.invalid_or(a, b);
        }
        match (a.kind(), b.kind()) {
            (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => self.invalid_or(a, b),
            (Kind::Infinity, _) => {
                self.note_denormals(a, b);
                Ext::infinity(negative)
            }
            (_, Kind::Zero) => {
                self.flags |= ZE;
                Ext::infinity(negative)
            }
            (
                Kind::Finite {
                    exponent: exponent_a,
                    significand: significand_a,
                },
                Kind::Finite {
                    exponent: exponent_b,
                    significand: significand_b,
                },
            ) => {
                self.note_denormals(a, b);
                let (dividend, divisor) = (u128::from(significand_a) << 64, u128::from(significand_b));
                // One more bit, because a quotient of 64 bits has none to round by.
                let rest = (dividend % divisor) << 1;
                let quotient = (dividend / divisor) << 1 | u128::from(rest >= divisor);
                let missing = u128::from(rest != 0 && rest != divisor);
                self.pack(negative, exponent_a - exponent_b + 1, quotient << 61 | missing)
            }
            _ => {
                self.note_denormals(a, b);
                Ext::zero(negative)
            }
        }
    }

    pub(crate) fn square_root(&mut self, a: Ext) -> Ext {
        match a.kind() {
            Kind::Zero => a,
            Kind::Infinity if !a.is_negative() => a,
            Kind::Finite {
                exponent,
                significand,
            } if !a.is_negative() => {
                self.note_denormals(a, a);
                let is_odd = exponent & 1 != 0;
                let square = u128::from(significand) << if is_odd { 64 } else { 63 };
                let root = square.isqrt();
                let rest = square - root * root;
                // More than half a unit is left if the rest is larger than the root.
                let missing = (u128::from(rest > root) << 63) | u128::from(rest != 0);
                self.pack(false, (exponent - i32::from(is_odd)) / 2, root << 64 | missing)
            }
            _ => self.invalid_or(a, a),
        }
    }

    /// `a` times 2 to the power of `b`, cut to an integer.
    pub(crate) fn scale(&mut self, a: Ext, b: Ext) -> Ext {
        if a.is_no_number() || b.is_no_number() {
            return self.invalid_or(a, b);
        }
        self.note_denormals(a, b);
        match (a.kind(), b.kind()) {
            (Kind::Zero, Kind::Infinity) if !b.is_negative() => self.invalid_or(a, b),
            (Kind::Infinity, Kind::Infinity) if b.is_negative() => self.invalid_or(a, b),
            (_, Kind::Infinity) if b.is_negative() => Ext::zero(a.is_negative()),
            (_, Kind::Infinity) => Ext::infinity(a.is_negative()),
            (
                Kind::Finite {
                    exponent,
                    significand,
                },
                _,
            ) => {
                let mut cut = Rounding { mode: 3, ..*self };
                let magnitude = cut.magnitude_of(b).unwrap_or(0).min(0x1_0000);
                let power = i32::try_from(magnitude).unwrap_or(0);
                let power = if b.is_negative() { -power } else { power };
                // Precision control does not count here.
                self.format = EXTENDED;
                self.pack(a.is_negative(), exponent + power, u128::from(significand) << 64)
            }
            _ => a,
        }
    }

    /// How two numbers compare; `None` if they do not. `is_quiet`: what is no number is an exception only if it
    /// signals.
    pub(crate) fn compare(&mut self, a: Ext, b: Ext, is_quiet: bool) -> Option<std::cmp::Ordering> {
        if a.is_no_number() || b.is_no_number() {
            let before = self.flags;
            self.invalid_or(a, b);
            if !is_quiet {
                self.flags = before | IE;
            }
            return None;
        }
        self.note_denormals(a, b);
        Some(a.order().cmp(&b.order()))
    }

    /// The nearest number of the host's.
    pub(crate) fn to_host(self, value: Ext) -> f64 {
        let mut nearest = Rounding { mode: 0, ..self };
        f64::from_bits(nearest.narrow(value, DOUBLE))
    }
}

/// Shifts right; the lowest bit says whether something was lost.
fn shift_jamming(value: u128, count: u32) -> u128 {
    match value.checked_shr(count) {
        Some(shifted) => shifted | u128::from(shifted << count != value),
        None => u128::from(value != 0),
    }
}
