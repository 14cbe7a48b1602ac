//! Floating point: arithmetic and comparisons.

use flatview::Word;
use iced_x86::Mnemonic as M;

use super::{Row, lanes, low64, with_low};
use crate::int::{Int, low32};

/// A lane that is a floating-point number.
pub(crate) trait Float: Copy + PartialOrd {
    /// What the lane is as a number.
    type Lane: Int;
    /// The bit of a NaN that makes it quiet.
    const QUIET: u64;
    fn from_lane(lane: Self::Lane) -> Self;
    fn to_lane(self) -> Self::Lane;
}

impl Float for f32 {
    type Lane = u32;
    const QUIET: u64 = 1 << 22;
    fn from_lane(lane: u32) -> f32 {
        f32::from_bits(lane)
    }
    fn to_lane(self) -> u32 {
        self.to_bits()
    }
}

impl Float for f64 {
    type Lane = u64;
    const QUIET: u64 = 1 << 51;
    fn from_lane(lane: u64) -> f64 {
        f64::from_bits(lane)
    }
    fn to_lane(self) -> u64 {
        self.to_bits()
    }
}

fn packed<F: Float>(a: u128, b: u128, each: impl Fn(F, F) -> F) -> u128 {
    lanes::<F::Lane>(a, b, |a, b| each(F::from_lane(a), F::from_lane(b)).to_lane())
}

fn scalar<F: Float>(a: u128, b: u128, each: impl Fn(F, F) -> F) -> u128 {
    let of = |register| F::from_lane(F::Lane::truncate(low64(register)));
    with_low::<F::Lane>(a, each(of(a), of(b)).to_lane().widen())
}

/// The result of arithmetic, unless an operand is not a number: then it is the first such, made quiet (Intel SDM vol. 1,
/// table 4-7). The compiler may swap operands, so it is said here.
fn or_nan<F: Float>(a: F, b: F, result: F) -> F {
    let is_nan = |number: &F| number.partial_cmp(number).is_none();
    match [a, b].into_iter().find(is_nan) {
        Some(nan) => F::from_lane(F::Lane::truncate(nan.to_lane().widen() | F::QUIET)),
        None => result,
    }
}

/// The second operand if one is not a number, or both are zero (Intel SDM vol. 2, MINPS).
fn min<F: Float>(a: F, b: F) -> F {
    if a < b { a } else { b }
}

fn max<F: Float>(a: F, b: F) -> F {
    if a > b { a } else { b }
}

/// One of eight comparisons (Intel SDM vol. 2, CMPPS): all bits or none.
fn compare<F: Float>(a: F, b: F, predicate: u8) -> F {
    let holds = match predicate & 3 {
        0 => a == b,
        1 => a < b,
        2 => a <= b,
        _ => a.partial_cmp(&b).is_none(),
    };
    let holds = holds != (predicate & 4 != 0);
    F::from_lane(F::Lane::truncate(if holds { u64::MAX } else { 0 }))
}

/// The four forms of an operation.
macro_rules! forms {
    ($ps:ident $pd:ident $ss:ident $sd:ident, $single:expr, $double:expr) => {
        [
            (M::$ps, 16, |a, b, _| packed::<f32>(a, b, $single)),
            (M::$pd, 16, |a, b, _| packed::<f64>(a, b, $double)),
            (M::$ss, 4, |a, b, _| scalar::<f32>(a, b, $single)),
            (M::$sd, 8, |a, b, _| scalar::<f64>(a, b, $double)),
        ]
    };
}

const ROWS: [[Row; 4]; 8] = [
    forms!(Addps Addpd Addss Addsd, |a, b| or_nan(a, b, a + b), |a, b| or_nan(a, b, a + b)),
    forms!(Subps Subpd Subss Subsd, |a, b| or_nan(a, b, a - b), |a, b| or_nan(a, b, a - b)),
    forms!(Mulps Mulpd Mulss Mulsd, |a, b| or_nan(a, b, a * b), |a, b| or_nan(a, b, a * b)),
    forms!(Divps Divpd Divss Divsd, |a, b| or_nan(a, b, a / b), |a, b| or_nan(a, b, a / b)),
    forms!(Minps Minpd Minss Minsd, min, min),
    forms!(Maxps Maxpd Maxss Maxsd, max, max),
    forms!(Sqrtps Sqrtpd Sqrtss Sqrtsd, |_, b| b.sqrt(), |_, b| b.sqrt()),
    [
        (M::Cmpps, 16, |a, b, predicate| {
            packed::<f32>(a, b, |a, b| compare(a, b, predicate))
        }),
        (M::Cmppd, 16, |a, b, predicate| {
            packed::<f64>(a, b, |a, b| compare(a, b, predicate))
        }),
        (M::Cmpss, 4, |a, b, predicate| {
            scalar::<f32>(a, b, |a, b| compare(a, b, predicate))
        }),
        (M::Cmpsd, 8, |a, b, predicate| {
            scalar::<f64>(a, b, |a, b| compare(a, b, predicate))
        }),
    ],
];

/// Estimates are exact to single precision.
const ESTIMATES: [Row; 4] = [
    (M::Rcpps, 16, |a, b, _| packed::<f32>(a, b, |_, b| b.recip())),
    (M::Rcpss, 4, |a, b, _| scalar::<f32>(a, b, |_, b| b.recip())),
    (M::Rsqrtps, 16, |a, b, _| {
        packed::<f32>(a, b, |_, b| b.sqrt().recip())
    }),
    (M::Rsqrtss, 4, |a, b, _| {
        scalar::<f32>(a, b, |_, b| b.sqrt().recip())
    }),
];

pub(crate) static TABLE: &[Row] = {
    static ALL: [Row; 36] = {
        let mut all = [ROWS[0][0]; 36];
        let mut place = 0;
        while place < 32 {
            all[place] = ROWS[place / 4][place % 4];
            place += 1;
        }
        while place < 36 {
            all[place] = ESTIMATES[place - 32];
            place += 1;
        }
        all
    };
    &ALL
};

/// What `COMISS` and `UCOMISS` compare: ZF, PF, CF.
pub(crate) fn ordering<const DOUBLE: bool>(a: u128, b: u128) -> u64 {
    let ordering = if DOUBLE {
        f64::from_bits(low64(a)).partial_cmp(&f64::from_bits(low64(b)))
    } else {
        f32::from_bits(low32(low64(a))).partial_cmp(&f32::from_bits(low32(low64(b))))
    };
    match ordering {
        None => crate::flags::ZF | crate::flags::PF | crate::flags::CF,
        Some(std::cmp::Ordering::Less) => crate::flags::CF,
        Some(std::cmp::Ordering::Equal) => crate::flags::ZF,
        Some(std::cmp::Ordering::Greater) => 0,
    }
}
