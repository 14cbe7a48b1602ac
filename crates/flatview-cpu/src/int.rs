//! Numbers of the sizes that instructions work on.

use flatview::Word;

/// A number of 8, 16, 32 or 64 bits. Arithmetic is done in 64 bits and truncated.
pub(crate) trait Int: Word {
    /// The number of bits.
    const BITS: u32;
    /// The number of bytes.
    const BYTES: u64;

    /// The number with its sign, in 64 bits.
    fn sign_extend(self) -> u64;

    /// From the byte order of the guest, or to it.
    fn little_endian(self) -> Self;
}

macro_rules! int {
    ($unsigned:ty) => {
        impl Int for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;
            const BYTES: u64 = Self::BITS as u64 / 8;

            #[inline(always)]
            fn sign_extend(self) -> u64 {
                i64::from(self.cast_signed()).cast_unsigned()
            }

            #[inline(always)]
            fn little_endian(self) -> Self {
                self.to_le()
            }
        }
    };
}

int!(u8);
int!(u16);
int!(u32);
int!(u64);

/// A number below 2^32 as an index.
#[inline(always)]
pub(crate) fn index(value: u64) -> usize {
    low32(value) as usize
}

/// The low 8 bits.
#[inline(always)]
pub(crate) fn low8(value: u64) -> u8 {
    u8::truncate(value)
}

/// The low 16 bits.
#[inline(always)]
pub(crate) fn low16(value: u64) -> u16 {
    u16::truncate(value)
}

/// The low 32 bits.
#[inline(always)]
pub(crate) fn low32(value: u64) -> u32 {
    u32::truncate(value)
}
