//! What instructions do: one function for each operation, made for each operand size and each kind of operands.
//!
//! An instruction that cannot be executed leaves no trace: everything that can fault comes before the first change,
//! and stores to memory come last.

pub(crate) mod alu;
pub(crate) mod assistant;
pub(crate) mod bits;
pub(crate) mod branch;
pub(crate) mod bulk;
pub(crate) mod decimal;

pub(crate) mod io;
pub(crate) mod moves;
pub(crate) mod multiply;
pub(crate) mod shift;
pub(crate) mod sse;
pub(crate) mod stack;
pub(crate) mod string;
pub(crate) mod system;
pub(crate) mod system_table;
pub(crate) mod x87;

use crate::exec::mem::Access;
use crate::exec::{Exec, Fault, Step};
use crate::int::Int;

/// Executes an operation.
pub(crate) type Run = fn(&mut Exec, &Op) -> Step;

/// A decoded instruction. It does not depend on the address that it is executed at, only on how far it is from the
/// beginning of its block.
#[derive(Clone, Copy)]
pub(crate) struct Op {
    pub(crate) run: Run,
    /// An immediate operand; the target of a branch, counted from the beginning of the block.
    pub(crate) imm: u64,
    /// The displacement of an operand in memory.
    pub(crate) disp: u64,
    /// A register; what kind is the operation's business.
    pub(crate) dst: u8,
    /// Another one.
    pub(crate) src: u8,
    /// A condition, a segment register, a third operand.
    pub(crate) aux: u8,
    /// The operand in memory: its base and index registers, its scale as a shift.
    pub(crate) base: u8,
    pub(crate) index: u8,
    pub(crate) scale: u8,
    /// Its segment, or [`FLAT`].
    pub(crate) seg: u8,
    /// How many upper bits an address does not have: 0, 32, 48.
    pub(crate) narrow: u8,
    /// Where it is, counted from the beginning of the block.
    pub(crate) start: u16,
    /// The number of bytes.
    pub(crate) len: u8,
    /// [`LOCKED`], [`REP`], [`REPNE`], [`STACK_BASE`], [`STACK`].
    pub(crate) prefixes: u8,
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Op")
            .field("start", &self.start)
            .field("len", &self.len)
            .field("dst", &self.dst)
            .field("src", &self.src)
            .field("imm", &format_args!("{:#x}", self.imm))
            .finish_non_exhaustive()
    }
}

/// In [`Op::seg`]: the offset is the linear address, and nothing is to be checked.
pub(crate) const FLAT: u8 = 8;
/// In [`Op::prefixes`].
pub(crate) const LOCKED: u8 = 1;
/// In [`Op::prefixes`].
pub(crate) const REP: u8 = 2;
/// In [`Op::prefixes`].
pub(crate) const REPNE: u8 = 4;

/// In [`Op::prefixes`]: the operand in memory has the stack pointer or the frame pointer as its base.
pub(crate) const STACK_BASE: u8 = 8;
/// In [`Op::prefixes`]: the stack is accessed without an operand that says so.
pub(crate) const STACK: u8 = 16;

/// Kinds of operands: a register,
pub(crate) const R: u8 = 0;
/// memory,
pub(crate) const M: u8 = 1;
/// an immediate.
pub(crate) const I: u8 = 2;

impl Op {
    #[inline(always)]
    pub(crate) fn is_locked(&self) -> bool {
        self.prefixes & LOCKED != 0
    }
}

impl Exec {
    /// The value of the operand that is read only.
    #[inline(always)]
    pub(crate) fn source<T: Int, const S: u8>(&mut self, op: &Op) -> Result<T, Fault> {
        match S {
            R => Ok(self.reg(op.src)),
            M => self.load_operand(op),
            _ => Ok(T::truncate(op.imm)),
        }
    }

    /// The value of the operand that is written, or of the first of two that are read.
    #[inline(always)]
    pub(crate) fn destination<T: Int, const D: u8>(&mut self, op: &Op) -> Result<T, Fault> {
        match D {
            R => Ok(self.reg(op.dst)),
            _ => self.load_operand(op),
        }
    }

    /// Writes the operand that is written.
    #[inline(always)]
    pub(crate) fn put<T: Int, const D: u8>(&mut self, op: &Op, value: T) -> Step {
        if D == R {
            self.set_reg(op.dst, value);
            return Ok(crate::exec::Flow::Next);
        }
        let linear = self.address::<T>(op, Access::Write)?;
        self.store(linear, value)?;
        Ok(self.flow)
    }

    /// Changes the operand that is written.
    #[inline(always)]
    pub(crate) fn change<T: Int, const D: u8>(
        &mut self,
        op: &Op,
        mut change: impl FnMut(&mut crate::exec::Registers, T) -> T,
    ) -> Step {
        if D == R {
            let old = self.reg(op.dst);
            let new = change(&mut self.r, old);
            self.set_reg(op.dst, new);
            return Ok(crate::exec::Flow::Next);
        }
        let linear = self.address::<T>(op, Access::Write)?;
        self.modify(op, linear, change)?;
        Ok(self.flow)
    }

    /// What an operation returns that may have accessed memory.
    #[inline(always)]
    pub(crate) fn after<const A: u8, const B: u8>(&self) -> Step {
        if A == M || B == M {
            Ok(self.flow)
        } else {
            Ok(crate::exec::Flow::Next)
        }
    }

    #[inline(always)]
    fn load_operand<T: Int>(&mut self, op: &Op) -> Result<T, Fault> {
        let linear = self.address::<T>(op, Access::Read)?;
        self.load(linear)
    }
}
