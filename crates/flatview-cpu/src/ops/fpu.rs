//! As much of the x87 as firmware touches when it looks for one. CPUID says that there is none.

use super::{M, Op, R, Run};
use crate::exec::{CR0_EM, CR0_MP, CR0_TS, Exec, Fault, Flow, NM, Step};

/// The control word after `FNINIT` (Intel SDM vol. 1, 8.1.5).
const CONTROL: u16 = 0x37f;

/// What `FXSAVE` saves of an x87.
#[derive(Clone, Debug)]
pub(crate) struct X87 {
    pub(crate) control: u16,
    pub(crate) status: u16,
    /// One bit for each register that is not empty.
    pub(crate) tags: u8,
    /// 80 bits each.
    pub(crate) registers: [u128; 8],
}

impl X87 {
    /// After power-on (Intel SDM vol. 3, table 10-1).
    pub(crate) fn new() -> X87 {
        X87 {
            control: 0x40,
            status: 0,
            tags: 0xff,
            registers: [0; 8],
        }
    }
}

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
    (e.x87.control, e.x87.status, e.x87.tags) = (CONTROL, 0, 0);
    Ok(Flow::Next)
}

/// `FNCLEX`.
pub(crate) fn fnclex(e: &mut Exec, _: &Op) -> Step {
    check(e)?;
    // Exceptions, the stack fault, busy.
    e.x87.status &= !0x80ff;
    Ok(Flow::Next)
}

/// `FNSTCW`.
pub(crate) fn fnstcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let control = e.x87.control;
    e.put::<u16, M>(op, control)
}

/// `FLDCW`. Bit 6 is always set.
pub(crate) fn fldcw(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    e.x87.control = e.source::<u16, M>(op)? & 0x1f7f | 0x40;
    Ok(e.flow)
}

/// `FNSTSW`.
fn fnstsw<const D: u8>(e: &mut Exec, op: &Op) -> Step {
    check(e)?;
    let status = e.x87.status;
    e.put::<u16, D>(op, status)
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
