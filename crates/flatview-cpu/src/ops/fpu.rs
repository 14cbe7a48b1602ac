//! As much of the x87 as firmware touches when it looks for one. CPUID says that there is none.

use super::{M, Op, R, Run};
use crate::exec::{CR0_EM, CR0_MP, CR0_TS, Exec, Fault, Flow, NM, Step};

/// The control word after `FNINIT` (Intel SDM vol. 1, 8.1.5).
pub(crate) const CONTROL: u16 = 0x37f;

fn check(e: &mut Exec) -> Result<(), Fault> {
    if e.cr0 & (CR0_EM | CR0_TS) != 0 {
        Err(e.raise(NM, None))
    } else {
        Ok(())
    }
}

/// `FNINIT`.
pub(crate) fn fninit(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    e.fpu_control = CONTROL;
    Ok(Flow::Next)
}

/// `FNCLEX`.
pub(crate) fn fnclex(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    Ok(Flow::Next)
}

/// `FNSTCW`.
pub(crate) fn fnstcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let control = e.fpu_control;
    e.put::<u16, M>(op, control)
}

/// `FLDCW`. Bit 6 is always set.
pub(crate) fn fldcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.fpu_control = e.source::<u16, M>(op)? & 0x1f7f | 0x40;
    Ok(e.flow)
}

/// `FNSTSW`: no exceptions, an empty stack.
fn fnstsw<const D: u8>(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.put::<u16, D>(op, 0)
}

/// The function of `FNSTSW`.
pub(crate) fn fnstsw_run(d: u8) -> Run {
    if d == R { fnstsw::<R> } else { fnstsw::<M> }
}

/// `FWAIT`.
pub(crate) fn fwait(e: &mut Exec, _: &Op) -> Step {
    if e.cr0 & CR0_MP != 0 && e.cr0 & CR0_TS != 0 {
        return Err(e.raise(NM, None));
    }
    Ok(Flow::Next)
}

/// All other instructions of the x87.
pub(crate) fn other(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    Err(e.ud())
}
