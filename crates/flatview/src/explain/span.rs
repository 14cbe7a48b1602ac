//! Where a region would be if nothing clipped it.

use std::fmt;

use crate::address::{AddressRange, Size};

/// The addresses of a region as a space sees it. Aliases can put it below 0 and beyond 2^64 (rules C8, C10,
/// C11), and it may have no bytes.
///
/// With `serde` it is two strings, `start` and `end` (exclusive), in signed hexadecimal: numbers of that size
/// do not survive every reader of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    start: i128,
    size: Size,
}

impl Span {
    /// `size` bytes from `start` on.
    pub const fn new(start: i128, size: Size) -> Span {
        Span { start, size }
    }

    /// The address of the first byte; between -2^72 and 2^73, as an alias cannot move it by more than 2^64 and
    /// a way has at most 256 regions.
    pub fn start(self) -> i128 {
        self.start
    }

    /// The address behind the last byte.
    pub fn end(self) -> i128 {
        self.start.saturating_add_unsigned(self.size.bytes())
    }

    /// The number of bytes.
    pub fn size(self) -> Size {
        self.size
    }

    /// Whether an address is one of its bytes.
    pub fn contains(self, address: u64) -> bool {
        self.offset_of(address).is_some()
    }

    /// Which of its bytes an address is.
    pub fn offset_of(self, address: u64) -> Option<u64> {
        let offset = i128::from(address) - self.start;
        (i128::from(address) < self.end())
            .then(|| u64::try_from(offset).ok())
            .flatten()
    }

    /// The addresses that there are in a space.
    pub fn within_space(self) -> Option<AddressRange> {
        AddressRange::clamp(self.start, self.end())
    }

    /// How far an address is from the nearest byte, or from where a byte would be.
    pub(super) fn distance_to(self, address: u64) -> u128 {
        let address = i128::from(address);
        let before = self.start.saturating_sub(address).max(0);
        let behind = address.saturating_sub(self.end()).saturating_add(1).max(0);
        before.max(behind).unsigned_abs()
    }
}

struct Hex(i128);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:#x}", self.0.unsigned_abs())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.size.is_zero() {
            return write!(f, "no bytes at {}", Hex(self.start));
        }
        write!(f, "{}-{}", Hex(self.start), Hex(self.end() - 1))
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;

        let mut span = serializer.serialize_struct("Span", 2)?;
        span.serialize_field("start", &Hex(self.start).to_string())?;
        span.serialize_field("end", &Hex(self.end()).to_string())?;
        span.end()
    }
}
