//! SSE and SSE2.

use iced_x86::{Code, Mnemonic as M, OpKind, Register};

use super::Translator;
use super::operand::{counted_from, is_between};
use crate::ops::sse::{compute_run, convert, moves, save};
use crate::ops::{I, M as MEMORY, Op, R, Run, system};

/// The number of an SSE register.
fn xmm(register: Register) -> Option<u8> {
    is_between(register, Register::XMM0, Register::XMM15).then(|| counted_from(register, Register::XMM0))
}

impl Translator<'_> {
    pub(crate) fn simd(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let run: Run = match mnemonic {
            M::Ldmxcsr | M::Stmxcsr | M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 => {
                self.memory(op)?;
                match mnemonic {
                    M::Ldmxcsr => save::ldmxcsr,
                    M::Stmxcsr => save::stmxcsr,
                    M::Fxsave | M::Fxsave64 => save::fxsave,
                    _ => save::fxrstor,
                }
            }
            M::Movnti => {
                self.memory(op)?;
                let (number, size) = self.general(1)?;
                op.src = number;
                system::movnti_run(size)
            }
            M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq => {
                return self.whole(op, 16, true);
            }
            M::Movups | M::Movupd | M::Movdqu => return self.whole(op, 16, false),
            M::Movss | M::Movsd => return self.scalar(op, mnemonic == M::Movsd),
            M::Movd | M::Movq => return self.low(op),
            M::Movlps | M::Movlpd | M::Movhps | M::Movhpd => return self.half(op),
            M::Movmskps | M::Movmskpd | M::Pmovmskb => {
                op.src = xmm(self.register(1))?;
                op.dst = self.general(0)?.0;
                match mnemonic {
                    M::Movmskps => moves::sign_mask::<u32>,
                    M::Movmskpd => moves::sign_mask::<u64>,
                    _ => moves::sign_mask::<u8>,
                }
            }
            M::Pinsrw => {
                op.dst = xmm(self.register(0))?;
                op.imm = u64::from(self.instruction.immediate8());
                if self.is_memory(1) {
                    self.memory(op)?;
                    moves::insert_run(MEMORY)
                } else {
                    op.src = self.general(1)?.0;
                    moves::insert_run(R)
                }
            }
            // There is another form of it in SSE4.1.
            M::Pextrw if self.kind(0) == OpKind::Register => {
                op.src = xmm(self.register(1))?;
                op.dst = self.general(0)?.0;
                op.imm = u64::from(self.instruction.immediate8());
                moves::extract
            }
            M::Maskmovdqu => {
                (op.dst, op.src) = (xmm(self.register(1))?, xmm(self.register(2))?);
                op.seg = self.segment()?;
                op.narrow = match self.kind(0) {
                    OpKind::MemorySegDI => 48,
                    OpKind::MemorySegEDI => 32,
                    _ => 0,
                };
                moves::store_masked
            }
            M::Comiss | M::Ucomiss | M::Comisd | M::Ucomisd => {
                let s = self.operands(op)?;
                moves::compare_run(s, matches!(mnemonic, M::Comisd | M::Ucomisd))
            }
            M::Cvtsi2ss | M::Cvtsi2sd => {
                op.dst = xmm(self.register(0))?;
                let (s, size) = self.source(1, op)?;
                let size = size.unwrap_or_else(|| self.memory_size());
                convert::from_general_run(s, size, mnemonic == M::Cvtsi2sd)
            }
            M::Cvtss2si | M::Cvttss2si | M::Cvtsd2si | M::Cvttsd2si => {
                let (number, size) = self.general(0)?;
                let s = self.wide_source(op)?;
                op.dst = number;
                op.aux = u8::from(matches!(mnemonic, M::Cvttss2si | M::Cvttsd2si));
                convert::to_general_run(s, size, matches!(mnemonic, M::Cvtsd2si | M::Cvttsd2si))
            }
            _ => {
                op.dst = xmm(self.register(0))?;
                let s = if self.kind(1) == OpKind::Immediate8 {
                    op.imm = u64::from(self.instruction.immediate8());
                    I
                } else {
                    self.operands(op)?
                };
                if self.instruction.op_count() == 3 {
                    op.imm = u64::from(self.instruction.immediate8());
                }
                return compute_run(mnemonic, s, op);
            }
        };
        Some(run)
    }

    /// A register, and another one or memory; which of the two.
    pub(super) fn operands(&self, op: &mut Op) -> Option<u8> {
        op.dst = xmm(self.register(0))?;
        self.wide_source(op)
    }

    fn wide_source(&self, op: &mut Op) -> Option<u8> {
        if self.is_memory(1) {
            self.memory(op)?;
            return Some(MEMORY);
        }
        op.src = xmm(self.register(1))?;
        Some(R)
    }

    /// A move of `size` bytes from or to memory.
    fn to_or_from_memory(&self, op: &mut Op, size: u8, aligned: bool) -> Option<Run> {
        self.memory(op)?;
        if self.is_memory(0) {
            op.src = xmm(self.register(1))?;
            return Some(moves::store_run(size, aligned));
        }
        op.dst = xmm(self.register(0))?;
        Some(moves::load_run(size, aligned))
    }

    /// Two registers and what is done with them; or memory.
    fn registers_or(&self, op: &mut Op, between: Run, size: u8, aligned: bool) -> Option<Run> {
        if self.is_memory(0) || self.is_memory(1) {
            return self.to_or_from_memory(op, size, aligned);
        }
        (op.dst, op.src) = (xmm(self.register(0))?, xmm(self.register(1))?);
        Some(between)
    }

    fn whole(&self, op: &mut Op, size: u8, aligned: bool) -> Option<Run> {
        self.registers_or(op, moves::copy, size, aligned)
    }

    fn scalar(&self, op: &mut Op, is_double: bool) -> Option<Run> {
        if is_double {
            self.registers_or(op, moves::merge::<true>, 8, false)
        } else {
            self.registers_or(op, moves::merge::<false>, 4, false)
        }
    }

    /// `MOVD` and `MOVQ`, between SSE registers, general registers and memory.
    fn low(&self, op: &mut Op) -> Option<Run> {
        let size = match self.instruction.code() {
            Code::Movd_xmm_rm32 | Code::Movd_rm32_xmm => 4,
            Code::Movq_xmm_rm64 | Code::Movq_rm64_xmm | Code::Movq_xmm_xmmm64 | Code::Movq_xmmm64_xmm => 8,
            _ => return None,
        };
        if self.is_memory(0) || self.is_memory(1) {
            return self.to_or_from_memory(op, size, false);
        }
        if let Some((number, _)) = self.general(0) {
            (op.dst, op.src) = (number, xmm(self.register(1))?);
            return Some(moves::general_run(true, size));
        }
        op.dst = xmm(self.register(0))?;
        if let Some((number, _)) = self.general(1) {
            op.src = number;
            return Some(moves::general_run(false, size));
        }
        op.src = xmm(self.register(1))?;
        Some(moves::copy_quadword)
    }

    fn half(&self, op: &mut Op) -> Option<Run> {
        let is_high = matches!(self.instruction.mnemonic(), M::Movhps | M::Movhpd);
        self.memory(op)?;
        if self.is_memory(0) {
            op.src = xmm(self.register(1))?;
            return Some(if is_high {
                moves::store_high
            } else {
                moves::store_run(8, false)
            });
        }
        op.dst = xmm(self.register(0))?;
        Some(if is_high {
            moves::load_half::<true>
        } else {
            moves::load_half::<false>
        })
    }
}
