//! What the registers and the memory of an instruction have to be like for it to do something.

use super::address::mask;
use super::{Draft, Override, RSP};
use crate::Mode;
use crate::layout;

const RAX: usize = 0;
const RCX: usize = 1;
const RDX: usize = 2;
const RBX: usize = 3;
const RBP: usize = 5;
const RSI: usize = 6;
const RDI: usize = 7;

/// Selectors that a program may load, and some that it may not.
const SELECTORS: [u16; 20] = [
    0,
    1,
    3,
    layout::USER_DATA,
    layout::USER_DATA & !3,
    layout::USER_CODE32,
    layout::USER_CODE64,
    layout::DATA16,
    layout::DATA32,
    layout::EXTRA32,
    layout::STACK16,
    layout::CODE16,
    layout::GS,
    layout::DOWN16,
    layout::DOWN32,
    layout::READ_ONLY,
    layout::EXECUTE_ONLY,
    layout::CONFORMING,
    layout::NOT_PRESENT,
    layout::BEYOND,
];

/// What is arranged for an instruction; in a pattern, `@` and the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `@string`: RSI and RDI lead to data, RCX is small, DF is either.
    String,
    /// `@count`: RCX is 0 or 1 often, in the bits that count.
    Count,
    /// `@xlat`: RBX and AL together lead to data.
    Xlat,
    /// `@divide`: the dividend is small enough, often.
    Divide,
    /// `@compare`: the accumulator is what it is compared with, often.
    Compare,
    /// `@bits`: the bit that a register counts from memory is not far.
    Bits,
    /// `@frame`: RBP is in the stack.
    Frame,
    /// `@flags`: what POPF pops changes nothing that the host could not take back.
    Flags,
    /// `@return`: the return address is in the code page.
    Return,
    /// `@branch`: the operand of an indirect branch is a place in the code page.
    Branch,
    /// `@selector`: the operand is a selector that means something.
    Selector,
    /// `@far`: the word after the offset of a far pointer in memory is a selector.
    FarPointer,
    /// `@farcode`: a far pointer, in memory or in the instruction, leads to the code page through some code segment.
    FarCode,
    /// `@farreturn`: so do an address, flags and a stack pointer on the stack, as IRET pops them.
    FarReturn,
    /// `@popped`: a selector is on the stack.
    Popped,
    /// `@vector`: an interrupt that Linux does not serve.
    Vector,
}

impl Need {
    pub(super) fn named(name: &str) -> Option<Need> {
        Some(match name {
            "string" => Need::String,
            "count" => Need::Count,
            "xlat" => Need::Xlat,
            "divide" => Need::Divide,
            "compare" => Need::Compare,
            "bits" => Need::Bits,
            "frame" => Need::Frame,
            "flags" => Need::Flags,
            "return" => Need::Return,
            "branch" => Need::Branch,
            "selector" => Need::Selector,
            "far" => Need::FarPointer,
            "farcode" => Need::FarCode,
            "farreturn" => Need::FarReturn,
            "popped" => Need::Popped,
            "vector" => Need::Vector,
            _ => return None,
        })
    }

    pub(super) fn apply(self, draft: &mut Draft<'_>) -> Option<()> {
        match self {
            Need::String => return draft.string(),
            Need::Count => draft.count(),
            Need::Xlat => {
                let target = draft.data_offset(draft.segment)?;
                let al = draft.state.gprs[RAX] & 0xff;
                draft.set(RBX, target.wrapping_sub(al), mask(draft.address_size));
            }
            Need::Divide => draft.divide(),
            Need::Compare => draft.compare(),
            Need::Bits => draft.bits(),
            Need::Frame => {
                let frame = draft.stack_pointer();
                draft.state.gprs[RBP] = frame;
            }
            Need::Flags => {
                let flags = draft.popped_flags();
                draft.poke_stack(&flags.to_le_bytes());
            }
            Need::Return => {
                let target = draft.code_target();
                draft.poke_stack(&target.to_le_bytes());
            }
            Need::Branch => {
                let target = draft.code_target();
                draft.poke_operand(target, 8);
            }
            Need::Selector => {
                let selector = u64::from(*draft.random.of(&SELECTORS));
                let high = draft.random.value() & !0xffff;
                let bytes = if draft.memory.is_some() { 2 } else { 8 };
                draft.poke_operand(high | selector, bytes);
            }
            Need::FarPointer => {
                let selector = *draft.random.of(&SELECTORS);
                let at = draft.memory?.linear + u64::from(draft.operand_size / 8);
                draft.poke(at, &selector.to_le_bytes());
            }
            Need::FarCode => draft.far_code(),
            Need::FarReturn => draft.far_return(),
            Need::Popped => {
                let selector = u64::from(*draft.random.of(&SELECTORS));
                let above = draft.random.value() & !0xffff;
                draft.poke_stack(&(above | selector).to_le_bytes());
            }
            Need::Vector => {
                let vector = draft.random.below(256) as u8;
                // 1 and 3 look like the host's own way out; 0x80 is Linux's system call.
                let vector = if matches!(vector, 1 | 3 | 0x80) {
                    0x81
                } else {
                    vector
                };
                *draft.body.last_mut()? = vector;
            }
        }
        Some(())
    }
}

impl Draft<'_> {
    fn string(&mut self) -> Option<()> {
        let (source, target) = (
            self.data_offset(self.segment)?,
            self.data_offset(Some(Override::Es))?,
        );
        let bits = mask(self.address_size);
        self.set(RSI, source, bits);
        self.set(RDI, target, bits);
        let count = self.random.below(20);
        self.set(RCX, count, bits);
        self.state.rflags ^= self.random.bits() & super::DF;
        Some(())
    }

    /// Flags for POPF and IRET. TF would trap, AC would check alignment, and NT and ID stay after a signal.
    fn popped_flags(&mut self) -> u64 {
        const NOT: u64 = 1 << 8 | 1 << 14 | 1 << 18 | 1 << 21;
        self.random.bits() & !NOT
    }

    /// A selector, and an offset with it that is in the code page if it is one of code.
    fn far_target(&mut self) -> (u64, u16) {
        let code = [
            layout::USER_CODE32,
            layout::CODE16,
            layout::CODE32,
            layout::EXECUTE_ONLY,
        ];
        let selector = match self.random.below(8) {
            0 => *self.random.of(&SELECTORS),
            1 | 2 => self.state.selectors.cs,
            _ => *self.random.of(&code),
        };
        // The 64-bit segment is something else where there is no long mode, and only it reaches above 4 GiB.
        let selector = match (self.mode, selector) {
            (Mode::LongHigh, other) if code.contains(&other) => layout::USER_CODE64,
            (Mode::Long | Mode::LongHigh, other) => other,
            (_, layout::USER_CODE64) => layout::USER_CODE32,
            (_, other) => other,
        };
        let base = layout::descriptor(selector).map_or(0, |descriptor| descriptor.base());
        let origin = if base == 0 { self.mode.window().base } else { 0 };
        let target = origin + layout::CODE as u64 + self.code_target() % layout::PAGE as u64;
        (target, selector)
    }

    fn far_code(&mut self) {
        let (target, selector) = self.far_target();
        let size = (self.operand_size / 8) as usize;
        let mut pointer = target.to_le_bytes()[..size].to_vec();
        pointer.extend(selector.to_le_bytes());
        if let Some(memory) = self.memory {
            self.poke(memory.linear, &pointer);
        } else {
            let at = self.body.len().saturating_sub(pointer.len());
            self.body.splice(at.., pointer);
        }
    }

    fn far_return(&mut self) {
        let (target, selector) = self.far_target();
        let (flags, stack) = (self.popped_flags(), self.stack_pointer());
        let segment = if self.random.one_in(8) {
            *self.random.of(&SELECTORS)
        } else {
            self.state.selectors.ss
        };
        let size = (self.operand_size / 8) as usize;
        let values = [target, selector.into(), flags, stack, segment.into()];
        let frame: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes()[..size].to_vec())
            .collect();
        self.poke_stack(&frame);
    }

    fn count(&mut self) {
        if !self.random.one_in(4) {
            let count = self.random.below(3);
            self.set(RCX, count, mask(self.address_size));
        }
    }

    fn divide(&mut self) {
        if self.random.one_in(4) {
            return;
        }
        let negative = self.random.one_in(2);
        let high = if negative { u64::MAX } else { 0 } ^ (self.random.below(64) >> self.random.below(8));
        for (register, low) in [(RDX, 64), (RAX, 8)] {
            // For a byte's division the high half is AH.
            let byte = register == RAX;
            if self.settled & 1 << register == 0 {
                let bits = if byte { 0xff00 } else { mask(low) };
                self.set(register, if byte { high << 8 } else { high }, bits);
            }
        }
    }

    fn compare(&mut self) {
        if self.random.one_in(2) {
            return;
        }
        let (mut low, mut high) = (0, 0);
        if let Some(memory) = self.memory {
            (low, high) = (
                self.peek(memory.linear),
                self.peek(memory.linear + u64::from(self.operand_size / 8)),
            );
        } else if let Some(register) = self.register {
            low = self.state.gprs[register];
        }
        let all = mask(self.mode.bits().max(32));
        for (register, value) in [(RAX, low), (RDX, high)] {
            if self.settled & 1 << register == 0 {
                self.state.gprs[register] = value & all;
            }
        }
    }

    fn bits(&mut self) {
        let Some(register) = self.modrm_register().filter(|_| self.memory.is_some()) else {
            return;
        };
        if self.settled & 1 << register == 0 {
            let bit = self.random.below(1024).wrapping_sub(512);
            self.set(register, bit, mask(self.operand_size));
        }
    }

    /// The register operand of ModRM.reg: the byte is the third of `0f xx /r`.
    fn modrm_register(&self) -> Option<usize> {
        let modrm = *self.body.get(2)?;
        Some(usize::from(modrm >> 3 & 7) | usize::from(self.rex.unwrap_or(0) & 4) << 1)
    }

    fn poke_operand(&mut self, value: u64, bytes: usize) {
        if let Some(memory) = self.memory {
            self.poke(memory.linear, &value.to_le_bytes()[..bytes]);
        } else if let Some(register) = self.register {
            self.state.gprs[register] = value & mask(self.mode.bits().max(32));
        }
    }

    fn poke_stack(&mut self, bytes: &[u8]) {
        let pointer = self.state.gprs[RSP] & mask(self.mode.stack_bits());
        let at = pointer.wrapping_add(self.segment_base(Override::Ss));
        self.poke(at, bytes);
    }

    /// Changes memory, if it is there, and not the code page: cases end there.
    fn poke(&mut self, linear: u64, bytes: &[u8]) {
        let is_code = |place: usize| place / layout::PAGE == layout::CODE / layout::PAGE;
        for (at, byte) in (linear..).zip(bytes) {
            if let Some(place) = self.place_of(at).filter(|place| !is_code(*place)) {
                self.arena.bytes_mut()[place] = *byte;
            }
        }
    }

    fn peek(&self, linear: u64) -> u64 {
        (0..8).rev().fold(0, |value, byte| {
            let place = self.place_of(linear + byte);
            value << 8 | place.map_or(0, |place| u64::from(self.arena.bytes()[place]))
        })
    }

    fn place_of(&self, linear: u64) -> Option<usize> {
        let offset = usize::try_from(linear.checked_sub(self.mode.window().base)?).ok()?;
        let page = layout::PAGES
            .iter()
            .position(|page| *page == offset / layout::PAGE)?;
        Some(page * layout::PAGE + offset % layout::PAGE)
    }
}
