//! The legacy window: how an address in 0xa0000-0xbffff is a place in VRAM, and what happens on the way (FreeVGA,
//! "Accessing the VGA Display Memory").

use flatview::RamWindow;

use super::registers::Registers;

/// Bytes of the window.
pub(super) const WINDOW: u64 = 0x2_0000;

/// Memory Mode: chain 4.
const CHAIN_4: u8 = 0x08;
/// Map Mask: all four planes.
const ALL_PLANES: u8 = 0x0f;
/// Graphics Mode: host odd/even.
const ODD_EVEN: u8 = 0x10;
/// Graphics Mode: read mode 1.
const READ_COMPARE: u8 = 0x08;

/// The part of VRAM that is seen directly, and where in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Direct {
    /// The first byte, counted from the window's.
    pub(super) at: u64,
    pub(super) size: u64,
    pub(super) vram_offset: u64,
}

/// A byte of VRAM.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first of the four bytes, one of each plane, that the latches take.
    group: u64,
    plane: u8,
}

/// A byte in each plane that the mask has a bit for.
fn planes(mask: u8) -> u32 {
    (0..4)
        .filter(|plane| mask >> plane & 1 != 0)
        .fold(0, |bytes, plane| bytes | 0xff << (8 * plane))
}

/// The same byte in every plane.
fn everywhere(byte: u8) -> u32 {
    u32::from(byte) * 0x0101_0101
}

/// Which planes are written.
fn map_mask(registers: &Registers) -> u8 {
    if registers.is_linear {
        ALL_PLANES
    } else {
        registers.sequencer[2]
    }
}

fn is_chain_4(registers: &Registers) -> bool {
    registers.is_linear || registers.sequencer[4] & CHAIN_4 != 0
}

/// Consecutive addresses are different planes, and the logic of the planes is not used.
fn addresses_planes(registers: &Registers) -> bool {
    is_chain_4(registers) || registers.graphics[5] & ODD_EVEN != 0
}

/// Where in the window there is memory (Memory Map Select): the first byte, the number of bytes, and whether the bank
/// counts.
fn mapped(registers: &Registers) -> (u64, u64, bool) {
    match registers.graphics[6] >> 2 & 3 {
        0 => (0, WINDOW, false),
        1 => (0, 0x1_0000, true),
        2 => (0x1_0000, 0x8000, false),
        _ => (0x1_8000, 0x8000, false),
    }
}

/// What of VRAM the window shows as it is: in chain 4 mode with all planes writable.
pub(super) fn direct(registers: &Registers, bank_offset: u64, vram: u64) -> Option<Direct> {
    if !is_chain_4(registers) || map_mask(registers) & ALL_PLANES != ALL_PLANES {
        return None;
    }
    let (at, size, is_banked) = mapped(registers);
    let vram_offset = if is_banked { bank_offset } else { 0 };
    (vram_offset + size <= vram).then_some(Direct {
        at,
        size,
        vram_offset,
    })
}

fn place(registers: &Registers, bank_offset: u64, offset: u64, vram: u64) -> Option<Place> {
    let (first, size, is_banked) = mapped(registers);
    let address = offset.checked_sub(first).filter(|address| *address < size)?;
    let address = address + if is_banked { bank_offset } else { 0 };
    let select = registers.graphics[4];
    let low = address.to_le_bytes()[0];
    let place = if is_chain_4(registers) {
        Place {
            group: address & !3,
            plane: low & 3,
        }
    } else if registers.graphics[5] & ODD_EVEN != 0 {
        Place {
            group: (address & !1) << 1,
            plane: select & 2 | low & 1,
        }
    } else {
        Place {
            group: address << 2,
            plane: select & 3,
        }
    };
    (place.group + 4 <= vram).then_some(place)
}

/// The latches, and VRAM.
#[derive(Debug)]
pub(super) struct Planes {
    pub(super) vram: RamWindow,
    latches: u32,
}

impl Planes {
    pub(super) fn new(vram: RamWindow) -> Planes {
        Planes { vram, latches: 0 }
    }

    /// Four bytes, one of each plane, plane 0 in the low one.
    pub(super) fn group(&self, at: u64) -> u32 {
        self.vram.load(at).map_or(0, u32::from_le)
    }

    /// The guest reads a byte of the window.
    pub(super) fn read(&mut self, registers: &Registers, bank_offset: u64, offset: u64) -> u8 {
        let Some(Place { group, plane }) = place(registers, bank_offset, offset, self.vram.size()) else {
            return 0xff;
        };
        let bytes = self.group(group);
        let is_plain = addresses_planes(registers);
        if !is_plain {
            // As in QEMU, the latches are loaded where they are of use.
            self.latches = bytes;
        }
        if is_plain || registers.graphics[5] & READ_COMPARE == 0 {
            return bytes.to_le_bytes()[usize::from(plane)];
        }
        // A bit is set where all planes that are cared for have the color compared with.
        let differs = (bytes ^ planes(registers.graphics[2])) & planes(registers.graphics[7]);
        !differs.to_le_bytes().into_iter().fold(0, |any, byte| any | byte)
    }

    /// The guest writes a byte of the window.
    pub(super) fn write(&mut self, registers: &Registers, bank_offset: u64, offset: u64, value: u8) {
        let Some(Place { group, plane }) = place(registers, bank_offset, offset, self.vram.size()) else {
            return;
        };
        let map_mask = map_mask(registers);
        if addresses_planes(registers) {
            if map_mask >> plane & 1 != 0 {
                // The place was found to lie within VRAM.
                let _ = self.vram.store(group + u64::from(plane), value);
            }
            return;
        }
        let written = self.modified(registers, value);
        let mask = planes(map_mask);
        let new = self.group(group) & !mask | written & mask;
        let _ = self.vram.store(group, new.to_le());
    }

    /// What the graphics controller makes of a byte: a byte for each plane (FreeVGA, Graphics Mode: write modes).
    fn modified(&self, registers: &Registers, value: u8) -> u32 {
        let graphics = &registers.graphics;
        let rotated = value.rotate_right(u32::from(graphics[3] & 7));
        let set_reset = planes(graphics[0]);
        let (data, bit_mask) = match graphics[5] & 3 {
            0 => {
                let enabled = planes(graphics[1]);
                (everywhere(rotated) & !enabled | set_reset & enabled, graphics[8])
            }
            1 => return self.latches,
            2 => (planes(value & 0xf), graphics[8]),
            _ => (set_reset, graphics[8] & rotated),
        };
        let data = match graphics[3] >> 3 & 3 {
            0 => data,
            1 => data & self.latches,
            2 => data | self.latches,
            _ => data ^ self.latches,
        };
        let bits = everywhere(bit_mask);
        data & bits | self.latches & !bits
    }
}
