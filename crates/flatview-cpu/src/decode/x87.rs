//! The x87.

use iced_x86::{Code, MemorySize, Mnemonic as M, Register};

use super::Translator;
use super::operand::{counted_from, is_between};
use crate::ops::x87::{compute, control, moves};
use crate::ops::{Op, Run};

/// Which of a mnemonic's variants pop: how often.
fn pops(mnemonic: M) -> u64 {
    match mnemonic {
        M::Fcompp | M::Fucompp => 2,
        M::Fstp
        | M::Fistp
        | M::Fbstp
        | M::Faddp
        | M::Fmulp
        | M::Fsubp
        | M::Fsubrp
        | M::Fdivp
        | M::Fdivrp
        | M::Fcomp
        | M::Ficomp
        | M::Fucomp
        | M::Fcomip
        | M::Fucomip
        | M::Fyl2x
        | M::Fyl2xp1
        | M::Fpatan => 1,
        _ => 0,
    }
}

fn st(register: Register) -> Option<u8> {
    is_between(register, Register::ST0, Register::ST7).then(|| counted_from(register, Register::ST0))
}

impl Translator<'_> {
    pub(crate) fn x87(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        op.imm = pops(mnemonic);
        let run = self
            .x87_arithmetic(op)
            .or_else(|| self.x87_moves(op))
            .or_else(|| self.x87_control(op));
        run.or_else(|| self.is_x87().then_some(control::unknown as Run))
    }

    /// An operand in memory, or ST(i), or ST(1) if there is none.
    fn x87_source(&self, op: &mut Op, operand: u32) -> Option<()> {
        if self.instruction.op_count() == 0 {
            op.src = 1;
            return Some(());
        }
        if !self.is_memory(operand) {
            op.src = st(self.register(operand))?;
            return Some(());
        }
        self.memory(op)?;
        op.imm |= moves::MEMORY;
        op.src = match self.instruction.memory_size() {
            MemorySize::Float32 => moves::SINGLE_REAL,
            MemorySize::Float64 => moves::DOUBLE_REAL,
            MemorySize::Float80 => moves::EXTENDED_REAL,
            MemorySize::Int16 => moves::WORD,
            MemorySize::Int32 => moves::DOUBLEWORD,
            MemorySize::Int64 => moves::QUADWORD,
            MemorySize::Bcd => moves::DECIMAL,
            _ => return None,
        };
        Some(())
    }

    fn x87_arithmetic(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let operation = match mnemonic {
            M::Fadd | M::Faddp | M::Fiadd => compute::ADD,
            M::Fmul | M::Fmulp | M::Fimul => compute::MUL,
            M::Fsub | M::Fsubp | M::Fisub => compute::SUB,
            M::Fsubr | M::Fsubrp | M::Fisubr => compute::SUBR,
            M::Fdiv | M::Fdivp | M::Fidiv => compute::DIV,
            M::Fdivr | M::Fdivrp | M::Fidivr => compute::DIVR,
            _ => return self.x87_functions(op),
        };
        op.aux = operation;
        if self.is_memory(0) {
            self.x87_source(op, 0)?;
        } else {
            op.dst = st(self.register(0))?;
            self.x87_source(op, 1)?;
        }
        Some(compute::arithmetic)
    }

    fn x87_functions(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let comparison = match mnemonic {
            M::Fcom | M::Fcomp | M::Fcompp | M::Ficom | M::Ficomp => Some(0),
            M::Fucom | M::Fucomp | M::Fucompp => Some(compute::QUIET),
            M::Fcomi | M::Fcomip => Some(compute::TO_FLAGS),
            M::Fucomi | M::Fucomip => Some(compute::TO_FLAGS | compute::QUIET),
            M::Ftst => Some(compute::WITH_ZERO),
            _ => None,
        };
        if let Some(comparison) = comparison {
            op.aux = comparison;
            let operand = self.instruction.op_count().saturating_sub(1);
            self.x87_source(op, operand)?;
            return Some(compute::compare);
        }
        let function = match mnemonic {
            M::Fsqrt => compute::SQRT,
            M::Frndint => compute::ROUND,
            M::Fscale => compute::SCALE,
            M::F2xm1 => compute::EXPONENTIAL,
            M::Fsin => compute::SINE,
            M::Fcos => compute::COSINE,
            M::Fyl2x => compute::LOGARITHM,
            M::Fyl2xp1 => compute::LOGARITHM_PLUS_1,
            M::Fpatan => compute::ARCTANGENT,
            M::Fxam => return Some(compute::examine),
            M::Fchs => return Some(compute::sign::<false>),
            M::Fabs => return Some(compute::sign::<true>),
            M::Fsincos => return Some(compute::two_results::<false>),
            M::Fptan => return Some(compute::two_results::<true>),
            M::Fxtract => return Some(compute::extract),
            M::Fprem => return Some(compute::remainder::<false>),
            M::Fprem1 => return Some(compute::remainder::<true>),
            _ => return None,
        };
        op.aux = function;
        Some(compute::function)
    }

    fn x87_moves(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let constants = [
            M::Fld1,
            M::Fldl2t,
            M::Fldl2e,
            M::Fldpi,
            M::Fldlg2,
            M::Fldln2,
            M::Fldz,
        ];
        if let Some(constant) = constants.iter().position(|&name| name == mnemonic) {
            op.aux = crate::int::low8(constant as u64);
            return Some(moves::constant);
        }
        // Conditions as in the opcodes of `Jcc`.
        let conditions = [
            (M::Fcmovb, 2),
            (M::Fcmove, 4),
            (M::Fcmovbe, 6),
            (M::Fcmovu, 10),
            (M::Fcmovnb, 3),
            (M::Fcmovne, 5),
            (M::Fcmovnbe, 7),
            (M::Fcmovnu, 11),
        ];
        if let Some((_, condition)) = conditions.iter().find(|(name, _)| *name == mnemonic) {
            op.aux = *condition;
            op.src = st(self.register(1))?;
            return Some(moves::move_if);
        }
        let operand = self.instruction.op_count().saturating_sub(1);
        Some(match mnemonic {
            M::Fld | M::Fild | M::Fbld => {
                self.x87_source(op, operand)?;
                moves::load
            }
            M::Fst | M::Fstp | M::Fist | M::Fistp | M::Fbstp => {
                if self.is_memory(0) {
                    self.x87_source(op, 0)?;
                    moves::store
                } else {
                    op.dst = st(self.register(0))?;
                    moves::store_register
                }
            }
            M::Fxch => {
                self.x87_source(op, operand)?;
                moves::exchange
            }
            _ => return None,
        })
    }

    fn x87_control(&self, op: &mut Op) -> Option<Run> {
        let mnemonic = self.instruction.mnemonic();
        let run: Run = match mnemonic {
            M::Fninit | M::Finit => control::fninit,
            M::Fnclex | M::Fclex => control::fnclex,
            M::Wait => control::fwait,
            M::Emms => control::emms,
            M::Fincstp => control::rotate::<1>,
            M::Fdecstp => control::rotate::<7>,
            M::Ffree => {
                op.dst = st(self.register(0))?;
                control::ffree
            }
            M::Fnstcw | M::Fstcw => {
                self.memory(op)?;
                control::fnstcw
            }
            M::Fldcw => {
                self.memory(op)?;
                control::fldcw
            }
            M::Fnstsw | M::Fstsw => {
                let (d, _) = self.destination(0, op)?;
                control::fnstsw_run(d)
            }
            M::Fnstenv | M::Fnsave | M::Fldenv | M::Frstor => {
                self.memory(op)?;
                let size = match self.instruction.code() {
                    Code::Fnstenv_m14byte
                    | Code::Fnsave_m94byte
                    | Code::Fldenv_m14byte
                    | Code::Frstor_m94byte => 2,
                    _ => 4,
                };
                let is_store = matches!(mnemonic, M::Fnstenv | M::Fnsave);
                control::environment_run(is_store, matches!(mnemonic, M::Fnsave | M::Frstor), size)
            }
            _ => return None,
        };
        Some(run)
    }

    /// Whether it is an instruction of the x87 at all.
    fn is_x87(&self) -> bool {
        let mnemonic = self.instruction.mnemonic();
        is_between_names(mnemonic, M::F2xm1, M::Fyl2xp1)
            && !matches!(
                mnemonic,
                M::Fxsave | M::Fxsave64 | M::Fxrstor | M::Fxrstor64 | M::Femms
            )
    }
}

/// The mnemonics of the x87 are together in the alphabet.
fn is_between_names(mnemonic: M, first: M, last: M) -> bool {
    (first as usize..=last as usize).contains(&(mnemonic as usize))
}
