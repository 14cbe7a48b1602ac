//! `FXSAVE`, `FXRSTOR`, `LDMXCSR`, `STMXCSR` (Intel SDM vol. 1, 10.5).

use super::{M, Op};
use crate::exec::control::EFER_FFXSR;
use crate::exec::mem::Access;
use crate::exec::{CR0_EM, CR0_TS, Exec, Fault, NM, Step};
use crate::int::{low8, low16, low32};

use super::low64;
use crate::ops::x87::ext::Ext;

/// The bits of `MXCSR` that exist.
pub(crate) const MXCSR_MASK: u32 = 0xffff;
/// How many bytes are written.
const SIZE: u64 = 512;
/// Where the registers of the x87 are,
const ST: u64 = 32;
/// and those of SSE.
const XMM: u64 = 160;

/// `LDMXCSR`.
pub(crate) fn ldmxcsr(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = e.source::<u32, M>(op)?;
    if value & !MXCSR_MASK != 0 {
        return Err(e.gp(0));
    }
    e.sse.mxcsr = value;
    Ok(e.flow)
}

/// `STMXCSR`.
pub(crate) fn stmxcsr(e: &mut Exec, op: &Op) -> Step {
    e.need_sse()?;
    let value = e.sse.mxcsr;
    e.put::<u32, M>(op, value)
}

fn area(e: &mut Exec, op: &Op, access: Access) -> Result<u64, Fault> {
    if e.cr0 & CR0_EM != 0 {
        return Err(e.ud());
    }
    if e.cr0 & CR0_TS != 0 {
        return Err(e.raise(NM, None));
    }
    let offset = e.offset(op);
    let linear = e.string_address(op.seg, offset, SIZE, access)?;
    if !linear.is_multiple_of(16) {
        return Err(e.gp(0));
    }
    e.probe::<u8>(linear, access)?;
    e.probe::<u8>(e.wrap(linear.wrapping_add(SIZE - 1)), access)?;
    Ok(linear)
}

/// How many SSE registers are saved in the current mode (AMD64 APM vol. 2, 11.4.4.3, FFXSR).
fn registers(e: &Exec) -> usize {
    match e.mode.is_64() {
        true if e.mode.cpl == 0 && e.msrs.efer & EFER_FFXSR != 0 => 0,
        true => 16,
        false => 8,
    }
}

/// `FXSAVE`. What is not known (the last instruction of the x87) is 0.
pub(crate) fn fxsave(e: &mut Exec, op: &Op) -> Step {
    let base = area(e, op, Access::Write)?;
    let x87 = e.x87.clone();
    let at = |e: &Exec, offset: u64| e.wrap(base.wrapping_add(offset));
    let control = u64::from(x87.control) | u64::from(x87.status) << 16 | u64::from(x87.tags) << 32;
    for (offset, value) in [
        (0, control),
        (8, 0),
        (16, 0),
        (24, u64::from(e.sse.mxcsr) | u64::from(MXCSR_MASK) << 32),
    ] {
        e.store(at(e, offset), value)?;
    }
    for (offset, index) in (ST..).step_by(16).zip(0..8) {
        let value = x87.registers[x87.number(index)].to_bits();
        e.store(at(e, offset), low64(value))?;
        e.store(at(e, offset + 8), low64(value >> 64))?;
    }
    for (offset, number) in (XMM..).step_by(16).zip(0..registers(e)) {
        let value = e.sse.xmm[number];
        e.store(at(e, offset), low64(value))?;
        e.store(at(e, offset + 8), low64(value >> 64))?;
    }
    Ok(e.flow)
}

/// `FXRSTOR`.
pub(crate) fn fxrstor(e: &mut Exec, op: &Op) -> Step {
    let base = area(e, op, Access::Read)?;
    let at = |e: &Exec, offset: u64| e.wrap(base.wrapping_add(offset));
    let control: u64 = e.load(at(e, 0))?;
    let mxcsr: u32 = e.load(at(e, 24))?;
    if mxcsr & !MXCSR_MASK != 0 {
        return Err(e.gp(0));
    }
    let (mut x87, mut sse) = (e.x87.clone(), e.sse.clone());
    x87.control = low16(control);
    x87.status = low16(control >> 16);
    x87.tags = low8(control >> 32);
    let load = |e: &mut Exec, offset: u64| -> Result<u128, Fault> {
        let (low, high) = (at(e, offset), at(e, offset + 8));
        Ok(u128::from(e.load::<u64>(low)?) | u128::from(e.load::<u64>(high)?) << 64)
    };
    for (offset, index) in (ST..).step_by(16).zip(0..8) {
        let number = x87.number(index);
        x87.registers[number] = Ext::from_bits(load(e, offset)?);
    }
    let count = registers(e);
    for (offset, place) in (XMM..).step_by(16).zip(&mut sse.xmm[..count]) {
        *place = load(e, offset)?;
    }
    sse.mxcsr = low32(u64::from(mxcsr));
    (e.x87, e.sse) = (x87, sse);
    Ok(e.flow)
}
