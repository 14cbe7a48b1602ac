//! Descriptor tables and what is in them.

use super::{M, Op, R, Run};
use crate::exec::mem::Access;
use crate::exec::{Exec, Fault, Step};
use crate::int::Int;

/// `LGDT` (`IDT` false), `LIDT`. With an operand size of 16 the base has 24 bits.
fn load_table<T: Int, const IDT: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_cpl0()?;
    let (limit_at, base_at) = table_operand(e, op, Access::Read)?;
    let limit: u16 = e.load(limit_at)?;
    let base = if e.mode.is_64() {
        e.load::<u64>(base_at)?
    } else {
        u64::from(e.load::<u32>(base_at)?)
    };
    let base = if T::BITS == 16 { base & 0xff_ffff } else { base };
    if !crate::exec::is_canonical(base) {
        return Err(e.gp(0));
    }
    let table = if IDT { &mut e.idtr } else { &mut e.gdtr };
    (table.base, table.limit) = (base, limit);
    Ok(e.flow)
}

/// The function of `LGDT` and `LIDT`.
pub(crate) fn load_table_run(is_idt: bool, size: u8) -> Run {
    if is_idt {
        wide!(size, load_table, true)
    } else {
        wide!(size, load_table, false)
    }
}

fn table_operand(e: &mut Exec, op: &Op, access: Access) -> Result<(u64, u64), Fault> {
    let offset = e.offset(op);
    let base_size = if e.mode.is_64() { 8 } else { 4 };
    let limit_at = e.string_address(op.seg, offset, 2, access)?;
    let after = offset.wrapping_add(2) & (u64::MAX >> op.narrow);
    let base_at = e.string_address(op.seg, after, base_size, access)?;
    Ok((limit_at, base_at))
}

/// `SGDT` (`IDT` false), `SIDT`.
pub(crate) fn store_table<const IDT: bool>(e: &mut Exec, op: &Op) -> Step {
    e.need_umip()?;
    let (limit_at, base_at) = table_operand(e, op, Access::Write)?;
    let table = if IDT { e.idtr } else { e.gdtr };
    e.probe::<u16>(limit_at, Access::Write)?;
    if e.mode.is_64() {
        e.store::<u64>(base_at, table.base)?;
    } else {
        e.store::<u32>(base_at, crate::int::low32(table.base))?;
    }
    e.store(limit_at, table.limit)?;
    Ok(e.flow)
}

/// What exists in protected mode only is #UD otherwise.
fn need_protected(e: &mut Exec) -> Result<(), Fault> {
    if e.mode.is_protected { Ok(()) } else { Err(e.ud()) }
}

/// `SLDT` (`TASK` false), `STR`: to a register of the operand size, or to 16 bits of memory.
fn store_selector<T: Int, const D: u8, const TASK: bool>(e: &mut Exec, op: &Op) -> Step {
    need_protected(e)?;
    e.need_umip()?;
    let selector = if TASK { e.tr.selector } else { e.ldtr.selector };
    e.put::<T, D>(op, T::truncate(u64::from(selector)))
}

/// The function of `SLDT` and `STR`.
pub(crate) fn store_selector_run(is_task: bool, d: u8, size: u8) -> Run {
    match (d, is_task) {
        (M, true) => store_selector::<u16, M, true>,
        (M, false) => store_selector::<u16, M, false>,
        (_, true) => wide!(size, store_selector, R, true),
        (_, false) => wide!(size, store_selector, R, false),
    }
}

/// `LLDT` (`TASK` false), `LTR`.
fn load_selector<const S: u8, const TASK: bool>(e: &mut Exec, op: &Op) -> Step {
    need_protected(e)?;
    e.need_cpl0()?;
    let selector = e.source::<u16, S>(op)?;
    if TASK {
        e.load_task(selector)?
    } else {
        e.load_ldt(selector)?
    }
    Ok(e.flow)
}

/// The function of `LLDT` and `LTR`.
pub(crate) fn load_selector_run(is_task: bool, s: u8) -> Run {
    match (s, is_task) {
        (R, true) => load_selector::<R, true>,
        (R, false) => load_selector::<R, false>,
        (_, true) => load_selector::<M, true>,
        _ => load_selector::<M, false>,
    }
}

/// `LAR`, `LSL`: ZF says whether the descriptor can be seen.
fn look<T: Int, const S: u8, const LIMIT: bool>(e: &mut Exec, op: &Op) -> Step {
    need_protected(e)?;
    let selector = e.source::<u16, S>(op)?;
    let seen = e.visible_descriptor(selector, LIMIT)?;
    e.r.flags.set_zf(seen.is_some());
    if let Some(descriptor) = seen {
        let value = if LIMIT {
            u64::from(descriptor.limit())
        } else {
            descriptor.0 >> 32 & 0x00ff_ff00
        };
        e.set_reg(op.dst, T::truncate(value));
    }
    Ok(e.flow)
}

/// The function of `LAR` and `LSL`.
pub(crate) fn look_run(is_limit: bool, s: u8, size: u8) -> Run {
    if is_limit {
        wide_by_place!(s, size, look, true)
    } else {
        wide_by_place!(s, size, look, false)
    }
}

/// `VERR`, `VERW`.
fn verify<const S: u8, const WRITE: bool>(e: &mut Exec, op: &Op) -> Step {
    need_protected(e)?;
    let selector = e.source::<u16, S>(op)?;
    let is_usable = e.verify(selector, WRITE)?;
    e.r.flags.set_zf(is_usable);
    Ok(e.flow)
}

/// The function of `VERR` and `VERW`.
pub(crate) fn verify_run(is_write: bool, s: u8) -> Run {
    match (s, is_write) {
        (R, true) => verify::<R, true>,
        (R, false) => verify::<R, false>,
        (_, true) => verify::<M, true>,
        _ => verify::<M, false>,
    }
}

/// `ARPL`.
fn arpl<const D: u8>(e: &mut Exec, op: &Op) -> Step {
    need_protected(e)?;
    let rpl = e.reg::<u16>(op.src) & 3;
    let selector = e.destination::<u16, D>(op)?;
    let is_lower = selector & 3 < rpl;
    let flow = if is_lower {
        e.put::<u16, D>(op, selector & !3 | rpl)?
    } else {
        e.after::<D, D>()?
    };
    e.r.flags.set_zf(is_lower);
    Ok(flow)
}

/// The function of `ARPL`.
pub(crate) fn arpl_run(d: u8) -> Run {
    if d == R { arpl::<R> } else { arpl::<M> }
}
