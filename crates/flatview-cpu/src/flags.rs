//! RFLAGS, the arithmetic flags of which are worked out when somebody asks.
//!
//! An operation leaves its result and the vector of its carries: bit *n* of the vector says that there was a carry
//! (or a borrow) out of bit *n*. All six flags follow from these two without knowing which operation it was, so there
//! is nothing to dispatch on:
//!
//! - ZF, SF and PF are those of the result;
//! - CF is the carry out of the highest bit, AF that out of bit 3;
//! - OF is set if the carries out of the two highest bits differ.
//!
//! The vector is kept shifted so that the highest bit of the operand size is bit 63, with AF's carry put back in bit 3,
//! which is free for all sizes below 64 bits. The result is kept twice, because flags that are set directly (`POPF`)
//! can say that a number is zero and negative.

use crate::int::Int;

pub(crate) const CF: u64 = 1;
pub(crate) const PF: u64 = 1 << 2;
pub(crate) const AF: u64 = 1 << 4;
pub(crate) const ZF: u64 = 1 << 6;
pub(crate) const SF: u64 = 1 << 7;
pub(crate) const TF: u64 = 1 << 8;
pub(crate) const IF: u64 = 1 << 9;
pub(crate) const DF: u64 = 1 << 10;
pub(crate) const OF: u64 = 1 << 11;
pub(crate) const IOPL: u64 = 3 << 12;
pub(crate) const NT: u64 = 1 << 14;
pub(crate) const RF: u64 = 1 << 16;
pub(crate) const VM: u64 = 1 << 17;
pub(crate) const AC: u64 = 1 << 18;
pub(crate) const VIF: u64 = 1 << 19;
pub(crate) const VIP: u64 = 1 << 20;
pub(crate) const ID: u64 = 1 << 21;
/// Bit 1 is always set (Intel SDM vol. 1, figure 3-8).
const FIXED: u64 = 2;
/// The flags that arithmetic sets.
pub(crate) const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;
/// The flags that are not arithmetic and exist.
const OTHERS: u64 = TF | IF | DF | IOPL | NT | RF | VM | AC | VIF | VIP | ID;

/// RFLAGS.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flags {
    /// ZF: whether this is zero.
    zero: u64,
    /// SF: its highest bit. PF: whether its low byte has an even number of bits.
    sign: u64,
    /// The carries.
    carries: u64,
    /// All others.
    others: u64,
}

impl Flags {
    pub(crate) fn new(rflags: u64) -> Flags {
        let mut flags = Flags {
            zero: 0,
            sign: 0,
            carries: 0,
            others: 0,
        };
        flags.set(rflags);
        flags
    }

    #[inline(always)]
    pub(crate) fn cf(&self) -> bool {
        self.carries >> 63 != 0
    }

    #[inline(always)]
    pub(crate) fn of(&self) -> bool {
        (self.carries ^ (self.carries << 1)) >> 63 != 0
    }

    #[inline(always)]
    pub(crate) fn af(&self) -> bool {
        self.carries & 8 != 0
    }

    #[inline(always)]
    pub(crate) fn zf(&self) -> bool {
        self.zero == 0
    }

    #[inline(always)]
    pub(crate) fn sf(&self) -> bool {
        self.sign >> 63 != 0
    }

    #[inline(always)]
    pub(crate) fn pf(&self) -> bool {
        (self.sign & 0xff).count_ones().is_multiple_of(2)
    }

    /// Condition 0 to 15 as in the opcodes of `Jcc` (Intel SDM vol. 1, table B-1).
    #[inline(always)]
    pub(crate) fn condition(&self, condition: u8) -> bool {
        let holds = match condition >> 1 {
            0 => self.of(),
            1 => self.cf(),
            2 => self.zf(),
            3 => self.cf() || self.zf(),
            4 => self.sf(),
            5 => self.pf(),
            6 => self.sf() != self.of(),
            _ => self.zf() || self.sf() != self.of(),
        };
        holds != (condition & 1 != 0)
    }

    /// SF, ZF and PF are those of `result`.
    #[inline(always)]
    pub(crate) fn set_result<T: Int>(&mut self, result: u64) {
        let result = T::truncate(result).sign_extend();
        self.zero = result;
        self.sign = result;
    }

    /// After `result = a + b`, or with a carry.
    #[inline(always)]
    pub(crate) fn set_add<T: Int>(&mut self, a: u64, b: u64, result: u64) {
        self.set_carries::<T>((a & b) | ((a | b) & !result));
        self.set_result::<T>(result);
    }

    /// After `result = a - b`, or with a borrow.
    #[inline(always)]
    pub(crate) fn set_sub<T: Int>(&mut self, a: u64, b: u64, result: u64) {
        self.set_carries::<T>((!a & b) | ((!a | b) & result));
        self.set_result::<T>(result);
    }

    /// After a logical operation: no carries.
    #[inline(always)]
    pub(crate) fn set_logic<T: Int>(&mut self, result: u64) {
        self.carries = 0;
        self.set_result::<T>(result);
    }

    #[inline(always)]
    fn set_carries<T: Int>(&mut self, carries: u64) {
        self.carries = (carries << (64 - T::BITS)) | (carries & 8);
    }

    /// CF alone.
    #[inline(always)]
    pub(crate) fn set_cf(&mut self, cf: bool) {
        self.set_cf_of(cf, self.of());
    }

    /// CF and OF alone.
    #[inline(always)]
    pub(crate) fn set_cf_of(&mut self, cf: bool, of: bool) {
        self.carries = (self.carries & 8) | (u64::from(cf) << 63) | (u64::from(cf != of) << 62);
    }

    pub(crate) fn set_af(&mut self, af: bool) {
        self.carries = (self.carries & !8) | (u64::from(af) << 3);
    }

    /// ZF alone.
    pub(crate) fn set_zf(&mut self, zf: bool) {
        self.zero = u64::from(!zf);
    }

    /// The flags that arithmetic sets.
    pub(crate) fn arithmetic(&self) -> u64 {
        let bit = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        bit(self.cf(), CF)
            | bit(self.pf(), PF)
            | bit(self.af(), AF)
            | bit(self.zf(), ZF)
            | bit(self.sf(), SF)
            | bit(self.of(), OF)
    }

    /// Sets the flags that arithmetic sets.
    pub(crate) fn set_arithmetic(&mut self, flags: u64) {
        self.zero = u64::from(flags & ZF == 0);
        self.sign = (flags & SF) << 56 | u64::from(flags & PF == 0);
        self.carries = (flags & AF) >> 1;
        self.set_cf_of(flags & CF != 0, flags & OF != 0);
    }

    /// RFLAGS.
    pub(crate) fn get(&self) -> u64 {
        self.others | self.arithmetic() | FIXED
    }

    /// Sets all of RFLAGS; bits that do not exist are left out.
    pub(crate) fn set(&mut self, rflags: u64) {
        self.set_arithmetic(rflags);
        self.others = rflags & OTHERS;
    }

    /// Whether one of the flags that are not arithmetic is set.
    #[inline(always)]
    pub(crate) fn has(&self, flag: u64) -> bool {
        self.others & flag != 0
    }

    /// Sets or clears flags that are not arithmetic.
    pub(crate) fn put(&mut self, flags: u64, on: bool) {
        if on {
            self.others |= flags & OTHERS;
        } else {
            self.others &= !flags;
        }
    }

    /// The privilege level that I/O needs.
    pub(crate) fn iopl(&self) -> u8 {
        crate::int::low8((self.others & IOPL) >> 12)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    /// By the definitions, with numbers wide enough.
    fn of_add(a: u8, b: u8) -> u64 {
        let (result, carry) = a.overflowing_add(b);
        let overflow = a.cast_signed().overflowing_add(b.cast_signed()).1;
        expected(result, carry, overflow, (a & 15) + (b & 15) > 15)
    }

    fn of_sub(a: u8, b: u8) -> u64 {
        let (result, borrow) = a.overflowing_sub(b);
        let overflow = a.cast_signed().overflowing_sub(b.cast_signed()).1;
        expected(result, borrow, overflow, (a & 15) < (b & 15))
    }

    fn expected(result: u8, carry: bool, overflow: bool, half: bool) -> u64 {
        let mut flags = 0;
        for (is_set, flag) in [
            (carry, CF),
            (result.count_ones().is_multiple_of(2), PF),
            (half, AF),
            (result == 0, ZF),
            (result >= 0x80, SF),
            (overflow, OF),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        flags
    }

    #[test]
    fn sums_and_differences_of_all_bytes() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                let (wide_a, wide_b) = (u64::from(a), u64::from(b));
                let mut flags = Flags::new(0);
                flags.set_add::<u8>(wide_a, wide_b, wide_a + wide_b);
                assert_eq!(flags.arithmetic(), of_add(a, b), "{a} + {b}");
                flags.set_sub::<u8>(wide_a, wide_b, wide_a.wrapping_sub(wide_b));
                assert_eq!(flags.arithmetic(), of_sub(a, b), "{a} - {b}");
            }
        }
    }

    #[test]
    fn what_is_set_directly_is_there_again() {
        for bits in 0..64 {
            let flag = |bit: u32, flag: u64| if bits >> bit & 1 != 0 { flag } else { 0 };
            let set = flag(0, CF) | flag(1, PF) | flag(2, AF) | flag(3, ZF) | flag(4, SF) | flag(5, OF);
            let mut flags = Flags::new(set | IF);
            assert_eq!(flags.get(), set | IF | FIXED);
            flags.set_cf(set & CF == 0);
            assert_eq!(flags.arithmetic(), set ^ CF, "only CF changes");
        }
    }
}
