//! Where operands are.

use iced_x86::{OpKind, Register};

use super::Translator;
use crate::exec::{ENTRY, HIGH, ZERO};
use crate::int::low8;
use crate::ops::{FLAT, I, M, Op, R};

/// The number and the size in bytes of a general register.
pub(crate) fn general(register: Register) -> Option<(u8, u8)> {
    let from = |first: Register| low8(register as u64).wrapping_sub(low8(first as u64));
    Some(match register {
        Register::AL | Register::CL | Register::DL | Register::BL => (from(Register::AL), 1),
        Register::AH | Register::CH | Register::DH | Register::BH => (from(Register::AH) + HIGH, 1),
        Register::SPL | Register::BPL | Register::SIL | Register::DIL => (from(Register::SPL) + 4, 1),
        _ if is_between(register, Register::R8L, Register::R15L) => (from(Register::R8L) + 8, 1),
        _ if is_between(register, Register::AX, Register::R15W) => (from(Register::AX), 2),
        _ if is_between(register, Register::EAX, Register::R15D) => (from(Register::EAX), 4),
        _ if is_between(register, Register::RAX, Register::R15) => (from(Register::RAX), 8),
        _ => return None,
    })
}

/// Whether a register is one of a run of them.
pub(crate) fn is_between(register: Register, first: Register, last: Register) -> bool {
    (first as usize..=last as usize).contains(&(register as usize))
}

/// The number of a register of another kind, counted from the first of them.
pub(crate) fn counted_from(register: Register, first: Register) -> u8 {
    low8((register as u64).wrapping_sub(first as u64))
}

/// The number of a segment register.
pub(crate) fn segment(register: Register) -> Option<u8> {
    is_between(register, Register::ES, Register::GS).then(|| counted_from(register, Register::ES))
}

impl Translator<'_> {
    pub(crate) fn kind(&self, operand: u32) -> OpKind {
        self.instruction.op_kind(operand)
    }

    pub(crate) fn register(&self, operand: u32) -> Register {
        self.instruction.op_register(operand)
    }

    /// The general register that an operand is.
    pub(crate) fn general(&self, operand: u32) -> Option<(u8, u8)> {
        general(self.register(operand))
    }

    /// Whether an operand is memory.
    pub(crate) fn is_memory(&self, operand: u32) -> bool {
        self.kind(operand) == OpKind::Memory
    }

    /// An operand that is written: a register or memory. Returns its kind, and its size if it is a register.
    pub(crate) fn destination(&self, operand: u32, op: &mut Op) -> Option<(u8, Option<u8>)> {
        if self.is_memory(operand) {
            self.memory(op)?;
            return Some((M, None));
        }
        let (number, size) = self.general(operand)?;
        op.dst = number;
        Some((R, Some(size)))
    }

    /// An operand that is read: a register, memory, or an immediate.
    pub(crate) fn source(&self, operand: u32, op: &mut Op) -> Option<(u8, Option<u8>)> {
        match self.kind(operand) {
            OpKind::Register => {
                let (number, size) = self.general(operand)?;
                op.src = number;
                Some((R, Some(size)))
            }
            OpKind::Memory => {
                self.memory(op)?;
                Some((M, None))
            }
            _ => {
                op.imm = self.instruction.try_immediate(operand).ok()?;
                Some((I, None))
            }
        }
    }

    /// The size in bytes of the operand in memory, as far as it is 1, 2, 4 or 8.
    pub(crate) fn memory_size(&self) -> u8 {
        use iced_x86::MemorySize as S;
        match self.instruction.memory_size() {
            S::UInt8 | S::Int8 => 1,
            S::UInt16 | S::Int16 | S::WordOffset => 2,
            S::UInt32 | S::Int32 | S::DwordOffset | S::SegPtr16 => 4,
            _ => 8,
        }
    }

    /// The operand in memory.
    pub(crate) fn memory(&self, op: &mut Op) -> Option<()> {
        let instruction = self.instruction;
        let (base, index) = (instruction.memory_base(), instruction.memory_index());
        let mut width = match instruction.memory_displ_size() {
            2 => 2,
            8 => 8,
            4 => 4,
            _ => self.context.bits / 8,
        };
        op.disp = instruction.memory_displacement64();
        for (register, place) in [(base, &mut op.base), (index, &mut op.index)] {
            match register {
                Register::None => *place = low8(ZERO as u64),
                Register::RIP | Register::EIP => {
                    // iced has added where the next instruction is.
                    op.disp = op.disp.wrapping_sub(self.context.ip);
                    *place = low8(ENTRY as u64);
                    width = if register == Register::RIP { 8 } else { 4 };
                }
                _ => (*place, width) = general(register)?,
            }
        }
        op.scale = low8(u64::from(instruction.memory_index_scale().trailing_zeros()));
        op.narrow = 64 - width * 8;
        op.seg = self.segment()?;
        Some(())
    }

    /// The segment of the operand in memory, or [`FLAT`].
    pub(crate) fn segment(&self) -> Option<u8> {
        let seg = segment(self.instruction.memory_segment())?;
        let is_data = !matches!(usize::from(seg), crate::seg::CS | crate::seg::FS | crate::seg::GS);
        let is_long = self.context.bits == 64 && usize::from(seg) < crate::seg::FS;
        Some(if is_long || (is_data && self.context.is_flat) {
            FLAT
        } else {
            seg
        })
    }

    /// The target of a near branch, counted from the beginning of the block; and the size of the instruction pointer.
    pub(crate) fn target(&self, op: &mut Op) -> Option<u8> {
        let size = match self.kind(0) {
            OpKind::NearBranch16 => 2,
            OpKind::NearBranch32 => 4,
            OpKind::NearBranch64 => 8,
            _ => return None,
        };
        op.imm = self
            .instruction
            .near_branch_target()
            .wrapping_sub(self.context.ip);
        Some(size)
    }
}
