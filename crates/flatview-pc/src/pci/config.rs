//! The configuration space of a function (PCI Local Bus Specification 3.0, chapter 6).

/// Offsets of the registers that every function has, and their bits.
pub mod reg {
    /// Vendor id, 16 bits.
    pub const VENDOR_ID: u8 = 0x00;
    /// Device id, 16 bits.
    pub const DEVICE_ID: u8 = 0x02;
    /// Command, 16 bits.
    pub const COMMAND: u8 = 0x04;
    /// Status, 16 bits.
    pub const STATUS: u8 = 0x06;
    /// Revision id, 8 bits; the class code follows it.
    pub const REVISION: u8 = 0x08;
    /// Header type, 8 bits.
    pub const HEADER_TYPE: u8 = 0x0e;
    /// The first of six base address registers.
    pub const BAR0: u8 = 0x10;
    /// Subsystem vendor id, 16 bits; the subsystem id follows it.
    pub const SUBSYSTEM: u8 = 0x2c;
    /// The expansion ROM's base address register.
    pub const ROM: u8 = 0x30;
    /// The interrupt line, 8 bits: for software only. The interrupt pin follows it.
    pub const INTERRUPT_LINE: u8 = 0x3c;
    /// Where the registers that all functions have end, and those of the function itself begin.
    pub const HEADER_END: u8 = 0x40;

    /// Of the command register: the function answers in I/O space.
    pub const COMMAND_IO: u16 = 1;
    /// Of the command register: the function answers in memory space.
    pub const COMMAND_MEMORY: u16 = 1 << 1;
    /// Of the command register: the function may be a bus master.
    pub const COMMAND_MASTER: u16 = 1 << 2;
    /// Of the command register: SERR# and INTx disable, which can be set and do nothing.
    pub const COMMAND_OTHER: u16 = 1 << 8 | 1 << 10;
}

/// The 256 bytes of a function's configuration space, and what a guest may do to each bit of them.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: [u8; 256],
    /// Bits that a write sets and clears.
    writable: [u8; 256],
    /// Bits that a write of 1 clears.
    clearable: [u8; 256],
}

impl Default for ConfigSpace {
    /// All zero and not writable.
    fn default() -> ConfigSpace {
        ConfigSpace {
            bytes: [0; 256],
            writable: [0; 256],
            clearable: [0; 256],
        }
    }
}

impl ConfigSpace {
    /// The `size` bytes at `offset`, little-endian; bytes beyond the end read as ones.
    pub fn get(&self, offset: u8, size: u8) -> u32 {
        (0..size.min(4)).rev().fold(0, |value, i| {
            let byte = self.bytes.get(usize::from(offset) + usize::from(i));
            value << 8 | u32::from(*byte.unwrap_or(&0xff))
        })
    }

    /// A register of 8 bits.
    pub fn u8(&self, offset: u8) -> u8 {
        self.bytes[usize::from(offset)]
    }

    /// A register of 16 bits.
    pub fn u16(&self, offset: u8) -> u16 {
        u16::from_le_bytes([self.u8(offset), self.u8(offset.wrapping_add(1))])
    }

    /// Puts `value` there, as the device itself does, whatever a guest may write.
    pub fn set(&mut self, offset: u8, value: &[u8]) {
        for (at, &byte) in (usize::from(offset)..256).zip(value) {
            self.bytes[at] = byte;
        }
    }

    /// Which bits of the bytes from `offset` on a guest may write.
    pub fn set_writable(&mut self, offset: u8, mask: &[u8]) {
        for (at, &byte) in (usize::from(offset)..256).zip(mask) {
            self.writable[at] = byte;
        }
    }

    /// Which bits of the bytes from `offset` on a guest clears by writing 1.
    pub fn set_clearable(&mut self, offset: u8, mask: &[u8]) {
        for (at, &byte) in (usize::from(offset)..256).zip(mask) {
            self.clearable[at] = byte;
        }
    }

    /// A guest writes the low `size` bytes of `value` at `offset`.
    pub fn write(&mut self, offset: u8, size: u8, value: u32) {
        let bytes = value.to_le_bytes();
        for (at, &byte) in (usize::from(offset)..256).zip(&bytes[..usize::from(size.min(4))]) {
            let (writable, clearable) = (self.writable[at], self.clearable[at]);
            let kept = self.bytes[at] & !writable | byte & writable;
            self.bytes[at] = kept & !(byte & clearable);
        }
    }
}
