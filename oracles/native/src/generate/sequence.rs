//! Several instructions in a row: what one leaves, flags above all, the next one finds.
//!
//! Memory operands have no registers here, since those change on the way. An instruction that looks at a flag which an
//! earlier one has left open is not taken.

use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, RflagsBits};

use super::{Draft, Generator, RSP, STATUS_FLAGS, address};
use crate::{Arena, Case, Mode, undefined};

/// Without divisions and bit scans (they may have no result), counts in CL (it is not known yet), the stack and branches.
const PATTERNS: &[&str] = &[
    "00 /r lock",
    "01 /r lock",
    "02 /r",
    "03 /r",
    "08 /r",
    "09 /r",
    "10 /r",
    "11 /r",
    "12 /r",
    "13 /r",
    "18 /r",
    "19 /r", //
    "1a /r",
    "1b /r",
    "20 /r",
    "21 /r",
    "28 /r",
    "29 /r",
    "2a /r",
    "2b /r",
    "30 /r",
    "31 /r",
    "38 /r",
    "39 /r",
    "3a /r", //
    "3b /r",
    "04 ib",
    "05 iz",
    "14 ib",
    "15 iz",
    "1c ib",
    "1d iz",
    "2c ib",
    "2d iz",
    "3c ib",
    "3d iz",
    "80 /r ib", //
    "81 /r iz",
    "83 /r ib",
    "83 /2 ib",
    "83 /3 ib",
    "40 +r !64",
    "48 +r !64",
    "fe /0",
    "fe /1",
    "ff /0",
    "ff /1",
    "f6 /2", //
    "f7 /2",
    "f6 /3",
    "f7 /3",
    "84 /r",
    "85 /r",
    "a8 ib",
    "a9 iz",
    "c0 /r ib",
    "c1 /r ib",
    "d0 /r",
    "d1 /r",
    "d0 /2", //
    "d1 /3",
    "0f a4 /r ib",
    "0f ac /r ib",
    "0f af /r",
    "6b /r ib",
    "f6 /4",
    "f7 /5",
    "0f ba /5 ib",
    "0f a3 /rr", //
    "0f bb /rr",
    "0f c8 +r no66",
    "0f 40 +c /r",
    "0f 90 +c /r",
    "88 /r",
    "89 /r",
    "8a /r",
    "8b /r",
    "0f b6 /r", //
    "0f bf /r",
    "86 /r",
    "87 /r",
    "b0 +r ib",
    "b8 +r iv",
    "c7 /0 iz",
    "8d /lea",
    "0f c1 /r",
    "0f b1 /r",
    "98",
    "99",
    "9e", //
    "9f",
    "f5",
    "f8",
    "f9",
    "d6 !64",
];

impl Generator {
    /// So many instructions as one case, and the flags that are open in the end. `None` if one of them could not be made.
    pub fn sequence(&mut self, mode: Mode, count: usize, arena: &mut Arena) -> Option<(Case, u64)> {
        let mut case = Case {
            mode,
            code: Vec::new(),
            state: Draft::new(&mut self.random, arena, mode).state,
        };
        case.state.selectors = mode.selectors();
        let (start, mut open) = (case.state.rip, 0);
        let mut made = 0;
        // Most candidates are taken; so many are never needed.
        for _ in 0..count * 20 {
            case.state.rip = start + case.code.len() as u64;
            let Some((code, after)) = self.link(&case, open, arena) else {
                continue;
            };
            case.code.extend(code);
            open = after;
            made += 1;
            if made == count {
                case.state.rip = start;
                return Some((case, open));
            }
        }
        None
    }

    /// Gives a sequence other registers to begin with.
    pub fn other_registers(&mut self, case: &mut Case) {
        let mask = address::mask(case.mode.bits().max(32));
        for (number, register) in case.state.gprs.iter_mut().enumerate() {
            if number != RSP && (number < 8 || case.mode.bits() == 64) {
                *register = self.random.value() & mask;
            }
        }
        case.state.rflags ^= self.random.bits() & STATUS_FLAGS;
    }

    /// One more instruction, and the flags that are open after it.
    fn link(&mut self, so_far: &Case, open: u64, arena: &mut Arena) -> Option<(Vec<u8>, u64)> {
        let pattern = *self.random.of(PATTERNS);
        let mut draft = Draft::new(&mut self.random, arena, so_far.mode);
        draft.state = so_far.state;
        draft.still = true;
        let case = draft.build(pattern)?;
        let mut decoder =
            Decoder::with_ip(case.mode.bits(), &case.code, case.state.rip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        let undefined = undefined::flags(&instruction, &case.state)?;
        if flags(instruction.rflags_read()) & open != 0 {
            return None;
        }
        Some((case.code, open & !settled(&instruction) | undefined))
    }
}

/// The flags that have a value afterwards, whatever the operands are.
fn settled(instruction: &Instruction) -> u64 {
    use Mnemonic as M;
    match instruction.mnemonic() {
        // A count of 0 leaves all flags as they were.
        M::Rol | M::Ror | M::Rcl | M::Rcr | M::Shl | M::Sal | M::Shr | M::Sar | M::Shld | M::Shrd => 0,
        _ => flags(instruction.rflags_written() | instruction.rflags_cleared() | instruction.rflags_set()),
    }
}

/// From iced's numbering to the register's.
fn flags(bits: u32) -> u64 {
    [
        (RflagsBits::CF, 0),
        (RflagsBits::PF, 2),
        (RflagsBits::AF, 4),
        (RflagsBits::ZF, 6),
        (RflagsBits::SF, 7),
        (RflagsBits::DF, 10),
        (RflagsBits::OF, 11),
    ]
    .into_iter()
    .filter(|(bit, _)| bits & bit != 0)
    .map(|(_, place)| 1_u64 << place)
    .sum()
}
