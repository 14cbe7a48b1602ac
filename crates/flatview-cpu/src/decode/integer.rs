//! Instructions of applications: integers, moves, the stack.

use iced_x86::{Code, Mnemonic as M, OpKind};

use super::Translator;
use super::operand::{general, segment};
use crate::exec::{RBX, ZERO};
use crate::int::low8;
use crate::ops::{I, M as MEMORY, Op, R, Run, alu, bits, decimal, moves, multiply, shift, stack};

impl Translator<'_> {
    pub(crate) fn integer(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let run = match mnemonic {
            M::Add => self.binary(op, alu::ADD),
            M::Or => self.binary(op, alu::OR),
            M::Adc => self.binary(op, alu::ADC),
            M::Sbb => self.binary(op, alu::SBB),
            M::And => self.binary(op, alu::AND),
            M::Sub => self.binary(op, alu::SUB),
            M::Xor => self.binary(op, alu::XOR),
            M::Cmp => self.binary(op, alu::CMP),
            M::Test => self.binary(op, alu::TEST),
            M::Inc => self.unary(op, alu::INC),
            M::Dec => self.unary(op, alu::DEC),
            M::Not => self.unary(op, alu::NOT),
            M::Neg => self.unary(op, alu::NEG),
            M::Mov => self.mov(op),
            M::Movzx => self.extend(op, false),
            M::Movsx | M::Movsxd => self.extend(op, true),
            M::Lea => {
                let (number, size) = self.general(0)?;
                op.dst = number;
                self.memory(op)?;
                Some(moves::lea_run(size))
            }
            M::Xchg | M::Xadd | M::Cmpxchg => self.exchange(op),
            M::Bswap => {
                let (_, size) = self.destination(0, op)?;
                Some(moves::bswap_run(size?))
            }
            M::Xlatb => {
                op.seg = self.segment()?;
                op.narrow = 64 - 8 * general(self.instruction.memory_base())?.1;
                (op.base, op.index) = (low8(RBX as u64), low8(ZERO as u64));
                Some(moves::xlat as Run)
            }
            M::Cbw => Some(moves::widen_a_run(2)),
            M::Cwde => Some(moves::widen_a_run(4)),
            M::Cdqe => Some(moves::widen_a_run(8)),
            M::Cwd => Some(moves::sign_to_d_run(2)),
            M::Cdq => Some(moves::sign_to_d_run(4)),
            M::Cqo => Some(moves::sign_to_d_run(8)),
            M::Rol => self.shift(op, shift::ROL),
            M::Ror => self.shift(op, shift::ROR),
            M::Rcl => self.shift(op, shift::RCL),
            M::Rcr => self.shift(op, shift::RCR),
            M::Shl | M::Sal => self.shift(op, shift::SHL),
            M::Shr => self.shift(op, shift::SHR),
            M::Sar => self.shift(op, shift::SAR),
            M::Shld => self.double_shift(op, true),
            M::Shrd => self.double_shift(op, false),
            M::Mul | M::Imul | M::Div | M::Idiv => self.multiply(op),
            M::Bt => self.bit(op, bits::BT),
            M::Bts => self.bit(op, bits::BTS),
            M::Btr => self.bit(op, bits::BTR),
            M::Btc => self.bit(op, bits::BTC),
            M::Bsf | M::Bsr => {
                let (number, size) = self.general(0)?;
                let (s, _) = self.source(1, op)?;
                op.dst = number;
                Some(bits::scan_run(s, size, mnemonic == M::Bsr))
            }
            M::Clc => Some(bits::flag::<{ bits::CLC }> as Run),
            M::Stc => Some(bits::flag::<{ bits::STC }> as Run),
            M::Cmc => Some(bits::flag::<{ bits::CMC }> as Run),
            M::Cld => Some(bits::flag::<{ bits::CLD }> as Run),
            M::Std => Some(bits::flag::<{ bits::STD }> as Run),
            M::Cli => Some(bits::cli as Run),
            M::Sti => Some(bits::sti as Run),
            M::Salc => Some(bits::salc as Run),
            M::Lahf => Some(stack::lahf as Run),
            M::Sahf => Some(stack::sahf as Run),
            M::Daa => Some(decimal::packed::<false> as Run),
            M::Das => Some(decimal::packed::<true> as Run),
            M::Aaa => Some(decimal::unpacked::<false> as Run),
            M::Aas => Some(decimal::unpacked::<true> as Run),
            M::Aam | M::Aad => {
                op.imm = u64::from(self.instruction.immediate8());
                Some(if mnemonic == M::Aam {
                    multiply::aam as Run
                } else {
                    multiply::aad
                })
            }
            M::Nop
            | M::Pause
            | M::Endbr32
            | M::Endbr64
            | M::Prefetch
            | M::Prefetchnta
            | M::Prefetcht0
            | M::Prefetcht1
            | M::Prefetcht2
            | M::Prefetchw
            | M::Reservednop
            | M::Rdsspd
            | M::Rdsspq
            | M::Fnop
            | M::Clflush => Some(alu::nop as Run),
            _ => None,
        };
        run.or_else(|| self.stack(op))
            .or_else(|| self.branch(op))
            .or_else(|| self.string(op))
    }

    fn binary(&self, op: &mut Op, operation: u8) -> Option<Run> {
        let (d, d_size) = self.destination(0, op)?;
        let (s, s_size) = self.source(1, op)?;
        let size = d_size.or(s_size).unwrap_or_else(|| self.memory_size());
        // `TEST` has its operands the other way round.
        Some(alu::binary_run(operation, d, s, size))
    }

    fn unary(&self, op: &mut Op, operation: u8) -> Option<Run> {
        let (d, size) = self.destination(0, op)?;
        Some(alu::unary_run(
            operation,
            d,
            size.unwrap_or_else(|| self.memory_size()),
        ))
    }

    fn mov(&self, op: &mut Op) -> Option<Run> {
        if let Some(seg) = segment(self.register(0)).filter(|_| self.kind(0) == OpKind::Register) {
            let (s, _) = self.source(1, op)?;
            op.aux = seg;
            return Some(moves::to_segment_run(s));
        }
        if let Some(seg) = segment(self.register(1)).filter(|_| self.kind(1) == OpKind::Register) {
            let (d, size) = self.destination(0, op)?;
            op.aux = seg;
            return Some(moves::from_segment_run(d, size.unwrap_or(2)));
        }
        let (d, d_size) = self.destination(0, op)?;
        let (s, s_size) = self.source(1, op)?;
        let size = d_size.or(s_size).unwrap_or_else(|| self.memory_size());
        Some(moves::mov_run(d, s, size))
    }

    fn extend(&self, op: &mut Op, is_signed: bool) -> Option<Run> {
        let (number, size) = self.general(0)?;
        let (s, s_size) = self.source(1, op)?;
        (op.dst, op.aux) = (number, size);
        Some(moves::extend_run(
            s,
            s_size.unwrap_or_else(|| self.memory_size()),
            is_signed,
        ))
    }

    /// `XCHG` may have its operands in either order; it locks memory in any case.
    fn exchange(&self, op: &mut Op) -> Option<Run> {
        let (first, second) = if self.is_memory(1) { (1, 0) } else { (0, 1) };
        let (d, _) = self.destination(first, op)?;
        let (number, size) = self.general(second)?;
        op.src = number;
        Some(match self.instruction.mnemonic() {
            M::Xchg => {
                if d == MEMORY {
                    op.prefixes |= crate::ops::LOCKED;
                }
                alu::xchg_run(d, size)
            }
            M::Xadd => alu::xadd_run(d, size),
            _ => alu::cmpxchg_run(d, size),
        })
    }

    fn shift(&self, op: &mut Op, operation: u8) -> Option<Run> {
        let (d, size) = self.destination(0, op)?;
        let s = self.count(1, op)?;
        Some(shift::shift_run(
            operation,
            d,
            s,
            size.unwrap_or_else(|| self.memory_size()),
        ))
    }

    fn double_shift(&self, op: &mut Op, is_left: bool) -> Option<Run> {
        let (d, _) = self.destination(0, op)?;
        let (number, size) = self.general(1)?;
        let s = self.count(2, op)?;
        op.src = number;
        Some(shift::double_run(is_left, d, s, size))
    }

    /// How far to shift: `I`, or `R` for CL.
    fn count(&self, operand: u32, op: &mut Op) -> Option<u8> {
        if self.kind(operand) == OpKind::Register {
            return Some(R);
        }
        op.imm = self.instruction.try_immediate(operand).ok()?;
        Some(I)
    }

    fn multiply(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        if self.instruction.op_count() > 1 {
            let (number, size) = self.general(0)?;
            let (s, _) = self.source(1, op)?;
            op.dst = number;
            let third = if self.instruction.op_count() == 3 {
                self.source(2, op)?.0
            } else {
                R
            };
            return Some(multiply::imul_run(s, third, size));
        }
        let (s, size) = self.source(0, op)?;
        let size = size.unwrap_or_else(|| self.memory_size());
        Some(match mnemonic {
            M::Mul | M::Imul => multiply::mul_run(s, size, mnemonic == M::Imul),
            _ => multiply::div_run(s, size, mnemonic == M::Idiv),
        })
    }

    fn bit(&self, op: &mut Op, operation: u8) -> Option<Run> {
        let (d, d_size) = self.destination(0, op)?;
        let (s, s_size) = self.source(1, op)?;
        let size = d_size.or(s_size).unwrap_or_else(|| self.memory_size());
        Some(bits::bit_run(operation, d, s, size))
    }

    fn stack(&self, op: &mut Op) -> Option<Run> {
        let instruction = self.instruction;
        Some(match instruction.mnemonic() {
            M::Push | M::Pop => {
                let is_push = instruction.mnemonic() == M::Push;
                let is_register = self.kind(0) == OpKind::Register;
                if let Some(seg) = segment(self.register(0)).filter(|_| is_register) {
                    op.aux = seg;
                    let size = self.segment_size();
                    return Some(if is_push {
                        stack::push_segment_run(size)
                    } else {
                        stack::pop_segment_run(size)
                    });
                }
                if is_push {
                    let (s, size) = self.source(0, op)?;
                    let size = match self.kind(0) {
                        OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
                        OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
                        _ => size.unwrap_or_else(|| self.memory_size()),
                    };
                    stack::push_run(s, size)
                } else {
                    let (d, size) = self.destination(0, op)?;
                    stack::pop_run(d, size.unwrap_or_else(|| self.memory_size()))
                }
            }
            M::Pusha => stack::pusha_run(2),
            M::Pushad => stack::pusha_run(4),
            M::Popa => stack::popa_run(2),
            M::Popad => stack::popa_run(4),
            M::Pushf => stack::pushf_run(2),
            M::Pushfd => stack::pushf_run(4),
            M::Pushfq => stack::pushf_run(8),
            M::Popf => stack::popf_run(2),
            M::Popfd => stack::popf_run(4),
            M::Popfq => stack::popf_run(8),
            M::Leave => stack::leave_run(match instruction.code() {
                Code::Leavew => 2,
                Code::Leaved => 4,
                _ => 8,
            }),
            M::Enter => {
                op.imm = u64::from(instruction.immediate16());
                op.aux = instruction.immediate8_2nd();
                stack::enter_run(match instruction.code() {
                    Code::Enterw_imm16_imm8 => 2,
                    Code::Enterd_imm16_imm8 => 4,
                    _ => 8,
                })
            }
            _ => return None,
        })
    }

    /// The operand size of `PUSH` and `POP` of a segment register.
    fn segment_size(&self) -> u8 {
        match self.instruction.code() {
            Code::Pushw_ES
            | Code::Pushw_CS
            | Code::Pushw_SS
            | Code::Pushw_DS
            | Code::Pushw_FS
            | Code::Pushw_GS
            | Code::Popw_ES
            | Code::Popw_CS
            | Code::Popw_SS
            | Code::Popw_DS
            | Code::Popw_FS
            | Code::Popw_GS => 2,
            Code::Pushq_FS | Code::Pushq_GS | Code::Popq_FS | Code::Popq_GS => 8,
            _ => 4,
        }
    }
}
