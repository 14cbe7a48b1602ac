//! Segment registers and what they cache of their descriptors.

use flatview_accel::Segment;

use crate::int::{low8, low16};

pub(crate) const ES: usize = 0;
pub(crate) const CS: usize = 1;
pub(crate) const SS: usize = 2;
pub(crate) const DS: usize = 3;
pub(crate) const FS: usize = 4;
pub(crate) const GS: usize = 5;

/// Attributes: bits 8 to 15 and 20 to 23 of a descriptor's upper half, moved down by 8 (Intel SDM vol. 3, 3.4.5).
pub(crate) const ACCESSED: u16 = 1;
/// Data: may be written. Code: may be read.
pub(crate) const WRITABLE: u16 = 1 << 1;
/// Data: expand-down. Code: conforming.
pub(crate) const CONFORMING: u16 = 1 << 2;
pub(crate) const CODE: u16 = 1 << 3;
pub(crate) const CODE_OR_DATA: u16 = 1 << 4;
pub(crate) const PRESENT: u16 = 1 << 7;
/// Not in descriptors: a null selector was loaded.
pub(crate) const UNUSABLE: u16 = 1 << 8;
pub(crate) const LONG: u16 = 1 << 13;
pub(crate) const BIG: u16 = 1 << 14;
pub(crate) const GRANULARITY: u16 = 1 << 15;

/// A segment register.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seg {
    pub(crate) selector: u16,
    pub(crate) base: u64,
    /// The last byte's offset.
    pub(crate) limit: u32,
    pub(crate) attributes: u16,
    /// The first and the last offset that may be read.
    pub(crate) read: (u64, u64),
    /// The first and the last offset that may be written.
    pub(crate) write: (u64, u64),
}

/// No offset is within.
const NOWHERE: (u64, u64) = (1, 0);

impl Seg {
    pub(crate) fn new(selector: u16, base: u64, limit: u32, attributes: u16) -> Seg {
        Seg {
            selector,
            base,
            limit,
            attributes,
            read: NOWHERE,
            write: NOWHERE,
        }
    }

    /// After a null selector was loaded.
    pub(crate) fn null(selector: u16) -> Seg {
        Seg::new(selector, 0, 0, UNUSABLE)
    }

    pub(crate) fn has(&self, attribute: u16) -> bool {
        self.attributes & attribute != 0
    }

    pub(crate) fn dpl(&self) -> u8 {
        low8(u64::from(self.attributes >> 5 & 3))
    }

    /// Works out which offsets may be accessed (Intel SDM vol. 3, 5.3 and 5.5).
    pub(crate) fn work_out(&mut self, is_protected: bool) {
        let all = (0, u64::from(self.limit));
        (self.read, self.write) = if !is_protected {
            (all, all)
        } else if self.has(UNUSABLE) || !self.has(CODE_OR_DATA) {
            (NOWHERE, NOWHERE)
        } else if self.has(CODE) {
            (if self.has(WRITABLE) { all } else { NOWHERE }, NOWHERE)
        } else {
            let within = if self.has(CONFORMING) {
                let last = if self.has(BIG) { 0xffff_ffff } else { 0xffff };
                (all.1 + 1, last)
            } else {
                all
            };
            (within, if self.has(WRITABLE) { within } else { NOWHERE })
        };
    }

    /// Whether offsets are linear addresses and nothing is to be checked.
    pub(crate) fn is_flat(&self) -> bool {
        self.base == 0 && self.write == (0, 0xffff_ffff)
    }

    pub(crate) fn from_state(segment: &Segment) -> Seg {
        let bit = |is_set: bool, attribute: u16| if is_set { attribute } else { 0 };
        let attributes = u16::from(segment.type_ & 15)
            | u16::from(segment.dpl & 3) << 5
            | bit(segment.s, CODE_OR_DATA)
            | bit(segment.present, PRESENT)
            | bit(segment.unusable, UNUSABLE)
            | bit(segment.avl, 1 << 12)
            | bit(segment.l, LONG)
            | bit(segment.db, BIG)
            | bit(segment.g, GRANULARITY);
        Seg::new(segment.selector, segment.base, segment.limit, attributes)
    }

    pub(crate) fn to_state(self) -> Segment {
        Segment {
            base: self.base,
            limit: self.limit,
            selector: self.selector,
            type_: low8(u64::from(self.attributes & 15)),
            present: self.has(PRESENT),
            dpl: self.dpl(),
            db: self.has(BIG),
            s: self.has(CODE_OR_DATA),
            l: self.has(LONG),
            g: self.has(GRANULARITY),
            avl: self.has(1 << 12),
            unusable: self.has(UNUSABLE),
        }
    }
}

/// A descriptor, as it is in a table (Intel SDM vol. 3, 3.4.5).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descriptor(pub(crate) u64);

impl Descriptor {
    pub(crate) fn attributes(self) -> u16 {
        low16(self.0 >> 40) & 0xf0ff
    }

    pub(crate) fn has(self, attribute: u16) -> bool {
        self.attributes() & attribute != 0
    }

    pub(crate) fn dpl(self) -> u8 {
        low8(self.0 >> 45 & 3)
    }

    /// Type, with the S bit as bit 4.
    pub(crate) fn kind(self) -> u8 {
        low8(self.0 >> 40 & 0x1f)
    }

    pub(crate) fn base(self) -> u64 {
        (self.0 >> 16 & 0xff_ffff) | (self.0 >> 56 << 24)
    }

    pub(crate) fn limit(self) -> u32 {
        let limit = crate::int::low32((self.0 & 0xffff) | (self.0 >> 48 & 0xf) << 16);
        if self.has(GRANULARITY) {
            limit << 12 | 0xfff
        } else {
            limit
        }
    }

    /// As a segment register that `selector` was loaded into.
    pub(crate) fn segment(self, selector: u16) -> Seg {
        Seg::new(selector, self.base(), self.limit(), self.attributes())
    }
}
