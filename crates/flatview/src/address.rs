//! Sizes up to 2^64 and ranges that may end at the last byte of the address space.
//!
//! A `u64` cannot say "2^64 bytes", and `start + size` of a range at the top of the space overflows. QEMU
//! keeps 128-bit integers for that (rules A16, C15). Here a [`Size`] holds any number of bytes from 0 to
//! 2^64 inclusive, and an [`AddressRange`] holds its first and its last byte, so that no arithmetic on a
//! valid range can overflow.

use core::fmt;

/// A number of bytes from 0 to 2^64 inclusive (rule A16).
///
/// Unlike QEMU, which reads `UINT64_MAX` as 2^64, every value means itself: `Size::from(u64::MAX)` is
/// 2^64-1 bytes and [`Size::MAX`] is 2^64 bytes.
///
/// ```
/// use flatview::Size;
/// assert_eq!(Size::from(0x1000).bytes(), 0x1000);
/// assert_eq!(Size::MAX.bytes(), 1 << 64);
/// assert!(Size::new((1 << 64) + 1).is_none());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u128);

impl Size {
    /// No bytes. Legal for a region: it renders nothing and clips its children to nothing (rule A17).
    pub const ZERO: Size = Size(0);

    /// 2^64 bytes: the whole of a 64-bit address space.
    pub const MAX: Size = Size(1 << 64);

    /// `bytes` bytes, or `None` if that is more than 2^64.
    pub const fn new(bytes: u128) -> Option<Size> {
        if bytes <= 1 << 64 { Some(Size(bytes)) } else { None }
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u128 {
        self.0
    }

    /// Whether there are no bytes.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The number of bytes, or `None` for [`Size::MAX`], which does not fit.
    pub fn to_u64(self) -> Option<u64> {
        u64::try_from(self.0).ok()
    }

    /// The offset of the last byte, or `None` for size zero.
    pub fn last_offset(self) -> Option<u64> {
        self.0.checked_sub(1).and_then(|last| u64::try_from(last).ok())
    }
}

impl From<u64> for Size {
    fn from(bytes: u64) -> Size {
        Size(bytes.into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A non-empty range of bytes, first and last byte inclusive.
///
/// ```
/// use flatview::{AddressRange, Size};
/// let top = AddressRange::new(0xffff_ffff_ffff_f000, Size::from(0x1000)).unwrap();
/// assert_eq!(top.last(), u64::MAX);
/// assert_eq!(top.to_string(), "0xfffffffffffff000-0xffffffffffffffff");
/// assert!(AddressRange::new(0xffff_ffff_ffff_f000, Size::from(0x1001)).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AddressRange {
    start: u64,
    last: u64,
}

impl AddressRange {
    /// All 2^64 bytes.
    pub const ALL: AddressRange = AddressRange {
        start: 0,
        last: u64::MAX,
    };

    /// `size` bytes from `start` on; `None` if that is no byte or goes beyond 2^64.
    pub fn new(start: u64, size: impl Into<Size>) -> Option<AddressRange> {
        let last = start.checked_add(size.into().last_offset()?)?;
        Some(AddressRange { start, last })
    }

    /// From `start` to `last`, both inclusive; `None` if `last` is before `start`.
    pub const fn from_bounds(start: u64, last: u64) -> Option<AddressRange> {
        if start <= last {
            Some(AddressRange { start, last })
        } else {
            None
        }
    }

    /// The part of the signed interval `[start, end)` that lies within the 64-bit space.
    pub(crate) fn clamp(start: i128, end: i128) -> Option<AddressRange> {
        let first = start.max(0);
        let last = end.min(1 << 64) - 1;
        if first > last {
            return None;
        }
        Some(AddressRange {
            start: u64::try_from(first).ok()?,
            last: u64::try_from(last).ok()?,
        })
    }

    /// The first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// The last byte, inclusive.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// The number of bytes, at least one.
    pub const fn size(self) -> Size {
        Size((self.last - self.start) as u128 + 1)
    }

    /// Whether `address` lies in the range.
    pub const fn contains(self, address: u64) -> bool {
        self.start <= address && address <= self.last
    }

    /// Whether every byte of `other` lies in the range.
    pub const fn contains_range(self, other: AddressRange) -> bool {
        self.start <= other.start && other.last <= self.last
    }

    /// Whether the ranges share a byte.
    pub const fn overlaps(self, other: AddressRange) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// Whether `next` begins at the byte after this range's last.
    pub const fn abuts(self, next: AddressRange) -> bool {
        match self.last.checked_add(1) {
            Some(end) => end == next.start,
            None => false,
        }
    }

    /// The bytes in both ranges.
    pub fn intersection(self, other: AddressRange) -> Option<AddressRange> {
        AddressRange::from_bounds(self.start.max(other.start), self.last.min(other.last))
    }

    /// The smallest range that holds both.
    pub(crate) fn hull(self, other: AddressRange) -> AddressRange {
        AddressRange {
            start: self.start.min(other.start),
            last: self.last.max(other.last),
        }
    }

    /// The range and the byte on either side of it, where there is one: what touches or abuts the range
    /// overlaps that.
    pub(crate) const fn widened(self) -> AddressRange {
        AddressRange {
            start: self.start.saturating_sub(1),
            last: self.last.saturating_add(1),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.last)
    }
}

#[cfg(test)]
#[path = "address_test.rs"]
mod tests;
