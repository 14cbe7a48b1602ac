//! Random instructions, each with registers and memory with which it does something.
//!
//! A [`Family`] is a list of *patterns* in the notation of Intel's manual: `0f a4 /r ib`. [`Generator::case`] takes one of
//! them, adds prefixes, chooses operands, and then solves for the registers of its memory operand, so that the access
//! lands in the data page (or at the end of a segment, now and then). [`Generator::sequence`] makes several instructions in
//! a row, [`Generator::simd`] those that need XMM registers. Everything comes from one seed.
//!
//! | token | what it stands for |
//! |---|---|
//! | `a4` | a byte of the opcode |
//! | `+r`, `+c` | adds a register's number, or a condition's, to the byte before |
//! | `/r`, `/0` … `/7` | a ModRM byte with any register, or with this digit; register or memory |
//! | `m` after these: `/rm`, `/1m` | memory only |
//! | `r` after these: `/rr` | a register only |
//! | `/lea` | memory that is not accessed: any address |
//! | `ib`, `iw`, `iz`, `iv` | an immediate: a byte, a word, at most 32 bits, up to 64 bits |
//! | `jb`, `jz` | a distance to somewhere in the code page |
//! | `moffs` | an address of the address size |
//! | `!64`, `=64` | not in 64-bit code, only there |
//! | `lock` | LOCK is allowed with memory |
//! | `rep`, `repne` | may be repeated so |
//! | `no66`, `noW` | no operand-size prefix, no REX.W |
//! | `many` | prefixes are repeated, until there are too many |
//! | `@…` | what the registers or the memory have to be like: [`Need`] |

mod address;
pub mod families;
mod needs;
mod random;
mod sequence;
mod simd;

pub use families::{FAMILIES, Family};
pub use needs::Need;
pub use random::Random;

use crate::layout;
use crate::{Arena, Case, Mode, State};

use address::Memory;

/// CF, PF, AF, ZF, SF and OF.
pub const STATUS_FLAGS: u64 = 0x8d5;
const DF: u64 = 1 << 10;
/// Bit 1 is always set, and IF in any user's program.
const BASE_FLAGS: u64 = 0x202;
const RSP: usize = 4;

/// Makes cases.
#[derive(Debug)]
pub struct Generator {
    random: Random,
}

/// An instruction in the making.
#[derive(Debug)]
struct Draft<'a> {
    random: &'a mut Random,
    arena: &'a mut Arena,
    mode: Mode,
    state: State,
    /// Bits by register number: its value is settled.
    settled: u16,
    /// Others run before this one: no register can be set, and no address may depend on one.
    still: bool,
    /// Memory operands are on 16 bytes.
    aligned: bool,
    /// The memory operand is here in the window.
    exactly: Option<u64>,
    prefixes: Vec<u8>,
    rex: Option<u8>,
    operand_size: u32,
    address_size: u32,
    segment: Option<Override>,
    body: Vec<u8>,
    memory: Option<Memory>,
    /// The register operand of ModRM.rm, if it is one.
    register: Option<usize>,
}

/// A segment override prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Override {
    Es = 0x26,
    Cs = 0x2e,
    Ss = 0x36,
    Ds = 0x3e,
    Gs = 0x65,
}

impl Generator {
    /// The same seed gives the same cases.
    #[must_use]
    pub fn new(seed: u64) -> Generator {
        let random = Random::new(seed);
        Generator { random }
    }

    /// Fills the memory, all but the code page, with anything.
    pub fn scramble(&mut self, arena: &mut Arena) {
        for (number, page) in arena.bytes_mut().chunks_mut(layout::PAGE).enumerate() {
            if number * layout::PAGE != layout::CODE {
                page.chunks_mut(8)
                    .for_each(|word| word.copy_from_slice(&self.random.value().to_le_bytes()));
            }
        }
    }

    /// A case of this family, with its memory in `arena`. `None` if the pattern that came up does not exist in this
    /// mode, or no register can have the value that it would need.
    pub fn case(&mut self, family: &Family, mode: Mode, arena: &mut Arena) -> Option<Case> {
        let pattern = *self.random.of(family.patterns);
        Draft::new(&mut self.random, arena, mode).build(pattern)
    }
}

impl<'a> Draft<'a> {
    fn new(random: &'a mut Random, arena: &'a mut Arena, mode: Mode) -> Draft<'a> {
        let mut state = State {
            rflags: BASE_FLAGS | random.bits() & STATUS_FLAGS | if random.one_in(8) { DF } else { 0 },
            selectors: mode.selectors(),
            ..State::default()
        };
        let count = if mode.bits() == 64 { 16 } else { 8 };
        for register in &mut state.gprs[..count] {
            *register = random.value() & address::mask(mode.bits().max(32));
        }
        let code_origin = if mode.code_base() == 0 {
            mode.window().base
        } else {
            0
        };
        state.rip = code_origin + layout::CODE as u64 + 0x400 + random.below(0x800);
        if mode.bits() != 64 && random.one_in(16) {
            let others = [layout::READ_ONLY, layout::DOWN16, layout::DOWN32, layout::GS, 0];
            state.selectors.ds = *random.of(&others);
        }
        let mut draft = Draft {
            random,
            arena,
            mode,
            state,
            settled: 0,
            still: false,
            aligned: false,
            exactly: None,
            prefixes: Vec::new(),
            rex: None,
            operand_size: if mode.bits() == 16 { 16 } else { 32 },
            address_size: mode.bits(),
            segment: None,
            body: Vec::new(),
            memory: None,
            register: None,
        };
        draft.state.gprs[RSP] = draft.stack_pointer();
        draft
    }

    /// Somewhere in the stack page; where the stack is 16 bits wide, at its very end now and then.
    fn stack_pointer(&mut self) -> u64 {
        let random = &mut *self.random;
        if self.mode == Mode::Based16 {
            let high = random.bits() & 0xffff_0000;
            if random.one_in(32) {
                return high | random.below(9);
            }
            return high | (layout::STACK as u64 + 0x400 + random.below(0x800));
        }
        let aligned = if random.one_in(4) { 0 } else { 7 };
        let offset = layout::STACK as u64 + 0x400 + random.below(0x800);
        self.mode.data_origin() + (offset & !aligned)
    }

    /// Makes an instruction of a pattern.
    fn build(mut self, pattern: &str) -> Option<Case> {
        let tokens: Vec<&str> = pattern.split_whitespace().collect();
        let has = |token| tokens.contains(&token);
        if has(if self.mode.bits() == 64 { "!64" } else { "=64" }) {
            return None;
        }
        self.choose_prefixes(&tokens);
        for token in &tokens {
            self.token(token)?;
        }
        for need in tokens.iter().filter_map(|token| token.strip_prefix('@')) {
            Need::named(need)?.apply(&mut self)?;
        }
        self.finish(has("lock"))
    }

    fn choose_prefixes(&mut self, tokens: &[&str]) {
        let has = |token| tokens.contains(&token);
        if self.random.one_in(4) && !has("no66") {
            self.prefixes.push(0x66);
            self.operand_size = if self.operand_size == 16 { 32 } else { 16 };
        }
        let flat16 = self.mode == Mode::Big16;
        if if flat16 {
            !self.random.one_in(8)
        } else {
            self.random.one_in(8)
        } {
            self.prefixes.push(0x67);
            self.address_size = if self.address_size == 32 && self.mode.bits() == 32 {
                16
            } else {
                32
            };
        }
        if !self.still && self.random.one_in(8) {
            use Override::{Cs, Ds, Es, Gs, Ss};
            let segment = *self.random.of(&[Es, Cs, Ss, Ds, Gs]);
            self.prefixes.push(segment as u8);
            self.segment = Some(segment);
        }
        if has("rep") && !self.random.one_in(3) {
            self.prefixes.push(0xf3);
        } else if has("repne") && !self.random.one_in(3) {
            let prefix = *self.random.of(&[0xf2, 0xf3]);
            self.prefixes.push(prefix);
        }
        let length = self.prefixes.len() as u64;
        if length > 1 {
            let other = self.random.below(length) as usize;
            self.prefixes.swap(0, other);
        }
        if has("many") && length > 0 {
            // The same ones again, so that they mean the same.
            for _ in 0..self.random.below(16) {
                let prefix = self.prefixes[self.random.below(length) as usize];
                self.prefixes.push(prefix);
            }
        }
        if self.mode.bits() == 64 && !self.random.one_in(3) {
            let bits = if has("noW") { 8 } else { 16 };
            let rex = 0x40 | self.random.below(bits) as u8;
            self.rex = Some(rex);
            if rex & 8 != 0 {
                self.operand_size = 64;
            }
        }
    }

    fn token(&mut self, token: &str) -> Option<()> {
        if token.len() == 2
            && !token.starts_with('+')
            && let Ok(byte) = u8::from_str_radix(token, 16)
        {
            self.body.push(byte);
            return Some(());
        }
        if let Some(kind) = token.strip_prefix('/') {
            return self.modrm(kind);
        }
        match token {
            "+r" => *self.body.last_mut()? += self.random.below(8) as u8,
            "+c" => *self.body.last_mut()? += self.random.below(16) as u8,
            "ib" => self.immediate(1),
            "iw" => self.immediate(2),
            "iz" => self.immediate((self.operand_size / 8).min(4)),
            "iv" => self.immediate(self.operand_size / 8),
            "jb" => self.distance(1)?,
            "jz" if self.operand_size == 16 && self.mode.bits() != 64 => self.distance(2)?,
            "jz" => self.distance(4)?,
            "moffs" => {
                let address = self.data_offset(self.segment)?;
                let bytes = (self.address_size / 8) as usize;
                self.body.extend_from_slice(&address.to_le_bytes()[..bytes]);
            }
            _ => {}
        }
        Some(())
    }

    fn immediate(&mut self, bytes: u32) {
        let value = self.random.value().to_le_bytes();
        self.body.extend_from_slice(&value[..bytes as usize]);
    }

    /// The distance is from the end of the instruction, and it is the last thing in it.
    fn distance(&mut self, bytes: usize) -> Option<()> {
        let length = self.length() + bytes as u64;
        let distance = if bytes == 1 {
            let far = 16 + self.random.below(0x60) as i64;
            if self.random.one_in(2) { far } else { -far - 16 }
        } else {
            let target = self.code_target();
            target.wrapping_sub(self.state.rip + length) as i64
        };
        self.body.extend_from_slice(&distance.to_le_bytes()[..bytes]);
        Some(())
    }

    /// Somewhere in the code page, away from the instruction.
    fn code_target(&mut self) -> u64 {
        loop {
            let page = self.state.rip & !(layout::PAGE as u64 - 1);
            let target = page + 0x10 + self.random.below(0xfe0);
            if target.abs_diff(self.state.rip) > 32 {
                return target;
            }
        }
    }

    fn length(&self) -> u64 {
        (self.prefixes.len() + usize::from(self.rex.is_some()) + self.body.len()) as u64
    }

    fn finish(mut self, may_lock: bool) -> Option<Case> {
        if may_lock && self.memory.is_some() && self.random.one_in(4) {
            self.prefixes.insert(0, 0xf0);
        }
        let length = self.length();
        if let Some(memory) = &self.memory
            && let Some(at) = memory.rip_relative
        {
            let next = self.state.rip + length;
            let distance = i32::try_from(memory.offset.wrapping_sub(next) as i64).ok()?;
            self.body[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        }
        let mut code = self.prefixes;
        code.extend(self.rex);
        code.extend(self.body);
        let (mode, state) = (self.mode, self.state);
        // More than fifteen bytes are a fault, but those are to be there.
        (code.len() <= 20).then_some(Case { mode, code, state })
    }
}
