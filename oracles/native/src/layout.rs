//! Where everything is: the same linear addresses and the same descriptors for the host and for the software CPU.
//!
//! The GDT's user selectors are Linux's on x86-64 (facts of its ABI that programs rely on: CS is 0x33 and SS 0x2b in a
//! 64-bit process, CS 0x23 in a 32-bit one). The rest are entries of a local descriptor table, which Linux lets a process
//! fill by `modify_ldt(2)`.
//!
//! ```text
//! window + 0x00000  a page below the code
//!        + 0x01000  code: the instruction in the middle of int3
//!        + 0x02000  data
//!        + 0x03000  stack
//!        + 0x0f000  the end of a 64 KiB segment
//!        + 0x10000  and what comes after it
//! ```

use flatview_accel::Segment;

/// 4 KiB.
pub const PAGE: usize = 0x1000;
/// `int3`: where a jump lands, it stops.
pub const INT3: u8 = 0xcc;
/// The pages of a window that are there.
pub const PAGES: [usize; 6] = [0, 1, 2, 3, 0xf, 0x10];
/// The offset of the code page.
pub const CODE: usize = 0x1000;
/// The offset of the data page.
pub const DATA: usize = 0x2000;
/// The offset of the stack page.
pub const STACK: usize = 0x3000;
/// The size of a window, with its holes.
pub const WINDOW: usize = 0x11000;

/// Where the memory of cases is.
#[derive(Debug)]
pub struct Window {
    /// The linear address of its first byte.
    pub base: u64,
}

/// Where all modes can reach it: below 2 GiB.
pub const LOW: Window = Window { base: 0x4000_0000 };
/// Where only 64-bit code can.
pub const HIGH: Window = Window { base: 0x7_4000_0000 };

/// Linux's user segments in the GDT.
pub const USER_CODE32: u16 = 0x23;
/// See [`USER_CODE32`].
pub const USER_DATA: u16 = 0x2b;
/// See [`USER_CODE32`].
pub const USER_CODE64: u16 = 0x33;

/// The supervisor's segments of the software CPU's GDT; cases cannot use them.
pub const KERNEL_CODE32: u16 = 0x08;
/// See [`KERNEL_CODE32`].
pub const KERNEL_CODE64: u16 = 0x10;
/// See [`KERNEL_CODE32`].
pub const KERNEL_DATA: u16 = 0x18;

const fn local(index: u16) -> u16 {
    index << 3 | 4 | 3
}

/// 16-bit code at the window.
pub const CODE16: u16 = local(0);
/// 16-bit data at the window.
pub const DATA16: u16 = local(1);
/// 16-bit data a little further.
pub const EXTRA16: u16 = local(2);
/// A 16-bit stack.
pub const STACK16: u16 = local(3);
/// 32-bit code at the window.
pub const CODE32: u16 = local(4);
/// 32-bit data at the window.
pub const DATA32: u16 = local(5);
/// 32-bit data a little further, and shorter.
pub const EXTRA32: u16 = local(6);
/// A 32-bit stack.
pub const STACK32: u16 = local(7);
/// Data for GS: the data page and half of the stack.
pub const GS: u16 = local(8);
/// Expand-down, 16-bit: from 0x2800 to 0xffff.
pub const DOWN16: u16 = local(9);
/// Expand-down, 32-bit: from 0x2800 on.
pub const DOWN32: u16 = local(10);
/// Data that cannot be written.
pub const READ_ONLY: u16 = local(11);
/// Code that cannot be read.
pub const EXECUTE_ONLY: u16 = local(12);
/// Conforming code; Linux allows no such segment to be present.
pub const CONFORMING: u16 = local(13);
/// Data that is not present.
pub const NOT_PRESENT: u16 = local(14);
/// Beyond the end of the table.
pub const BEYOND: u16 = local(15);

/// A descriptor as it lies in memory (Intel SDM vol. 3, figure 3-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

/// Bits 40 to 47 and 52 to 55 of a descriptor.
mod bits {
    pub(super) const ACCESSED: u64 = 1 << 40;
    pub(super) const WRITE_OR_READ: u64 = 1 << 41;
    pub(super) const DOWN_OR_CONFORMING: u64 = 1 << 42;
    pub(super) const CODE: u64 = 1 << 43;
    pub(super) const CODE_OR_DATA: u64 = 1 << 44;
    pub(super) const DPL3: u64 = 3 << 45;
    pub(super) const PRESENT: u64 = 1 << 47;
    pub(super) const AVAILABLE: u64 = 1 << 52;
    pub(super) const LONG: u64 = 1 << 53;
    pub(super) const BIG: u64 = 1 << 54;
    pub(super) const PAGES: u64 = 1 << 55;

    pub(super) const DATA: u64 = PRESENT | CODE_OR_DATA | WRITE_OR_READ | ACCESSED;
    pub(super) const TEXT: u64 = DATA | CODE;
}

impl Descriptor {
    const fn new(base: u32, limit: u32, bits: u64) -> Descriptor {
        let (base, limit) = (base as u64, limit as u64);
        let base = (base & 0xff_ffff) << 16 | (base >> 24) << 56;
        Descriptor(base | limit & 0xffff | (limit >> 16 & 0xf) << 48 | bits)
    }

    /// The first byte's linear address.
    #[must_use]
    pub fn base(self) -> u32 {
        // Eight and twenty-four bits: they fit.
        (self.0 >> 16 & 0xff_ffff | (self.0 >> 56) << 24) as u32
    }

    /// The limit as it lies there: 20 bits, in bytes or pages.
    #[must_use]
    pub fn raw_limit(self) -> u32 {
        (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32
    }

    /// Whether a bit from 40 to 55 is set.
    #[must_use]
    pub fn bit(self, bit: u32) -> bool {
        self.0 >> bit & 1 != 0
    }

    /// What a segment register has after a selector of this descriptor was loaded (Intel SDM vol. 3, 3.4.3).
    #[must_use]
    pub fn cached(self, selector: u16) -> Segment {
        let (raw, g) = (self.raw_limit(), self.bit(55));
        Segment {
            base: u64::from(self.base()),
            limit: if g { raw << 12 | 0xfff } else { raw },
            selector,
            type_: (self.0 >> 40 & 0xf) as u8,
            present: self.bit(47),
            dpl: (self.0 >> 45 & 3) as u8,
            db: self.bit(54),
            s: self.bit(44),
            l: self.bit(53),
            g,
            avl: self.bit(52),
            unusable: false,
        }
    }
}

const BASE: u32 = 0x4000_0000;
const FLAT: u64 = bits::PAGES | bits::BIG;

/// The GDT of the software CPU, up to the task register's descriptor, which is of a size of its own.
pub const GDT: [Descriptor; 8] = [
    Descriptor(0),
    Descriptor::new(0, 0xf_ffff, bits::TEXT | FLAT),
    Descriptor::new(0, 0xf_ffff, bits::TEXT | bits::PAGES | bits::LONG),
    Descriptor::new(0, 0xf_ffff, bits::DATA | FLAT),
    Descriptor::new(0, 0xf_ffff, bits::TEXT | bits::DPL3 | FLAT),
    Descriptor::new(0, 0xf_ffff, bits::DATA | bits::DPL3 | FLAT),
    Descriptor::new(0, 0xf_ffff, bits::TEXT | bits::DPL3 | bits::PAGES | bits::LONG),
    Descriptor(0),
];

/// The local descriptor table, of both.
pub const LDT: [Descriptor; 15] = {
    use bits::{AVAILABLE, BIG, DOWN_OR_CONFORMING, DPL3, PRESENT, WRITE_OR_READ};
    let (data, text) = (bits::DATA | DPL3 | AVAILABLE, bits::TEXT | DPL3);
    [
        Descriptor::new(BASE, 0xffff, text),
        Descriptor::new(BASE, 0xffff, data),
        Descriptor::new(BASE + 0x100, 0xffff, data),
        Descriptor::new(BASE + 0x80, 0xffff, data),
        Descriptor::new(BASE, 0xffff, text | BIG),
        Descriptor::new(BASE, 0xffff, data | BIG),
        Descriptor::new(BASE + 0x100, 0xefff, data | BIG),
        Descriptor::new(BASE + 0x80, 0xffff, data | BIG),
        Descriptor::new(BASE + 0xf00, 0x28ff, data | BIG),
        Descriptor::new(BASE, 0x27ff, data | DOWN_OR_CONFORMING),
        Descriptor::new(BASE, 0x27ff, data | DOWN_OR_CONFORMING | BIG),
        Descriptor::new(BASE, 0xffff, (data | BIG) & !WRITE_OR_READ),
        Descriptor::new(BASE, 0xffff, (text | BIG) & !WRITE_OR_READ),
        Descriptor::new(BASE, 0xffff, (text | DOWN_OR_CONFORMING | BIG) & !PRESENT),
        Descriptor::new(BASE, 0xffff, (data | BIG) & !PRESENT),
    ]
};

/// The descriptor that a selector means; `None` for the null selector and beyond the tables.
#[must_use]
pub fn descriptor(selector: u16) -> Option<Descriptor> {
    let index = usize::from(selector >> 3);
    let table: &[Descriptor] = if selector & 4 == 0 { &GDT } else { &LDT };
    (selector & !3 != 0).then(|| table.get(index).copied()).flatten()
}
