//! Branches, what depends on conditions, string instructions.

use iced_x86::{Code, Mnemonic as M, OpKind, Register};

use super::Translator;
use crate::int::low8;
use crate::ops::{I, Op, Run, branch, moves, string};

/// The number of a condition, by how far a mnemonic is from the first of its kind. `iced` has them in alphabetical
/// order, the processor in the order of their opcodes.
pub(crate) fn condition(mnemonic: M, family: M) -> Option<u8> {
    const JUMPS: [M; 16] = [
        M::Jo,
        M::Jno,
        M::Jb,
        M::Jae,
        M::Je,
        M::Jne,
        M::Jbe,
        M::Ja,
        M::Js,
        M::Jns,
        M::Jp,
        M::Jnp,
        M::Jl,
        M::Jge,
        M::Jle,
        M::Jg,
    ];
    const SETS: [M; 16] = [
        M::Seto,
        M::Setno,
        M::Setb,
        M::Setae,
        M::Sete,
        M::Setne,
        M::Setbe,
        M::Seta,
        M::Sets,
        M::Setns,
        M::Setp,
        M::Setnp,
        M::Setl,
        M::Setge,
        M::Setle,
        M::Setg,
    ];
    const MOVES: [M; 16] = [
        M::Cmovo,
        M::Cmovno,
        M::Cmovb,
        M::Cmovae,
        M::Cmove,
        M::Cmovne,
        M::Cmovbe,
        M::Cmova,
        M::Cmovs,
        M::Cmovns,
        M::Cmovp,
        M::Cmovnp,
        M::Cmovl,
        M::Cmovge,
        M::Cmovle,
        M::Cmovg,
    ];
    let family = match family {
        M::Jo => JUMPS,
        M::Seto => SETS,
        _ => MOVES,
    };
    let place = family.iter().position(|&member| member == mnemonic)?;
    Some(low8(place as u64))
}

impl Translator<'_> {
    pub(crate) fn branch(&self, op: &mut Op) -> Option<Run> {
        let instruction = self.instruction;
        let mnemonic = instruction.mnemonic();
        if let Some(condition) = condition(mnemonic, M::Jo) {
            let size = self.target(op)?;
            return Some(branch::jcc_run(condition, size));
        }
        if let Some(condition) = condition(mnemonic, M::Seto) {
            op.aux = condition;
            let (d, _) = self.destination(0, op)?;
            return Some(moves::setcc_run(d));
        }
        if let Some(condition) = condition(mnemonic, M::Cmovo) {
            let (number, size) = self.general(0)?;
            let (s, _) = self.source(1, op)?;
            (op.dst, op.aux) = (number, condition);
            return Some(moves::cmov_run(s, size));
        }
        Some(match mnemonic {
            M::Jmp | M::Call => {
                let run = if mnemonic == M::Jmp {
                    branch::jmp_run
                } else {
                    branch::call_run
                };
                if let Some(size) = self.target(op) {
                    return Some(run(I, size));
                }
                let size = match instruction.code() {
                    Code::Jmp_rm16 | Code::Call_rm16 => 2,
                    Code::Jmp_rm32 | Code::Call_rm32 => 4,
                    Code::Jmp_rm64 | Code::Call_rm64 => 8,
                    // Far.
                    _ => return None,
                };
                let (s, _) = self.source(0, op)?;
                run(s, size)
            }
            M::Ret => {
                op.imm = if instruction.op_count() > 0 {
                    u64::from(instruction.immediate16())
                } else {
                    0
                };
                branch::ret_run(match instruction.code() {
                    Code::Retnw | Code::Retnw_imm16 => 2,
                    Code::Retnd | Code::Retnd_imm16 => 4,
                    _ => 8,
                })
            }
            M::Jcxz | M::Jecxz | M::Jrcxz => {
                op.narrow = match mnemonic {
                    M::Jcxz => 48,
                    M::Jecxz => 32,
                    _ => 0,
                };
                let size = self.target(op)?;
                branch::jcxz_run(size)
            }
            M::Loop | M::Loope | M::Loopne => {
                op.aux = match mnemonic {
                    M::Loop => 2,
                    M::Loope => 1,
                    _ => 0,
                };
                op.narrow = self.loop_narrow();
                let size = self.target(op)?;
                branch::loop_run(size)
            }
            M::Int => {
                op.imm = u64::from(instruction.immediate8());
                branch::int
            }
            M::Int3 => {
                (op.imm, op.aux) = (3, 1);
                branch::int
            }
            M::Int1 => {
                (op.imm, op.aux) = (1, 2);
                branch::int
            }
            M::Into => branch::into,
            M::Bound => {
                let (number, size) = self.general(0)?;
                op.dst = number;
                self.memory(op)?;
                branch::bound_run(size)
            }
            _ => return None,
        })
    }

    /// How many upper bits the counter of a `LOOP` does not have.
    fn loop_narrow(&self) -> u8 {
        match self.instruction.code() {
            Code::Loop_rel8_16_CX
            | Code::Loop_rel8_32_CX
            | Code::Loope_rel8_16_CX
            | Code::Loope_rel8_32_CX
            | Code::Loopne_rel8_16_CX
            | Code::Loopne_rel8_32_CX => 48,
            Code::Loop_rel8_16_RCX
            | Code::Loop_rel8_64_RCX
            | Code::Loope_rel8_16_RCX
            | Code::Loope_rel8_64_RCX
            | Code::Loopne_rel8_16_RCX
            | Code::Loopne_rel8_64_RCX => 0,
            _ => 32,
        }
    }

    pub(crate) fn string(&self, op: &mut Op) -> Option<Run> {
        let (operation, size) = match self.instruction.code() {
            Code::Movsb_m8_m8 => (string::MOVS, 1),
            Code::Movsw_m16_m16 => (string::MOVS, 2),
            Code::Movsd_m32_m32 => (string::MOVS, 4),
            Code::Movsq_m64_m64 => (string::MOVS, 8),
            Code::Stosb_m8_AL => (string::STOS, 1),
            Code::Stosw_m16_AX => (string::STOS, 2),
            Code::Stosd_m32_EAX => (string::STOS, 4),
            Code::Stosq_m64_RAX => (string::STOS, 8),
            Code::Lodsb_AL_m8 => (string::LODS, 1),
            Code::Lodsw_AX_m16 => (string::LODS, 2),
            Code::Lodsd_EAX_m32 => (string::LODS, 4),
            Code::Lodsq_RAX_m64 => (string::LODS, 8),
            Code::Scasb_AL_m8 => (string::SCAS, 1),
            Code::Scasw_AX_m16 => (string::SCAS, 2),
            Code::Scasd_EAX_m32 => (string::SCAS, 4),
            Code::Scasq_RAX_m64 => (string::SCAS, 8),
            Code::Cmpsb_m8_m8 => (string::CMPS, 1),
            Code::Cmpsw_m16_m16 => (string::CMPS, 2),
            Code::Cmpsd_m32_m32 => (string::CMPS, 4),
            Code::Cmpsq_m64_m64 => (string::CMPS, 8),
            Code::Insb_m8_DX => (string::INS, 1),
            Code::Insw_m16_DX => (string::INS, 2),
            Code::Insd_m32_DX => (string::INS, 4),
            Code::Outsb_DX_m8 => (string::OUTS, 1),
            Code::Outsw_DX_m16 => (string::OUTS, 2),
            Code::Outsd_DX_m32 => (string::OUTS, 4),
            _ => return None,
        };
        for operand in 0..self.instruction.op_count() {
            op.narrow = match self.kind(operand) {
                OpKind::MemorySegSI | OpKind::MemoryESDI => 48,
                OpKind::MemorySegESI | OpKind::MemoryESEDI => 32,
                OpKind::MemorySegRSI | OpKind::MemoryESRDI => 0,
                _ => op.narrow,
            };
        }
        let has_source = matches!(
            operation,
            string::MOVS | string::LODS | string::CMPS | string::OUTS
        );
        if has_source && self.instruction.memory_segment() != Register::None {
            op.seg = self.segment()?;
        }
        Some(string::string_run(operation, size))
    }
}
