//! SSE and SSE2. A vCPU's state has no XMM registers, so a case loads them from memory, does a few things with them, and
//! stores them again.

use super::{Draft, Generator, Random, STATUS_FLAGS};
use crate::layout;
use crate::{Arena, Case, Mode};

/// Tokens of their own: `66`, `f2` and `f3` in front are part of the opcode. Without approximations (RCPPS, RSQRTPS), whose
/// results are each processor's own.
const PATTERNS: &[&str] = &[
    "0f 10 /r",
    "0f 11 /r",
    "0f 12 /r",
    "0f 13 /rm",
    "0f 14 /r",
    "0f 15 /r",
    "0f 16 /r",
    "0f 17 /rm",
    "0f 28 /r", //
    "0f 29 /r",
    "0f 2b /rm",
    "0f 2e /r",
    "0f 2f /r",
    "0f 50 /rr",
    "0f 51 /r",
    "0f 54 /r",
    "0f 55 /r",
    "0f 56 /r", //
    "0f 57 /r",
    "0f 58 /r",
    "0f 59 /r",
    "0f 5a /r",
    "0f 5b /r",
    "0f 5c /r",
    "0f 5d /r",
    "0f 5e /r",
    "0f 5f /r", //
    "0f c2 /r cmp",
    "0f c3 /rm",
    "0f c6 /r ib", //
    "66 0f 10 /r",
    "66 0f 11 /r",
    "66 0f 12 /rm",
    "66 0f 13 /rm",
    "66 0f 14 /r",
    "66 0f 15 /r",
    "66 0f 16 /rm", //
    "66 0f 17 /rm",
    "66 0f 28 /r",
    "66 0f 29 /r",
    "66 0f 2b /rm",
    "66 0f 2e /r",
    "66 0f 2f /r",
    "66 0f 50 /rr", //
    "66 0f 51 /r",
    "66 0f 54 /r",
    "66 0f 55 /r",
    "66 0f 56 /r",
    "66 0f 57 /r",
    "66 0f 58 /r",
    "66 0f 59 /r", //
    "66 0f 5a /r",
    "66 0f 5b /r",
    "66 0f 5c /r",
    "66 0f 5d /r",
    "66 0f 5e /r",
    "66 0f 5f /r",
    "66 0f 60 /r", //
    "66 0f 61 /r",
    "66 0f 62 /r",
    "66 0f 63 /r",
    "66 0f 64 /r",
    "66 0f 65 /r",
    "66 0f 66 /r",
    "66 0f 67 /r", //
    "66 0f 68 /r",
    "66 0f 69 /r",
    "66 0f 6a /r",
    "66 0f 6b /r",
    "66 0f 6c /r",
    "66 0f 6d /r",
    "66 0f 6e /r", //
    "66 0f 6f /r",
    "66 0f 70 /r ib",
    "66 0f 71 /2r ib",
    "66 0f 71 /4r ib",
    "66 0f 71 /6r ib",
    "66 0f 72 /2r ib", //
    "66 0f 72 /4r ib",
    "66 0f 72 /6r ib",
    "66 0f 73 /2r ib",
    "66 0f 73 /3r ib",
    "66 0f 73 /6r ib",
    "66 0f 73 /7r ib", //
    "66 0f 74 /r",
    "66 0f 75 /r",
    "66 0f 76 /r",
    "66 0f 7e /r",
    "66 0f 7f /r",
    "66 0f c2 /r cmp",
    "66 0f c4 /r ib", //
    "66 0f c5 /rr ib",
    "66 0f c6 /r ib",
    "66 0f d1 /r",
    "66 0f d2 /r",
    "66 0f d3 /r",
    "66 0f d4 /r",
    "66 0f d5 /r", //
    "66 0f d6 /r",
    "66 0f d7 /rr",
    "66 0f d8 /r",
    "66 0f d9 /r",
    "66 0f da /r",
    "66 0f db /r",
    "66 0f dc /r", //
    "66 0f dd /r",
    "66 0f de /r",
    "66 0f df /r",
    "66 0f e0 /r",
    "66 0f e1 /r",
    "66 0f e2 /r",
    "66 0f e3 /r", //
    "66 0f e4 /r",
    "66 0f e5 /r",
    "66 0f e6 /r",
    "66 0f e7 /rm",
    "66 0f e8 /r",
    "66 0f e9 /r",
    "66 0f ea /r", //
    "66 0f eb /r",
    "66 0f ec /r",
    "66 0f ed /r",
    "66 0f ee /r",
    "66 0f ef /r",
    "66 0f f1 /r",
    "66 0f f2 /r", //
    "66 0f f3 /r",
    "66 0f f4 /r",
    "66 0f f5 /r",
    "66 0f f6 /r",
    "66 0f f8 /r",
    "66 0f f9 /r",
    "66 0f fa /r", //
    "66 0f fb /r",
    "66 0f fc /r",
    "66 0f fd /r",
    "66 0f fe /r", //
    "f3 0f 10 /r",
    "f3 0f 11 /r",
    "f3 0f 2a /r",
    "f3 0f 2c /r",
    "f3 0f 2d /r",
    "f3 0f 51 /r",
    "f3 0f 58 /r", //
    "f3 0f 59 /r",
    "f3 0f 5a /r",
    "f3 0f 5b /r",
    "f3 0f 5c /r",
    "f3 0f 5d /r",
    "f3 0f 5e /r",
    "f3 0f 5f /r", //
    "f3 0f 6f /r",
    "f3 0f 70 /r ib",
    "f3 0f 7e /r",
    "f3 0f 7f /r",
    "f3 0f c2 /r cmp",
    "f3 0f e6 /r", //
    "f2 0f 10 /r",
    "f2 0f 11 /r",
    "f2 0f 2a /r",
    "f2 0f 2c /r",
    "f2 0f 2d /r",
    "f2 0f 51 /r",
    "f2 0f 58 /r", //
    "f2 0f 59 /r",
    "f2 0f 5a /r",
    "f2 0f 5c /r",
    "f2 0f 5d /r",
    "f2 0f 5e /r",
    "f2 0f 5f /r",
    "f2 0f 70 /r ib", //
    "f2 0f c2 /r cmp",
    "f2 0f e6 /r",
];

/// Where a case loads the registers from, and where it stores them, in the window.
const LOADED: u64 = layout::DATA as u64 + 0x200;
const STORED: u64 = layout::DATA as u64 + 0xc00;

impl Generator {
    /// Fills the data page with numbers that floating point finds hard, and others.
    pub fn scramble_floats(&mut self, arena: &mut Arena) {
        self.scramble(arena);
        let data = &mut arena.bytes_mut()[layout::DATA..][..layout::PAGE];
        for word in data.chunks_mut(8) {
            word.copy_from_slice(&hard_number(&mut self.random));
        }
    }

    /// A case of so many instructions of SSE and SSE2. `None` if one of them could not be made.
    pub fn simd(&mut self, mode: Mode, count: usize, arena: &mut Arena) -> Option<Case> {
        let mut state = Draft::new(&mut self.random, arena, mode).state;
        state.selectors = mode.selectors();
        state.rflags &= !STATUS_FLAGS;
        let start = state.rip;
        let code = Vec::new();
        let mut case = Case { mode, code, state };
        let registers = if mode.bits() == 64 { 16 } else { 8 };
        for register in 0..registers {
            self.move_register(&mut case, 0x10, register, LOADED, arena)?;
        }
        for _ in 0..count {
            let pattern = *self.random.of(PATTERNS);
            let draft = self.simd_draft(&case, arena);
            let more = draft.build_simd(pattern)?;
            case.code.extend(more.code);
            case.state.rip = start + case.code.len() as u64;
        }
        for register in 0..registers {
            self.move_register(&mut case, 0x11, register, STORED, arena)?;
        }
        case.state.rip = start;
        Some(case)
    }

    fn simd_draft<'a>(&'a mut self, so_far: &Case, arena: &'a mut Arena) -> Draft<'a> {
        let mut draft = Draft::new(&mut self.random, arena, so_far.mode);
        draft.state = so_far.state;
        draft.still = true;
        draft.aligned = !draft.random.one_in(16);
        draft
    }

    /// `MOVUPS` of a register, from or to its place in memory.
    fn move_register(
        &mut self,
        case: &mut Case,
        opcode: u8,
        register: u64,
        place: u64,
        arena: &mut Arena,
    ) -> Option<()> {
        let mut draft = self.simd_draft(case, arena);
        if draft.address_size == 16 && draft.data_offset(None).is_none() {
            draft.prefixes.push(0x67);
            draft.address_size = 32;
        }
        draft.rex = (register > 7).then_some(0x44);
        draft.exactly = Some(place + 16 * register);
        draft.body.extend([0x0f, opcode]);
        draft.modrm(&format!("/{}m", register % 8)[1..])?;
        let code = draft.finish(false)?.code;
        case.state.rip += code.len() as u64;
        case.code.extend(code);
        Some(())
    }
}

impl Draft<'_> {
    fn build_simd(mut self, pattern: &str) -> Option<Case> {
        let mut tokens: Vec<&str> = pattern.split_whitespace().collect();
        if self.address_size == 16 && self.data_offset(None).is_none() {
            self.prefixes.push(0x67);
            self.address_size = 32;
        }
        if let Some(prefix) = ["66", "f2", "f3"].into_iter().find(|prefix| tokens[0] == *prefix) {
            tokens.remove(0);
            self.prefixes.push(u8::from_str_radix(prefix, 16).ok()?);
        }
        if self.mode.bits() == 64 && self.random.one_in(2) {
            self.rex = Some(0x40 | self.random.below(16) as u8);
        }
        for token in tokens {
            if token == "cmp" {
                // The other predicates are AVX's.
                let predicate = self.random.below(8) as u8;
                self.body.push(predicate);
            } else {
                self.token(token)?;
            }
        }
        self.finish(false)
    }
}

fn hard_number(random: &mut Random) -> [u8; 8] {
    const DOUBLES: [f64; 10] = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::MAX,
        2_147_483_648.0,
        -9.3e18,
    ];
    const SINGLES: [f32; 10] = [
        0.0,
        -0.0,
        1.0,
        2.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        f32::MAX,
        2_147_483_648.0,
        -0.7,
    ];
    match random.below(6) {
        0 => random.bits().to_le_bytes(),
        1 => random.value().to_le_bytes(),
        2 => random.of(&DOUBLES).to_le_bytes(),
        3 => ((random.bits() as i32) as f64 / 256.0).to_le_bytes(),
        4 => {
            let [low, high] =
                [*random.of(&SINGLES), *random.of(&SINGLES)].map(|single| u64::from(single.to_bits()));
            (low | high << 32).to_le_bytes()
        }
        _ => {
            let [low, high] =
                [random.bits(), random.bits()].map(|bits| u64::from((bits as i16 as f32 / 16.0).to_bits()));
            (low | high << 32).to_le_bytes()
        }
    }
}
