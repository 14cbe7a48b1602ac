//! From bytes to operations.
//!
//! `iced-x86` decodes; here its instructions become [`Op`]s: [`operand`] says where operands are, [`integer`],
//! [`flow`], [`special`], [`simd`], [`x87`] and [`assistant`] which function executes them.

pub(crate) mod assistant;
pub(crate) mod flow;
pub(crate) mod integer;
pub(crate) mod operand;
pub(crate) mod simd;
pub(crate) mod special;
pub(crate) mod x87;

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction, Mnemonic, Register};

use crate::exec::ZERO;
use crate::int::{index, low8, low16};
use crate::ops::{LOCKED, Op, REP, REPNE, Run, STACK, STACK_BASE, branch};

/// The most instructions of a block.
const MOST: usize = 64;

/// What decoding depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    /// 16, 32 or 64.
    pub(crate) bits: u8,
    /// [`Mode::is_flat`](crate::exec::Mode::is_flat).
    pub(crate) is_flat: bool,
    /// The offset of the first byte in its segment.
    pub(crate) ip: u64,
}

/// What was decoded.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    pub(crate) ops: Vec<Op>,
    /// The number of bytes.
    pub(crate) len: u64,
}

/// Decodes instructions up to one that ends a block, or to one that `bytes` does not have all of.
pub(crate) fn decode(bytes: &[u8], context: Context, most: usize) -> Decoded {
    let mut decoder = Decoder::with_ip(u32::from(context.bits), bytes, context.ip, DecoderOptions::NONE);
    let mut decoded = Decoded::default();
    let mut instruction = Instruction::default();
    while decoder.can_decode() && decoded.ops.len() < most.min(MOST) {
        decoder.decode_out(&mut instruction);
        let start = decoded.len;
        if decoder.last_error() == DecoderError::NoMoreBytes && bytes.len() as u64 - start < 15 {
            break;
        }
        let mut op = Translator {
            instruction: &instruction,
            context,
        }
        .op(start);
        if instruction.is_invalid() && is_vector(&bytes[index(start)..], context.bits) {
            op.run = branch::unknown_vector;
        }
        decoded.len += u64::from(op.len);
        decoded.ops.push(op);
        if ends_block(&instruction) {
            break;
        }
    }
    decoded
}

/// Whether bytes begin an instruction with a VEX, EVEX or XOP prefix, which are not decoded (Intel SDM vol. 2, 2.3.5
/// and 2.7; AMD64 APM vol. 3, 1.2.7): one that there may be.
fn is_vector(bytes: &[u8], bits: u8) -> bool {
    let is_legacy = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0x67);
    let start = bytes.iter().take_while(|byte| is_legacy(byte)).count();
    match bytes[start..] {
        // In other modes these are LES, LDS and BOUND, of memory only.
        [0xc4 | 0xc5 | 0x62, next, ..] => bits == 64 || next >> 6 == 3,
        // POP has 0 there.
        [0x8f, next, ..] => next & 0x1f >= 8,
        _ => false,
    }
}

/// The name of an instruction, as an assembler has it: `popcnt`. `None` if the bytes are none, or none that is decoded:
/// those with a VEX, EVEX or XOP prefix. `bitness` is 16, 32 or 64, the width of code.
pub fn instruction_name(bytes: &[u8], bitness: u32) -> Option<String> {
    let mut decoder = Decoder::try_new(bitness, bytes, DecoderOptions::NONE).ok()?;
    let instruction = decoder.can_decode().then(|| decoder.decode())?;
    let name = format!("{:?}", instruction.mnemonic());
    (!instruction.is_invalid()).then(|| name.to_ascii_lowercase())
}

/// Makes an operation of an instruction.
pub(crate) struct Translator<'a> {
    pub(crate) instruction: &'a Instruction,
    pub(crate) context: Context,
}

impl Translator<'_> {
    fn op(&self, start: u64) -> Op {
        let instruction = self.instruction;
        let mut op = Op {
            run: branch::unknown,
            imm: 0,
            disp: 0,
            dst: 0,
            src: 0,
            aux: 0,
            base: low8(ZERO as u64),
            index: low8(ZERO as u64),
            scale: 0,
            seg: 0,
            narrow: 0,
            start: low16(start),
            len: low8(instruction.len() as u64),
            prefixes: 0,
        };
        if instruction.has_lock_prefix() {
            op.prefixes |= LOCKED;
        }
        if instruction.has_repne_prefix() {
            op.prefixes |= REPNE;
        } else if instruction.has_rep_prefix() {
            op.prefixes |= REP;
        }
        if self.context.bits == 64 {
            op.prefixes |= self.stack_prefixes();
        }
        if let Some(run) = self.run(&mut op) {
            op.run = run;
        }
        op
    }

    /// In 64-bit mode nothing else tells #SS from #GP (Intel SDM vol. 2, 3.1.1.15).
    fn stack_prefixes(&self) -> u8 {
        use Mnemonic as M;
        use Register as G;
        let instruction = self.instruction;
        let is_base = matches!(instruction.memory_base(), G::RSP | G::RBP | G::ESP | G::EBP)
            && !matches!(instruction.memory_segment(), G::FS | G::GS);
        let is_implicit = matches!(
            instruction.mnemonic(),
            M::Push
                | M::Pop
                | M::Pushf
                | M::Pushfq
                | M::Popf
                | M::Popfq
                | M::Call
                | M::Ret
                | M::Retf
                | M::Enter
                | M::Leave
                | M::Iret
                | M::Iretd
                | M::Iretq
        );
        (if is_base { STACK_BASE } else { 0 }) | if is_implicit { STACK } else { 0 }
    }

    fn run(&self, op: &mut Op) -> Option<Run> {
        if self.instruction.is_invalid() {
            // Longer than any instruction can be.
            let is_too_long = self.instruction.len() >= 15;
            return Some(if is_too_long {
                branch::too_long
            } else {
                branch::undefined
            });
        }
        if matches!(
            self.instruction.mnemonic(),
            Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2
        ) {
            return Some(branch::undefined);
        }
        self.integer(op)
            .or_else(|| self.special(op))
            .or_else(|| self.simd(op))
            .or_else(|| self.x87(op))
            .or_else(|| self.assistant(op))
    }
}

/// Whether nothing may follow in a block: the next instruction is somewhere else, or is to be decoded in another way.
fn ends_block(instruction: &Instruction) -> bool {
    use Mnemonic as M;
    if instruction.is_invalid() {
        return true;
    }
    match instruction.mnemonic() {
        M::Jmp | M::Call | M::Ret | M::Retf | M::Iret | M::Iretd | M::Iretq | M::Int | M::Int1 | M::Hlt => {
            true
        }
        M::Jcxz | M::Jecxz | M::Jrcxz | M::Loop | M::Loope | M::Loopne | M::Rsm | M::Ud2 | M::Int3 => true,
        M::Syscall | M::Sysret | M::Sysretq | M::Sysenter | M::Sysexit | M::Sysexitq => true,
        // These leave the block, whatever is decoded after them.
        M::In | M::Out | M::Cli | M::Sti | M::Popf | M::Popfd | M::Popfq | M::Wrmsr | M::Invlpg => true,
        mnemonic => flow::condition(mnemonic, M::Jo).is_some(),
    }
}
