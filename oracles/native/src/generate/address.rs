//! Memory operands: ModRM, SIB and displacement, and the registers that make them lead somewhere
//! (Intel SDM vol. 2, 2.1.5).

use super::{Draft, Override, RSP};
use crate::layout;

/// Where a memory operand is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Its offset in its segment.
    pub(super) offset: u64,
    /// Its linear address.
    pub(super) linear: u64,
    /// Where in the instruction's body a displacement waits until the instruction's length is known.
    pub(super) rip_relative: Option<usize>,
}

/// As many ones.
pub(super) fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The sum that an address is.
struct Parts {
    base: Option<usize>,
    /// With the power of two that it is multiplied by.
    index: Option<(usize, u32)>,
    displacement_bytes: usize,
}

impl Draft<'_> {
    pub(super) fn modrm(&mut self, kind: &str) -> Option<()> {
        let (which, form) = kind.split_at(1);
        if kind == "lea" {
            let register = self.random.below(8) as u8;
            return self.memory_operand(register, true);
        }
        let register = match which.parse::<u8>() {
            Ok(digit) => digit,
            Err(_) => self.random.below(8) as u8,
        };
        let is_register = match form {
            "m" => false,
            "r" => true,
            _ => self.random.one_in(2),
        };
        if is_register {
            let rm = self.random.below(8) as u8;
            self.body.push(0xc0 | register << 3 | rm);
            self.register = Some(usize::from(rm) | usize::from(self.rex.unwrap_or(0) & 1) << 3);
            return Some(());
        }
        self.memory_operand(register, false)
    }

    /// The base of a segment: 0 in 64-bit code, and in flat ones.
    pub(super) fn segment_base(&self, segment: Override) -> u64 {
        let selectors = &self.state.selectors;
        let selector = match segment {
            Override::Es => selectors.es,
            Override::Cs => selectors.cs,
            Override::Ss => selectors.ss,
            Override::Ds => selectors.ds,
            Override::Gs => selectors.gs,
        };
        layout::descriptor(selector).map_or(0, |descriptor| u64::from(descriptor.base()))
    }

    /// An offset that leads into the data page, or, rarely, to the end of a page, of all memory or of a segment. `None` if
    /// none does that.
    pub(super) fn data_offset(&mut self, segment: Option<Override>) -> Option<u64> {
        let flat = self.segment_base(segment.unwrap_or(Override::Ds)) == 0;
        if flat && self.address_size < self.mode.window().base.ilog2() {
            return None;
        }
        const EDGES: [u64; 4] = [0x1ff0, 0x2ff0, 0x3ff0, 0xfff0];
        let offset = if !self.still && self.random.one_in(16) {
            *self.random.of(&EDGES) + self.random.below(16)
        } else {
            layout::DATA as u64 + 0x180 + self.random.below(0xd00)
        };
        let offset = if self.aligned { offset & !15 } else { offset };
        let offset = self.exactly.unwrap_or(offset);
        Some(if flat {
            self.mode.window().base + offset
        } else {
            offset
        })
    }

    fn memory_operand(&mut self, register: u8, free: bool) -> Option<()> {
        let (mut mode, mut rm) = (self.random.below(3) as u8, self.random.below(8) as u8);
        if self.still && !free {
            // A displacement, or relative to RIP.
            (mode, rm) = (0, if self.address_size == 16 { 6 } else { 5 });
        }
        self.body.push(mode << 6 | register << 3 | rm);
        let parts = if self.address_size == 16 {
            parts16(mode, rm)
        } else {
            self.parts(mode, rm)
        };
        let at = self.body.len();
        if free {
            let displacement = self.random.value().to_le_bytes();
            self.body
                .extend_from_slice(&displacement[..parts.displacement_bytes]);
            return Some(());
        }
        let on_stack = matches!(parts.base, Some(4 | 5));
        let segment = self.segment.or(on_stack.then_some(Override::Ss));
        let target = self.data_offset(segment)?;
        let rip_relative = self.mode.bits() == 64 && mode == 0 && rm == 5;
        let (offset, displacement) = if rip_relative {
            (target, 0)
        } else {
            self.solve(&parts, target)?
        };
        self.body
            .extend_from_slice(&displacement.to_le_bytes()[..parts.displacement_bytes]);
        self.memory = Some(Memory {
            offset,
            linear: offset.wrapping_add(self.segment_base(segment.unwrap_or(Override::Ds))),
            rip_relative: rip_relative.then_some(at),
        });
        Some(())
    }

    /// With 32- or 64-bit addresses. Writes the SIB byte, if there is one.
    fn parts(&mut self, mode: u8, rm: u8) -> Parts {
        let rex = usize::from(self.rex.unwrap_or(0));
        let displacement_bytes = [0, 1, 4][usize::from(mode)];
        let nothing = |base: u8| mode == 0 && base == 5;
        if rm != 4 {
            let alone = nothing(rm);
            return Parts {
                base: (!alone).then_some(usize::from(rm) | (rex & 1) << 3),
                index: None,
                displacement_bytes: if alone { 4 } else { displacement_bytes },
            };
        }
        let sib = self.random.below(256) as u8;
        self.body.push(sib);
        let (scale, index, base) = (u32::from(sib >> 6), usize::from(sib >> 3 & 7), sib & 7);
        let index = index | (rex & 2) << 2;
        let alone = nothing(base);
        Parts {
            base: (!alone).then_some(usize::from(base) | (rex & 1) << 3),
            index: (index != RSP).then_some((index, scale)),
            displacement_bytes: if alone { 4 } else { displacement_bytes },
        }
    }

    /// Sets registers so that the sum is `target`, or close to it, and returns the sum and the displacement.
    fn solve(&mut self, parts: &Parts, target: u64) -> Option<(u64, u64)> {
        let mask = mask(self.address_size);
        let bytes = parts.displacement_bytes;
        let extend = |value: u64| match bytes {
            0 => 0,
            1 => value as i8 as u64,
            2 => value as i16 as u64,
            _ => value as i32 as u64,
        };
        let scaled = |draft: &Self| {
            parts
                .index
                .map_or(0, |(index, scale)| draft.state.gprs[index] << scale)
        };
        let from_registers = |draft: &Self| {
            let base = parts.base.map_or(0, |base| draft.state.gprs[base]);
            base.wrapping_add(scaled(draft)) & mask
        };
        for register in parts.base.into_iter().chain(parts.index.map(|(index, _)| index)) {
            self.settled |= 1 << register;
        }
        let mut displacement = target.wrapping_sub(from_registers(self)) & mask;
        let fits = |displacement: u64| extend(displacement) & mask == displacement;
        if bytes >= 2 && fits(displacement) {
            return Some((target, displacement));
        }
        displacement = extend(self.random.value());
        let rest = target.wrapping_sub(displacement) & mask;
        match (parts.base, parts.index) {
            (Some(base), Some((index, scale))) if base == index => {
                self.set(base, rest / (1 + (1 << scale)), mask)
            }
            (Some(base), _) => self.set(base, rest.wrapping_sub(scaled(self)), mask),
            (None, Some((index, scale))) => self.set(index, rest >> scale, mask),
            (None, None) => return None,
        }
        Some((
            from_registers(self).wrapping_add(displacement) & mask,
            displacement,
        ))
    }

    /// Sets the bits of a register that an address has; the others mean nothing to it, and stay.
    pub(super) fn set(&mut self, register: usize, value: u64, mask: u64) {
        let all = self.mode.bits().max(32);
        let value = self.state.gprs[register] & !mask | value & mask;
        self.state.gprs[register] = value & self::mask(all);
    }
}

fn parts16(mode: u8, rm: u8) -> Parts {
    const BX: usize = 3;
    const BP: usize = 5;
    const SI: usize = 6;
    const DI: usize = 7;
    let (base, index) = [
        (Some(BX), Some(SI)),
        (Some(BX), Some(DI)),
        (Some(BP), Some(SI)),
        (Some(BP), Some(DI)),
        (None, Some(SI)),
        (None, Some(DI)),
        (Some(BP), None),
        (Some(BX), None),
    ][usize::from(rm)];
    if mode == 0 && rm == 6 {
        return Parts {
            base: None,
            index: None,
            displacement_bytes: 2,
        };
    }
    Parts {
        base,
        index: index.map(|index| (index, 0)),
        displacement_bytes: usize::from(mode),
    }
}
