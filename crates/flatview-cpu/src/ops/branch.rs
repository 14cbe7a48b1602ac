//! Near jumps, calls and returns; loops; software interrupts.

use super::{I, M, Op, R, Run};
use crate::exec::interrupt::Event;
use crate::exec::mem::Access;
use crate::exec::{ENTRY, Exec, Flow, RCX, RSP, Step, UD};
use crate::int::{Int, low8};

impl Exec {
    /// The target of a relative branch of operand size `T`.
    #[inline(always)]
    fn target<T: Int>(&self, op: &Op) -> u64 {
        T::truncate(self.r.gpr[ENTRY].wrapping_add(op.imm)).widen()
    }

    /// Goes on with the next instruction, which is in another block.
    #[inline(always)]
    fn not_taken(&mut self, op: &Op) -> Step {
        self.rip = self.next_ip(op);
        Ok(Flow::Jump)
    }
}

/// `Jcc`.
fn jcc<T: Int, const C: u8>(e: &mut Exec, op: &Op) -> Step {
    if e.r.flags.condition(C) {
        let target = e.target::<T>(op);
        return e.jump(target);
    }
    e.not_taken(op)
}

/// The function of `Jcc`.
pub(crate) fn jcc_run(condition: u8, size: u8) -> Run {
    macro_rules! choose {
        ($($condition:literal)*) => {
            match condition {
                $($condition => wide!(size, jcc, $condition),)*
                _ => wide!(size, jcc, 15),
            }
        };
    }
    choose!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// `JMP`, relative (`I`) or absolute.
fn jmp<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let target = if S == I {
        e.target::<T>(op)
    } else {
        e.source::<T, S>(op)?.widen()
    };
    e.jump(target)
}

/// The function of `JMP`.
pub(crate) fn jmp_run(s: u8, size: u8) -> Run {
    match s {
        R => wide!(size, jmp, R),
        M => wide!(size, jmp, M),
        _ => wide!(size, jmp, I),
    }
}

/// `CALL`, relative (`I`) or absolute.
fn call<T: Int, const S: u8>(e: &mut Exec, op: &Op) -> Step {
    let target = if S == I {
        e.target::<T>(op)
    } else {
        e.source::<T, S>(op)?.widen()
    };
    e.jump(target)?;
    let next = e.next_ip(op);
    e.push(T::truncate(next))?;
    Ok(Flow::Jump)
}

/// The function of `CALL`.
pub(crate) fn call_run(s: u8, size: u8) -> Run {
    match s {
        R => wide!(size, call, R),
        M => wide!(size, call, M),
        _ => wide!(size, call, I),
    }
}

/// `RET`, and `imm` more bytes off the stack.
fn ret<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let target = e.peek::<T>(0)?.widen();
    let flow = e.jump(target)?;
    e.set_sp(e.r.gpr[RSP].wrapping_add(T::BYTES + op.imm));
    Ok(flow)
}

/// The function of `RET`.
pub(crate) fn ret_run(size: u8) -> Run {
    wide!(size, ret)
}

/// `JCXZ`, `JECXZ`, `JRCXZ`: by `narrow`.
fn jcxz<T: Int>(e: &mut Exec, op: &Op) -> Step {
    if e.r.gpr[RCX] & (u64::MAX >> op.narrow) == 0 {
        let target = e.target::<T>(op);
        return e.jump(target);
    }
    e.not_taken(op)
}

/// The function of `JCXZ`.
pub(crate) fn jcxz_run(size: u8) -> Run {
    wide!(size, jcxz)
}

/// `LOOP` (`aux` 2), `LOOPE` (1), `LOOPNE` (0).
fn loop_<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let mask = u64::MAX >> op.narrow;
    let count = e.r.gpr[RCX].wrapping_sub(1) & mask;
    let is_taken = count != 0 && (op.aux == 2 || e.r.flags.zf() == (op.aux == 1));
    let flow = if is_taken {
        let target = e.target::<T>(op);
        e.jump(target)?
    } else {
        e.not_taken(op)?
    };
    // As a register of the address size: 32 bits clear the upper half.
    let register = low8(RCX as u64);
    match op.narrow {
        48 => e.set_reg(register, crate::int::low16(count)),
        _ => e.set_reg(register, count),
    }
    Ok(flow)
}

/// The function of `LOOP` and its kin.
pub(crate) fn loop_run(size: u8) -> Run {
    wide!(size, loop_)
}

/// `INT n`, `INT3`, `INT1`: vector `imm`; `aux` says which.
pub(crate) fn int(e: &mut Exec, op: &Op) -> Step {
    let event = match op.aux {
        0 => Event::Software,
        1 => Event::Breakpoint,
        _ => Event::Privileged,
    };
    let next = e.next_ip(op);
    e.software_interrupt(low8(op.imm), event, next)?;
    Ok(Flow::Jump)
}

/// `INTO`.
pub(crate) fn into(e: &mut Exec, op: &Op) -> Step {
    if !e.r.flags.of() {
        return Ok(Flow::Next);
    }
    let next = e.next_ip(op);
    e.software_interrupt(crate::exec::OF, Event::Breakpoint, next)?;
    Ok(Flow::Jump)
}

/// `BOUND`.
fn bound<T: Int>(e: &mut Exec, op: &Op) -> Step {
    let index = e.reg::<T>(op.dst).sign_extend().cast_signed();
    let linear = e.address::<T>(op, Access::Read)?;
    if index < e.load::<T>(linear)?.sign_extend().cast_signed() {
        return Err(e.raise(crate::exec::BR, None));
    }
    let after = e.offset(op).wrapping_add(T::BYTES) & (u64::MAX >> op.narrow);
    let upper_at = e.string_address(op.seg, after, T::BYTES, Access::Read)?;
    if index > e.load::<T>(upper_at)?.sign_extend().cast_signed() {
        return Err(e.raise(crate::exec::BR, None));
    }
    Ok(e.flow)
}

/// The function of `BOUND`.
pub(crate) fn bound_run(size: u8) -> Run {
    if size == 2 { bound::<u16> } else { bound::<u32> }
}

/// `UD2`, and what is no instruction.
pub(crate) fn undefined(e: &mut Exec, _: &Op) -> Step {
    Err(e.ud())
}

/// An instruction that this CPU does not have.
pub(crate) fn unknown(e: &mut Exec, _: &Op) -> Step {
    Err(e.unknown(UD, None))
}

/// One with a VEX prefix: there are none in real mode.
pub(crate) fn unknown_vector(e: &mut Exec, _: &Op) -> Step {
    Err(if e.mode.is_protected {
        e.unknown(UD, None)
    } else {
        e.ud()
    })
}

/// #GP(0): an instruction that is longer than 15 bytes.
pub(crate) fn too_long(e: &mut Exec, _: &Op) -> Step {
    Err(e.gp(0))
}
